"""What a visitor set on the page, field by field, as it arrives."""

from __future__ import annotations

from dataclasses import dataclass

from app.plans import EXACT_FIELDS, Exact

PICTURE, CLIP = "picture", "clip"


@dataclass(frozen=True, slots=True)
class Given:
    """The values of the page's inputs, unchecked, in the order of `app.inputs.Inputs`.

    `medium`: which tab is open, PICTURE or CLIP. `picture`, `clip`: paths of uploads. `count`, `rule`, `times`: the
    frames of a clip. `custom`: the six plan fields count instead of the slider. `brush`: what is painted on the
    map (`app.painted`).
    """

    medium: str
    picture: str | None
    clip: str | None
    count: float
    rule: str
    times: str
    question: str
    reduction: float
    method: str
    model: str
    custom: bool
    dominant: float | None
    contextual: float | None
    cluster_width: float | None
    layers: str
    keep: str
    queries: str
    new_tokens: float
    brush: str

    @property
    def exact(self) -> Exact:
        """The six plan fields."""
        return Exact(**{name: getattr(self, name) for name in EXACT_FIELDS})
