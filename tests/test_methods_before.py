"""The methods that act before the language model: every formula worked out by hand, and what must hold for each."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt

import pytest
import torch

import duet_core
from duet_core import Plan
from duet_core.grid import Crops, Grid
from duet_core.methods import METHODS, Look, Selection, build_method
from duet_core.methods.apet import furthest_points, rebuilding_errors, reduce
from duet_core.methods.asked import likeness, stretched
from duet_core.methods.blocks import block_means, blocks_of, middles, nearest_shape
from duet_core.methods.cdpruner import kernel, most_spanning
from duet_core.methods.divprune import furthest
from duet_core.methods.events import Clip, dealt, shared_out
from duet_core.methods.hired import covering
from duet_core.methods.hired import dealt as dealt_out
from duet_core.methods.prumerge import chosen, gathered, most_alike, one_head
from duet_core.methods.quecc import in_blocks
from duet_core.methods.tome import Matching
from duet_core.methods.vispruner import thinned
from duet_core.methods.vqtoken import Codebook, first_codes, moved, with_homes
from duet_core.plan import Size
from duet_core.trace import Fate
from duet_core.vision import Evidence, Seen
from tests.conftest import small_inputs, small_llava
from tests.test_engine import together

BEFORE = (
    "divprune vispruner hired prumerge cdpruner tome apet vqtoken quecc metok pooling smaller".split()
)  # fmt: skip
CHOOSING = ("divprune", "vispruner", "hired", "cdpruner")
MEANS = ("tome", "vqtoken", "metok", "pooling")
COMPASS = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]]])  # (1, 4, 2)


def close(found, wanted, atol=1e-6):
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(wanted), atol=atol, rtol=0)


def look_at(features, rows_cols, scores=None, words=None, again=None) -> Look:
    """What a method sees of pictures with these features [I, P, D], without CLS or projector."""
    pictures, patches, _ = features.shape
    scores = torch.zeros(pictures, patches) if scores is None else scores
    heads = features.unsqueeze(1)
    return Look(
        Seen(features, heads, heads, 1.0, rows_cols),
        lambda: Evidence(scores, features),
        lambda values: values,
        (range(pictures),),
        lambda: [torch.zeros(0, features.shape[2]) if words is None else words],
        again,
    )


def select(method: str, look: Look, many: int, **settings) -> Selection:
    return build_method(Plan(method, dominant=many, settings=tuple(settings.items()))).after_vision(look)


# By hand


def test_divprune_takes_the_loneliest_then_the_furthest():
    """Nearest neighbours lie 0.2, 0.4, 0.2 and 1 away; from the fourth the others lie 2, 1 and 1.8 away."""
    assert furthest(COMPASS, 4).tolist() == [[3, 0, 1, 2]]
    assert select("divprune", look_at(COMPASS, (2, 2)), 2).places.tolist() == [[0, 3]]


def test_vispruner_drops_what_has_a_double_in_the_other_row():
    """Round 1: 0 has cosine 0 with {1, 3} at best, 2 has 0.6 and goes. Round 2: 0 and 3 have 0 with {1}; 0 goes."""
    rest = torch.tensor([[0, 1, 2, 3]])
    assert thinned(COMPASS, rest, 3, 1).tolist() == [[0, 1, 3]]
    assert thinned(COMPASS, rest, 2, 1).tolist() == [[1, 3]]


def test_vispruner_keeps_half_by_attention():
    """2 is attended to most. Of 0, 1, 3 the first row {0, 3} has cosine 0 with {1}; 0 goes first, then 1."""
    scores = torch.tensor([[0.1, 0.2, 0.6, 0.1]])
    assert select("vispruner", look_at(COMPASS, (2, 2), scores), 2, at_once=1).places.tolist() == [[2, 3]]
    assert select("vispruner", look_at(COMPASS, (2, 2), scores), 2).places.tolist() == [[1, 2]], "both go in one round"
    assert select("vispruner", look_at(COMPASS, (2, 2), scores), 2, important=1.0).places.tolist() == [[1, 2]]


def test_hired_takes_the_most_attended_and_the_earlier_of_two_alike():
    scores = torch.tensor([[0.2, 0.4, 0.2, 0.2]])
    assert select("hired", look_at(COMPASS, (2, 2), scores), 2).places.tolist() == [[0, 1]]


def test_a_budget_is_dealt_by_weight_up_to_the_room_there_is():
    """Turns (k + 1/2) / weight: 1/6, 1/2, 5/6 against 1/2, 3/2; nothing for no weight while others have room."""
    for weights, rooms, total, found in (
        ([3, 1], [9, 9], 4, [3, 1]),
        ([3, 1], [2, 9], 4, [2, 2]),
        ([0, 1], [5, 2], 4, [2, 2]),
        ([0, 1], [1, 1], 9, [1, 1]),
    ):
        assert dealt_out(torch.tensor(weights).float(), torch.tensor(rooms), total).tolist() == found


def test_hired_shares_a_budget_out_over_crops():
    """Half of 6 tokens go to the whole; its best two patches by the first layer, 0 and 2, lie in the left crop."""
    grid = Grid(3, 2, 2, (4, 4), (0, 0, 4, 4), ((0, 0, 4, 4), (0, 0, 2, 4), (2, 0, 4, 4)))
    assert covering(grid).tolist() == [1, 2, 1, 2]
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(3, -1)
    look = replace(
        look_at(COMPASS.expand(3, -1, -1), (2, 2), scores),
        crops=(Crops(range(3), grid, (4, 4, 4)),),
        early=lambda pictures: torch.tensor([[0.4, 0.1, 0.3, 0.2]]),
    )
    for plan, shares in (
        (Plan("hired", dominant=2), (3, 3, 0)),
        (Plan("hired", dominant=2, shared=5), (2, 3, 0)),
        (Plan("hired", dominant=2, shared=11), (4, 4, 3)),
        (Plan("hired", dominant=2, settings=(("whole", 1.0),)), (4, 1, 1)),
    ):
        method = build_method(plan)
        assert method.share_out(look) == shares
        selection = method.after_vision(replace(look, shares=method.share_out(look)))
        assert selection.sizes == shares
        assert [own.tolist() for own in selection.real(selection.places)] == [list(range(4 - n, 4)) for n in shares]
        fates = selection.fates()
        assert ((fates.fate == Fate.DOMINANT).sum(1)).tolist() == list(shares)
        assert [own[own >= 0].tolist() for own in fates.token_of] == [list(range(n)) for n in shares]


def test_hired_meets_a_clips_budget_with_what_is_left_over():
    """11 tokens for 3 frames: 4, 4 and 3."""
    plan = METHODS["hired"].schedule(11, Size(4, 2, 3))
    look = look_at(COMPASS.expand(3, -1, -1), (2, 2))
    assert build_method(plan).share_out(look) == (4, 4, 3) and plan.entering(Size(4, 2, 3)) == 11


def test_prumerge_attention_is_one_head_of_full_width():
    """q = (ln 3 sqrt 2, 0) over two heads of width 1: logits ln 3 and 0, so 3/4 and 1/4."""
    query = torch.tensor([[[[log(3) * sqrt(2)]], [[0.0]]]])  # (1, 2, 1, 1)
    keys = torch.tensor([[[[1.0], [0.0]], [[0.0], [1.0]]]])  # (1, 2, 2, 1)
    weight, wide = one_head(Seen(torch.zeros(1, 2, 4), query, keys, 1.0, (1, 2)))
    close(weight, [[0.75, 0.25]])
    close(wide, [[[1.0, 0.0], [0.0, 1.0]]])


def test_prumerge_chooses_by_attention_and_evenly():
    """A quarter by attention: 1. Of 0, 2, 3, 4, 5 the numbers 0, 5/3 and 10/3: 0, 2, 4."""
    weight = torch.tensor([[0.1, 0.4, 0.2, 0.05, 0.15, 0.1]])
    assert chosen(weight, 4, 0.75).tolist() == [[1, 0, 2, 4]]
    assert chosen(weight, 3, 0.0).tolist() == [[1, 2, 4]]


def test_prumerge_adds_weighted_neighbours_and_gathers_the_dropped():
    """1 + 2/4 = 1.5, 4 + 8/8 = 5, and of the dropped 2/4 + 8/8 = 1.5."""
    alike = torch.tensor([[[1.0, 0.9, 0.1, 0.0], [0.1, 0.2, 1.0, 0.3]]])
    kept = torch.tensor([[0, 2]])
    taken = most_alike(alike, kept, 1)
    assert taken.int().tolist() == [[[0, 1, 0, 0], [0, 0, 0, 1]]]
    features, weight = torch.tensor([[[1.0], [2.0], [4.0], [8.0]]]), torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    close(gathered(features, weight, kept, taken), [[[1.5], [5.0], [1.5]]])


def test_tome_merges_the_most_alike_and_weighs_by_size():
    """0 joins 1 (cosine 1 beats 0.71); then (1, 1) joins (0, 1); then two pairs join, each counting twice."""
    state = Matching.start(torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])).merged(1)
    close(state.tokens, [[[1.5, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    assert (state.places.tolist(), state.counts.tolist()) == ([[1, 2, 3]], [[2, 1, 1]])
    state = state.merged(1)
    close(state.tokens, [[[1.5, 0.0], [0.5, 1.0]]])
    assert (state.places.tolist(), state.group.tolist()) == ([[1, 2]], [[0, 0, 1, 1]])
    close(state.merged(1).tokens, [[[1.0, 0.5]]])


def test_tome_weighs_unequal_sizes():
    """(1.5 of two patches, 3 of one): (2 * 1.5 + 3) / 3 = 2."""
    state = Matching.start(torch.tensor([[[1.0], [2.0], [3.0]]])).merged(1)
    close(state.merged(1).tokens, [[[2.0]]])


def test_apet_samples_the_furthest_and_measures_what_is_not_rebuilt():
    """From 0 the furthest is 5; then 2 lies 2 from the nearest, 1 lies 1. Of (3, 4), (1, 0) rebuilds (3, 0)."""
    assert furthest_points(torch.tensor([[[0.0], [1.0], [5.0], [2.0]]]), 3, 0).tolist() == [[0, 2, 3]]
    close(rebuilding_errors(torch.tensor([[[3.0, 4.0], [2.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])), [[4.0, 0.0]], 1e-4)


def test_apet_merges_into_targets_and_overwrites_the_last():
    """Errors 0, 1, 0, 3: 3 and 1 stay. 1 takes the basis (1, 0); 3 becomes ((1, 3) + (1, 0) + (2, 0)) / 3."""
    made = reduce(torch.tensor([[[1.0, 0.0], [3.0, 1.0], [2.0, 0.0], [1.0, 3.0]]]), 2, 1, 0)
    close(made.errors, [[0.0, 1.0, 0.0, 3.0]], 1e-4)
    close(made.tokens, [[[1.0, 0.0], [4 / 3, 1.0]]])
    assert (made.kept.tolist(), made.group.tolist()) == ([[1, 3]], [[0, 0, 1, 1]])
    assert made.unchanged.tolist() == [[False, False]]


def test_blocks_of_a_grid():
    assert blocks_of((2, 4), (1, 2)).tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert blocks_of((1, 5), (1, 2)).tolist() == [0, 0, 0, 1, 1]
    assert middles((3, 6), (1, 2)).tolist() == [7, 10]
    close(block_means(torch.arange(8.0).view(1, 8, 1), blocks_of((2, 4), (1, 2))), [[[2.5], [4.5]]])


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [(192, (12, 16)), (191, (12, 16)), (36, (6, 6)), (53, (6, 9)), (500, (21, 24)), (9999, (24, 24))],
)
def test_the_shape_nearest_to_a_budget(wanted, shape):
    assert nearest_shape((24, 24), wanted) == shape


def test_pooling_averages_blocks():
    selection = select("pooling", look_at(torch.arange(8.0).view(1, 8, 1), (2, 4)), 2)
    close(selection.tokens, [[[2.5], [4.5]]])
    assert selection.fates().joined.tolist() == [[0, 0, 2, 2, 0, 0, 2, 2]]


def test_smaller_takes_what_the_encoder_sees_in_the_smaller_picture():
    asked = []
    look = look_at(
        torch.zeros(1, 8, 1), (2, 4), again=lambda shape: asked.append(shape) or torch.tensor([[[7.0], [8.0]]])
    )
    selection = select("smaller", look, 2)
    assert asked == [(1, 2)] and selection.tokens.tolist() == [[[7.0], [8.0]]]
    assert Fate.DOMINANT not in selection.fates().fate, "no token is an unchanged patch"


def test_cdpruner_chooses_by_what_the_determinant_gains():
    """Gains 2, 1, 0.6; after the first 1 - 1/2 = 0.5 and 0.6; then the second adds 0.5."""
    assert most_spanning(torch.tensor([[[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.6]]]), 3).tolist() == [[0, 2, 1]]


def test_cdpruner_greedily_maximises_the_determinant():
    draw = torch.Generator().manual_seed(3)
    whole = kernel(torch.randn(1, 9, 6, generator=draw), torch.rand(1, 9, generator=draw))
    found = most_spanning(whole, 5)[0].tolist()
    for step, best in enumerate(found):
        gains = {one: torch.det(whole[0][[*found[:step], one]][:, [*found[:step], one]]) for one in range(9)}
        assert max((one for one in gains if one not in found[:step]), key=gains.get) == best


def test_cdpruner_goes_on_in_raster_order_when_nothing_is_gained():
    assert most_spanning(torch.ones(1, 4, 4), 4).tolist() == [[0, 1, 2, 3]]


def test_cdpruner_weighs_the_kernel_by_relevance():
    """cos = 1/sqrt 2 between (1, 0) and (3, 3); 0.5 * 1 * that."""
    close(
        kernel(torch.tensor([[[1.0, 0.0], [3.0, 3.0]]]), torch.tensor([[0.5, 1.0]])),
        [[[0.25, 0.35355], [0.35355, 1.0]]],
        1e-4,
    )
    close(stretched(torch.tensor([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]])), [[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    words = torch.tensor([[0.0, 2.0]])
    assert select("cdpruner", look_at(COMPASS, (2, 2), words=words), 1, relevance="question").places.tolist() == [[1]]


def test_vqtoken_starts_far_apart():
    """The first draw takes patch 0; patch 1 lies where it does, so patch 2 has all the chances."""
    assert first_codes(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 0.1])).tolist() == [0, 2]


def test_vqtoken_moves_codes_to_the_mean_direction():
    """(1, 0) + (0.6, 0.8) = (1.6, 0.8), of length 0.8 sqrt 5; the third code has no patch and stays."""
    directions = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    centres = moved(directions, torch.tensor([[1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]]))
    close(centres, [[2 / sqrt(5), 1 / sqrt(5)], [0.0, -1.0], [-1.0, 0.0]])


def test_vqtoken_gives_an_empty_code_the_worst_fitting_patch():
    """All are most like code 0, whose home is patch 2 (0.95); code 1 takes patch 1 (0.7). Then (1 + 3) / 2 = 2."""
    alike = torch.tensor([[0.9, 0.8], [0.7, 0.1], [0.95, 0.2]])
    code, home = with_homes(alike)
    assert (code.tolist(), home.tolist()) == ([0, 1, 0], [2, 1])
    book = Codebook.of(torch.tensor([[1.0], [4.0], [3.0]]), alike)
    assert (book.tokens.tolist(), book.places.tolist()) == ([[4.0], [2.0]], [1, 2])
    assert (book.code.tolist(), book.counts.tolist()) == ([1, 0, 1], [1, 2])
    assert book.sizes(3, 1) == [0, 1, 1]


def test_block_pooling_weighs_by_the_question():
    """exp(ln 3) to 1 is 3/4 to 1/4; (1, 0) has cosine 1 with one word and 0 with the other."""
    belongs = torch.tensor([[True, True, False, False], [False, False, True, True]])
    close(in_blocks(torch.tensor([[log(3), 0.0, 0.0, 0.0]]), belongs), [[[0.75, 0.25, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]])
    close(likeness(COMPASS[:, :1], torch.tensor([[2.0, 0.0], [0.0, 3.0]])), [[0.5]])
    close(likeness(COMPASS[:, :1], torch.zeros(0, 2)), [[0.0]])
    words, temperature = torch.tensor([[1.0, 0.0]]), 1 / log(3)  # cosines 1, 0, 0.8, -1: the row's are 3/4 and 1/4
    selection = select("quecc", look_at(COMPASS, (2, 2), words=words), 2, temperature=temperature)
    shape = nearest_shape((2, 2), 2)
    assert shape == (1, 2), "columns {0, 2} and {1, 3}"
    first = 3.0 / (3.0 + 3.0**0.8)
    close(selection.tokens[0, 0], first * COMPASS[0, 0] + (1 - first) * COMPASS[0, 2])
    assert selection.places.tolist() == [[0, 1]]


def test_metok_parts_a_clip_into_events():
    """Cut behind frames 1 and 3; the events' best frames fit 0.5, 0.3 and 0.9."""
    clip = Clip.parted([0.9, 0.1, 0.8, 0.2], [0.1, 0.5, 0.3, 0.2, 0.9], cuts=2, key_events=1)
    assert clip.event == [0, 0, 1, 1, 2]
    assert clip.key == [False, False, False, False, True]
    assert clip.rank == [1, 0, 0, 1, 0]


