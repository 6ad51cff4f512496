"""A question with its only right answer, in canonical words, and the judge of an answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from duet_core.scenes.things import PLURAL

UNKNOWN: Final = "I do not know"
"""The answer to what the model cannot know: a question outside its world, or a picture that is no scene."""

# Each kind of question: its family, and its canonical wording.
KINDS: Final = {
    "existence": ("existence", "Is there {a}?"),
    "what_at": ("location", "What is in the {place}?"),
    "where": ("location", "Where is the {name}?"),
    "count": ("count", "How many {names} are there?"),
    "is_beyond": ("relation", "Is the {one} {side} the {other}?"),
    "what_beyond": ("relation", "What is {side} the {other}?"),
    "colour": ("colour", "What colour is the {name}?"),
    "background": ("background", "What colour is the background?"),
    "number": ("number", "What number is on the card?"),
    "caption": ("caption", "What is in the picture?"),
    "what_moves": ("motion", "What moves?"),
    "which_way": ("direction", "Which way does the {name} move?"),
    "what_appears": ("change", "What appears?"),
    "what_disappears": ("change", "What disappears?"),
    "first": ("order", "What comes first?"),
    "last": ("order", "What comes last?"),
    "times": ("times", "How many times does the {name} flash?"),
    "seen": ("presence", "Is there {a} in the clip?"),
    "total": ("total", "How many things are in the clip?"),
    "story": ("story", "What happens in the clip?"),
}
FAMILIES: Final = ("existence", "location", "count", "relation", "colour", "background", "number", "caption")
CLIP_FAMILIES: Final = ("motion", "direction", "change", "order", "times", "presence", "total", "story")
REFUSALS: Final = "unknown"
"""The family of questions outside the world, and of any question about a picture that is no scene."""

Slots = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question of one family and its only right answer; `kind` and `slots` say how it could be worded otherwise."""

    family: str
    text: str
    answer: str
    kind: str = ""
    slots: Slots = ()

    def __post_init__(self) -> None:
        """Take slots as JSON gives them, too."""
        object.__setattr__(self, "slots", tuple((slot, value) for slot, value in self.slots))


def ask(kind: str, answer: str, **slots: str) -> Question:
    """Return the canonical question of a kind, with names of things and places in its slots."""
    family, wording = KINDS[kind]
    return Question(family, wording.format(**forms(slots)), answer, kind, tuple(slots.items()))


def forms(slots: Mapping[str, str]) -> dict[str, str]:
    """The slots, and beside a `name` also its plural and the name with its article."""
    name = slots.get("name")
    return dict(slots) if name is None else {"names": PLURAL[name], "a": with_article(name), **slots}


def with_article(name: str) -> str:
    """The name with its indefinite article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def judge(question: Question, answer: str) -> bool:
    """Whether an answer is right: case, spaces and a final dot do not matter.

    A caption is right when it names exactly the objects, each as often as it is there, in any order.
    """
    if question.family == "caption" and question.answer != UNKNOWN:
        return _named(question.answer) == _named(answer)
    return _plain(question.answer) == _plain(answer)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".").rstrip().lower()


def _named(text: str) -> Counter[str]:
    parts = re.split(r",| and ", _plain(text))
    return Counter(re.sub(r"^(an?|the) ", "", part.strip()) for part in parts)
