"""Outcomes of a series -> rows and columns, for the page's tables, a CSV file and the API alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app import messages
from app.charts import flops, size
from app.rack import title
from app.series import Ended, Failed, Outcome, kept_percent, same
from duet_core.trace import Trace

_SLACK = 200  # a budget counts as met within a token, or within one part in so many of all tokens


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, the words of a cell, and the plain value to sort by and to write into files.

    A table's first column asks only for what an outcome has that failed, too.
    """

    name: str
    key: str
    value: Callable[[Any], Any]
    words: Callable[[Any], str] = str


def _tokens(value: float) -> str:
    return f"{value:,.0f}"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


TOKENS = (
    Column("Tokens in", "tokens_in", lambda end: end.trace.entering, _tokens),
    Column("Average", "tokens_average", lambda end: round(end.trace.average_tokens, 2), _tokens),
    Column("At the end", "tokens_end", lambda end: end.trace.final, _tokens),
)
COSTS = (
    Column("First token, ms", "first_token_ms", lambda end: round(end.cost.first_token_ms, 3), _ms),
    Column("Selection, ms", "select_ms", lambda end: round(end.cost.select_ms, 3), _ms),
    Column("KV cache", "kv_bytes", lambda end: end.cost.kv_bytes, size),
    Column("Prefill FLOPs", "prefill_flops", lambda end: end.cost.prefill_flops, flops),
)
METHOD = Column("Method", "method", lambda end: end.ask.method, title)
BUDGET = Column("Budget", "kept_percent", lambda end: kept_percent(end.ask), "{} %".format)
ANSWER = Column("Answer", "answer", lambda end: end.text)
COMPARED = (METHOD, *TOKENS, *COSTS)
SWEPT = (BUDGET, ANSWER, *TOKENS, *COSTS)
SAME = "Same answer"


def nearest(end: Ended) -> str:
    """Say what a method reached where it could not meet its budget; nothing where it did."""
    wanted, reached = end.trace.full * (1.0 - end.ask.reduction), end.trace.average_tokens
    missed = abs(wanted - reached) > max(1.0, end.trace.full / _SLACK)
    return messages.nearest_reached(reached, wanted) if missed else ""


def to_csv(done: Sequence[Outcome], columns: Sequence[Column]) -> str:
    """Return the outcomes as CSV, plain values under the columns' keys; what failed is left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*(column.key for column in columns), "same_answer"])
    for end in done:
        if isinstance(end, Ended):
            writer.writerow([*(_harmless(column.value(end)) for column in columns), same(done[0], end)])
    return stream.getvalue()


def _harmless(value: Any) -> Any:
    """Keep a spreadsheet from taking an answer for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def row_json(first: Outcome, outcome: Outcome) -> dict[str, Any]:
    """Return one method's row as the API gives it: as `/ask` does, or with the error's sentence."""
    named = {"method": outcome.ask.method, "title": title(outcome.ask.method)}
    if isinstance(outcome, Failed):
        return {**named, "error": outcome.sentence}
    full = first if isinstance(first, Ended) else None
    sides = {"full": full, "reduced": outcome}
    return {
        **named,
        "full": full.text if full else None,
        "reduced": outcome.text,
        "agree": same(first, outcome),
        "note": nearest(outcome),
        "tokens": tokens_json(outcome.trace),
        "cost": {side: end.cost.to_json() for side, end in sides.items() if end},
        "trace": outcome.trace.to_json(),
    }


def point_json(first: Outcome, outcome: Outcome) -> dict[str, Any]:
    """Return one budget of a sweep as the API gives it."""
    named = {"kept_percent": kept_percent(outcome.ask), "method": outcome.ask.method}
    if isinstance(outcome, Failed):
        return {**named, "error": outcome.sentence}
    figures = {"tokens": tokens_json(outcome.trace), "cost": outcome.cost.to_json()}
    return {**named, "answer": outcome.text, "same": same(first, outcome), "note": nearest(outcome), **figures}


def tokens_json(trace: Trace) -> dict[str, float]:
    """Return the token counts of a run."""
    average = round(trace.average_tokens, 2)
    return {"full": trace.full, "entering": trace.entering, "average": average, "final": trace.final}
