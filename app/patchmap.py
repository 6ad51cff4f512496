"""The interactive map: a gr.HTML that the scripts in assets/patchmap/ draw from a trace."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from app import map_texts as texts
from app.describe import describe, part_name, part_of, step_sentence
from app.fates import SCALE, STAGE_1, Look, looks
from app.film import Film, Subject, frames_of, key_of
from app.live import live_json
from app.render import data_url, view_box
from app.steps import step_name
from duet_core.question import salient_spans
from duet_core.trace import Fate, Trace

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SCRIPTS = ("base", "build", "film", "modes", "words", "paint", "live", "brush", "move", "card", "curve", "main")
"""The files of assets/patchmap/, in the order in which they make up one script."""
_PHOTO_SIDE, _FRAME_SIDE = 720, 480
_WORD_DIGITS = 3


@cache
def script() -> str:
    """Return the map's script, which Gradio runs once for every component; one text, for each visitor keeps it."""
    return "\n".join((ASSETS / "patchmap" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)


class PatchMap(gr.HTML):
    """The photo under the fate of its patches, step by step; its value is what `map_value` returns."""

    def __init__(self, value: str = "", **kwargs: Any) -> None:
        super().__init__(value, html_template="", js_on_load=script(), apply_default_css=False, **kwargs)


def map_value(subject: Subject, trace: Trace, question: str = "", forced: str = "") -> str:
    """Return all that the browser needs to draw a trace, the pictures included, as one JSON text.

    `question`: what was asked, shown word by word. `forced`: what a brush did in this run, in words. Text, because
    Gradio's page watches every number of a structured value anew at each update of anything.
    """
    return json.dumps(_map(subject, trace, question, forced), separators=(",", ":"))


def _map(subject: Subject, trace: Trace, question: str, forced: str) -> dict[str, Any]:
    steps, live = [trace.labels(step) for step in range(len(trace.steps))], live_json(trace)
    shown = looks([*(label for labels in steps for label in labels), *(STAGE_1 if live else ())])
    data = trace.to_json()
    grid = trace.grid
    said = f" By hand: {forced}." if forced else ""
    return {
        "key": key_of(subject),
        "frames": _frames(subject, trace),
        "picture": list(grid.picture),
        "view": list(view_box(grid)),
        "seen": list(grid.seen),
        "unseen": f"The {'crop' if grid.crops else 'vision encoder'} never saw this part of the picture.",
        "part": part_of(grid),
        "rows": grid.rows,
        "cols": grid.cols,
        "looks": [look.to_json() for look in shown],
        "steps": [_step(trace, number, labels, shown, said) for number, labels in enumerate(steps)],
        "open_at": min(1, len(steps) - 1),
        "layers": data["tokens_per_layer"],
        "full": trace.full,
        "saved": f"{100 * trace.reduction:.0f} % saved on average",
        "curve_text": _curve_text(trace),
        "heat_text": _heat_text(trace),
        "description": describe(trace) + said,
        "stage1": data["stage1_scores"],
        "late": [_late(drop) for drop in data["drops"]],  # type: ignore[attr-defined]
        "joined": data["joined"],
        "words": list(trace.words),
        "question": question_parts(question, trace.words),
        "scale": list(SCALE),
        "live": live,
        "still": texts.STILL,
        "missing": texts.MISSING,
        "tools": texts.TOOLS,
    }


def _late(drop: dict[str, Any]) -> dict[str, Any]:
    """Return a pruning step with what its words look at in fewer digits: many numbers, of which only colours come."""
    rows = drop.get("by_word")
    if not rows:
        return drop
    end = drop.get("by_end")
    return {**drop, "by_word": [_short(row) for row in rows], **({"by_end": _short(end)} if end else {})}


def _short(row: list[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.{_WORD_DIGITS}g}") for value in row]


def question_parts(question: str, words: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return a question cut into (text, number of the guiding word or -1), which joined are the question again.

    Where the words are not those of the question, as when there is none, they stand behind it.
    """
    spans = salient_spans(question)
    if tuple(question[start:end] for start, end in spans) != words:
        return [(question, -1), *((word, number) for number, word in enumerate(words))]
    parts, at = list[tuple[str, int]](), 0
    for number, (start, end) in enumerate(spans):
        parts += [(question[at:start], -1), (question[start:end], number)]
        at = end
    return [part for part in (*parts, (question[at:], -1)) if part[0]]


def _frames(subject: Subject, trace: Trace) -> list[dict[str, Any]]:
    """Return each frame: its picture, its second in the clip, its patches, and the tokens left in every layer.

    Of a picture in crops, each crop; they share the first one's picture. Frames that share their patches say so by the
    number of those, their `home`, and by name.
    """
    grid = trace.grid
    times = subject.times if isinstance(subject, Film) else (None,) * grid.pictures
    side = _FRAME_SIDE if isinstance(subject, Film) else _PHOTO_SIDE
    photos = [data_url(photo, "JPEG", side) for photo in frames_of(subject)]
    photos += [""] * (grid.pictures - len(photos))
    patches, left = (trace.fate != Fate.BORDER).reshape(grid.frames, -1).sum(1), trace.tokens_by_frame
    return [
        {
            "photo": photo,
            "time": time,
            "home": home,
            "name": part_name(grid, home),
            "seen": list(grid.seen_by(home)),
            "patches": int(patches[home]),
            "tokens": left[home].tolist(),
        }
        for photo, time, home in zip(photos, times, map(grid.home, range(grid.pictures)), strict=True)
    ]


def _step(trace: Trace, number: int, labels: list[str], shown: tuple[Look, ...], said: str) -> dict[str, Any]:
    """Return one step: its name, its tokens and the layer they enter, and the look of every patch."""
    numbers = {look.fate: at for at, look in enumerate(shown)}
    layer = 0 if number < 2 else trace.drops[number - 2].layer
    return {
        "name": step_name(trace, number),
        "tokens": trace.full if number == 0 else trace.tokens_per_layer[layer],
        "layer": None if number == 0 else layer,
        "sentence": step_sentence(trace, number) + (said if number else ""),
        "labels": [numbers[label] for label in labels],
    }


def _curve_text(trace: Trace) -> str:
    """Say the tokens-per-layer curve in words."""
    counts = trace.tokens_per_layer
    changes = [0, *(layer for layer in range(1, len(counts)) if counts[layer] != counts[layer - 1])]
    parts = ", ".join(f"{counts[layer]} from layer {layer}" for layer in changes)
    return f"Visual tokens per layer: {parts}; {trace.full} without reduction."


def _heat_text(trace: Trace) -> str:
    """Say in words what is left of the frames: the least and the most at every layer where that changes."""
    left = trace.tokens_by_frame  # (F, L)
    layers = [layer for layer in range(left.shape[1]) if layer == 0 or (left[:, layer] != left[:, layer - 1]).any()]
    parts = (f"{left[:, layer].min()} to {left[:, layer].max()} from layer {layer}" for layer in layers)
    return f"Tokens left of each {part_of(trace.grid)}: {', '.join(parts)}."
