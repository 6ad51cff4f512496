"""A run as one HTML page that needs nothing from elsewhere. All text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app import charts, compare, screens, views
from app.describe import describe
from app.duel import Duel
from app.lastrun import LastRun
from app.render import url_of

_STYLE = """
:root { color-scheme: light dark; --line: #cfcbc1; --soft: #56534d; }
@media (prefers-color-scheme: dark) { :root { --line: #33363a; --soft: #9d998f; } }
body { max-width: 860px; margin: 0 auto; padding: 24px 18px 60px; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; } h2 { margin-top: 36px; font-size: 19px; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 14px; }
.answer-card { padding: 12px 16px; border: 1px solid var(--line); border-radius: 12px; }
.answer-head { display: flex; justify-content: space-between; gap: 10px; font-size: 13px; color: var(--soft); }
.answer-text { font-size: 21px; } mark { background: #e69f0055; color: inherit; }
.speed-sentence { font-size: 21px; font-weight: 700; }
figure { margin: 22px 0; } img { max-width: 100%; border-radius: 8px; }
figcaption, caption, small { font-size: 13px; color: var(--soft); } caption { caption-side: bottom; text-align: left; }
.figures-scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 6px 12px; border-bottom: 1px solid var(--line); text-align: right; }
th[scope=row] { text-align: left; } td small, th small { display: block; font-weight: 400; }
pre { padding: 12px; border: 1px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
"""
_RULE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report(run: LastRun, maps: Sequence[tuple[str, bytes]], command: str) -> str:
    """Return the page; `maps` are what each step shows, and its picture as PNG."""
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>DUET Lens: {escape(run.question)}</title>'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy"'
        f' content="{_RULE}"><style>{_STYLE}</style></head>'
    )
    asked = f"<h1>“{escape(run.question)}”</h1><p>{escape(_about(run))}</p>"
    shown = "".join(_figure(title, content) for title, content in maps)
    body = f"{asked}{_answers(run)}{_figures(run)}<h2>Step by step</h2><p>{escape(describe(run.trace))}</p>{shown}"
    return f"{head}<body>{body}<h2>Repeat it</h2><pre>{escape(command)}</pre></body></html>\n"


def _about(run: LastRun) -> str:
    asked = f"{run.given.model}, {run.given.method}"
    return f"{asked}, {screens.reduced_count(run.trace.average_tokens, run.trace.full)}."


def _answers(run: LastRun) -> str:
    full, reduced = compare.differing_words(run.full, run.reduced)
    counts = screens.all_count(run.trace.full), screens.reduced_count(run.trace.average_tokens, run.trace.full)
    cards = (
        views.answer(screens.FULL_TITLE, counts[0], views.marked(full)),
        views.answer(screens.REDUCED_TITLE, counts[1], views.marked(reduced)),
    )
    return f'<div class="answers">{"".join(cards)}</div>'


def _figures(run: LastRun) -> str:
    """What was measured; that nothing was, where it was not."""
    if run.speeds is None:
        return "<p>This run was not measured.</p>"
    duel = Duel(run.question, run.full, run.reduced, run.trace, run.speeds)
    said = compare.speed_sentence(*run.speeds, compare.agree(run.full, run.reduced))
    return views.speed(said) + views.figures(charts.rows(duel), charts.runs_in_words(duel))


def _figure(title: str, content: bytes) -> str:
    return (
        f'<figure><img src="{url_of(content)}" alt="{escape(title)}"><figcaption>{escape(title)}</figcaption></figure>'
    )