def test_metok_shares_tokens_out_by_stride():
    """Strides 2 and 4 are as 4 to 1: of 20 tokens 16 and 4. What a full frame cannot take goes on to the next."""
    assert shared_out([1 / 16, 1 / 4], 20, (4, 4)) == [(2, 2), (4, 4)]
    assert shared_out([1 / 4, 1 / 16], 24, (4, 4)) == [(4, 4), (3, 3)], "8 are left: 3 x 3 is within one token"


def test_metok_deals_by_event():
    """Turns (rank - 1/2) / (length * weight): 1/6, 1/2, 5/6 in the first event, 1/3, 1, 5/3 in the second."""
    event, weight = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    assert dealt(scores, event, weight, 3, 2).tolist() == [0, 1, 3]
    assert dealt(-scores, event, weight, 3, 2).tolist() == [1, 2, 5]
    assert dealt(scores, event, weight.where(event == 0, 0.0), 4, 2).tolist() == [0, 1, 2, 3]


# Of every method


def frames_of(model, frames=3, seed=5):
    """A prompt with a clip of random frames, for a model that takes them as pictures."""
    one, draw = small_inputs(model, seed=seed), torch.Generator().manual_seed(seed)
    ids = one["input_ids"][0].tolist()
    ids = ids[:3] + [99] * frames * model.size.tokens + ids[-5:]
    return {
        "input_ids": torch.tensor([ids]),
        "pixel_values": torch.randn(frames, *one["pixel_values"].shape[1:], generator=draw),
    }


