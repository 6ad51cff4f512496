"""How it works: the two stages in five steps, each with its picture of the run on the page. All text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from app import walk_texts
from app.cards import legend
from app.describe import step_sentence
from app.fates import BORDER, DOMINANT, REST, Look, looks
from app.film import Subject, frames_of
from app.handlers import Desk
from app.lastrun import LastRun
from app.patchmap import ASSETS
from app.render import data_url, marks_of, ruled, sheet
from app.steps import tokens_left
from duet_core.errors import DuetError
from duet_core.trace import Fate, Trace

SCRIPT = (ASSETS / "walk.js").read_text(encoding="utf-8")
WALK = "How it works"
"""The tab's name."""
_WIDTH = 520
_LAST = 5
"""Steps of the walk."""


def walkable(trace: Trace) -> bool:
    """Whether a run shows both of DUET's stages."""
    return trace.method == "duet" and trace.entering < trace.full and len(trace.steps) > 2


def walk(subject: Subject, trace: Trace, question: str, about: str) -> str:
    """Return the five steps of a run that is `walkable`, to be shown one at a time by assets/walk.js."""
    pictures = _pictures(subject, trace)
    texts = _texts(trace, question)
    steps = "".join(
        _step(number, title, paragraphs, picture)
        for number, ((title, paragraphs), picture) in enumerate(zip(texts, pictures, strict=True), 1)
    )
    dots = "".join(
        f'<button type="button" class="walk-dot" data-step="{number}" aria-label="Step {number}: {escape(title)}">'
        f"{number}</button>"
        for number, (title, _) in enumerate(texts, 1)
    )
    back, on = (
        f'<button type="button" class="walk-{name}">{label}</button>'
        for name, label in (("back", "← Back"), ("on", "Next →"))
    )
    bar = f'<div class="walk-bar">{back}<div class="walk-dots">{dots}</div>{on}</div>'
    head = f'<p class="hint">{escape(about)}</p>'
    return (
        f'{head}<section class="walk" tabindex="0" role="group" aria-roledescription="carousel"'
        f' aria-label="How it works, in {_LAST} steps; arrow keys move">{bar}{steps}</section>'
    )


def _step(number: int, title: str, paragraphs: Sequence[str], picture: str) -> str:
    said = "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    shown = "" if number == 1 else " hidden"
    text = f'<div class="walk-text" aria-live="polite"><h3><span>{number}</span> {escape(title)}</h3>{said}</div>'
    whole = f'<div class="walk-picture">{picture}</div>{text}'
    return f'<article class="walk-step" data-step="{number}"{shown}>{whole}</article>'


def _texts(trace: Trace, question: str) -> list[tuple[str, tuple[str, ...]]]:
    """The five titles and paragraphs, with the numbers of this run."""
    words = ", ".join(word for word in trace.words if word.isalnum())
    end = (trace.drops[-1].layer, tokens_left(trace, len(trace.steps) - 1), trace.average_tokens, trace.full)
    merged = *(_count(trace, fate) for fate in (Fate.ANCHOR, Fate.MERGED, Fate.DROPPED)), trace.entering, trace.full
    return [
        ("A picture becomes tokens", walk_texts.tokens(trace.full, trace.grid.pictures)),
        ("Stage 1 keeps what stands out", walk_texts.dominant(_count(trace, Fate.DOMINANT))),
        ("Stage 1 merges some of the rest", walk_texts.merged(*merged)),
        ("Stage 2 listens to the question", (walk_texts.words(words, question), step_sentence(trace, 2))),
        ("Fewer still, then the answer", walk_texts.end(*end)),
    ]


def _count(trace: Trace, fate: Fate) -> int:
    return int((trace.fate == fate).sum())


def _pictures(subject: Subject, trace: Trace) -> list[str]:
    """The five pictures, four of them with the legend of what they show."""
    photos, steps = frames_of(subject), len(trace.steps)
    middle = len(photos) // 2
    first = _image(ruled(photos[middle], trace.grid, _WIDTH, middle), walk_texts.PLAIN)
    dominant = [mark if mark in (DOMINANT, BORDER) else REST for mark in marks_of(trace, 1)]
    shown = (dominant, *(marks_of(trace, step) for step in (1, 2, steps - 1)))
    return [first, *(_marked(subject, trace, marks) for marks in shown)]


def _marked(subject: Subject, trace: Trace, marks: Sequence[Look]) -> str:
    photos, counted = frames_of(subject), Counter(marks)
    ordered = [*looks([look.fate for look in marks if look != REST]), REST]
    counts = {look: counted[look] for look in ordered if counted[look]}
    drawn = sheet(photos * (trace.grid.pictures // len(photos)), trace.grid, marks, _WIDTH)
    alt = "; ".join(f"{look.name}: {counts[look]:,}" for look in counts)
    return _image(drawn, alt) + legend(counts)


def _image(picture: Image.Image, alt: str) -> str:
    return f'<img src="{data_url(picture)}" alt="{escape(alt)}">'


@dataclass(frozen=True, slots=True)
class WalkDesk:
    """Draws the walk of the run on the page."""

    desk: Desk

    def draw(self, run: LastRun | None) -> str:
        """Return the walk of a run, or of the first example where there is none or it does not show both stages."""
        if run and walkable(run.trace) and (subject := self._subject(run)):
            return walk(subject, run.trace, run.question, walk_texts.THIS_RUN)
        first = self.desk.gallery.examples[0]
        return walk(first.subject, first.duel.trace, first.duel.question, walk_texts.OF_EXAMPLE)

    def redraw(self, run: LastRun | None, opened: str) -> str:
        """Return the walk of a new run where its tab is open; nothing elsewhere, since opening the tab draws it."""
        return self.draw(run) if opened == WALK else ""

    def _subject(self, run: LastRun) -> Subject | None:
        """The picture or clip of a run; None where it was an upload that is gone by now."""
        try:
            return self.desk.subject_of(run)
        except DuetError:
            return None
