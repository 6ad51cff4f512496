"""A link that restores an example and the settings, never an upload: settings -> query, and back with every check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, get_args
from urllib.parse import urlencode

from app import messages
from app.checks import MOST_REDUCTION, check_method, check_model, check_question
from app.clips import RULES
from app.gallery import Example, Gallery
from app.given import CLIP, Given
from app.lastrun import given_of
from app.plans import EXACT_FIELDS, Exact, exact_plan
from app.settings import Settings
from duet_core.clips import FEWEST
from duet_core.errors import DuetError
from duet_core.plan import Queries

T = TypeVar("T")
_LONGEST = 200  # characters of a value that is no question: what is longer was not made here
_MOST_COUNT = 1_000_000


@dataclass(frozen=True, slots=True)
class Restored:
    """What a link asks for, checked: an example (None: it was an upload), the settings, and what had to be refused."""

    example: Example | None
    given: Given
    refused: tuple[str, ...] = ()


def query_of(given: Given, example: str | None) -> str:
    """Return the query that restores these settings, about an example of the gallery or an upload that stays here."""
    asked: dict[str, Any] = {"example": example} if example else {"upload": given.medium}
    asked |= {"question": given.question.strip(), "reduction": f"{given.reduction:g}"}
    asked |= {"method": given.method, "model": given.model, "longest": int(given.new_tokens or 1)}
    if given.medium == CLIP:
        asked |= {"frames": int(given.count), "choose": RULES.get(given.rule, ""), "at": given.times or ""}
    if given.custom:
        asked |= {name: getattr(given, name) for name in EXACT_FIELDS}
    return "?" + urlencode({name: value for name, value in asked.items() if value not in (None, "")})


def restore(query: Mapping[str, str], settings: Settings, gallery: Gallery, model: str) -> Restored | None:
    """Return what a page's query asks for; None where it asks for nothing of ours.

    `model` is the one that answers about the examples here. What cannot be is left at its default, and said.
    """
    if not {"example", "upload"} & set(query):
        return None
    upload = "example" not in query
    example = None if upload else gallery.labelled(query["example"][:_LONGEST])
    refused = [] if upload or example else [messages.no_such_example(query["example"][:40])]
    default = given_of(example or gallery.examples[0], gallery, model)
    medium = query["upload"] if upload and query["upload"] in (CLIP,) else default.medium
    reader = _Reader(query, refused)
    given = _read(reader, replace(default, medium=medium), settings)
    return Restored(example if upload else example or gallery.examples[0], given, tuple(refused))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads values of a query; one that cannot be is refused in a sentence, and its default stays."""

    query: Mapping[str, str]
    refused: list[str]

    def value(self, name: str, default: T, read: Callable[[str], T], longest: int = _LONGEST) -> T:
        """Return a value of the query, or its default."""
        text = self.query.get(name)
        if text is None:
            return default
        try:
            if len(text) > longest:
                raise ValueError
            return read(text)
        except DuetError as error:
            self.refused.append(str(error))
        except (ValueError, OverflowError):
            self.refused.append(messages.bad_in_link(name, text[:40]))
        return default

    def clamped(self, name: str, default: float, least: float, most: float) -> float:
        """Return a number of the query, within its range."""
        return self.value(name, default, lambda text: min(max(_finite(text), least), most))


def _finite(text: str) -> float:
    value = float(text)
    if value != value:
        raise ValueError
    return value


def _read(reader: _Reader, default: Given, settings: Settings) -> Given:
    read = replace(
        default,
        question=reader.value(
            "question", default.question, lambda text: check_question(text, settings), 10 * settings.question_chars
        ),
        reduction=reader.clamped("reduction", default.reduction, 0, MOST_REDUCTION),
        method=reader.value("method", default.method, check_method),
        model=reader.value("model", default.model, lambda text: check_model(text, settings)),
        new_tokens=int(reader.clamped("longest", default.new_tokens, 1, settings.new_tokens)),
        count=int(reader.clamped("frames", default.count, FEWEST, settings.clip_frames)),
        rule=reader.value("choose", default.rule, _rule),
        times=reader.value("at", default.times, str),
    )
    return _with_exact(reader, read) if set(EXACT_FIELDS) & set(reader.query) else read


def _rule(text: str) -> str:
    return next((label for label, rule in RULES.items() if rule == text), None) or _fail()


def _fail() -> str:
    raise ValueError


def _with_exact(reader: _Reader, given: Given) -> Given:
    """Take over the exact numbers, all of them or none."""
    before = len(reader.refused)
    exact = Exact(
        dominant=_count(reader, "dominant", None),
        contextual=_count(reader, "contextual", 0),
        cluster_width=_count(reader, "cluster_width", 4),
        layers=reader.value("layers", "", str),
        keep=reader.value("keep", "", str),
        queries=reader.value("queries", "salient", lambda text: text if text in get_args(Queries) else _fail()),
    )
    try:
        exact_plan(given.method, exact)
    except DuetError as error:
        reader.refused.append(str(error))
    if len(reader.refused) > before:
        return given
    return replace(given, custom=True, **asdict(exact))


def _count(reader: _Reader, name: str, default: int | None) -> int | None:
    return reader.value(name, default, lambda text: int(min(max(_finite(text), 0), _MOST_COUNT)))
