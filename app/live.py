"""What the browser needs to redraw stage 1 while the slider moves, without a request: ranks and plans."""

from __future__ import annotations

from typing import Any

import numpy as np

from app import map_texts as texts
from app.slider import slider_plans
from duet_core.plan import Size
from duet_core.trace import Fate, Trace

LIVE_METHOD = "duet"
"""The method whose stage 1 follows from its scores and its plan alone, as `assets/patchmap/live.js` does it."""


def live_json(trace: Trace) -> dict[str, Any] | None:
    """Return ranks, plans and sentences for a trace; None where the browser could not tell the truth.

    `order`: per frame its patches from the highest score to the lowest, as `duet_core.merging.merge` ranks them; scores
    read back from JSON have five digits, so that two patches closer than that may change places. `plans`: (dominant,
    contextual, cluster width) at every percent. `extra`: tokens of each frame that stay and are no patch (CLS).
    """
    if not is_live(trace):
        return None
    plans = slider_plans(LIVE_METHOD, _size(trace))
    scores = np.nan_to_num(trace.stage1_scores, nan=-np.inf).reshape(trace.grid.frames, -1)  # (F, P)
    own = int(np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR)).sum())
    return {
        "method": LIVE_METHOD,
        "order": np.argsort(-scores, axis=1, kind="stable").ravel().tolist(),
        "plans": [[plan.dominant, plan.contextual, plan.cluster_width] for plan in plans],
        "extra": (trace.entering - own) // trace.grid.frames,
        **texts.LIVE,
    }


def is_live(trace: Trace) -> bool:
    """Whether stage 1 of a trace can be worked out from its scores: DUET's own, one token for every patch.

    Painted patches have no scores; the browser sees to it that they stay painted.
    """
    grid, scored = trace.grid, not np.isnan(trace.stage1_scores).all()
    return trace.method == LIVE_METHOD and scored and not grid.crops and trace.full == grid.patches


def _size(trace: Trace) -> Size:
    return Size(trace.full // trace.grid.frames, len(trace.tokens_per_layer), trace.grid.frames)
