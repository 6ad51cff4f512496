"""A model whose layers accelerate has spread: weights on disk between calls, and layers on two pretended GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM

import duet_core
from duet_core import Plan, decoder
from duet_core.backbones import Llava, wrap
from duet_core.boundary import Boundary, Stay, Tokens
from duet_core.devices import device_of
from duet_core.methods import METHODS
from duet_core.timing import Stopwatch
from tests.conftest import GOLDEN, TINY
from tests.test_qwen import inputs as qwen_inputs

QWEN, ATOL = GOLDEN / "tiny_qwen25vl_hf", 1e-5
DUET = Plan(dominant=30, contextual=8, layers=(3, 5), keep=(0.5, 0.25), queries="all_text")


def split(layers: int, last: str, *, whole: bool = False) -> dict[str, str]:
    """Map the second half of the decoder layers, and what follows, elsewhere; or all of the decoder in one block."""
    rest = {"model.visual": "cpu", "model.vision_tower": "cpu", "model.multi_modal_projector": "cpu"}
    if whole:
        return rest | {"model.language_model": last, "lm_head": last}
    inner = {f"model.language_model.layers.{n}": "cpu" if n < layers // 2 else last for n in range(layers)}
    ends = {"embed_tokens": "cpu", "rotary_emb": "cpu", "norm": last}
    return rest | inner | {f"model.language_model.{name}": place for name, place in ends.items()} | {"lm_head": last}


def on_disk(place, folder, *, whole: bool = False) -> duet_core.Model:
    plain = AutoModelForImageTextToText.from_pretrained(place)
    layers, parts = len(plain.model.language_model.layers), dict(plain.named_modules())
    places = {name: where for name, where in split(layers, "disk", whole=whole).items() if name in parts}
    spread = AutoModelForImageTextToText.from_pretrained(place, device_map=places, offload_folder=str(folder)).eval()
    return duet_core.Model("spread", wrap(spread), None)


@pytest.fixture(scope="module")
def spread_qwen(tmp_path_factory) -> duet_core.Model:
    return on_disk(QWEN, tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def qwen() -> duet_core.Model:
    return duet_core.open_model(str(QWEN), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def spread_llava(tmp_path_factory) -> duet_core.Model:
    return on_disk(TINY, tmp_path_factory.mktemp("disk"))


def same(one, other):
    assert one.token_ids == other.token_ids
    torch.testing.assert_close(one.run.logits, other.run.logits, atol=ATOL, rtol=0)
    assert one.run.trace.to_json()["fate"] == other.run.trace.to_json()["fate"]
    assert one.run.trace.died_at.tolist() == other.run.trace.died_at.tolist()


# Weights on disk


def test_the_second_half_really_lies_on_disk(spread_qwen):
    layers = spread_qwen.backbone.layers
    kinds = [next(layer.parameters()).device.type for layer in layers]
    assert kinds == ["cpu"] * 4 + ["meta"] * 4
    assert {device_of(layer).type for layer in layers} == {"cpu"} and spread_qwen.backbone.device.type == "cpu"


@pytest.mark.parametrize("plan", [Plan(method="none"), DUET, replace(DUET, keep=(0.5, 0.0))])
@pytest.mark.parametrize("samples", [1, 2])
def test_answers_are_those_of_the_model_in_memory(qwen, spread_qwen, plan, samples):
    given = qwen_inputs(samples=samples)
    same(spread_qwen.generate(given, plan, 4), qwen.generate(given, plan, 4))


@pytest.mark.parametrize("plan", [Plan(method="none"), DUET])
def test_llava_answers_as_it_does_in_memory(tiny, tiny_inputs, spread_llava, plan):
    same(spread_llava.generate(tiny_inputs(0), plan, 4), tiny.generate(tiny_inputs(0), plan, 4))


@pytest.mark.parametrize("method", [name for name, own in METHODS.items() if name != "none" and own.about.pictures])
def test_every_method_chooses_the_same_where_layers_lie_on_disk(tiny, tiny_inputs, spread_llava, method):
    plan = tiny.plan(method, budget=128)
    same(spread_llava.generate(tiny_inputs(1), plan, 2), tiny.generate(tiny_inputs(1), plan, 2))


def test_a_decoder_that_is_on_disk_as_a_whole(qwen, tmp_path):
    spread = on_disk(QWEN, tmp_path, whole=True)
    same(spread.generate(qwen_inputs(), DUET, 3), qwen.generate(qwen_inputs(), DUET, 3))


# Two GPUs that are pretended: shapes and devices without numbers, and an error for every mixture of devices


FIRST, SECOND = torch.device("cpu", 0), torch.device("cpu", 1)


class Pretended(Llava):
    """The decoder's part of a backbone, around a bare language model."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """There is no encoder to check."""

    @property
    def layers(self):
        return self.model.model.layers

    @property
    def needs_causal_mask(self) -> bool:
        return True

    @property
    def takes_real_keys(self) -> bool:
        return False

    def rotary(self, positions, like):
        return self.model.model.rotary_emb(like, position_ids=positions)

    def normed(self, hidden):
        return self.model.model.norm(hidden)