def keeps_its_books(trace: duet_core.Trace) -> None:
    gone, merged, own = trace.fate == Fate.DROPPED, trace.fate == Fate.MERGED, trace.fate <= Fate.ANCHOR
    assert ((trace.joined < 0) == gone).all() and (trace.died_at[gone] == 0).all()
    assert (trace.joined[own] == own.nonzero()[0]).all()
    assert (trace.fate[trace.joined[merged]] == Fate.ANCHOR).all()
    assert (trace.died_at[merged] == trace.died_at[trace.joined[merged]]).all()
    assert own.sum() == trace.entering


@pytest.fixture(scope="module")
def model() -> duet_core.Model:
    return small_llava(grid=6, depth=8)


@pytest.mark.parametrize("method", BEFORE)
@pytest.mark.parametrize("budget", [1, 2, 7, 12, 23, 30])
def test_a_picture_at_any_budget(model, method, budget):
    run = model.prefill(small_inputs(model), model.plan(method, budget=budget))
    keeps_its_books(run.trace)
    assert [own[0] - 8 for own in run.state.lengths] == list(run.trace.tokens_per_layer)
    if method in ("pooling", "quecc", "smaller"):  # as near as blocks of a grid of 6 x 6 come
        rows, cols = nearest_shape((6, 6), budget)
        assert run.trace.average_tokens == rows * cols
    else:  # METok pools to blocks first
        assert abs(run.trace.average_tokens - budget) <= (1.5 if method == "metok" else 1.0)


