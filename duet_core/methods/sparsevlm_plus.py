"""SparseVLM+ (2410.04417, second release): as SparseVLM, without the pull of near tokens and by the best heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import mean_of, stay_best, text_rows, wanted
from duet_core.methods.settings import Share
from duet_core.methods.sparsevlm import LAYERS, raters_of
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model


@dataclass(frozen=True, slots=True)
class SparseVLMPlus(Method):
    """Attention is divided by what RoPE alone makes of the distance; the heads that then look most decide; P-orig.

    `heads`: the share of the heads that decide (14 of 32). `guard`: the least that is divided by, as a share of the
    gravity at distance 0; the published code has none, though gravity may vanish or turn negative. Whether heads are
    compared before or after the correction is open in our source: here after it. One common ratio replaces the
    published lists.
    """

    title: ClassVar[str] = "SparseVLM+"
    about: ClassVar[About] = About(
        "SparseVLM+ (2410.04417, v2.0)",
        "inside the model",
        ("embeddings", "attention rows of the raters"),
        interpretation=True,
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"
    heads: Share = 14 / 32
    guard: Share = 0.1

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return three cuts by a common ratio."""
        return inside_model("sparsevlm+", target, size, LAYERS)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep what the raters look at, gravity apart."""
        counts = wanted(self.plan, boundary)
        return None if counts is None else stay_best([self._scores(boundary, own) for own in boundary.samples], counts)

    def _scores(self, boundary: Boundary, sample: int) -> Tensor:
        text, visual = boundary.now.text[sample], boundary.now.visual[sample]
        cos, sin = (part[sample % len(part)].float() for part in boundary.rotary)  # (T, dh)
        pull = gravity((cos[text], sin[text]), (cos[visual], sin[visual]), self.guard)
        rows, which = text_rows(boundary, sample) / pull, raters_of(boundary, sample)
        return mean_of(best_heads(rows, which, max(1, round(self.heads * len(rows)))), which)


def gravity(asking: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor], guard: Share) -> Tensor:
    """Return the similarity [t, n] that RoPE gives a query and a key of ones: 2 / sqrt(d) sum_i cos(distance theta_i).

    `asking` and `asked`: (cos, sin) [t, d] and [n, d] of the places; `guard`: see `SparseVLMPlus`.
    """
    width = asking[0].shape[-1]
    similar = (asking[0] @ asked[0].T + asking[1] @ asked[1].T) / width**0.5  # (t, n)
    return similar.clamp(min=guard * width**0.5)


def best_heads(rows: Tensor, which: Tensor, count: int) -> Tensor:
    """Return the `count` heads of [H, t, n] whose rows marked by `which` [t] bool sum up to most."""
    sums = (rows.sum(-1) * which).sum(-1)  # (H,)
    return rows[sums.argsort(descending=True, stable=True)[:count]]
