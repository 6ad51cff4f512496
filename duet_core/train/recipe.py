"""The numbers of duet-mini's training: which pictures, which phases, which sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from duet_core.errors import ModelError
from duet_core.train.lessons import LanguagePhase
from duet_core.train.model import Sizes
from duet_core.train.pictures import PictureSet
from duet_core.train.tower import TowerPhase

_WRITTEN = (32, 40)
_WHOLE = ("scenes", "dense", "scenes", "frames", "scenes", "dense", "scenes", "frames", "scenes", "dense", "scenes")

_DUET = LanguagePhase(
    "duet",
    3000,
    24,
    6e-4,
    1e-5,
    written=0.12,
    written_clips=0.85,
    written_batch=_WRITTEN,
    clips=0.76,
    clip_batch=12,
    clip_budgets=(60, 576),
    tokens=9300,
    reduced=0.85,
    reduced_clips=0.33,
    stages=("both", "both", "1"),
    questions=14,
    apart=5,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training.

    `written` are the scenes, pictures that are no scene, and clips that the language model only reads about.
    `tower_sets` are painted for the tower, by the names that its phases use; the views of `scenes`, `foreign` and
    `clips` teach the language model; `check_scenes` and `check_clips` are for the exams.
    """

    sizes: Sizes
    tower_sets: dict[str, PictureSet]
    written: tuple[PictureSet, PictureSet, PictureSet]
    scenes: PictureSet
    foreign: PictureSet
    clips: PictureSet
    check_scenes: PictureSet
    check_clips: PictureSet
    tower: tuple[TowerPhase, ...]
    speak: tuple[LanguagePhase, ...]
    align: LanguagePhase
    answer: tuple[LanguagePhase, ...]
    duet: tuple[LanguagePhase, ...]
    check_every: int

    def finishing(self, name: str | None = None) -> Sequence[LanguagePhase]:
        """The phases of the last stage, or the one of this name; a ModelError lists them where there is none."""
        if name is None:
            return self.duet
        if not (found := [phase for phase in self.duet if phase.name == name]):
            names = ", ".join(phase.name for phase in self.duet)
            raise ModelError(f"The last stage has no phase {name!r}; choose from {names}.")
        return found


DUET_MINI = Recipe(
    sizes=Sizes(),
    tower_sets={
        "dense": PictureSet("dense", 0, 8000, least=4),
        "scenes": PictureSet("scenes", 1, 12000),
        "foreign": PictureSet("foreign", 3, 1200, "foreign"),
        "frames": PictureSet("frames", 4, 400, "clip"),
    },
    written=(
        PictureSet("written-scenes", 2, 30000),
        PictureSet("written-foreign", 6, 50, "foreign"),
        PictureSet("written-clips", 5, 15000, "clip"),
    ),
    scenes=PictureSet("scene-views", 1, 7000),
    foreign=PictureSet("foreign-views", 3, 600, "foreign"),
    clips=PictureSet("clip-views", 4, 7700, "clip"),
    check_scenes=PictureSet("check-scenes", 9, 200),
    check_clips=PictureSet("check-clips", 8, 60, "clip"),
    tower=(
        TowerPhase("windows", 2400, 48, 2e-3, 6e-4, window=12, sets=("dense", "scenes")),
        TowerPhase("whole", 1200, 16, 1.2e-3, 1e-5, sets=(*_WHOLE, "foreign")),
    ),
    speak=(LanguagePhase("speak", 550, 32, 3e-3, 1e-3, written=1.0, questions=12),),
    align=LanguagePhase("align", 220, 12, 4e-3, 4e-4),
    answer=(LanguagePhase("answer", 900, 12, 1.5e-3, 1e-4),),
    duet=(
        LanguagePhase(
            "clips", 800, 40, 1.5e-3, 6e-4, written=1.0, written_clips=0.9, written_batch=_WRITTEN, questions=14
        ),
        replace(
            _DUET,
            name="few",
            steps=500,
            lr=8e-4,
            lr_end=5e-4,
            written=0.35,
            written_clips=0.8,
            clips=0.85,
            clip_batch=16,
            clip_budgets=(24, 110),
            reduced_clips=0.9,
            stages=("1", "1", "both"),
        ),
        _DUET,
        replace(
            _DUET,
            name="thinned",
            steps=4300,
            lr=2e-4,
            lr_end=4e-6,
            written=0.3,
            written_clips=0.6,
            clips=0.75,
            reduced_clips=0.0,
            outside=0.065,
            readings=False,
            thinned=0.3,
            blind=0.9,
            halved=0.6,
        ),
        replace(
            _DUET,
            name="half",
            steps=2800,
            lr=2.5e-4,
            lr_end=4e-6,
            written=0.25,
            written_clips=0.6,
            clips=0.7,
            clip_budgets=(255, 288),
            tokens=10500,
            reduced_clips=0.85,
            stages=("both",),
            apart=2,
            outside=0.065,
            readings=False,
            thinned=0.15,
            blind=0.9,
            halved=0.8,
        ),
    ),
    check_every=200,
)


