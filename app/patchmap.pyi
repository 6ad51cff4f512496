"""The interactive map: a gr.HTML that assets/patchmap.js draws from a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.describe import describe, step_sentence
from app.fates import Look, looks
from app.render import data_url, overlay, view_box
from duet_core.trace import Trace

ASSETS = Path(__file__).resolve().parent.parent / "assets"
_PHOTO_SIDE, _THUMB_WIDTH = 720, 168

from gradio.events import Dependency

class PatchMap(gr.HTML):
    """The photo under the fate of its patches, step by step; its value is what `map_value` returns."""

    def __init__(self, value: str = "", **kwargs: Any) -> None:
        script = (ASSETS / "patchmap.js").read_text(encoding="utf-8")
        super().__init__(value, html_template="", js_on_load=script, apply_default_css=False, **kwargs)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def map_value(photo: Image.Image, trace: Trace) -> str:
    """Return all that the browser needs to draw a trace, the photo included, as one JSON text.

    Text, because Gradio's page watches every number of a structured value anew at each update of anything.
    """
    return json.dumps(_map(photo, trace), separators=(",", ":"))


def _map(photo: Image.Image, trace: Trace) -> dict[str, Any]:
    steps = [trace.labels(step) for step in range(len(trace.steps))]
    shown = looks([label for labels in steps for label in labels])
    data = trace.to_json()
    grid = trace.grid
    return {
        "photo": data_url(photo, "JPEG", _PHOTO_SIDE),
        "picture": list(grid.picture),
        "view": list(view_box(grid)),
        "seen": list(grid.seen),
        "unseen": "The vision encoder never saw this part of the picture.",
        "rows": grid.rows * grid.frames,
        "cols": grid.cols,
        "looks": [look.to_json() for look in shown],
        "steps": [_step(photo, trace, number, labels, shown) for number, labels in enumerate(steps)],
        "open_at": min(1, len(steps) - 1),
        "layers": data["tokens_per_layer"],
        "full": trace.full,
        "saved": f"{100 * trace.reduction:.0f} % saved on average",
        "curve_text": _curve_text(trace),
        "description": describe(trace),
        "stage1": data["stage1_scores"],
        "late": data["drops"],
        "joined": data["joined"],
    }


def _step(photo: Image.Image, trace: Trace, number: int, labels: list[str], shown: tuple[Look, ...]) -> dict[str, Any]:
    """Return one step: its name, its tokens and the layer they enter, the look of every patch, a thumbnail."""
    numbers = {look.fate: at for at, look in enumerate(shown)}
    layer = 0 if number < 2 else trace.drops[number - 2].layer
    return {
        "name": step_name(trace, number),
        "tokens": trace.full if number == 0 else trace.tokens_per_layer[layer],
        "layer": None if number == 0 else layer,
        "sentence": step_sentence(trace, number),
        "labels": [numbers[label] for label in labels],
        "thumb": data_url(overlay(photo, trace, number, _THUMB_WIDTH), "JPEG"),
    }


def step_name(trace: Trace, number: int) -> str:
    """Return the step's name as the visitor reads it."""
    name = trace.steps[number]
    return {"all": "All patches", "stage 1": "Stage 1"}.get(name, f"Before {name}")


def _curve_text(trace: Trace) -> str:
    """Say the tokens-per-layer curve in words."""
    counts = trace.tokens_per_layer
    changes = [0, *(layer for layer in range(1, len(counts)) if counts[layer] != counts[layer - 1])]
    parts = ", ".join(f"{counts[layer]} from layer {layer}" for layer in changes)
    return f"Visual tokens per layer: {parts}; {trace.full} without reduction."