"""Many methods in one table, a column for each budget, and where DUET stands among them at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duet_core.bench.accuracy import FULL, read_budget
from duet_core.bench.bootstrap import Interval
from duet_core.bench.exams import Exam
from duet_core.bench.report import Pair, Row
from duet_core.bench.tables import percent
from duet_core.methods import METHODS, TRAINED

_OURS = "duet"
_NEAR = 1.0  # tokens by which a method may miss its budget


def field_table(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """Return the rows of one exam and one model as Markdown, best first, and DUET's rank at every budget in words."""
    budgets = list(dict.fromkeys(row.budget for row in rows if row.budget != FULL))
    by_method: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_method.setdefault(row.method, {})[row.budget] = row
    full = by_method.pop("none", {}).get(FULL)
    ranked = sorted(by_method, key=lambda name: -sum(row.overall.right for row in by_method[name].values()))
    lines = [["method", *budgets], ["---"] * (1 + len(budgets))]
    if full:
        lines.append(["All tokens", percent(full.overall.accuracy), *[""] * (len(budgets) - 1)])
    lines += [[titled(name), *(_cell(by_method[name].get(budget)) for budget in budgets)] for name in ranked]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    standings = [standing(budget, rows, pairs) for budget in budgets if _OURS in by_method]
    return "\n\n".join([table, "\n".join(standings)])


def titled(name: str) -> str:
    """Return a method's title, marked where parts of it are our own reading."""
    known = (METHODS | TRAINED).get(name)
    if known is None:
        return name
    return known.title + " [interpretation]" * known.about.interpretation


def _cell(row: Row | None) -> str:
    """Return a row's percentage; where the method could not come near the budget, with the tokens that it took."""
    if row is None:
        return ""
    wanted = _wanted(row)
    missed = "" if abs(row.tokens - wanted) <= _NEAR else f" at {row.tokens:.0f} tokens"
    return percent(row.overall.accuracy) + missed


def _wanted(row: Row) -> float:
    """Return the budget of a row in average visual tokens of all frames."""
    budget = read_budget(row.budget, Exam(row.exam).frames)
    return budget.get("budget", row.full_tokens * (1 - budget.get("reduction", 0.0)))


def standing(budget: str, rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """Return in words how many methods at a budget are ahead of DUET, and which differences are apart from zero."""
    right = {row.method: row.overall.right for row in rows if row.budget == budget}
    ahead = sorted((name for name in right if right[name] > right[_OURS]), key=lambda name: -right[name])
    apart = {pair.other_method: pair.difference for pair in pairs if (pair.method, pair.budget) == (_OURS, budget)}
    sure = [name for name in ahead if _sign(apart, name) < 0]
    behind = sum(_sign(apart, name) > 0 for name in right if name not in ahead)
    names = f", behind {', '.join(map(titled, ahead))}" if ahead else ""
    surely = f"; of these, ahead beyond the interval: {', '.join(map(titled, sure)) or 'none'}" if ahead else ""
    return (
        f"- At {budget}: DUET is {len(ahead) + 1} of {len(right)}{names}{surely}."
        f" {behind} of those behind it are so beyond the interval."
    )


def _sign(apart: Mapping[str, Interval | None], name: str) -> int:
    """Return 1 or -1 where the whole interval of DUET's lead lies on one side of zero, else 0."""
    lead = apart.get(name)
    if lead is None:
        return 0
    return int(lead.low > 0) - int(lead.high < 0)
