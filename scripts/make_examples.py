"""Writes assets/examples: six scenes with their questions, their truth, and one recorded run each.

Run it again whenever the bundled weights change: `python scripts/make_examples.py`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app import gpu
from app.gallery import FOLDER
from app.play import Play
from app.settings import BUNDLED_MODEL, PAPER_REDUCTIONS, Settings
from duet_core.scenes import Question, Scene, make_scene
from duet_core.scenes.examples import EXAMPLE_SEEDS

# The family asked first, picture by picture; the two suggestions beside it are the next families the scene offers.
FAMILY_ORDER = ("caption", "number", "count", "colour", "relation", "location", "existence", "background")


def main() -> None:
    """Record every example with the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=BUNDLED_MODEL, help="a bundled name or a folder")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(models=(given.model,), device="cpu")
    entries = [_record(place, seed, settings, given.out) for place, seed in enumerate(EXAMPLE_SEEDS)]
    size = gpu.opened(given.model, settings).size
    data = {
        "model": BUNDLED_MODEL,
        "size": {"tokens": size.tokens, "layers": size.layers},
        "machine": machine(),
        "day": datetime.date.today().isoformat(),
        "examples": entries,
    }
    (given.out / "examples.json").write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


def _record(place: int, seed: int, settings: Settings, folder: Path) -> dict[str, Any]:
    """Run one example as the page would, and return its entry."""
    scene = make_scene(seed)
    picture = f"example-{place + 1}.png"
    scene.image.save(folder / picture, optimize=True)
    suggested = suggestions(scene, place)
    reduction = PAPER_REDUCTIONS[place % 2]
    job = gpu.Job(settings.models[0], scene.image, suggested[0].text, "duet", reduction / 100)
    play = Play(job, suggested[0])
    duel = play.finish(gpu.run(job, settings))
    print(f"{picture}: {duel.question} all: {duel.full!r} reduced: {duel.reduced!r} truth: {suggested[0].answer!r}")
    return {
        "name": _name(scene),
        "picture": picture,
        "seed": seed,
        "questions": [asdict(question) for question in scene.questions],
        "suggested": [question.text for question in suggested],
        "reduction": reduction,
        "method": "duet",
        "duel": duel.to_json(),
    }


def suggestions(scene: Scene, place: int) -> list[Question]:
    """Return three questions of different families, beginning with the family whose turn it is."""
    turn = FAMILY_ORDER[place % len(FAMILY_ORDER) :] + FAMILY_ORDER[: place % len(FAMILY_ORDER)]
    first_of = {family: question for question in reversed(scene.questions) for family in [question.family]}
    return [first_of[family] for family in turn if family in first_of][:3]


def _name(scene: Scene) -> str:
    return ", ".join(dict.fromkeys(thing.name for thing in scene.objects))


def machine() -> str:
    """Return what the figures were recorded on: the cores the engine used, and the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = torch.get_num_threads()
    return f"{cores} {'core' if cores == 1 else 'cores'} of {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main()
