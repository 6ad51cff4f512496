"""The look of each fate: one colour (Okabe and Ito's colour-blind safe palette), one glyph, one name."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """How one fate is shown. `veil` and `tint` in [0, 1]: how far the photo fades, and how much colour lies over it.

    `framed`: a still picture draws a line around all patches of this fate together.
    """

    fate: str
    colour: str
    glyph: str
    name: str
    veil: float
    tint: float = 0.0
    framed: bool = False

    def to_json(self) -> dict[str, str | float]:
        """Return the look as plain JSON values."""
        return asdict(self)


DOMINANT = Look("dominant", "#009E73", "●", "dominant: kept as its own token", 0.0, framed=True)
ANCHOR = Look("anchor", "#E69F00", "◆", "anchor: centre of a merged token", 0.0, framed=True)
MERGED = Look("merged", "#56B4E9", "○", "merged into an anchor", 0.4, 0.3)
DROPPED_BEFORE = Look("dropped-before", "#7A7A7A", "×", "dropped before the model", 0.82)
BORDER = Look("border", "#BBBBBB", "", "padding: no model looks at it", 0.82)
_STAGE_1 = {look.fate: look for look in (DOMINANT, ANCHOR, MERGED, DROPPED_BEFORE, BORDER)}
_MERGED_AT_LAYER = (("#332288", "◐"), ("#882255", "◑"), ("#117733", "◒"))  # of Tol's palette, apart from the others
_AT_LAYER = (("#D55E00", "▽"), ("#CC79A7", "□"), ("#0072B2", "△"), ("#F0E442", "☆"))


STAGE_1 = (DOMINANT.fate, ANCHOR.fate, MERGED.fate, DROPPED_BEFORE.fate)
"""The fates that stage 1 gives, in the order of its ranks."""


def looks(fates: list[str]) -> tuple[Look, ...]:
    """Return the look of each fate that occurs: stage 1, what merges inside the model, what is dropped, by layer."""
    present = set(fates)
    first = [look for fate, look in _STAGE_1.items() if fate in present]
    late = sorted((fate for fate in present if fate not in _STAGE_1), key=_layer)
    merged = [fate for fate in late if fate.startswith("merged-at")]
    dropped = [fate for fate in late if fate not in merged]
    return (
        *first,
        *(_merged_at(fate, place) for place, fate in enumerate(merged)),
        *(_dropped_at(fate, place) for place, fate in enumerate(dropped)),
    )


def _merged_at(fate: str, place: int) -> Look:
    colour, glyph = _MERGED_AT_LAYER[place % len(_MERGED_AT_LAYER)]
    return Look(fate, colour, glyph, f"merged into another token before layer {_layer(fate)}", 0.4, 0.3)


def _dropped_at(fate: str, place: int) -> Look:
    colour, glyph = _AT_LAYER[place % len(_AT_LAYER)]
    return Look(fate, colour, glyph, f"dropped before layer {_layer(fate)}", 0.7, 0.38)


def _layer(fate: str) -> int:
    return int(fate.rsplit("-", 1)[1])


REST = Look("rest", "#7A7A7A", "", "left over: the next step", 0.72)
"""What is not dominant, before it is told what becomes of it."""

# Scores, from the least to the most: cividis (Nunez, Anderton and Renslow 2018), perceptually even and the same to
# colour-blind eyes; eleven of its colours, evenly spaced.
SCALE = (
    "#00224e", "#083370", "#35456c", "#4f576c", "#666970", "#7d7c78", "#948e77", "#aea371", "#c8b866", "#e5cf52",
    "#fee838",
)  # fmt: skip

# Two questions about one picture, A and B: who kept a patch.
ONLY_A = Look("only-a", "#0072B2", "A", "kept for A only", 0.0, 0.42, framed=True)
ONLY_B = Look("only-b", "#D55E00", "B", "kept for B only", 0.0, 0.42, framed=True)
BOTH = Look("both", "#009E73", "●", "kept for both", 0.0, framed=True)
NEITHER = Look("neither", "#7A7A7A", "×", "kept for neither", 0.82)


def short_name(look: Look) -> str:
    """The name without its explanation."""
    return look.name.partition(":")[0]
