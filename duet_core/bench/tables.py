"""Rows and pairs -> Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from duet_core.bench.accuracy import ALL_FAMILIES, FULL
from duet_core.bench.bootstrap import DRAWS, FEW, Interval
from duet_core.bench.report import Mark, Pair, Row

_LEGEND = (
    f"Percent right; in brackets 95 % intervals, by bootstrap over scenes ({DRAWS} resamples). `tokens`: visual tokens"
    " per layer on average. `kept`: right answers relative to all tokens over the same scenes."
)
_NONE = "-"


def accuracy_tables(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """Return a heading, a table and the comparisons for each exam, and what the figures mean."""
    parts = [_LEGEND]
    for _, group in groupby(rows, _exam):
        own = list(group)
        against = [pair_in_words(pair) for pair in pairs if _exam(pair) == _exam(own[0])]
        parts += [_heading(own[0]), _table(own), *(["\n".join(against)] if against else [])]
    return "\n\n".join(parts)


def _exam(one: Row | Pair) -> tuple[str, str]:
    return one.exam, one.wording


def _heading(row: Row) -> str:
    groups = f" in {len(row.groups)} groups" if len(row.groups) > 1 else ""
    few = " (so few that the intervals are too narrow)" if row.scenes < FEW else ""
    scenes = f"{row.scenes} scene{'s' * (row.scenes > 1)}{groups}{few}"
    return f"### {row.exam}, {row.wording} wording: {row.overall.total} questions, {scenes}"


def _table(rows: Sequence[Row]) -> str:
    families = [family for family in ALL_FAMILIES if family in rows[0].families]
    families = families if len(families) > 1 else []  # a single one is all there is
    model, groups = len({row.model for row in rows}) > 1, len(rows[0].groups) > 1
    refusals = rows[0].false_refusals is not None
    head = [*["model"] * model, "method", "budget", "tokens", "overall", "kept", *["by group"] * groups]
    head += [*families, *["false refusals"] * refusals]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [*[row.model] * model, row.method, row.budget, f"{row.tokens:.1f}"]
        cells += [
            percent(row.overall.accuracy),
            _kept(row),
            *[_range(row.groups)] * groups,
        ]
        cells += [_bare(row.families[family].accuracy) for family in families]
        lines.append(cells + [_bare(row.false_refusals)] * refusals)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _kept(row: Row) -> str:
    return "100" if row.kept and row.budget == FULL else percent(row.kept)


def percent(figure: Interval | None) -> str:
    """Return a share as percent with its interval."""
    if figure is None:
        return _NONE
    return f"{100 * figure.value:.1f} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def _bare(figure: Interval | None) -> str:
    return _NONE if figure is None else f"{100 * figure.value:.1f}"


def _range(groups: Sequence[Mark]) -> str:
    """The lowest and the highest accuracy of the groups."""
    values = [100 * mark.right / mark.total for mark in groups]
    return f"{min(values):.1f} to {max(values):.1f}"


def pair_in_words(pair: Pair) -> str:
    """Say how far one contestant is ahead of the other, as an item of a list."""
    models = pair.model, pair.other_model
    who = f"{pair.method} against {pair.other_method} ({pair.model})"
    who = who if models[0] == models[1] else f"{pair.method}: {' against '.join(models)}"
    ahead, times = pair.difference, pair.ratio
    words = f"- {pair.budget}, {who}: " + ("nothing to compare" if ahead is None else _points(ahead))
    return words if times is None else f"{words}; {percent(times)} % of its right answers"


def _points(ahead: Interval) -> str:
    return f"{100 * ahead.value:+.1f} points ({100 * ahead.low:+.1f} to {100 * ahead.high:+.1f})"
