"""What was just encoded and just answered with all tokens: a second question or another reduction need not redo it."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass, field

from app.film import Subject, key_of
from app.job import Event
from duet_core.engine import Encoded, Model

_PICTURES, _ANSWERS = 4, 8  # kept at most: of one model, and of one picture or clip


@dataclass(slots=True)
class Kept:
    """A picture or clip after the encoder, its runs, and its answers with all tokens by question and longest answer."""

    encoded: Encoded
    runs: int = 0
    answers: OrderedDict[tuple[str, int], tuple[Event, ...]] = field(default_factory=OrderedDict)

    def keep(self, asked: tuple[str, int], told: tuple[Event, ...]) -> None:
        """Remember all that was reported of a whole answer; the oldest one gives way."""
        self.answers[asked] = told
        while len(self.answers) > _ANSWERS:
            self.answers.popitem(last=False)


class Recent:
    """The last few pictures and clips of the model that ran last; its user lets one run in at a time.

    Found by a fingerprint of their pixels, so that nobody gets what is not of the very picture that they sent. Decoding
    is greedy: the same question about it has the same answer.
    """

    def __init__(self) -> None:
        self._weights: weakref.ref | None = None  # a model that is closed must be free to go
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def take(self, model: Model, subject: Subject) -> Kept:
        """Return the encoded subject, and encode it first if it is not here; the one used least recently gives way."""
        if self._weights is None or self._weights() is not model.backbone.model:
            self._kept.clear()
            self._weights = weakref.ref(model.backbone.model)
        key = key_of(subject)
        if key not in self._kept:
            self._kept[key] = Kept(model.encode(subject))
        self._kept.move_to_end(key)
        self._kept[key].runs += 1
        while len(self._kept) > _PICTURES:
            self._kept.popitem(last=False)
        return self._kept[key]
