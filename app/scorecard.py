"""The scorecard in HTML: accuracy against saved tokens as a plot and a table, and what the paper says. All escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from app import messages, rack, views
from app.cards import card, scrolled, sorting
from app.inked import inked, svg
from app.stored import PAPER, Stored
from duet_core.bench.accuracy import ALL_FAMILIES, FULL
from duet_core.bench.bootstrap import FEW, Interval
from duet_core.bench.plots import draw_panel
from duet_core.bench.report import Mark, Row

_TICKS = (0, 20, 40, 60, 80, 100)  # percent of the tokens saved
_HEAD = ("Method", "Tokens saved", "Right", "Of all tokens' right answers")


def plot(rows: Sequence[Row], alt: str) -> str:
    """Return the bench's own plot of one exam, its tokens read as percent saved."""
    figure = Figure(figsize=(5.0, 3.7), layout="constrained")
    axes, full = figure.add_subplot(), rows[0].full_tokens
    draw_panel(axes, rows)
    axes.set(title="", xlabel="visual tokens saved, in %", ylabel="percent right", xlim=(1.04 * full, 0))
    axes.xaxis.set_major_locator(FixedLocator([full * (100 - saved) / 100 for saved in _TICKS]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{_saved(tokens, full):.0f}"))
    inked(axes)
    return svg(figure, alt)


def table(rows: Sequence[Row], label: str) -> str:
    """Return the rows with their families, intervals below; headings are buttons that assets/table.js sorts by."""
    families = [family for family in ALL_FAMILIES if family in rows[0].families]
    counted = (f"{family} <small>{rows[0].families[family].total}</small>" for family in families)
    body = "".join(_row(row, families) for row in rows)
    return scrolled(map(sorting, (*map(escape, _HEAD), *counted)), body, label)


def _row(row: Row, families: Sequence[str]) -> str:
    name = "All tokens" if row.budget == FULL else rack.title(row.method)
    head = f'<th scope="row" data-value="{escape(name)}">{escape(name)}</th>'
    saved = _saved(row.tokens, row.full_tokens)
    cells = [_cell(saved, f"{saved:.0f} %"), _marked(row.overall)]
    cells.append(_interval(None if row.budget == FULL else row.kept))
    return f"<tr>{head}{''.join(cells)}{''.join(_marked(row.families[family]) for family in families)}</tr>"


def _marked(mark: Mark) -> str:
    return _interval(mark.accuracy)


def _interval(figure: Interval | None) -> str:
    if figure is None:
        return _cell("", "–")
    small = f"{100 * figure.low:.0f}–{100 * figure.high:.0f}"
    return _cell(figure.value, f"{100 * figure.value:.1f} %", small)


def _cell(value: float | str, words: str, small: str = "") -> str:
    below = f" <small>{small}</small>" if small else ""
    return f'<td data-value="{value}">{words}{below}</td>'


def contestant(method: str, budget: str) -> str:
    """A method at a budget, as visitors read it."""
    return "All tokens" if budget == FULL else f"{rack.title(method)}, {budget} fewer tokens"


def _saved(tokens: float, full: int) -> float:
    return 100 * (1 - tokens / full)


def in_words(rows: Sequence[Row]) -> str:
    """Say what a run counted, and how far its intervals can be trusted."""
    few = messages.FEW_SCENES if rows[0].scenes < FEW else ""
    return f"{messages.counted(rows[0].overall.total, rows[0].scenes, rows[0].exam)} {few}".strip()


def describe(rows: Sequence[Row]) -> str:
    """Say what a plot shows."""
    each = (
        f"{'all tokens' if row.budget == FULL else f'{rack.title(row.method)} with {row.tokens:.0f} tokens'}"
        f" {100 * row.overall.accuracy.value:.0f} percent right"
        for row in rows
        if row.overall.accuracy
    )
    return "; ".join(each)


def stored_card(run: Stored | None, subject: str) -> str:
    """The stored full run beside the live one."""
    if run is None:
        return card("The stored full run", views.hint(messages.no_stored_run(subject)))
    said = f"{in_words(run.rows)} {messages.stored_run(run.day)}"
    details = f"<details><summary>Its table</summary>{table(run.rows, 'The stored full run')}</details>"
    command = f"<details><summary>Its command</summary><code>{escape(run.command)}</code></details>"
    return card(
        f"The stored full run: {run.rows[0].model}, {subject}",
        plot(run.rows, describe(run.rows)) + f'<p class="card-note">{escape(said)}</p>{details}{command}',
    )


def paper_card() -> str:
    """The paper's own figures, labelled as theirs."""
    rows = "".join(
        f'<tr><th scope="row">{one.model}</th><td>{one.reduction}</td><td>{one.kept}</td>'
        f"<td>{one.trained or '–'}</td></tr>"
        for one in PAPER
    )
    whole = scrolled(("Model", "Tokens saved", "Accuracy kept", "Trained"), rows, "Figures of the paper")
    return card("The DUET paper's own figures, not ours", f'{whole}<p class="card-note">{messages.PAPERS_OWN}</p>')
