"""What is asked about a clip: questions with exact answers, read off its actors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duet_core.scenes.actors import Actor, ClipLayout
from duet_core.scenes.question import Question, ask
from duet_core.scenes.questions import draw_from
from duet_core.scenes.things import COUNTS, NAMES

NOTHING = "nothing"
_ABOUT_RESTING = 0.4


def appearing(clip: ClipLayout) -> list[Actor]:
    """Those that are not there at first but in the end."""
    return [actor for actor in clip.actors if not actor.seen[0] and actor.seen[-1]]


def disappearing(clip: ClipLayout) -> list[Actor]:
    """Those that are there at first but not in the end."""
    return [actor for actor in clip.actors if actor.seen[0] and not actor.seen[-1]]


def parading(clip: ClipLayout) -> list[Actor]:
    """Those that are there for a while, in the order of their coming."""
    passing = [actor for actor in clip.actors if not all(actor.seen)]
    return sorted(passing, key=lambda actor: actor.seen.index(True))


def _only(actors: list[Actor]) -> str:
    return actors[0].name if actors else NOTHING


def _what_moves(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    yield ask("what_moves", _only([actor for actor in clip.actors if actor.way]))


def _which_way(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    still = [actor for actor in clip.actors if all(actor.seen) and not actor.way]
    for actor in clip.actors:
        if actor.way:
            # What rests is asked about as well, but less often.
            yield from [ask("which_way", actor.way, name=actor.name)] * (2 * len(still) + 1)
    if rng.random() < _ABOUT_RESTING:
        yield from (ask("which_way", "nowhere", name=actor.name) for actor in still)


def _change(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    if clip.script == "change":
        yield ask("what_appears", _only(appearing(clip)))
        yield ask("what_disappears", _only(disappearing(clip)))


def _order(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    if clip.script == "parade":
        yield ask("first", parading(clip)[0].name)
        yield ask("last", parading(clip)[-1].name)


def _times(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    if clip.script == "flash":
        flashing = parading(clip)[0]
        yield ask("times", COUNTS[flashing.appearances], name=flashing.name)


def _seen(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    names = [actor.name for actor in clip.actors]
    missing = [name for name in NAMES if name not in names]
    yield ask("seen", "yes", name=str(rng.choice(names)))
    yield ask("seen", "no", name=str(rng.choice(missing)))


def _total(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    yield ask("total", COUNTS[len(clip.actors)])


def _story(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    yield ask("story", tell(clip))


def tell(clip: ClipLayout) -> str:
    """What happens, in one short sentence."""
    if clip.script == "parade":
        return ", then ".join(f"the {actor.name}" for actor in parading(clip))
    if clip.script == "flash":
        flashing = parading(clip)[0]
        many = flashing.appearances
        return f"the {flashing.name} flashes {COUNTS[many]} time{'s' * (many > 1)}"
    parts = [f"the {actor.name} moves {actor.way}" for actor in clip.actors if actor.way]
    parts += [f"the {actor.name} appears" for actor in appearing(clip)]
    parts += [f"the {actor.name} disappears" for actor in disappearing(clip)]
    return " and ".join(parts) or "nothing changes"


def _background(clip: ClipLayout, rng: np.random.Generator) -> Iterator[Question]:
    yield ask("background", clip.background)


CLIP_KINDS = (_what_moves, _which_way, _change, _order, _times, _seen, _total, _story, _background)


def draw_clip_questions(clip: ClipLayout, rng: np.random.Generator, most: int) -> tuple[Question, ...]:
    """At most `most` different questions of each kind that applies, in a fixed order of kinds."""
    return draw_from(CLIP_KINDS, clip, rng, most)
