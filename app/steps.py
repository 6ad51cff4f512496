"""The steps of a trace: how many tokens are left at each, and which one a still picture shows."""

from __future__ import annotations

from duet_core.trace import Trace


def tokens_left(trace: Trace, step: int) -> int:
    """Return the visual tokens left at a step."""
    if step == 0:
        return trace.full
    return trace.entering if step == 1 else trace.tokens_per_layer[trace.drops[step - 2].layer]


def shown_step(trace: Trace) -> int:
    """Return the last step at which any visual token is left: later ones would show nothing."""
    return max(step for step in range(len(trace.steps)) if tokens_left(trace, step) > 0)


def step_name(trace: Trace, step: int) -> str:
    """Return the step's name as the visitor reads it."""
    name = trace.steps[step]
    return {"all": "All patches", "stage 1": "Stage 1"}.get(name, f"Before {name}")
