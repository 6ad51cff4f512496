"""The methods that drop tokens inside the model: every formula by numbers worked out by hand, and what all must do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from app.describe import describe
from app.fates import looks
from duet_core import PlanError
from duet_core.__main__ import main
from duet_core.boundary import Stay
from duet_core.grid import Grid
from duet_core.listing import methods_table
from duet_core.methods import METHODS, TRAINED, About, Method, build_method
from duet_core.methods.adsc import turn
from duet_core.methods.choosing import mean_of, ranks, spread_out
from duet_core.methods.d2pruner import nearness, read_prior
from duet_core.methods.dart import key_sizes, least_alike
from duet_core.methods.fitprune import product_of
from duet_core.methods.sparsevlm import clustered, raters, split
from duet_core.methods.sparsevlm_plus import best_heads, gravity
from duet_core.methods.tokencarve import carve, information, mixed
from duet_core.methods.trio import certainty_loss, read_places, suppress
from duet_core.methods.trio_front import here_and_overall
from duet_core.methods.v2drop import variation
from duet_core.plan import Plan, Size
from duet_core.schedules import before_and_inside, inside_model
from duet_core.trace import Drop, Fate, Trace
from tests.conftest import small_inputs, small_llava
from tests.test_engine import together

INSIDE = """sparsevlm sparsevlm+ tokencarve v2drop d2pruner trio adsc pyramiddrop dart fitprune stateful""".split()
LN2, LN3, LN5 = (math.log(number) for number in (2, 3, 5))


def t(*values):
    return torch.tensor(values, dtype=torch.float32)


def flags(text):
    return torch.tensor([letter == "1" for letter in text])


# Formulas


def test_raters_look_at_the_picture_more_than_the_mean_word():
    words = t([9], [0], [LN2], [LN5])  # softmax over the asked three: 1/8, 2/8, 5/8
    assert raters(t([1]), words, flags("0111")).tolist() == [False, False, False, True]
    assert raters(t([1]), t([4], [4]), flags("11")).tolist() == [True, True], "all alike, so all rate"


def test_rows_of_raters_are_averaged_over_heads_and_raters():
    rows = torch.stack([t([1, 0], [9, 9], [3, 2]), t([3, 0], [9, 9], [1, 2])])  # (H, t, n)
    assert mean_of(rows, flags("101")).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("there", "kept", "clusters"),
    [(576, 300, 9), (309, 200, 4), (204, 110, 3), (576, 66, 16), (82, 30, 2), (32, 17, 1), (9, 9, 0)],
)
def test_published_lists_come_out_with_their_clusters(there, kept, clusters):
    method = build_method(Plan(method="sparsevlm"))
    assert split(there, kept + clusters, method._clusters) == (kept, clusters)


def test_clusters_form_around_dense_points_far_from_denser_ones():
    # Squared distances to the two nearest, itself among them: means .5, .5, 2, 2; the noise breaks the ties.
    centres, group = clustered(t([0], [1], [10], [12]), 2, t(0.5, 0, 0.5, 0))
    assert centres.tolist() == [0, 2] and group.tolist() == [0, 0, 1, 1]


def test_a_cluster_takes_its_centres_place_with_its_mean():
    method = build_method(Plan(method="sparsevlm"))
    states = t([1], [2], [3], [5], [8])
    keep, made, joined = method._recycle(t(0.9, 0.1, 0.8, 0.2, 0.05), states, 1, 1)  # of 4 dropped, int(.3 * 4) + 1 = 2
    assert keep[0] == 0 and keep[1] in (2, 3) and made.tolist() == [[1], [4]]
    assert joined.tolist() == [0, -1, keep[1], keep[1], -1]


def test_gravity_is_the_cosine_of_the_distance_and_never_vanishes():
    places = torch.arange(4.0).unsqueeze(-1).expand(-1, 2)  # width 2, so theta is 1
    pull = gravity((places[3:].cos(), places[3:].sin()), (places.cos(), places.sin()), guard=0.1)
    expected = [0.1, 0.1, math.cos(1), 1]  # cos 3 and cos 2 are negative
    torch.testing.assert_close(pull, math.sqrt(2) * t(expected))


def test_the_heads_that_look_most_decide():
    rows = torch.stack([t([1, 1], [9, 9]), t([2, 2], [0, 0]), t([0, 5], [0, 0])])
    assert torch.equal(best_heads(rows, flags("10"), 2), rows[[2, 1]])


def test_information_is_the_row_sum_of_u_times_sigma():
    torch.testing.assert_close(information(t([3, 0], [0, 4], [0, 0])), t(3, 4, 0))
    torch.testing.assert_close(information(t([1, 0], [1, 0])), t(1, 1))
    for shape in ((7, 5), (5, 7)):  # more tokens than they are wide, and fewer
        draw = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
        u, sigma, _ = torch.linalg.svd(draw, full_matrices=False)
        torch.testing.assert_close(information(draw), (u.abs() @ sigma).float())
    ranked = mixed(t(0.3, 0.1, 0.2), t([3, 0], [0, 4], [0, 0]))  # ranks 3 1 2 and 2 3 1
    assert ranked.tolist() == [2.5, 2, 1.5]


def test_carving_merges_the_most_alike_of_the_lower_half():
    states = t([1, 0], [0, 2], [0, 4], [7, 7])
    keep, made, joined = carve(states, t(4, 3, 2, 1), 2)  # 3 stay at first, and the third joins the second
    assert keep.tolist() == [0, 1] and made.tolist() == [[1, 0], [0, 3]] and joined.tolist() == [0, 1, 1, -1]
    assert [len(carve(torch.eye(9), torch.arange(9.0), count)[0]) for count in range(10)] == list(range(10))


def test_variation_is_the_distance_a_state_moved():
    assert variation(t([3, 4], [1, 1]), t([0, 0], [1, 1])).tolist() == [5, 0]


def test_pivots_then_an_independent_set_then_whatever_is_best():
    relevance, method = t(0.5, 0.4, 0.3, 0.2, 0.1), build_method(Plan(method="d2pruner"))

    def picked(method, *pairs):
        edges = torch.zeros(5, 5, dtype=torch.bool)
        for a, b in pairs:
            edges[a, b] = edges[b, a] = True
        return method.pick(relevance, edges, 4).tolist()  # int(.7 * 4) = 2 pivots

    assert picked(method, (2, 3)) == [0, 1, 2, 4]
    assert picked(method, (2, 3), (2, 4)) == [0, 1, 2, 3], "dry, so by relevance"
    assert picked(method, (1, 2)) == [0, 1, 2, 3]
    assert picked(replace(method, mask_pivot_neighbours=True), (1, 2)) == [0, 1, 3, 4]


def test_nearness_falls_to_nothing_across_the_grid_and_between_frames():
    near = nearness(torch.tensor([0, 1, 3, 4, -1]), (2, 2, 2))
    half = 1 - 1 / math.sqrt(2)
    torch.testing.assert_close(near[:4, :4], t([1, half, 0, 0], [half, 1, half, 0], [0, half, 1, 0], [0, 0, 0, 1]))
    assert not near[4].any() and not near[:, 4].any(), "CLS is near to nothing"


def test_loss_and_places_of_trio():
    assert certainty_loss(t([0, LN3])).item() == pytest.approx(math.log(4 / 3))
    for queries, places in (([3, 5, 9], [5, 9]), ([9], [9, 9]), ([3, 4], [4, 9])):
        assert read_places(torch.tensor(queries), 10).tolist() == places


def test_suppression_finds_the_threshold_that_just_enough_survive():
    alike = t([1, 0.99, 0.5, 0.1], [0.99, 1, 0.5, 0.1], [0.5, 0.5, 1, 0.2], [0.1, 0.1, 0.2, 1])
    kept = [suppress(t(4, 3, 2, 1), alike, count, 0.9, 12).tolist() for count in range(5)]
    assert kept == [[], [0], [0, 3], [0, 2, 3], [0, 1, 2, 3]]
    assert suppress(t(4, 3), torch.full((2, 2), 1.1), 2, 0.9, 4).tolist() == [0, 1], "refilled by salience"
    picks, free = spread_out(ranks(t(1, 3, 2)), torch.ones(3, 3).bool(), 2, flags("111"), flags("000"))
    assert picks.tolist() == [1, 2] and free.tolist() == [True, False]


def test_every_window_has_its_best_patch_then_the_best_of_all_follow():
    priority = here_and_overall(torch.arange(64.0), (8, 8), 32)  # windows of 2 x 2, one patch each
    first = priority.argsort(descending=True)[:16]
    assert all(row % 2 and col % 2 for row, col in ((int(p) // 8, int(p) % 8) for p in first))
    assert priority.argsort(descending=True)[16:19].tolist() == [62, 60, 58]


def test_an_even_choice_halves_as_a_checkerboard():
    def kept(count, shape=(1, 4, 4)):
        frames, rows, cols = shape
        order = turn(torch.arange(frames * rows * cols), shape).argsort(stable=True)[:count].tolist()
        return {(p // (rows * cols), p // cols % rows, p % cols) for p in order}

    assert kept(8) == {(0, row, col) for row in range(4) for col in range(4) if (row + col) % 2 == 0}
    assert kept(4) == {(0, row, col) for row in (0, 2) for col in (0, 2)}
    assert kept(2) == {(0, 0, 0), (0, 2, 2)}
    clip = {(frame, row, col) for frame in (0, 1) for row in range(4) for col in range(4)}
    assert kept(16, (2, 4, 4)) == {place for place in clip if sum(place) % 2 == 0}, "frames alternate"
    assert turn(torch.tensor([-1, 0]), (1, 4, 4)).tolist() == [-1, 0], "CLS stays"
    assert kept(4, (1, 1, 8)) == {(0, 0, col) for col in (0, 2, 4, 6)}, "no grid: every second"


def test_columns_of_the_largest_head_multiply():
    query = torch.stack([t([0], [0], [0]), t([1], [1], [1])])
    key = torch.stack([t([0], [0], [0]), t([0], [LN3], [0])])
    # Largest: row 1 is [1/2, 3/4], row 2 [1/3, 3/5, 1/3]; the picture's rows are 0 and 1, the text's row 2.
    found = product_of(query, key, t([0.5, 0.5, 0], [0, 0, 1]))
    torch.testing.assert_close(found, t(0.75 / 3, 0.375 * 0.6, 0))


def test_pivots_have_large_keys_and_take_what_is_least_alike():
    assert key_sizes(torch.stack([t([1, -2], [0, 0]), t([0, 1], [3, 0])])).tolist() == [4, 3]
    states = t([1, 0], [0, 1], [-1, 0], [1, 1])
    assert least_alike(states, torch.tensor([0]), states[:1], 2).tolist() == [0, 2]
    assert least_alike(states, torch.tensor([0]), states[[0, 1]], 3).tolist() == [0, 2, 3], "the second pivot's turn"


# Schedules


def test_published_schedules_come_out():
    size = Size(576, 32)
    counts = METHODS["pyramiddrop"].schedule(270, size).tokens_per_layer(576, 32)
    assert [counts[layer] for layer in (7, 8, 16, 24)] == pytest.approx([576, 288, 144, 72], abs=1)
    counts = METHODS["v2drop"].schedule(192, size).tokens_per_layer(576, 32)
    assert [counts[layer] for layer in (2, 3, 17, 22)] == pytest.approx([576, 269, 126, 1], abs=1)
    counts = METHODS["fitprune"].schedule(246, size).tokens_per_layer(576, 32)
    assert counts[:4] == pytest.approx((576, 562, 529, 440), abs=3), "near the published mean, the published course"
    counts = METHODS["stateful"].schedule(171, size).tokens_per_layer(576, 32)
    assert counts[:2] == (576, 576) and counts[2] == pytest.approx(0.45 * 576, abs=3) and counts[31] < 30
    plan = METHODS["trio"].schedule(64, size)
    assert (plan.dominant, plan.layers, int(96 * plan.keep[0])) == (96, (16,), 32)


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("size", [Size(576, 32), Size(100, 1), Size(16, 2), Size(49, 5), Size(36, 8, 8)], ids=str)
def test_budgets_land_within_one_token_or_as_near_as_can_be(name, size):
    for share in (0.05, 0.11, 0.22, 0.5, 0.8, 1.0):
        plan, target = METHODS[name].schedule(share * size.total, size), share * size.total
        plan.check(size.layers)
        entering = size.total if plan.dominant is None else (plan.dominant + plan.contextual) * size.frames
        average = sum(plan.tokens_per_layer(entering, size.layers)) / size.layers
        floor = size.total * min(plan.layers, default=size.layers) / size.layers if plan.dominant is None else 0
        assert abs(average - max(floor, target)) <= 1, (name, share)


def test_one_layer_has_no_inside():
    assert before_and_inside("trio", 9, Size(25, 1), 16, 0.5) == Plan(method="trio", dominant=9)
    assert inside_model("fastv", 9, Size(25, 4), (2,)).queries == "last"


# Runs


@pytest.fixture(scope="module")
def model():
    return small_llava(grid=5, depth=6)


@pytest.mark.parametrize("name", INSIDE)
def test_counts_are_true_and_a_batch_equals_its_samples(name, model):
    alone = [small_inputs(model, before, after, seed) for before, after, seed in [(3, 5, 1), (1, 8, 2)]]
    plan = model.plan(name, budget=11)
    batch = model.generate(together(*alone), plan, 3)
    for number, (inputs, text) in enumerate(zip(alone, (8, 9), strict=True)):
        single = model.generate(inputs, plan, 3)
        torch.testing.assert_close(batch.run.logits[number], single.run.logits[0], atol=1e-4, rtol=0)
        assert batch.token_ids[number] == single.token_ids[0]
        trace, state = single.run.trace, single.run.state
        assert batch.run.traces[number].died_at.tolist() == trace.died_at.tolist()
        assert [length[0] - text for length in state.lengths] == list(trace.tokens_per_layer)
        assert abs(trace.average_tokens - 11) <= 1
        cut = plan.layers[0] if name == "tokencarve" else 0
        left = [trace.final if layer < cut else many for layer, many in enumerate(trace.tokens_per_layer)]
        assert [own[0] - text for own in state.cached] == left
    assert all(weight.grad is None for weight in model.backbone.model.parameters())


@pytest.mark.parametrize("name", [name for name in INSIDE if name != "tokencarve"])  # which trims its cache
def test_decoding_with_the_cache_equals_recomputing_with_the_same_choices(name, model, monkeypatch):
    stays: dict[int, Stay | None] = {}

    class Recording(METHODS[name]):
        def at_layer(self, boundary):
            stays[boundary.layer] = super().at_layer(boundary)
            return stays[boundary.layer]

    class Replaying(METHODS[name]):
        def at_layer(self, boundary):
            return stays[boundary.layer]

    inputs, plan = small_inputs(model), model.plan(name, budget=11)
    monkeypatch.setitem(METHODS, name, Recording)
    ids = model.generate(inputs, plan, 4).token_ids[0]
    monkeypatch.setitem(METHODS, name, Replaying)
    for n in range(1, 4):
        longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], torch.tensor([ids[:n]])], dim=1)}
        assert model.prefill(longer, plan).logits.argmax().item() == ids[n]


@pytest.mark.parametrize("name", INSIDE)
def test_half_precision_and_clips_run_with_the_same_counts(name, model):
    size = Size(model.size.tokens, 6, 2)
    inputs = small_inputs(model)
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    clip = {"input_ids": torch.cat([ids[:, :28], ids[:, 3:]], 1), "pixel_values": torch.cat([pixels, -pixels])}
    plan = METHODS[name].schedule(20, size)
    trace = model.prefill(clip, plan).trace
    assert trace.grid.frames == 2 and abs(trace.average_tokens - 20) <= 1
    half = small_llava(grid=5, depth=6)
    half.backbone.model.to(torch.bfloat16)
    run = half.prefill({**clip, "pixel_values": clip["pixel_values"].bfloat16()}, plan)
    assert run.logits.dtype == torch.bfloat16 and run.trace.tokens_per_layer == trace.tokens_per_layer


def test_scores_are_those_of_the_attention_maps():
    model = small_llava(grid=4, depth=4)
    inputs = small_inputs(model, before=3, after=5)
    model.backbone.model.set_attn_implementation("eager")
    with torch.inference_mode():
        maps = model.backbone.model(**inputs, output_attentions=True).attentions
    maps, visual, text = [own[0] for own in maps], slice(3, 19), slice(19, 24)
    before = maps[1]  # (H, T, T); the cuts come before layer 2
    most = before.amax(0)
    expected = {
        "pyramiddrop": maps[2].mean(0)[-1, visual],
        "stateful": before.mean(0)[text, visual].mean(0),
        "fitprune": most[visual, visual].mean(0) * most[text, visual].sum(0),
        "d2pruner": before.mean(0)[-1, visual],
    }
    for name, scores in expected.items():
        drop = model.prefill(inputs, Plan(method=name, layers=(2,), keep=(0.5,))).trace.drops[0]
        torch.testing.assert_close(torch.from_numpy(drop.scores), scores, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["tokencarve", "sparsevlm", "apet"])
def test_what_merges_inside_the_model_says_into_which(name, model):
    trace = model.prefill(small_inputs(model), model.plan(name, budget=11)).trace
    merges = 0
    for step, drop in enumerate(trace.drops, 2):
        before, after, labels = trace.homes(step - 1), trace.homes(step), trace.labels(step)
        own = before == np.arange(25)
        moved = own & (after != before) & (after >= 0)
        merges += moved.sum()
        assert (trace.died_at[moved] == drop.layer).all() and (after[after[moved]] == after[moved]).all()
        assert all(labels[patch] == f"merged-at-{drop.layer}" for patch in np.flatnonzero(moved))
        assert (after == np.arange(25)).sum() == trace.tokens_per_layer[drop.layer], "one home for every token left"
        assert [after[patch] < 0 for patch in range(25)] == [label.startswith("dropped") for label in labels]
    assert merges > 0
    again = Trace.from_json(json.loads(json.dumps(trace.to_json())))
    assert all(again.labels(step) == trace.labels(step) for step in range(len(trace.steps)))


def test_what_was_merged_is_dropped_with_its_token():
    """1 joins 0 before layer 2, 2 was in 1 from the first; 0 goes before layer 3, 3 stays."""
    grid, none = Grid(1, 2, 2, (2, 2), (0, 0, 2, 2)), np.full(4, np.nan, np.float32)
    drops = (Drop(2, none, np.array([-1, 0, 0, -1])), Drop(3, none))
    fate = np.array([Fate.DOMINANT, Fate.ANCHOR, Fate.MERGED, Fate.DOMINANT])
    trace = Trace("m", grid, 4, (3, 3, 2, 1), fate, np.array([0, 1, 1, 3]), np.array([3, 2, 2, -1]), none, drops)
    assert trace.labels(1) == ["dominant", "anchor", "merged", "dominant"]
    assert trace.labels(2) == ["dominant", "merged-at-2", "merged-at-2", "dominant"]
    assert trace.labels(3) == ["dropped-at-3"] * 3 + ["dominant"]
    assert [trace.homes(step).tolist() for step in range(4)] == [[0, 1, 1, 3]] * 2 + [[0, 0, 0, 3], [-1, -1, -1, 3]]
    left, last = describe(trace).split(" From layer ")[1:]
    assert left == "2 on 2 visual tokens remain (densest upper left); 1 other was merged into them."
    assert last == "3 on 1 visual token remains (most of them in the middle)."
    fates = looks([label for step in range(4) for label in trace.labels(step)])
    assert len({look.glyph for look in fates}) == len({look.colour for look in fates}) == len(fates) == 5


def test_salience_is_the_gradient_through_one_layer(model):
    plan = Plan(method="trio", layers=(5,), keep=(0.5,), queries="last")  # the last layer, so its output is the model's
    with torch.inference_mode():
        drop = model.prefill(small_inputs(model), plan).trace.drops[0]
    states: list[torch.Tensor] = []
    layer = model.backbone.layers[5]
    hook = layer.register_forward_pre_hook(lambda _, args: states.append(args[0]) or (states[-1].requires_grad_(),))
    out = model.backbone.model(**small_inputs(model)).logits[0, -1]
    hook.remove()
    (slope,) = torch.autograd.grad(-out.log_softmax(-1).max(), states[0])
    torch.testing.assert_close(torch.from_numpy(drop.scores), slope[0, 3:28].norm(dim=-1), atol=1e-6, rtol=1e-3)


# Settings


def test_a_prior_moves_the_choice_and_must_fit(model, tmp_path):
    inputs, plan = small_inputs(model), model.plan("d2pruner", budget=11)
    plain = model.prefill(inputs, plan).trace
    dropped = int((plain.died_at > 0).nonzero()[0][0])
    prior = [1.0] * 25
    prior[dropped] = 1e-4
    path = tmp_path / "prior.json"
    path.write_text(json.dumps({"prior": prior}))
    for setting in (str(path), tuple(prior)):
        moved = model.prefill(inputs, model.plan("d2pruner", budget=11, settings={"prior": setting})).trace
        assert moved.died_at[dropped] == -1 and plain.died_at[dropped] != -1
    assert read_prior(None).tolist() == [1]
    for wrong, sentence in (("nowhere.json", "cannot be read"), ((1.0, 2.0), "has 2 numbers, but a picture has 25")):
        with pytest.raises(PlanError, match=sentence):
            model.prefill(inputs, model.plan("d2pruner", budget=11, settings={"prior": wrong}))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sparsevlm", {"recycled": 0}),
        ("sparsevlm", {"count": "rank", "bias": 2}),
        ("sparsevlm+", {"heads": 1.0, "guard": 0.5}),
        ("tokencarve", {"weight": 1.0}),
        ("d2pruner", {"alpha": 0.5, "mask_pivot_neighbours": True}),
        ("trio", {"times_state": True, "steps": 2}),
        ("dart", {"visual_pivots": 1, "text_pivots": 2}),
    ],
)
def test_settings_reach_the_method(name, settings, model):
    trace = model.prefill(small_inputs(model), model.plan(name, budget=11, settings=settings)).trace
    assert settings.get("count") == "rank" or abs(trace.average_tokens - 11) <= 1


def test_a_recipe_of_ones_own_replaces_the_counts(model):
    plan = model.plan("fitprune", budget=11, settings={"recipe": (3, 0, 20, 9)})
    assert model.prefill(small_inputs(model), plan).trace.tokens_per_layer == (25, 22, 22, 2, 0, 0)


def test_a_token_in_front_of_the_patches_is_none_of_them():
    model = small_llava(grid=4, depth=4)
    model.backbone.model.config.vision_feature_select_strategy = "full"  # CLS enters, too
    even = model.prefill(small_inputs(model), Plan(method="adsc", layers=(2,), keep=(9.5 / 17,))).trace
    assert (even.entering, even.final) == (17, 9), "CLS and a checkerboard"
    assert (even.died_at == -1).tolist() == [(row + col) % 2 == 0 for row in range(4) for col in range(4)]
    prior = tuple([1.0] * 15 + [1e-6])
    pruned = Plan(method="d2pruner", layers=(2,), keep=(0.2,), settings=(("prior", prior),))
    assert model.prefill(small_inputs(model), pruned).trace.died_at[15] == -1


# From outside, and the shell


class EverySecond(Method):
    """A method that somebody else wrote."""

    title: ClassVar[str] = "Every second"
    about: ClassVar[About] = About("a test", "inside the model", ("nothing at all",), interpretation=True)

    @staticmethod
    def schedule(target, size):
        return inside_model("second", target, size, (16,))

    def at_layer(self, boundary):
        if self.plan.ratio_at(boundary.layer) is None:
            return None
        return Stay([torch.arange(0, len(own), 2, device=own.device) for own in boundary.origin])


def test_a_method_from_outside_needs_one_line(model, monkeypatch):
    monkeypatch.setitem(METHODS, "second", EverySecond)
    plan = model.plan("second", budget=19)
    assert model.prefill(small_inputs(model), plan).trace.tokens_per_layer == (25, 25, 25, 13, 13, 13)
    assert any(line.startswith("second ") and "nothing at all" in line for line in methods_table().splitlines())


def test_the_shell_lists_every_method_with_what_it_rests_on(capsys):
    assert main(["methods"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines.keys() == {"name", *METHODS, *TRAINED}
    for name, method in (METHODS | TRAINED).items():
        about = method.about
        told = (about.paper, about.stage, about.training, about.confidence, ", ".join(about.needs) or "nothing")
        assert all(part in lines[name] for part in told)
        assert f"  {'yes' if method.about.interpretation else 'no'}  " in lines[name]


def test_bench_calibrate_writes_a_prior_that_the_method_reads(mini, tmp_path, capsys):
    out = tmp_path / "prior.json"
    assert main(["bench", "calibrate"]) == 2 and "--out" in capsys.readouterr().err
    assert main(["bench", "calibrate", "--model", "duet-mini", "--n", "2", "--out", str(out)]) == 0
    assert "576 patches, the mean of 2 pictures" in capsys.readouterr().out
    prior = json.loads(out.read_text())
    assert (prior["layer"], prior["n"], len(prior["prior"])) == (0, 2, 576)
    assert 0 < sum(prior["prior"]) < 1, "shares of one row of attention"
    assert build_method(mini.plan("d2pruner", budget=192, settings={"prior": str(out)})).prior == str(out)
