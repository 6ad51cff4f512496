"""The run that the page shows: what was asked, what came of it, and how to come by its picture or clip again."""

from __future__ import annotations

from dataclasses import dataclass

from app.clips import RULES
from app.gallery import Example, Gallery
from app.given import CLIP, PICTURE, Given
from app.plans import exact_of
from duet_core.bench.speed import PlanSpeed
from duet_core.plan import Plan
from duet_core.scenes.actors import FRAMES
from duet_core.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class LastRun:
    """One run with both answers. `example`: whose picture or clip it is about, where it is one of the gallery's.

    Small enough to be kept for every visitor: of an upload it holds the path alone. `speeds` where they were measured.
    """

    given: Given
    example: str | None
    full: str
    reduced: str
    trace: Trace
    speeds: tuple[PlanSpeed, PlanSpeed] | None = None
    recorded: bool = False

    @property
    def question(self) -> str:
        """The question as it was asked."""
        return self.given.question.strip()


def recorded_run(example: Example, gallery: Gallery, model: str) -> LastRun:
    """Return the recorded run of an example."""
    duel = example.duel
    given = given_of(example, gallery, model)
    return LastRun(given, gallery.label(example), duel.full, duel.reduced, duel.trace, duel.speeds, recorded=True)


def given_of(example: Example, gallery: Gallery, model: str) -> Given:
    """Return what a visitor would set for an example's recorded run, without its file."""
    exact = exact_of(Plan())
    return Given(
        medium=CLIP if gallery.is_clip(example) else PICTURE,
        picture=None,
        clip=None,
        count=FRAMES,
        rule=next(iter(RULES)),
        times="",
        question=example.duel.question,
        reduction=example.reduction,
        method=example.method,
        model=model,
        custom=False,
        dominant=exact.dominant,
        contextual=exact.contextual,
        cluster_width=exact.cluster_width,
        layers=exact.layers,
        keep=exact.keep,
        queries=exact.queries,
        new_tokens=64,
        brush="",
    )