@pytest.fixture
def pretended():
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=50, num_hidden_layers=4, **sizes, attn_implementation="eager")
    with FakeTensorMode(allow_non_fake_inputs=True):
        with FIRST:
            model = LlamaForCausalLM(config).eval()
        with SECOND:
            behind = LlamaForCausalLM(config).eval()
        for number in (2, 3):
            model.model.layers[number] = behind.model.layers[number]
        model.model.norm, model.lm_head = behind.model.norm, behind.lm_head
        for part in (*model.model.layers, model.model.norm, model.model.rotary_emb, model.lm_head):
            place = next((own.device for own in part.parameters()), FIRST)
            add_hook_to_module(part, AlignDevicesHook(execution_device=place))
        yield Pretended(model)


def tokens(positions: bool) -> Tokens:
    def places(*ends: int) -> list[torch.Tensor]:
        return [torch.arange(*ends, device=FIRST) for _ in range(2)]

    return Tokens(
        hidden=torch.zeros(2, 20, 32, device=FIRST),
        lengths=[20, 20],
        visual=places(2, 14),
        text=[torch.cat(pair) for pair in zip(places(2), places(14, 20), strict=True)],
        queries=places(14, 20),
        origin=places(12),
        positions=torch.arange(20, device=FIRST).expand(1, 2, -1) if positions else None,
    )


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_tokens_follow_the_layers_from_one_gpu_to_the_next(pretended, positions, layer):
    """Before layer 2 lies the border: the scores are asked for before, at, and behind it."""

    def choose(boundary: Boundary) -> Stay | None:
        if boundary.layer != layer:
            return None
        scores = boundary.attention()
        assert boundary.last(back=True)[0].device == boundary.now.hidden.device
        together = [now - before for now, before in zip(boundary.now.states(), boundary.before.states(), strict=True)]
        assert together[0].shape == (12, 32) and boundary.first.states()[0].device == boundary.now.hidden.device
        return Stay([own.argsort(descending=True)[:5].sort().values for own in scores])

    watch = Stopwatch(torch.device("cpu"))
    done = decoder.prefill(pretended, tokens(positions), choose, watch, lambda at: at == 0)
    assert done.logits.device == SECOND and done.logits.shape == (2, 50)
    assert [own.keys.device for own in done.cache.layers.values()] == [FIRST, FIRST, SECOND, SECOND]
    assert [counts[0] for counts in done.lengths] == [20 if number < layer else 13 for number in range(4)]
    assert decoder.decode(pretended, done, torch.zeros(2, 1, 32, device=FIRST), 0).shape == (2, 50)


def test_the_pretended_gpus_refuse_to_be_mixed(pretended):
    with pytest.raises(RuntimeError, match="cpu:0 and cpu:1"):
        torch.zeros(2, device=FIRST) + torch.zeros(2, device=SECOND)
