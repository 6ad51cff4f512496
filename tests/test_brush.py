"""Patches forced in or out: what is kept survives, what is dropped is gone, and the counts stay those of the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import duet_core
from duet_core import Brush, Plan, PlanError, running
from duet_core.batch import requests_of
from duet_core.brush import parse_patches
from duet_core.methods import METHODS
from duet_core.painting import beside, held
from duet_core.scenes import make_clip, make_scene
from duet_core.timing import Stopwatch
from duet_core.trace import SURVIVED, Fate, Trace
from tests.conftest import small_inputs, small_llava
from tests.test_engine import together

P, DEPTH, BUDGET = 25, 4, 9
FREE = [name for name in METHODS if not METHODS[name].whole_grid and METHODS[name].about.applies(clip=False)]
WHOLE = [name for name in METHODS if METHODS[name].whole_grid]
DUET = Plan(dominant=6, contextual=2, cluster_width=2, layers=(1, 3), keep=(0.6, 0.3), queries="all_text")


@cache
def model() -> duet_core.Model:
    return small_llava(grid=5, depth=DEPTH)


def run(plan: Plan, *brushes: Brush | None, inputs=None) -> running.Run:
    """Prefill a batch of prompts, one for each brush."""
    inputs = small_inputs(model()) if inputs is None else inputs
    backbone, requests = model().backbone, requests_of(inputs, None)
    eye, watch = backbone.eye(False), Stopwatch(backbone.device)
    with torch.inference_mode():
        seen = backbone.see(eye, inputs)
    dealt = running.deal_out(eye, seen, requests)
    samples = [replace(sample, brush=brush) for sample, brush in zip(dealt, brushes, strict=True)]
    entered = running.enter(backbone, eye, seen, plan, watch, requests, samples)
    return running.prefill(backbone, entered, requests, samples, plan, watch)


@st.composite
def brushes(draw, patches: int = P, most: int | None = None) -> Brush:
    """Any brush that leaves a patch; `most`: kept patches at most."""
    order = draw(st.permutations(range(patches)))
    kept = draw(st.integers(0, patches if most is None else most))
    dropped = draw(st.integers(0, min(patches - kept, patches - 1)))
    return Brush(order[:kept], order[kept : kept + dropped])


def check_story(trace: Trace, brush: Brush) -> None:
    """What must hold for every trace of a painted picture."""
    keep, drop = list(brush.keep), list(brush.drop)
    assert (trace.fate[keep] == Fate.DOMINANT).all() and (trace.died_at[keep] == SURVIVED).all()
    assert trace.joined[keep].tolist() == keep, "nothing has merged with anything else"
    assert (trace.fate[drop] == Fate.DROPPED).all() and (trace.died_at[drop] == 0).all()
    assert not set(trace.joined.tolist()) & set(drop), "and nothing has merged into what is dropped"
    gone = (trace.fate == Fate.DROPPED) | (trace.fate == Fate.BORDER)
    assert ((trace.joined == -1) == gone).all() and ((trace.died_at == 0) == gone).all()
    assert (trace.fate[trace.joined[trace.fate == Fate.MERGED]] == Fate.ANCHOR).all()
    assert trace.final >= len(keep)


def counts_of(plan: Plan, entering: int, kept: int) -> tuple[int, ...]:
    """The plan's own counts, or as many as are kept where it has no room for these."""
    return tuple(max(count, kept) for count in plan.tokens_per_layer(entering, DEPTH))


@settings(max_examples=25)
@given(brushes())
def test_duet_does_what_is_painted_and_keeps_its_counts(brush):
    trace = run(DUET, brush).trace
    check_story(trace, brush)
    free = P - len(brush.keep) - len(brush.drop)
    room = max(8, len(brush.keep) + 2) if free else len(brush.keep)  # CLS and one merged token stay in any case
    assert trace.entering == (min(room, P + 1 - len(brush.drop)) if free else len(brush.keep))
    assert trace.tokens_per_layer == counts_of(DUET, trace.entering, len(brush.keep))