@pytest.mark.parametrize("method", BEFORE)
@pytest.mark.parametrize("budget", [6, 40, 90])
def test_a_clip_at_any_budget(model, method, budget):
    run = model.prefill(frames_of(model), model.plan(method, budget=budget, frames=3))
    keeps_its_books(run.trace)
    assert [own[0] - 8 for own in run.state.lengths] == list(run.trace.tokens_per_layer)
    if method in ("pooling", "quecc", "smaller"):
        rows, cols = nearest_shape((6, 6), round(budget / 3))
        assert run.trace.average_tokens == 3 * rows * cols
    else:  # the nearest multiple of the frames
        assert abs(run.trace.average_tokens - budget) <= (3.0 if method == "metok" else 1.5)


@pytest.mark.parametrize("method", BEFORE)
def test_all_tokens_keep_everything(model, method):
    for inputs, frames in ((small_inputs(model), None), (frames_of(model), 3)):
        full = model.size.tokens * (frames or 1)
        run = model.prefill(inputs, model.plan(method, budget=full, frames=frames))
        assert (run.trace.fate == Fate.DOMINANT).all() and run.trace.average_tokens == full
        close(run.logits, model.prefill(inputs, Plan("none")).logits, 1e-5)


@pytest.mark.parametrize("method", BEFORE)
def test_a_batch_equals_its_samples(model, method):
    alone, plan = [small_inputs(model, seed=seed) for seed in (1, 2)], model.plan(method, budget=10)
    batch = model.generate(together(*alone), plan, 4)
    for number, inputs in enumerate(alone):
        single = model.generate(inputs, plan, 4)
        close(batch.run.logits[number], single.run.logits[0], 1e-4)
        assert batch.token_ids[number] == single.token_ids[0]
        assert batch.run.traces[number].joined.tolist() == single.run.trace.joined.tolist()


