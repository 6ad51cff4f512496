"""The prior that D2Pruner divides by: what the last token attends to on average, whatever the picture shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from duet_core.engine import Model
from duet_core.errors import ModelError
from duet_core.methods.d2pruner import AFTER
from duet_core.plan import Plan
from duet_core.scenes import FIRST_TRAINING_SEED, make_scene
from duet_core.schedules import at_depth

PROMPT = "Describe the picture."


def measure_prior(model: Model, n: int, seed: int = 0) -> dict[str, Any]:
    """Return the mean attention row over `n` generated pictures with one generic prompt, as plain JSON values.

    Of the layer before D2Pruner's cut, over the patches of a picture. The pictures are of training's seeds, so that no
    exam is among them.
    """
    layers = at_depth((AFTER,), model.layers)
    if not layers:
        raise ModelError(f"The model {model.name} has one layer, so nothing can be dropped inside it; choose another.")
    plan = Plan(method="fastv", layers=layers, keep=(1.0,), queries="last")  # keeps everything and tells its scores
    first = FIRST_TRAINING_SEED + seed
    rows = [model.ask(make_scene(own).image, PROMPT, plan, 1).trace.drops[0].scores for own in range(first, first + n)]
    prior = np.mean(rows, axis=0, dtype=np.float64)
    return {"schema": 1, "model": model.name, "layer": layers[0] - 1, "n": n, "prompt": PROMPT, "prior": prior.tolist()}
