"""Small pieces of HTML: the answers, the speed sentence, the figures, the notices. Every text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from app.charts import Cell, Row
from app.compare import Word

_CARET = '<span class="caret" aria-hidden="true"></span>'


def answer(title: str, tokens: str, body: str, verdict: str = "") -> str:
    """One answer's card: whose it is, how many tokens it read, its words, its verdict."""
    head = f'<span>{escape(title)}</span><span class="answer-tokens">{escape(tokens)}</span>'
    text = f'<div class="answer-head">{head}</div><div class="answer-text">{body}</div>'
    return f'<div class="answer-card">{text}{verdict}</div>'


def asked(question: str) -> str:
    """The question that the result belongs to."""
    return f'<p class="asked">{escape(question)}</p>'


def streaming(text: str, done: bool) -> str:
    """The words so far, with a caret while more may come."""
    return escape(text) + ("" if done else _CARET)


def stilled(card: str) -> str:
    """A card without the caret, for a run that was stopped."""
    return card.replace(_CARET, "")


def marked(words: Iterable[Word]) -> str:
    """The words of an answer, those that differ from the other answer marked."""
    texts = [f"<mark>{escape(word.text)}</mark>" if word.differs else escape(word.text) for word in words]
    return " ".join(texts) or '<span class="empty">no words</span>'


def verdict(right: bool | None, truth: str) -> str:
    """Right or wrong beside the true answer; nothing where the truth is not known."""
    if right is None:
        return ""
    word, glyph, kind = ("right", "✓", "right") if right else ("wrong", "✗", "wrong")
    said = "" if right else f'<span class="truth">the truth: {escape(truth)}</span>'
    return f'<div class="verdict {kind}"><span class="badge">{glyph} {word}</span>{said}</div>'


def speed(sentence: str, detail: str = "") -> str:
    """The honest sentence in large type, and where it comes from."""
    small = f'<p class="speed-detail">{escape(detail)}</p>' if detail else ""
    return f'<p class="speed-sentence">{escape(sentence)}</p>{small}'


def status(text: str) -> str:
    """What the page is busy with."""
    return f'<p class="speed-status" role="status"><span class="pulse" aria-hidden="true"></span>{escape(text)}</p>'


def progress(text: str, done: int, total: int) -> str:
    """What the page is busy with, and how far it is."""
    bar = f'<progress value="{done}" max="{total}" aria-label="{done} of {total} answers"></progress>'
    return status(text) + bar


def notice(text: str) -> str:
    """A sentence that needs the visitor's attention."""
    return f'<p class="notice" role="alert">{escape(text)}</p>' if text else ""


def hint(text: str) -> str:
    """A sentence that is good to know."""
    return f'<p class="hint">{escape(text)}</p>' if text else ""


def tokens_line(words: str, custom: bool = False) -> str:
    """The slider's meaning in words."""
    source = " (the exact numbers below, not the slider)" if custom else ""
    return f'<p class="tokens-line"><strong>{escape(words)}</strong>{source}</p>'


def figures(rows: Iterable[Row], caption: str) -> str:
    """The measured figures as a table."""
    head = "<td></td>" + "".join(f'<th scope="col">{name}</th>' for name in ("All tokens", "Reduced", "Ratio"))
    body = "".join(_figure(row) for row in rows)
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="figures-scroll" tabindex="0" role="region" aria-label="Measured figures">{table}</div>'


def _figure(row: Row) -> str:
    cells = "".join(_cell(cell) for cell in (row.full, row.reduced, row.ratio))
    return f'<tr><th scope="row">{escape(row.name)}<small>{escape(row.hint)}</small></th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    spread = f" <small>{escape(cell.spread)}</small>" if cell.spread else ""
    return f"<td>{escape(cell.value)}{spread}</td>"


def frame_strip(frames: Iterable[tuple[str, float]]) -> str:
    """The frames that the model will look at, from (data URL, second) pairs."""
    shown = [
        f'<li><img src="{url}" alt="Frame {number}"><span>{time:.1f} s</span></li>'
        for number, (url, time) in enumerate(frames, 1)
    ]
    return f'<ol class="frame-strip" tabindex="0" aria-label="{len(shown)} frames">{"".join(shown)}</ol>'


def overlay_clip(url: str, poster: str, caption: str) -> str:
    """The overlay clip with what it shows, to play and to keep."""
    about = f'poster="{poster}" aria-label="{escape(caption)}"'
    video = f'<video controls loop muted playsinline src="{url}" {about}></video>'
    keep = f'<a download="duet-lens-overlay.webm" href="{url}">Download the overlay clip (WebM)</a>'
    return f'<figure class="overlay-clip">{video}<figcaption>{escape(caption)} {keep}</figcaption></figure>'


def example_buttons(pictures: Iterable[tuple[str, str]], prefix: str = "example") -> str:
    """The clickable examples, from (name, data URL) pairs; their ids are the prefix and a number from 1."""
    buttons = [
        f'<button type="button" id="{prefix}-{number}" data-number="{number - 1}" title="{escape(name)}">'
        f'<img src="{url}" alt="Example {number}: {escape(name)}"></button>'
        for number, (name, url) in enumerate(pictures, 1)
    ]
    return f'<div class="example-row">{"".join(buttons)}</div>'


def paper_points(reductions: Iterable[int], most: int) -> str:
    """The paper's own reductions as marks under the slider."""
    marks = "".join(
        f'<button type="button" data-number="{value}" style="left:{100 * value / most:.2f}%"'
        f' aria-label="Set the reduction to {value} percent, a setting of the paper">{value}</button>'
        for value in reductions
    )
    return f'<div class="paper-points"><span>in the paper</span>{marks}</div>'
