"""The ground floor: merging, pruning, questions, grids, traces, costs, pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil

from duet_core.cost import LayerShape, kv_bytes, layer_flops, prefill_flops
from duet_core.errors import PictureError, TraceError
from duet_core.grid import Grid
from duet_core.merging import entering_count, merge
from duet_core.pictures import pixels_of, seen_box, to_rgb
from duet_core.pruning import keep_best, text_to_vision
from duet_core.question import salient_spans, tokens_under
from duet_core.trace import Trace

SEVEN_B = LayerShape(width=4096, heads=32, kv_heads=32, head_dim=128, mlp_width=11008, element_bytes=2)


@given(
    n=st.integers(2, 40),
    dominant=st.integers(1, 45),
    contextual=st.integers(0, 9),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_merging_partitions_the_tokens(n, dominant, contextual, width, seed):
    draw = torch.Generator().manual_seed(seed)
    hidden, keys, scores = (torch.randn(2, n, d, generator=draw) for d in (5, 3, 1))
    merged = merge(hidden, keys, scores.squeeze(-1), min(dominant, n), contextual, width)
    for b in range(2):
        named = torch.cat([merged.dominant[b], merged.anchors[b], merged.members[b]])
        assert len(named.unique()) == len(named) <= n
        assert merged.dominant[b].tolist() == sorted(merged.dominant[b].tolist())
        assert merged.tokens.shape[1] == entering_count(n, dominant, contextual)
        weakest_kept = scores[b, merged.dominant[b]].min()
        assert (scores[b, merged.members[b]] <= weakest_kept).all()


@given(n=st.integers(3, 20), seed=st.integers(0, 99))
def test_merging_follows_a_shuffle_of_the_patches(n, seed):
    draw = torch.Generator().manual_seed(seed)
    hidden, keys = torch.randn(1, n, 4, generator=draw), torch.randn(1, n, 3, generator=draw)
    scores = torch.randperm(n, generator=draw).float()[None]
    shuffle = torch.randperm(n, generator=draw)
    straight = merge(hidden, keys, scores, 2, 2, 2)
    shuffled = merge(hidden[:, shuffle], keys[:, shuffle], scores[:, shuffle], 2, 2, 2)
    assert shuffle[shuffled.anchors[0]].tolist() == straight.anchors[0].tolist()
    assert sorted(shuffle[shuffled.dominant[0]].tolist()) == straight.dominant[0].tolist()
    torch.testing.assert_close(shuffled.tokens[:, 2:], straight.tokens[:, 2:])


def test_a_lone_anchor_stays_as_it_is_and_members_add_their_mean():
    hidden = torch.eye(4)[None]
    keys = torch.tensor([[[1.0, 0], [1, 0], [0, 1], [0, 1]]])
    merged = merge(hidden, keys, torch.tensor([[9.0, 3, 2, 1]]), 1, 2, 2)
    assert merged.anchors.tolist() == [[1, 2]] and merged.assign.tolist() == [[1]]
    assert merged.tokens[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


@given(heads=st.sampled_from([(4, 4), (4, 2), (6, 1)]), rows=st.integers(1, 4), seed=st.integers(0, 50))
def test_scores_equal_plain_attention(heads, rows, seed):
    n_heads, kv_heads = heads
    draw = torch.Generator().manual_seed(seed)
    q, k = torch.randn(n_heads, rows, 8, generator=draw), torch.randn(kv_heads, 10, 8, generator=draw)
    query_at = torch.randperm(6, generator=draw)[:rows].sort().values + 4
    scores = text_to_vision(q, k, query_at, torch.arange(1, 4))
    full = torch.zeros(n_heads, rows, 10)
    for h in range(n_heads):
        for r in range(rows):
            logits = k[h // (n_heads // kv_heads)] @ q[h, r]
            full[h, r, : query_at[r] + 1] = logits[: query_at[r] + 1].softmax(0)
    torch.testing.assert_close(scores, full.mean((0, 1))[1:4])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 20))
def test_the_best_are_kept_in_order_and_ties_go_to_the_earlier(values, keep):
    kept = keep_best(torch.tensor(values, dtype=torch.float32), keep).tolist()
    wanted = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:keep])
    assert kept == wanted


@given(st.text(max_size=60))
def test_salient_spans_lie_in_the_question(question):
    spans = salient_spans(question)
    assert all(0 <= start < end <= len(question) for start, end in spans)
    assert spans == sorted(spans)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is left of the cat?", ["What", "left", "cat", "?"]),
        ("How many dogs are there?", ["How", "dogs", "?"]),
        ("Is the player's jersey red or blue?", ["player", "jersey", "red", "blue", "?"]),
        ("the of and", []),
        ("", []),
    ],
)
def test_salient_words(question, words):
    assert [question[a:b] for a, b in salient_spans(question)] in (
        words,
        [w for w in words if w != "many"],
        [*words[:1], "many", *words[1:]],
    )


def test_special_tokens_are_never_salient():
    assert tokens_under([(0, 3)], [(0, 0), (0, 2), (2, 4), (4, 6), (0, 0)]) == [1, 2]


@given(w=st.integers(10, 900), h=st.integers(10, 900), pad=st.booleans())
def test_patches_map_to_pixels_and_back(w, h, pad):
    processor = LlavaImageProcessorPil() if pad else CLIPImageProcessorPil()
    grid = Grid(1, 24, 24, (w, h), seen_box(processor, (w, h)))
    for patch in (0, 5, 23, 24, 300, 575):
        left, top, right, bottom = grid.box(patch)
        assert grid.patch_at((left + right) / 2, (top + bottom) / 2) == patch
    left, top, right, bottom = grid.seen
    slack = max(w, h) / min(w, h) / 100 * max(w, h)  # the processors round to whole pixels
    assert abs((right - left) - (bottom - top)) <= slack + 2
    assert (right - left >= max(w, h)) if pad else (right - left <= min(w, h) + slack + 2)


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (64, 64)])
@pytest.mark.parametrize("kind", [CLIPImageProcessorPil, LlavaImageProcessorPil])
def test_the_seen_box_is_what_the_encoder_sees(kind, size):
    """A white dot painted into one patch's box lights up that patch of the processor's pixels and no far one."""
    processor = kind(size={"shortest_edge": 96}, crop_size={"height": 96, "width": 96})
    grid = Grid(1, 6, 6, size, seen_box(processor, size))
    for patch in (14, 21):
        left, top, right, bottom = grid.box(patch)
        picture = Image.new("RGB", size)
        picture.paste((255, 255, 255), tuple(round(v) for v in (left, top, right, bottom)))
        pixels = pixels_of(processor, [picture])["pixel_values"][0].mean(0)
        pixels = pixels - pixels[0, 0] if kind is CLIPImageProcessorPil else pixels
        patches = torch.nn.functional.avg_pool2d(pixels[None], 16)[0].flatten()
        assert patches.argmax().item() == patch


def test_a_clip_has_frames():
    grid = Grid(3, 2, 4, (40, 20), (0, 0, 40, 20))
    assert grid.patches == 24 and grid.place(13) == (1, 1, 1)
    assert grid.patch_at(11, 15, frame=1) == 13 and grid.patch_at(-1, 0) is None
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


def test_a_trace_survives_json(tiny, tiny_inputs):
    trace = tiny.prefill(tiny_inputs(0), tiny.plan(budget=64)).trace
    text = json.dumps(trace.to_json(), allow_nan=False)
    again = Trace.from_json(json.loads(text))
    assert again.to_json() == trace.to_json() and len(text) < 40_000
    np.testing.assert_allclose(again.stage1_scores, trace.stage1_scores, rtol=1e-4)
    with pytest.raises(TraceError, match="schema 99"):
        Trace.from_json({**json.loads(text), "schema": 99})


def test_flops_ratios_of_the_paper_budgets():
    """With 60 text tokens on 32 layers of the 7B widths: 2.5x, 3.4x, 5.2x (cut off)."""
    full = prefill_flops(SEVEN_B, [576] * 32, 60)
    ratios = [full / prefill_flops(SEVEN_B, [n] * 16 + [n // 2] * 8 + [0] * 8, 60) for n in (307, 205, 102)]
    assert [int(10 * r) / 10 for r in ratios] == [2.5, 3.4, 5.2]


def test_cost_formulas_by_hand():
    small = LayerShape(width=4, heads=2, kv_heads=1, head_dim=2, mlp_width=8, element_bytes=2)
    projections, attention, mlp = 2 * 3 * 4 * (4 + 2 + 2 + 4), 2 * 2 * 3 * 3 * 4, 3 * 2 * 3 * 4 * 8
    assert layer_flops(small, 3) == projections + attention + mlp
    assert kv_bytes(small, [3, 2]) == 5 * 2 * 1 * 2 * 2


def test_kv_bytes_equal_the_cache(tiny, tiny_inputs):
    run = tiny.prefill(tiny_inputs(0), tiny.plan(budget=128))
    cached = sum(l.keys.nbytes + l.values.nbytes for l in run.state.cache.layers.values())  # noqa: E741
    assert cached == kv_bytes(tiny.backbone.layer_shape, [lengths[0] for lengths in run.state.lengths])


@pytest.mark.parametrize("bad", ["a path", None, Image.new("RGB", (5000, 1))])
def test_pictures_that_cannot_be_used_are_told(bad):
    with pytest.raises(PictureError):
        pixels_of(CLIPImageProcessorPil(), [bad])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_every_pixel_mode_works(mode):
    picture = Image.new("L", (30, 20), 200).convert(mode) if mode != "I;16" else Image.new("I;16", (30, 20), 2000)
    assert pixels_of(CLIPImageProcessorPil(), [picture])["pixel_values"].shape == (1, 3, 224, 224)


def test_sixteen_bits_are_scaled_and_transparency_lies_on_white():
    assert to_rgb(Image.new("I;16", (2, 2), 32896)).getpixel((0, 0)) == (128, 128, 128)
    assert to_rgb(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
