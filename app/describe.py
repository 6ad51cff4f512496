"""The text alternative of every picture: what a trace shows, in a sentence or two."""

from __future__ import annotations

import numpy as np

from duet_core.grid import Grid
from duet_core.trace import SURVIVED, Drop, Fate, Trace

_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def describe(trace: Trace) -> str:
    """Say what both stages did to the patches."""
    if trace.method == "none" or (trace.entering >= trace.full and not trace.drops):
        return f"All {trace.full:,} visual tokens stay in every layer: nothing was dropped or merged."
    return " ".join([_stage_1(trace), *_stage_2(trace)])


def step_sentence(trace: Trace, step: int) -> str:
    """Say what one step of the trace shows."""
    if step == 0:
        return f"All {_patches(trace):,} patches of {_shown(trace.grid)}, before anything is dropped."
    if step == 1:
        return _stage_1(trace)
    guides = ", ".join(word for word in trace.words if word.isalnum())
    return _stage_2(trace)[step - 2] + (f" Guided by: {guides}." if guides else "")


def _stage_1(trace: Trace) -> str:
    dominant = trace.fate == Fate.DOMINANT
    anchors, merged = int((trace.fate == Fate.ANCHOR).sum()), int((trace.fate == Fate.MERGED).sum())
    dropped = int((trace.fate == Fate.DROPPED).sum())
    untouched = not dropped and bool(np.isnan(trace.stage1_scores).all())  # nothing but what the model shrinks itself
    if untouched or (not anchors and not merged and not dropped):
        return f"Stage 1 passes on all {_patches(trace):,} patches."
    where = whereabouts(trace.grid, dominant)
    parts = [f"Stage 1 keeps {_count(int(dominant.sum()), 'dominant patch', 'dominant patches')}{where}"]
    if anchors:
        parts.append(f"merges {merged:,} more into {_count(anchors, 'contextual token', 'contextual tokens')}")
    if dropped:
        parts.append(f"drops {dropped:,} before the language model")
    return f"{', '.join(parts[:-1])}{' and ' if parts[:-1] else ''}{parts[-1]}."


def _stage_2(trace: Trace) -> list[str]:
    return [_drop(trace, drop) for drop in trace.drops]


def _drop(trace: Trace, drop: Drop) -> str:
    """Say what one pruning layer left, and how many tokens it merged into what is left."""
    layer = drop.layer
    left = trace.tokens_per_layer[layer]
    if left == 0:
        return f"From layer {layer} on no visual token is left."
    alive = (trace.died_at == SURVIVED) | (trace.died_at > layer)
    counted = (Fate.DOMINANT,) if trace.grid.pictures == 1 else (Fate.DOMINANT, Fate.ANCHOR)
    own = alive & np.isin(trace.fate, counted)
    tokens = _count(left, "visual token remains", "visual tokens remain")
    return f"From layer {layer} on {tokens}{whereabouts(trace.grid, own)}{_merges(trace, drop)}."


def _merges(trace: Trace, drop: Drop) -> str:
    """Return "; 12 others were merged into them", nothing where none were."""
    if drop.joined is None:
        return ""
    tokens = np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR)) & (trace.died_at == drop.layer) & (drop.joined >= 0)
    many = int(tokens.sum())
    return f"; {_count(many, 'other was', 'others were')} merged into them" if many else ""


def whereabouts(grid: Grid, chosen: np.ndarray) -> str:
    """Return " (densest upper left)" where one ninth of the picture holds clearly more than its share, else nothing.

    Of a clip, the frame that holds most; of a picture in crops, the crop.
    """
    patches = np.flatnonzero(chosen)
    if not len(patches):
        return ""
    if grid.frames > 1:
        return _which_frame(grid, chosen.reshape(grid.frames, -1).sum(1))
    counts = np.zeros((3, 3), int)
    for patch in patches.tolist():
        _, row, column = grid.place(patch)
        counts[row * 3 // grid.rows, column * 3 // grid.cols] += 1
    row, column = divmod(int(counts.argmax()), 3)
    if counts[row, column] < 2 * len(patches) / 9:
        return ""
    name = "in the middle" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"
    return f" (most of them {name})" if counts[row, column] * 2 > len(patches) else f" (densest {name})"


def _which_frame(grid: Grid, counts: np.ndarray) -> str:
    """Return " (most in frame 3: 40)" where the frames differ, else how many each frame has."""
    if counts.max() == counts.min():
        return f" ({counts[0]} in each {part_of(grid)})"
    return f" (most in {part_name(grid, int(counts.argmax()))}: {counts.max()})"


def part_of(grid: Grid) -> str:
    """What one of a grid's frames is called; where several of a clip share their patches, those together."""
    return "crop" if grid.crops else "frame pair" if grid.homes else "frame"


def part_name(grid: Grid, number: int) -> str:
    """The name of a frame, of frames that share their patches, or of a crop, one of which shows the whole picture."""
    if not grid.crops:
        own = [str(picture + 1) for picture in grid.pictures_of(number)]
        return f"frame {own[0]}" if len(own) == 1 else f"frames {'+'.join(own)}"
    return "whole picture" if number == grid.whole else f"crop {number + (number < grid.whole)}"


def _patches(trace: Trace) -> int:
    """How many patches are no padding."""
    return int((trace.fate != Fate.BORDER).sum())


def _shown(grid: Grid) -> str:
    if grid.pictures == 1:
        return "the picture"
    if grid.crops:
        return f"the picture's {grid.frames} crops"
    return f"the clip's {grid.pictures} frames" + (f", {grid.homes.count(0)} frames to a patch" if grid.homes else "")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
