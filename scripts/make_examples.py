"""Writes assets/examples: six scenes and three clips with their questions, their truth, and one recorded run each.

Run it again whenever the bundled weights change: `python scripts/make_examples.py`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app import gpu
from app.gallery import FOLDER, read_subject
from app.play import Play
from app.settings import BUNDLED_MODEL, PAPER_CLIP_REDUCTIONS, PAPER_REDUCTIONS, Settings
from duet_core.scenes import Question, make_scene
from duet_core.scenes.clip import make_clip
from duet_core.scenes.examples import CLIP_SEEDS, EXAMPLE_SEEDS
from duet_core.scenes.files import save

# The family asked first, picture by picture; the two suggestions beside it are the next families the scene offers.
FAMILY_ORDER = ("caption", "number", "count", "colour", "relation", "location", "existence", "background")
CLIP_ORDER = ("direction", "times", "order", "motion", "change", "story", "presence", "total")


def main() -> None:
    """Record every example with the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=BUNDLED_MODEL, help="a bundled name or a folder")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(models=(given.model,), device="cpu")
    pictures = [_record(scene(k), k, settings, given.out) for k in range(len(EXAMPLE_SEEDS))]
    clips = [_record(clip(k), k, settings, given.out) for k in range(len(CLIP_SEEDS))]
    size = gpu.opened(given.model, settings).size
    data = {
        "model": BUNDLED_MODEL,
        "size": {"tokens": size.tokens, "layers": size.layers},
        "machine": machine(),
        "day": datetime.date.today().isoformat(),
        "examples": pictures,
        "clips": clips,
    }
    (given.out / "examples.json").write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an example shows, and what is asked about it first."""

    file: str
    name: str
    seed: int
    frames: Sequence[Image.Image]
    questions: Sequence[Question]
    families: Sequence[str]
    reduction: float

    @property
    def suggested(self) -> list[Question]:
        """Three questions of different families, beginning with the family whose turn it is."""
        first_of = {question.family: question for question in reversed(self.questions)}
        return [first_of[family] for family in self.families if family in first_of][:3]


def scene(place: int) -> Asked:
    """The picture at a place of the gallery; each begins with another family."""
    made, turn = make_scene(EXAMPLE_SEEDS[place]), place % len(FAMILY_ORDER)
    name = ", ".join(dict.fromkeys(thing.name for thing in made.objects))
    families, reduction = FAMILY_ORDER[turn:] + FAMILY_ORDER[:turn], PAPER_REDUCTIONS[place % 2]
    return Asked(f"example-{place + 1}.png", name, made.seed, [made.image], made.questions, families, reduction)


def clip(place: int) -> Asked:
    """The clip at a place of the gallery."""
    made = make_clip(CLIP_SEEDS[place])
    name = ", ".join(actor.name for actor in made.actors)
    families, reduction = CLIP_ORDER[place:] + CLIP_ORDER[:place], PAPER_CLIP_REDUCTIONS[place % 2]
    return Asked(f"clip-{place + 1}.webp", name, made.seed, made.frames, made.questions, families, reduction)


def _record(asked: Asked, place: int, settings: Settings, folder: Path) -> dict[str, Any]:
    """Run one example as the page would, and return its entry."""
    save(folder / asked.file, asked.frames)
    first = asked.suggested[0]
    subject = read_subject(folder / asked.file)
    job = gpu.Job(settings.models[0], subject, first.text, "duet", asked.reduction / 100)
    duel = Play(job, first).finish(gpu.run(job, settings))
    print(f"{asked.file}: {duel.question} all: {duel.full!r} reduced: {duel.reduced!r} truth: {first.answer!r}")
    return {
        "name": asked.name,
        "file": asked.file,
        "seed": asked.seed,
        "questions": [asdict(question) for question in asked.questions],
        "suggested": [question.text for question in asked.suggested],
        "reduction": asked.reduction,
        "method": "duet",
        "duel": duel.to_json(),
    }


def machine() -> str:
    """Return what the figures were recorded on: the cores the engine used, and the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = torch.get_num_threads()
    return f"{cores} {'core' if cores == 1 else 'cores'} of {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main()
