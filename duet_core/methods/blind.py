"""What the control methods share: DUET's schedule, with a choice that looks at nothing but how many there are."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.merging import entering_count
from duet_core.methods.base import Look, Selection, keep_patches
from duet_core.methods.choosing import wanted
from duet_core.plan import Plan

Pick = Callable[[int, int, int], Tensor]
"""(available, wanted, layer) -> `wanted` ascending numbers below `available`, int64; layer 0 is stage 1."""


def enter(plan: Plan, look: Look, pick: Pick) -> Selection | None:
    """Let as many patches in as DUET lets tokens in, the same places in every picture of a batch."""
    if plan.dominant is None:
        return None
    wanted = entering_count(look.features.shape[1], plan.dominant, plan.contextual)
    chosen = pick(look.patches, min(wanted, look.patches), 0).to(look.features.device)
    return keep_patches(look, chosen.expand(look.features.shape[0], -1))


def stay(plan: Plan, boundary: Boundary, pick: Pick) -> Stay | None:
    """Keep as many tokens before a layer as DUET does."""
    counts = wanted(plan, boundary)
    if counts is None:
        return None
    parts = zip(boundary.origin, counts, strict=True)
    return Stay([pick(len(now), count, boundary.layer).to(now.device) for now, count in parts])
