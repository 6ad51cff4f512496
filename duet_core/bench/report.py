"""Answer sheets -> rows and pairs with 95 % intervals, and the whole report as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from duet_core.bench.accuracy import ALL_FAMILIES, FULL, Sheet
from duet_core.bench.bootstrap import DRAWS, LEVEL, Interval, difference, ratio, share

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """How many of some questions were answered right."""

    right: int
    total: int
    accuracy: Interval | None


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant of one model in one exam.

    `tokens`: average visual tokens per layer, of `full_tokens`. `kept` and `difference`: right answers relative to all
    tokens, and the accuracies' difference, over the same scenes. `false_refusals`: share of questions with an answer
    that were refused (None where refusing is right). `groups`: the groups of scenes one by one.
    """

    model: str
    exam: str
    wording: str
    method: str
    budget: str
    tokens: float
    full_tokens: int
    scenes: int
    overall: Mark
    families: dict[str, Mark]
    groups: tuple[Mark, ...]
    false_refusals: Interval | None
    kept: Interval | None
    difference: Interval | None


@dataclass(frozen=True, slots=True)
class Pair:
    """How far one contestant is ahead of another over the same scenes: accuracies' difference, right answers' ratio."""

    exam: str
    wording: str
    budget: str
    model: str
    method: str
    other_model: str
    other_method: str
    difference: Interval | None
    ratio: Interval | None


def make_rows(sheets: Sequence[Sheet]) -> list[Row]:
    """Return a row per sheet, in their order."""
    full = {(sheet.model, sheet.exam): sheet for sheet in sheets if sheet.contestant.budget == FULL}
    return [_row(sheet, full.get((sheet.model, sheet.exam))) for sheet in sheets]


def _row(sheet: Sheet, full: Sheet | None) -> Row:
    asked = sheet.asked
    right, total = asked.by_unit(sheet.right), asked.by_unit(asked.total)  # (U, F)
    refused = asked.by_unit(sheet.refused).sum(axis=1)  # (U,)
    families = [number for number in range(len(ALL_FAMILIES)) if total[:, number].any()]
    return Row(
        model=sheet.model,
        exam=sheet.exam.subject,
        wording=sheet.exam.wording,
        method=sheet.contestant.method,
        budget=sheet.contestant.budget,
        tokens=sheet.tokens,
        full_tokens=sheet.full,
        scenes=len(total),
        overall=_mark(right.sum(axis=1), total.sum(axis=1)),
        families={ALL_FAMILIES[number]: _mark(right[:, number], total[:, number]) for number in families},
        groups=_by_group(sheet),
        false_refusals=share(refused, total.sum(axis=1)) if sheet.exam.in_world else None,
        kept=_compared(sheet, full, _ratio),
        difference=_compared(sheet, full, difference),
    )


def _mark(right: np.ndarray, total: np.ndarray) -> Mark:
    return Mark(int(right.sum()), int(total.sum()), share(right, total))


def _by_group(sheet: Sheet) -> tuple[Mark, ...]:
    """Mark each group of scenes by itself."""
    marks = []
    for group in np.unique(sheet.asked.groups):
        own = sheet.asked.groups == group
        marks.append(_mark(sheet.right[own].sum(axis=1), sheet.asked.total[own].sum(axis=1)))
    return tuple(marks)


Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], Interval | None]


def _compared(one: Sheet, other: Sheet | None, compare: Compare) -> Interval | None:
    """Compare the right answers of two sheets of the same exam, unit by unit."""
    if other is None:
        return None
    right = [one.asked.by_unit(sheet.right).sum(axis=1) for sheet in (one, other)]
    return compare(right[0], right[1], one.asked.by_unit(one.asked.total).sum(axis=1))


def _ratio(one: np.ndarray, other: np.ndarray, _total: np.ndarray) -> Interval | None:
    return ratio(one, other)


def make_pairs(sheets: Sequence[Sheet], ours: str = "duet") -> list[Pair]:
    """Compare our method with the others at its budget, and each further model with the first one, like with like."""
    first = sheets[0].model
    pairs = [_pair(one, other) for one in sheets for other in sheets if _meet(one, other, first, ours)]
    return sorted(pairs, key=lambda pair: pair.model != pair.other_model)


def _meet(one: Sheet, other: Sheet, first_model: str, ours: str) -> bool:
    if (one.exam, one.contestant.budget) != (other.exam, other.contestant.budget):
        return False
    methods = one.contestant.method, other.contestant.method
    if one.model == other.model:
        return methods[0] == ours != methods[1]
    return other.model == first_model and methods[0] == methods[1]


def _pair(one: Sheet, other: Sheet) -> Pair:
    return Pair(
        exam=one.exam.subject,
        wording=one.exam.wording,
        budget=one.contestant.budget,
        model=one.model,
        method=one.contestant.method,
        other_model=other.model,
        other_method=other.contestant.method,
        difference=_compared(one, other, difference),
        ratio=_compared(one, other, _ratio),
    )


def as_json(rows: Sequence[Row], pairs: Sequence[Pair], command: str, about: dict[str, object]) -> dict[str, object]:
    """Return the report as plain JSON values; `about` says what else was chosen."""
    return {
        "schema": SCHEMA,
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch_threads": torch.get_num_threads(),
        "intervals": {"level": LEVEL, "resamples": DRAWS, "unit": "scene"},
        **about,
        "rows": [asdict(row) for row in rows],
        "pairs": [asdict(pair) for pair in pairs],
    }


def read_rows(report: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a report that `as_json` made."""
    return [
        Row(
            **{
                **row,
                "overall": _read_mark(row["overall"]),
                "families": {name: _read_mark(mark) for name, mark in row["families"].items()},
                "groups": tuple(map(_read_mark, row["groups"])),
                **{name: _read_interval(row[name]) for name in ("false_refusals", "kept", "difference")},
            }
        )
        for row in report["rows"]
    ]


def _read_mark(mark: Mapping[str, Any]) -> Mark:
    return Mark(mark["right"], mark["total"], _read_interval(mark["accuracy"]))


def _read_interval(interval: Mapping[str, float] | None) -> Interval | None:
    return None if interval is None else Interval(**interval)
