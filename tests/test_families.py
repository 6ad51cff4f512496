"""Every encoder and decoder that a LLaVA checkpoint may join, on small random ones of the real classes."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

import duet_core
from duet_core import ModelError, Plan
from duet_core.backbones import Llava
from duet_core.methods import METHODS
from duet_core.trace import Fate

ATOL, IMAGE = 1e-4, 99
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 48,
}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 100}
TEXT |= {"num_key_value_heads": 2}
ENCODERS = {
    "clip": lambda: CLIPVisionConfig(**VISION, patch_size=8, projection_dim=16),
    "siglip": lambda: SiglipVisionConfig(**VISION, patch_size=8),
}
DECODERS = {
    "llama": lambda: LlamaConfig(**TEXT),
    "qwen2": lambda: Qwen2Config(**TEXT),
    "mistral": lambda: MistralConfig(**TEXT, sliding_window=None),
}
# As published: LLaVA-1.5, LLaVA-Interleave, and Mistral's LLaVA.
PUBLISHED = [("clip", "llama", -2, "default"), ("siglip", "qwen2", -1, "full"), ("clip", "mistral", -2, "default")]


def build(encoder: str, decoder: str, layer: int = -2, strategy: str = "default") -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=ENCODERS[encoder](), text_config=DECODERS[decoder](), image_token_id=IMAGE,
        vision_feature_layer=layer, vision_feature_select_strategy=strategy,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    return model


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda made: "-".join(made[:2]))
def theirs(request) -> LlavaForConditionalGeneration:
    return build(*request.param)


@pytest.fixture(scope="module")
def ours(theirs) -> duet_core.Model:
    return duet_core.Model("small", Llava(theirs), None)


def inputs(batch: int = 1) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(batch)
    text = torch.randint(3, 90, (batch, 8), generator=draw)
    ids = torch.cat([text[:, :3], torch.full((batch, 36), IMAGE), text[:, 3:]], 1)
    return {"input_ids": ids, "pixel_values": torch.randn(batch, 3, 48, 48, generator=draw)}


@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_keeping_everything_equals_transformers(ours, theirs, batch):
    given = inputs(batch)
    made = ours.generate(given, Plan(method="none"), max_new_tokens=5)
    torch.testing.assert_close(made.run.logits, theirs(**given).logits[:, -1], atol=ATOL, rtol=0)
    more = theirs.generate(**given, max_new_tokens=5, do_sample=False)[:, given["input_ids"].shape[1] :]
    assert made.token_ids == more.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_keeps_its_books(ours, method):
    plan = ours.plan(method, budget=12)
    both = ours.prefill(inputs(2), plan)
    for number, trace in enumerate(both.traces):
        assert len(trace.fate) == 36 and {int(fate) for fate in trace.fate} <= set(Fate)
        text = [
            lengths[number] - counts for lengths, counts in zip(both.state.lengths, trace.tokens_per_layer, strict=True)
        ]
        assert text == [8] * 4
        assert method == "none" or abs(trace.average_tokens - 12) <= 1
        alone = ours.prefill({name: part[number : number + 1] for name, part in inputs(2).items()}, plan)
        torch.testing.assert_close(both.logits[number], alone.logits[0], atol=ATOL, rtol=0)


def test_decoding_with_the_cache_equals_recomputing(ours):
    given, plan = inputs(), ours.plan(budget=12)
    after = list(range(39, 44))  # all text after the picture, as the rule chooses for bare ids
    first, second = ours.generate(given, plan, max_new_tokens=2).token_ids[0]
    ids = torch.cat([given["input_ids"], torch.tensor([[first]])], 1)
    longer = ours.prefill(given | {"input_ids": ids}, plan, query_positions=after)
    assert longer.logits.argmax(-1).item() == second


def test_bf16_runs(ours):
    half = duet_core.Model("small", Llava(build_like(ours)), None)
    run = half.prefill(inputs(), half.plan(budget=12))
    assert run.logits.dtype == torch.bfloat16 and run.logits.isfinite().all()
    assert run.trace.tokens_per_layer == ours.prefill(inputs(), ours.plan(budget=12)).trace.tokens_per_layer


def build_like(model: duet_core.Model) -> LlavaForConditionalGeneration:
    own = LlavaForConditionalGeneration(model.backbone.model.config).eval()
    own.load_state_dict(model.backbone.model.state_dict())
    return own.to(torch.bfloat16)


@torch.no_grad()
def test_an_encoder_without_cls_scores_by_attention_received():
    """Mean over heads, summed over queries, of the attention of the used layer: its eager map says the same."""
    model = build("siglip", "qwen2", -1, "full")
    backbone, given = Llava(model), inputs()
    evidence = backbone.evidence(backbone.see(backbone.eye(clip=False), given))
    tower = model.model.vision_tower
    tower.set_attn_implementation("eager")
    maps = tower(given["pixel_values"], output_attentions=True).attentions[-1]  # (1, H, N, N)
    torch.testing.assert_close(evidence.scores, maps.mean(1).sum(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: build("siglip", "qwen2", -1, "default"), "set its vision_feature_select_strategy to full"),
        (lambda: with_window(build("clip", "mistral")), "looks back 16 tokens only"),
        (lambda: with_layers(build("clip", "llama")), "only one feature layer"),
    ],
)
def test_what_is_not_supported_is_one_sentence(model, words):
    with pytest.raises(ModelError, match=words):
        Llava(model())


def with_window(model):
    model.config.text_config.sliding_window = 16
    return model


def with_layers(model):
    model.config.vision_feature_layer = [-2, -1]
    return model
