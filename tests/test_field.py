"""The whole field: every method on the bundled model, and what rests on rows of attention, worked out by hand."""

from __future__ import annotations

from math import log
from types import SimpleNamespace

import pytest
import torch

import duet_core
from duet_core.backbones import Llava
from duet_core.boundary import Boundary, Tokens
from duet_core.methods import METHODS, build_method
from duet_core.methods.metok import _attended
from duet_core.plan import Plan
from duet_core.scenes import make_scene
from tests.conftest import small_inputs, small_llava
from tests.test_engine import together
from tests.test_methods_before import COMPASS, close, look_at

LN2, LN3 = log(2), log(3)
LAST = [23 / 80, 13 / 80]  # two heads: 3/8 and 1/5, 1/8 and 1/5
ROW_BEFORE = [19 / 56, 11 / 56]  # 3/7 and 1/4, 1/7 and 1/4
BOTH = [(a + b) / 2 for a, b in zip(LAST, ROW_BEFORE, strict=True)]
QUESTION = "What is in the middle?"


# By hand


def boundary_of(asked: list[int]) -> Boundary:
    """Text, two visual tokens, two of text; the first head looks at exp(keys) = 1, 3, 1, 2, 1, the second evenly.

    `asked` takes the numbers of the layers that are asked for queries and keys.
    """
    key = torch.tensor([[[0.0], [LN3], [0.0], [LN2], [0.0]], [[0.0]] * 5])  # (H, T, 1)
    query = torch.stack([torch.ones(5, 1), torch.zeros(5, 1)])

    def query_key(layer, hidden, rows, rotary):
        asked.append(layer)
        return query[:, rows], key

    def places(*numbers):
        return [torch.tensor(numbers)]

    tokens = Tokens(
        torch.zeros(1, 5, 1), [5], places(1, 2), places(0, 3, 4), places(4), places(0, 1), shapes=[(1, 1, 2)]
    )
    stack = SimpleNamespace(layers=[0, 1], query_key=query_key)
    return Boundary(1, [2], tokens, tokens, tokens, stack, (torch.zeros(1, 5, 1), torch.zeros(1, 5, 1)))


@pytest.mark.parametrize(
    ("method", "settings", "layer", "scores", "keeps"),
    [
        ("fastv", {}, 0, LAST, 0),
        ("fastv", {"query": "all_text"}, 0, BOTH, 0),
        ("pyramiddrop", {}, 1, LAST, 0),
        ("stateful", {}, 0, BOTH, 0),
        ("d2pruner", {"prior": (0.5, 0.25)}, 0, [LAST[0] / 0.5, LAST[1] / 0.25], 1),
    ],
)
def test_scores_of_attention_rows(method, settings, layer, scores, keeps):
    asked: list[int] = []
    plan = Plan(method, layers=(1,), keep=(0.5,), settings=tuple(settings.items()))
    stay = build_method(plan).at_layer(boundary_of(asked))
    close(stay.scores[0], scores)
    assert stay.keep[0].tolist() == [keeps] and set(asked) == {layer}


def test_metok_sums_the_rows_of_all_text():
    close(_attended(boundary_of([]), 0), [2 * both for both in BOTH])


@pytest.mark.parametrize(
    ("contextual", "tokens", "places"),
    [(1, [[0.8, 0.6], [0.5, 0.5]], [2, 0]), (2, [[0.8, 0.6], [1.0, 0.0], [-1.0, 1.0]], [2, 0, 1])],
)
def test_visionzip_adds_the_mean_of_its_members_to_a_target(contextual, tokens, places):
    """Patch 2 is dominant. Of 0, 1, 3 the target 0 takes the mean of the others; with 1 as well, 3 is nearer to 1."""
    look = look_at(COMPASS, (2, 2), torch.tensor([[0.1, 0.2, 0.6, 0.1]]))
    selection = build_method(Plan("visionzip", dominant=1, contextual=contextual)).after_vision(look)
    close(selection.tokens, [tokens])
    assert selection.places.tolist() == [places]


# Rows, not maps


@pytest.mark.parametrize("method", METHODS)
def test_none_but_fitprune_asks_for_a_whole_attention_map(method, monkeypatch):
    model, usual, most = small_llava(grid=5, depth=9), Llava.query_key, []

    def counting(self, layer, hidden, rows, rotary):
        most.append(len(rows))
        return usual(self, layer, hidden, rows, rotary)

    monkeypatch.setattr(Llava, "query_key", counting)
    inputs = small_inputs(model)
    model.prefill(inputs, model.plan(method, budget=12))
    assert (max(most, default=0) > 8) == (method == "fitprune"), "never more rows than the prompt has tokens of text"
    seen = model.backbone.see(model.backbone.eye(clip=False), inputs)
    assert seen.query.shape[2] == 1, "of the encoder's attention, the row of CLS alone"


# On the bundled model


@pytest.fixture(scope="module")
def half() -> duet_core.Model:
    return duet_core.open_model("duet-mini", device="cpu", dtype="bfloat16")


@pytest.fixture(scope="module")
def prompts(mini) -> dict[bool, list[dict[str, torch.Tensor]]]:
    """Two questions about a picture, and two about a clip of two frames."""
    pictures = [make_scene(seed).image for seed in (1, 2)]
    clips = [pictures, pictures[::-1]]
    return {clip: [mini.inputs(shown, QUESTION) for shown in own] for clip, own in ((False, pictures), (True, clips))}


@pytest.mark.parametrize("clip", [False, True], ids=["picture", "clip"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_the_bundled_model(method, clip, mini, half, prompts):
    """Both precisions, a batch that equals its samples, 192 tokens a frame on average, choosing timed apart."""
    if not METHODS[method].about.applies(clip):
        pytest.skip("not of such")
    frames, alone = (2 if clip else None), prompts[clip]
    budget = 192 * (frames or 1)
    plan = mini.plan(method, budget=budget, frames=frames)
    batch = mini.prefill(together(*alone), plan)
    for number, inputs in enumerate(alone):
        single = mini.prefill(inputs, plan)
        torch.testing.assert_close(batch.logits[number], single.logits[0], atol=2e-3, rtol=0)
        assert method == "none" or abs(single.trace.average_tokens - budget) <= (3 if method == "metok" else 1)
        assert single.trace.tokens_per_layer == batch.traces[number].tokens_per_layer
        assert set(single.watch.totals()) >= {"select", "prefill"}
    run = half.prefill(alone[0], plan)
    assert run.logits.dtype == torch.bfloat16 and run.logits.isfinite().all()
    assert sum(run.trace.tokens_per_layer) == sum(batch.traces[0].tokens_per_layer)