def _few(count: int, clips: int) -> dict[str, Any]:
    """The sets of a recipe that only shows that it works."""
    sets = {name: PictureSet(name, 0, count, least=1) for name in ("dense", "scenes")}
    foreign = PictureSet("foreign", 3, count // 2, "foreign")
    return {
        "tower_sets": sets | {"frames": PictureSet("frames", 4, clips, "clip"), "foreign": foreign},
        "written": (
            PictureSet("written-scenes", 2, 50 * count),
            PictureSet("written-foreign", 6, 2, "foreign"),
            PictureSet("written-clips", 5, 50 * clips, "clip"),
        ),
        "scenes": PictureSet("scene-views", 1, count),
        "foreign": PictureSet("foreign-views", 3, count // 2, "foreign"),
        "clips": PictureSet("clip-views", 4, clips, "clip"),
        "check_scenes": PictureSet("check-scenes", 9, count // 2),
        "check_clips": PictureSet("check-clips", 8, 1, "clip"),
    }


SHORT = Recipe(
    sizes=Sizes(),
    **_few(48, 6),
    tower=(TowerPhase("windows", 40, 16, 2e-3, 6e-4, window=8, sets=("dense", "frames", "foreign")),),
    speak=(LanguagePhase("speak", 100, 16, 3e-3, 1.5e-3, written=1.0, written_batch=(16, 6), questions=8),),
    align=LanguagePhase("align", 20, 8, 4e-3, 1e-3),
    answer=(LanguagePhase("answer", 6, 4, 1e-3, 1e-4, questions=6),),
    duet=(LanguagePhase("duet", 10, 8, 1e-3, 1e-4, clips=0.3, clip_batch=4, reduced=0.8, budgets=(40, 120)),),
    check_every=100,
)
"""The whole recipe at full size in two or three minutes, for the tests: it must come down to a stated loss."""

TINY = Recipe(
    sizes=Sizes(32, 2, 2, 64, 64, 4, 64),
    **_few(4, 1),
    tower=(
        TowerPhase("windows", 2, 2, 1e-3, 1e-3, window=6, sets=("dense", "frames")),
        TowerPhase("whole", 1, 2, 1e-3, 1e-3, sets=("foreign",)),
    ),
    speak=(LanguagePhase("speak", 2, 2, 1e-3, 1e-3, written=1.0, written_batch=(2, 1), questions=3),),
    align=LanguagePhase("align", 1, 2, 1e-3, 1e-3),
    answer=(LanguagePhase("answer", 1, 2, 1e-3, 1e-3, questions=3),),
    duet=(
        LanguagePhase("duet", 3, 2, 1e-3, 1e-3, clips=0.5, clip_batch=1, reduced=1.0, budgets=(20, 40), questions=3),
    ),
    check_every=2,
)
"""A rehearsal of seconds, for the tests: the same path, nothing learnt."""

RECIPES = {"whole": DUET_MINI, "short": SHORT, "tiny": TINY}