@pytest.mark.parametrize("method", BEFORE)
def test_bf16_runs_and_tells_the_same_counts(model, method):
    half = small_llava(grid=6, depth=8)
    half.backbone.model.to(torch.bfloat16)
    for inputs, frames in ((small_inputs(model), None), (frames_of(model), 3)):
        plan = model.plan(method, budget=24, frames=frames)
        run = half.prefill(inputs, plan)
        assert run.logits.dtype == torch.bfloat16 and run.logits.isfinite().all()
        assert run.trace.tokens_per_layer == model.prefill(inputs, plan).trace.tokens_per_layer
        keeps_its_books(run.trace)


def seen_by(model, inputs) -> Look:
    backbone = model.backbone
    with torch.inference_mode():
        seen = backbone.see(backbone.eye(clip=False), inputs)
    words = [torch.randn(4, 32, generator=torch.Generator().manual_seed(2))]
    return Look(seen, lambda: backbone.evidence(seen), backbone.project, (range(len(seen.features)),), lambda: words)


@pytest.mark.parametrize("method", CHOOSING)
@torch.inference_mode()
def test_what_is_only_chosen_enters_unchanged_and_in_raster_order(model, method):
    look = seen_by(model, frames_of(model))
    selection = select(method, look, 9)
    close(selection.tokens, look.features.gather(1, selection.places.unsqueeze(-1).expand(-1, -1, 16)))
    assert (selection.places.diff() > 0).all()