@settings(max_examples=4)
@given(st.data())
@pytest.mark.parametrize("method", FREE)
def test_every_method_does_what_is_painted_and_keeps_its_counts(method, data):
    plan = model().plan(method, budget=BUDGET)
    brush = data.draw(brushes(most=2))
    plain, trace = run(plan, None).trace, run(plan, brush).trace
    check_story(trace, brush)
    free = P - len(brush.drop) - len(brush.keep)
    there = P - len(brush.drop) + (free > 0 and method in ("duet", "visionzip"))  # these feed CLS
    assert trace.entering == min(plain.entering, there)
    if method != "none" and plain.entering <= there:
        assert trace.tokens_per_layer == tuple(max(count, len(brush.keep)) for count in plain.tokens_per_layer)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_brush_changes_nothing(method):
    plan = model().plan(method, budget=BUDGET)
    plain, painted = run(plan, None), run(plan, Brush())
    assert torch.equal(plain.logits, painted.logits)
    assert plain.trace.to_json() == painted.trace.to_json()


@settings(max_examples=10)
@given(brushes(most=0))
def test_the_untouched_model_never_sees_what_is_dropped(brush):
    trace = run(Plan(method="none"), brush).trace
    assert trace.full == P and trace.tokens_per_layer == (P - len(brush.drop),) * DEPTH
    check_story(trace, brush)
    inputs = small_inputs(model())  # its answer is that of the model, fed what is left by hand
    embedded = model().backbone.embed(inputs["input_ids"])[0]
    with torch.inference_mode():
        eye = model().backbone.eye(False)
        patches = model().backbone.project(model().backbone.see(eye, inputs).features[:, 1:])[0]
        left = patches[[patch for patch in range(P) if patch not in brush.drop]]
        row = torch.cat([embedded[:3], left, embedded[3 + P :]])[None]
        theirs = model().backbone.model.model.language_model(inputs_embeds=row).last_hidden_state[:, -1]
        logits = model().backbone.model.lm_head(theirs)
    torch.testing.assert_close(run(Plan(method="none"), brush).logits, logits, atol=1e-4, rtol=0)


@settings(max_examples=10)
@given(brushes(most=4))
def test_duet_chooses_as_if_kept_patches_scored_best_and_dropped_ones_worst(brush):
    """What is hidden from stage 1 could as well have scores beyond all others, while the pool never reaches them."""
    brush = Brush(brush.keep, brush.drop[:8])
    inputs, plan = small_inputs(model()), replace(DUET, layers=(), keep=())
    backbone = model().backbone
    with torch.inference_mode():
        seen = backbone.see(backbone.eye(False), inputs)
        found = backbone.evidence(seen).scores[0, 1:].tolist()
    scores = torch.tensor(found)
    scores[list(brush.keep)], scores[list(brush.drop)] = float("inf"), -float("inf")
    order = scores.argsort(descending=True, stable=True).tolist()
    trace = run(plan, brush).trace
    own = {patch for patch in range(P) if trace.fate[patch] == Fate.DOMINANT}
    assert own == set(order[: plan.dominant - 1])  # CLS is one of the dominant tokens


def test_samples_of_a_batch_have_brushes_of_their_own():
    alone = [small_inputs(model(), before, after, seed) for before, after, seed in [(3, 5, 1), (1, 9, 2), (4, 4, 3)]]
    painted = [Brush((3, 4), (0, 1, 2)), None, Brush((24,))]
    batch = run(DUET, *painted, inputs=together(*alone))
    for number, (inputs, brush) in enumerate(zip(alone, painted, strict=True)):
        single = run(DUET, brush, inputs=inputs)
        torch.testing.assert_close(batch.logits[number], single.logits[0], atol=1e-4, rtol=0)
        assert batch.traces[number].died_at.tolist() == single.trace.died_at.tolist()


@given(st.data())
def test_kept_tokens_take_the_places_of_the_lowest_scored(data):
    scores = torch.tensor(data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=12)))
    n = len(scores)
    count = data.draw(st.integers(0, n))
    forced = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    keep = scores.argsort(descending=True, stable=True)[:count].sort().values
    stays = held(keep, forced, scores)
    best = scores.masked_fill(forced, 2.0).argsort(descending=True, stable=True)[: max(count, int(forced.sum()))]
    assert stays.tolist() == best.sort().values.tolist()


def test_a_plan_gives_kept_patches_dominant_places_first():
    plan = Plan(dominant=5, contextual=3)
    sizes = [(own.dominant, own.contextual) for own in (beside(plan, kept) for kept in (0, 2, 4, 5, 7, 20))]
    assert sizes == [(5, 3), (3, 3), (1, 3), (1, 2), (1, 0), (1, 0)]
    assert beside(Plan(layers=(2,), keep=(0.5,)), 4).dominant is None


