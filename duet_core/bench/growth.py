"""How time and memory grow with the frames of a clip, or with the crops of a picture, with DUET and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from duet_core.bench.accuracy import FULL, read_budget
from duet_core.bench.peaks import Opened, can_measure, peak_bytes
from duet_core.cost import Cost
from duet_core.engine import Encoded, Model, Picture
from duet_core.plan import Plan
from duet_core.scenes import make_scene
from duet_core.scenes.clip import make_clip
from duet_core.timing import Spread

FRAMES = (4, 8, 16, 32, 64)
WHOLE = {"frames": "What happens?", "side": "What is in the picture?"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A clip of `size` frames, or a square picture of `size` pixels a side, as `kind` says: frames or side."""

    kind: str
    size: int
    picture: Picture

    @property
    def question(self) -> str:
        """What is asked about it."""
        return WHOLE[self.kind]


def clips(seed: int, sizes: Sequence[int]) -> list[Subject]:
    """Return clips of so many frames each: a generated one, over and over."""
    frames = make_clip(seed).frames
    return [Subject("frames", size, [frames[at % len(frames)] for at in range(size)]) for size in sizes]


def pictures(seed: int, sides: Sequence[int]) -> list[Subject]:
    """Return a generated picture in several sizes, for models that cut large ones up."""
    image = make_scene(seed).image
    return [Subject("side", side, image.resize((side, side), Image.Resampling.LANCZOS)) for side in sides]


def measure_growth(
    model: Model,
    opened: Opened | None,
    subjects: Sequence[Subject],
    budgets: Sequence[str],
    repeats: int,
) -> list[dict[str, Any]]:
    """Return a row for each subject and each budget, as `read_budget` reads them; the first is compared with.

    Times are of the language model over the prompt with both selections, in turns; peaks of a fresh process that
    encodes and answers, None where the system tells none or nobody said how to open the model.
    """
    rows: list[dict[str, Any]] = []
    for subject in subjects:
        encoded = model.encode(subject.picture)
        plans = {budget: _plan(model, encoded, budget) for budget in budgets}
        model.ask(encoded, subject.question, plans[next(reversed(plans))], max_new_tokens=1)  # warms up
        rounds = [
            [model.ask(encoded, subject.question, plan, max_new_tokens=1).cost for plan in plans.values()]
            for _ in range(repeats)
        ]
        laps = zip(*rounds, strict=True)
        own = [_row(subject, encoded.size.total, name, lap, rounds) for name, lap in zip(plans, laps, strict=True)]
        del encoded
        rows += [row | _peak(opened, subject, plan) for row, plan in zip(own, plans.values(), strict=True)]
    return rows


def _plan(model: Model, encoded: Encoded, budget: str) -> Plan:
    if budget == FULL:
        return model.plan("none")
    return model.plan(encoded=encoded, **read_budget(budget, encoded.size.frames))


def _peak(opened: Opened | None, subject: Subject, plan: Plan) -> dict[str, Any]:
    asked = subject.picture, subject.question, plan
    return {"peak_bytes": peak_bytes(opened, *asked) if opened and can_measure() else None}


def _row(
    subject: Subject, tokens: int, name: str, own: Sequence[Cost], rounds: Sequence[Sequence[Cost]]
) -> dict[str, Any]:
    spent = [cost.prefill_ms + cost.select_ms for cost in own]
    first = [costs[0].prefill_ms + costs[0].select_ms for costs in rounds]
    return {
        subject.kind: subject.size,
        "tokens": tokens,
        "budget": name,
        "prefill_ms": Spread.of(spent).to_json(),
        "prefill_ratio": Spread.of([full / mine for full, mine in zip(first, spent, strict=True)]).to_json(),
        "kv_bytes": own[0].kv_bytes,
    }


def growth_table(rows: Sequence[Mapping[str, Any]], threads: int) -> str:
    """Return the rows as Markdown."""
    kind = next(name for name in WHOLE if name in rows[0])
    lines = [
        f"Both selections and the language model over the prompt, in turns ({threads} threads), and the peak of a fresh"
        " process that encodes and answers, beyond the opened model.",
        "",
        f"| {kind} | visual tokens | budget | prefill faster | peak | KV cache |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(row, kind) for row in rows)])


def _line(row: Mapping[str, Any], kind: str) -> str:
    ratio, peak = row["prefill_ratio"], row["peak_bytes"]
    times = f"{ratio['median']:.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f})"
    held = "not told" if peak is None else f"{peak / 1e6:.0f} MB"
    cells = [str(row[kind]), str(row["tokens"]), row["budget"], times, held, f"{row['kv_bytes'] / 1e6:.1f} MB"]
    return "| " + " | ".join(cells) + " |"