@pytest.mark.parametrize("method", MEANS)
@torch.inference_mode()
def test_a_token_is_the_mean_of_the_patches_that_are_said_to_be_in_it(model, method):
    look = seen_by(model, frames_of(model))
    selection = select(method, look, 9)
    fates, tokens = selection.fates(), torch.cat(selection.real(selection.tokens))
    if not fates.across:
        first = torch.tensor([0, *selection.counts[:-1]]).cumsum(0).unsqueeze(1)
        fates = duet_core.methods.Fates(fates.fate, fates.joined, fates.token_of + first, fates.scores)
    values = look.patch_features.flatten(0, 1)
    for number, token in enumerate(tokens):
        close(token, values[fates.token_of.flatten() == number].mean(0), 1e-5)


def test_a_code_may_stand_for_patches_of_several_frames(model):
    """Frames that are all the same: a code's patches lie in every one of them, and the trace tells where it stands."""
    inputs = frames_of(model)
    inputs["pixel_values"][1:] = inputs["pixel_values"][:1]
    trace = model.prefill(inputs, model.plan("vqtoken", budget=12, frames=3)).trace
    keeps_its_books(trace)
    home = trace.joined.reshape(3, 36)
    assert (home[0] == home[1]).mean() > 0.8 and trace.tokens_by_frame[:, 0].sum() == 12


