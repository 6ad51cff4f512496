"""Pieces of HTML for series of answers: a card with the fate map of each, and the table of all. All text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from app import messages
from app.describe import describe
from app.difference import Difference
from app.fates import Look, looks, short_name
from app.film import Subject, frames_of
from app.render import data_url, marks_of, sheet
from app.series import Ended, Failed, Outcome, same
from app.standings import SAME, Column, to_csv
from app.steps import shown_step, step_name, tokens_left
from app.views import notice
from duet_core.grid import Grid

_YES_OR_NO = {True: "yes", False: "no", None: "–"}
WIDTH, WIDE = 456, 760  # pixels of a map, and of one that stands alone or holds many frames


def fate_card(heading: str, subject: Subject, end: Ended, notes: Iterable[str], badges: str = "") -> str:
    """One answer with its fate map at the last step that shows anything."""
    step = shown_step(end.trace)
    marks = marks_of(end.trace, step)
    counted = Counter(mark.fate for mark in marks)
    shown = {look: counted[look.fate] for look in looks(list(counted))}
    where = f"{step_name(end.trace, step)}: {tokens_left(end.trace, step):,} tokens"
    width = WIDTH if end.trace.grid.pictures == 1 else WIDE
    image = _image(subject, end.trace.grid, marks, f"{heading}. {describe(end.trace)}", width)
    said = f'<p class="card-answer">{escape(end.text) or "(no words)"}</p><div class="badges">{badges}</div>'
    more = "".join(f'<p class="card-note">{escape(note)}</p>' for note in (where, *notes) if note)
    return card(heading, image + said + more + legend(shown))


def failed_card(heading: str, failed: Failed) -> str:
    """What could not be answered, and why."""
    return card(heading, notice(failed.sentence))


def difference_card(heading: str, subject: Subject, grid: Grid, apart: Difference, notes: Iterable[str]) -> str:
    """What two questions kept, patch by patch."""
    counts = apart.counts
    alt = f"{heading}. {messages.kept_for_whom(*counts.values())}"
    more = "".join(f'<p class="card-note">{escape(note)}</p>' for note in notes if note)
    return card(heading, f"{_image(subject, grid, apart.marks, alt, WIDE)}<div>{more}{legend(counts)}</div>")


def card(heading: str, body: str) -> str:
    """A heading over a piece of HTML, framed."""
    return f'<figure class="card"><figcaption>{escape(heading)}</figcaption>{body}</figure>'


def _image(subject: Subject, grid: Grid, marks: Sequence[Look], alt: str, width: int) -> str:
    photos = frames_of(subject)
    photos *= grid.pictures // len(photos)  # all crops of a picture share it
    return f'<img src="{data_url(sheet(photos, grid, marks, width))}" alt="{escape(alt)}">'


def legend(counts: dict[Look, int]) -> str:
    """The looks with their glyphs, and how many patches have each."""
    rows = "".join(
        f'<li><span class="swatch" style="--c:{look.colour}" aria-hidden="true">{look.glyph}</span>'
        f"{escape(short_name(look))} <b>{many:,}</b></li>"
        for look, many in counts.items()
    )
    return f'<ul class="legend">{rows}</ul>'


def sameness(is_same: bool | None) -> str:
    """Whether an answer is that of all tokens, as a badge."""
    if is_same is None:
        return ""
    kind, words = ("right", "= same answer") if is_same else ("wrong", "≠ another answer")
    return f'<p class="verdict {kind}"><span class="badge">{words}</span></p>'


def table(done: Sequence[Outcome], columns: Sequence[Column], label: str, caption: str = "") -> str:
    """The outcomes so far; its headings are buttons that assets/table.js sorts by."""
    body = "".join(_row(done[0], outcome, columns) for outcome in done)
    whole = scrolled(map(sorting, map(escape, _names(columns))), body, label)
    return whole + (f'<p class="table-note">{escape(caption)}</p>' if caption else "")


def sorting(name: str) -> str:
    """A heading, HTML already, that assets/table.js sorts by."""
    return f'<button type="button">{name}</button>'


def scrolled(headings: Iterable[str], body: str, label: str) -> str:
    """A table of rows under headings, both HTML already, that scrolls by itself where it is too wide."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="figures-scroll" tabindex="0" role="region" aria-label="{escape(label)}">{whole}</div>'


def _names(columns: Sequence[Column]) -> list[str]:
    """The headings; whether the answer is the same stands second, where a small screen shows it, too."""
    return [columns[0].name, SAME, *(column.name for column in columns[1:])]


def _row(first: Outcome, outcome: Outcome, columns: Sequence[Column]) -> str:
    name = columns[0].value(outcome)
    head = f'<th scope="row" data-value="{escape(str(name))}">{escape(columns[0].words(name))}</th>'
    if isinstance(outcome, Failed):
        return f'<tr class="failed">{head}<td colspan="{len(columns)}">{escape(outcome.sentence)}</td></tr>'
    values = [(column, column.value(outcome)) for column in columns[1:]]
    cells = "".join(_cell(value, column.words(value), column.key) for column, value in values)
    is_same = same(first, outcome)
    return f"<tr>{head}{_cell(int(bool(is_same)), _YES_OR_NO[is_same], 'same')}{cells}</tr>"


def _cell(value: object, words: str, kind: str) -> str:
    return f'<td class="of-{kind}" data-value="{escape(str(value))}">{escape(words)}</td>'


def csv_link(done: Sequence[Outcome], columns: Sequence[Column], name: str) -> str:
    """The table as a file to keep."""
    url = f"data:text/csv;charset=utf-8,{quote(to_csv(done, columns))}"
    return f'<a class="keep" download="{name}" href="{url}">Download the table (CSV)</a>'
