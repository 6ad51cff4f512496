"""What the tests of the page share: traces made by hand, figures made by hand, a running page."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from app.duel import Duel
from duet_core.bench.speed import PlanSpeed
from duet_core.grid import Grid
from duet_core.plan import Plan
from duet_core.timing import Spread
from duet_core.trace import SURVIVED, Drop, Fate, Trace


def small_trace(picture: tuple[int, int] = (40, 40), seen: tuple[float, ...] = (0, 0, 40, 40)) -> Trace:
    """Return a 4 x 4 trace: row 0 dominant, row 1 anchor + 3 merged, the rest dropped; layers 2 and 3 prune."""
    fate = np.array([Fate.DOMINANT] * 4 + [Fate.ANCHOR] + [Fate.MERGED] * 3 + [Fate.DROPPED] * 8, np.uint8)
    joined = np.array([0, 1, 2, 3, 4, 4, 4, 4] + [-1] * 8, np.int32)
    died = np.array([3, 3, 2, 2, 2, 2, 2, 2] + [0] * 8, np.int32)
    scores = np.linspace(1, 0.1, 16).astype(np.float32)
    late = np.where(joined >= 0, scores / 2, np.nan).astype(np.float32)
    drops = (Drop(2, late), Drop(3, np.where(died == 3, late, np.nan).astype(np.float32)))
    return Trace("duet", Grid(1, 4, 4, picture, seen), 16, (5, 5, 2, 0), fate, joined, died, scores, drops, ("where",))


def two_frames() -> Trace:
    """Return the small trace as the first frame of a clip; of the second only its first patch is kept, to the end."""
    first = small_trace()
    fate = np.array([Fate.DOMINANT] + [Fate.DROPPED] * 15, np.uint8)
    joined = np.array([16] + [-1] * 15, np.int32)
    died = np.array([SURVIVED] + [0] * 15, np.int32)
    scores = np.where(joined >= 0, 1.0, np.nan).astype(np.float32)
    both = [np.concatenate(pair) for pair in ((first.fate, fate), (first.joined, joined), (first.died_at, died))]
    drops = tuple(Drop(drop.layer, np.concatenate((drop.scores, scores))) for drop in first.drops)
    stage1 = np.concatenate((first.stage1_scores, first.stage1_scores))
    return Trace("duet", Grid(2, 4, 4, (40, 40), (0, 0, 40, 40)), 32, (6, 6, 3, 1), *both, stage1, drops, ("where",))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Draw any trace of a small grid with one pruning layer, its counts true to its patches."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    patches = rows * cols
    dropped = np.array(draw(st.lists(st.booleans(), min_size=patches, max_size=patches)))
    late = np.array(draw(st.lists(st.booleans(), min_size=patches, max_size=patches))) & ~dropped
    fate = np.where(dropped, Fate.DROPPED, Fate.DOMINANT).astype(np.uint8)
    joined = np.where(dropped, -1, np.arange(patches)).astype(np.int32)
    died = np.where(dropped, 0, np.where(late, 1, SURVIVED)).astype(np.int32)
    scores = np.array(draw(st.lists(st.floats(0, 1, width=32), min_size=patches, max_size=patches)), np.float32)
    counts = (int((~dropped).sum()), int((~dropped & ~late).sum()))
    width, height = draw(st.integers(8, 90)), draw(st.integers(8, 90))
    grid = Grid(1, rows, cols, (width, height), (0, 0, width, height))
    return Trace("duet", grid, patches, counts, fate, joined, died, scores, (Drop(1, scores),))


def speed(median: float, ratio: tuple[float, float, float], kv_bytes: int, decode: bool = True) -> PlanSpeed:
    """Return one plan's figures; `ratio` is (median, low, high) of the time to the first token."""
    spread = Spread(median, median * 0.9, median * 1.1, 5)
    ratios = Spread(*ratio, 5)
    return PlanSpeed(
        plan=Plan(), encode_ms=spread, select_ms=spread, prefill_ms=spread, first_token_ms=spread,
        decode_ms=spread if decode else None, prefill_ratio=ratios, first_token_ratio=ratios,
        flops=10 * kv_bytes, kv_bytes=kv_bytes,
    )  # fmt: skip


def small_duel() -> Duel:
    """Return a finished run with the small trace."""
    speeds = speed(20, (1, 1, 1), 3_000_000), speed(10, (2, 1.9, 2.1), 1_000_000)
    return Duel("Where is the cat?", "top left", "top right", small_trace(), speeds)