def test_metok_decodes_without_the_visual_tokens_from_its_first_cut_on(model):
    plan = model.plan("metok", budget=40, frames=3)
    assert plan.layers == (1, 3, 6) and plan.keep[-1] == 0.0
    made = model.generate(frames_of(model), plan, 3)
    counts = made.run.trace.tokens_per_layer
    assert counts[0] > counts[1] > counts[3] > counts[6] == 0
    assert [own[0] for own in made.run.state.cached] == [8 + counts[0]] + [8] * 7


def test_apet_spends_as_published():
    plan = METHODS["apet"].schedule(192, Size(576, 32))
    assert (plan.dominant, plan.layers, int(288 * plan.keep[0])) == (288, (16,), 96)
    plan = METHODS["apet"].schedule(64, Size(576, 32))
    assert (plan.dominant, int(96 * plan.keep[0])) == (96, 32)


@pytest.mark.parametrize("method", ["cdpruner", "quecc", "metok"])
def test_the_question_is_asked_for_each_question(method):
    assert METHODS[method].asks


@pytest.mark.parametrize("method", BEFORE)
def test_the_seed_alone_decides_what_is_random(model, method):
    inputs, plan = small_inputs(model), model.plan(method, budget=10)
    assert torch.equal(model.prefill(inputs, plan).logits, model.prefill(inputs, plan).logits)


def test_settings_reach_the_method(model):
    inputs = small_inputs(model)
    for method, settings in {
        "vispruner": {"important": 1.0}, "prumerge": {"neighbours": 1}, "tome": {"at_once": 1}, "apet": {"basis": 2},
        "vqtoken": {"iterations": 0}, "quecc": {"temperature": 0.01}, "metok": {"others": 0.1},
        "cdpruner": {"relevance": "question"},
    }.items():  # fmt: skip
        plan = model.plan(method, budget=10, settings=settings)
        other = model.prefill(inputs, model.plan(method, budget=10)).logits
        same = torch.equal(model.prefill(inputs, plan).logits, other)
        assert same == (method == "metok"), method  # a picture is one event, so that there are no others