@pytest.mark.parametrize("method", WHOLE)
def test_what_makes_its_tokens_of_whole_grids_says_so(method):
    with pytest.raises(PlanError, match="whole grid"):
        run(model().plan(method, budget=BUDGET), Brush((1,)))


def paints(ours: duet_core.Model, subject, question: str) -> None:
    """Whatever the family, a brush does with methods of every stage what it says."""
    encoded = ours.encode(subject)
    shrunk = any(tiling.shrunk.any() for tiling in encoded.seen.tilings)
    for method in ("duet", "visionzip", "prumerge", "random", "fastv", "sparsevlm", "none"):
        plan = ours.plan(method, reduction=0.5, encoded=encoded)
        plain = ours.ask(encoded, question, plan, 1).trace
        real = [patch for patch in range(plain.grid.patches) if plain.fate[patch] != Fate.BORDER]
        brush = Brush(real[2::24], real[3::8])
        if shrunk and plan.dominant is None:
            with pytest.raises(PlanError, match="one token of several patches"):
                ours.ask(encoded, question, plan, 1, brush=brush)
            continue
        trace = ours.ask(encoded, question, plan, 1, brush=brush).trace
        check_story(trace, brush)
        counts = plan.tokens_per_layer(trace.entering, ours.layers)
        assert trace.tokens_per_layer == tuple(max(count, len(brush.keep)) for count in counts)


# On the bundled model


def test_the_bundled_model_answers_with_a_brush(mini):
    encoded, question = mini.encode(make_scene(24).image), "What is in the picture?"
    brush, plan = Brush(range(40, 50), range(300, 400)), mini.plan(budget=64)
    answer = mini.ask(encoded, question, plan, 6, brush=brush)
    check_story(answer.trace, brush)
    assert answer.trace.entering == mini.ask(encoded, question, plan, 1).trace.entering
    assert mini.ask_all(encoded, [question], plan, 6, brush=brush) == [answer.text]
    assert answer.cost.text_tokens == mini.ask(encoded, question, plan, 1).cost.text_tokens


def test_a_clip_is_painted_through_all_its_frames(mini):
    clip = mini.encode(list(make_clip(3).frames[:3]))
    brush = Brush((5, 576 + 9, 2 * 576 + 40), (*range(100, 140), *range(576, 576 + 9)))
    plan = mini.plan(budget=300, encoded=clip)
    trace = mini.ask(clip, "What moves?", plan, 1, brush=brush).trace
    check_story(trace, brush)
    assert trace.entering == mini.ask(clip, "What moves?", plan, 1).trace.entering


def test_a_brush_that_does_not_fit_the_picture_is_refused(mini):
    encoded = mini.encode(make_scene(24).image)
    for brush, said in [(Brush((576,)), "there are 576: give 0 to 575"), (Brush((), range(576)), "leave at least one")]:
        with pytest.raises(PlanError, match=said):
            mini.ask(encoded, "What?", mini.plan(budget=64), 1, brush=brush)


# As text


@given(brushes())
def test_a_brush_survives_json(brush):
    assert Brush.from_json(json.dumps(brush.to_json())) == Brush.from_json(brush.to_json()) == brush
    assert bool(brush) == bool(brush.keep or brush.drop)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[1]", '{"keep": 3}', '{"keep": "34"}', '{"keep": [-1]}', '{"drop": [1.0]}', '{"keep": [true]}',
     '{"keep": [1], "drop": [2, 1]}', '{"paint": [1]}', '{"keep": null}', '{"keep": [[1]]}', "[" * 5000, "NaN"],
)  # fmt: skip
def test_what_is_no_brush_gets_one_sentence(text):
    with pytest.raises(PlanError) as told:
        Brush.from_json(text)
    said = str(told.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 200


def test_patches_are_read_as_numbers_and_stretches():
    assert parse_patches("3,4, 17-20,") == (3, 4, 17, 18, 19, 20) and parse_patches("") == ()
    for wrong in ("a", "3-", "-3", "5-4", "1-999999999", "²", "1-2-3"):
        with pytest.raises(PlanError, match="names no patches"):
            parse_patches(wrong)
