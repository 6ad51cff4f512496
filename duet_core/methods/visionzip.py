"""VisionZip (2412.04467): what CLS attends to stays, all the rest is averaged into a few contextual tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from duet_core.merging import means, nearest, rows_of
from duet_core.methods.base import About, Fates, Look, Method, Selection, merged_fates
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model
from duet_core.vision import Evidence

_CONTEXTUAL = 30 / 192  # of the entering tokens, as in the published settings


@dataclass(frozen=True, slots=True)
class VisionZip(Method):
    """Training-free form: dominant tokens by CLS attention summed over heads, CLS itself among them.

    The remaining tokens in raster order: every so-manieth is a target, each other one goes to the target whose key
    (mean over heads, normalised) is most alike, and a contextual token is target + mean of its members (the target is
    not divided, as in the published code).
    """

    title: ClassVar[str] = "VisionZip"
    about: ClassVar[About] = About(
        "VisionZip (2412.04467)", "before the model", ("CLS attention and keys of the encoder",)
    )

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return 162 dominant and 30 contextual tokens for 192, and others in proportion."""
        return before_model("visionzip", target, size, _CONTEXTUAL)

    def after_vision(self, look: Look) -> Selection | None:
        """Choose dominant tokens and average the others into contextual ones."""
        if self.plan.dominant is None:
            return None
        evidence, many = look.evidence(), min(self.plan.dominant, look.features.shape[1])
        order = evidence.scores.argsort(dim=1, descending=True, stable=True)  # (I, N)
        dominant, rest = order[:, :many].sort(1).values, order[:, many:].sort(1).values
        targets, others = _split(rest, self.plan.contextual)
        features = look.features
        group = nearest(evidence.keys, targets, others) if targets.shape[1] else torch.full_like(others, -1)  # (I, m)
        contextual = rows_of(features, targets) + means(rows_of(features, others), group.clamp(min=0), targets.shape[1])
        tokens = torch.cat([rows_of(features, dominant), contextual.to(features.dtype)], 1)  # (I, n1, D)
        places = torch.cat([dominant, targets], 1)
        fates = partial(_fates, look, evidence, dominant, targets, others, group)
        return Selection(tokens, places, fates, merged=targets.shape[1])


def _split(rest: Tensor, contextual: int) -> tuple[Tensor, Tensor]:
    """Return targets [I, c] and the others [I, m] of the remaining tokens [I, M]."""
    step = max(1, rest.shape[1] // max(1, contextual))
    chosen = torch.zeros(rest.shape[1], dtype=torch.bool)
    chosen[::step][:contextual] = True
    return rest[:, chosen.nonzero()[:, 0].to(rest.device)], rest[:, (~chosen).nonzero()[:, 0].to(rest.device)]


def _fates(look: Look, evidence: Evidence, dominant: Tensor, targets: Tensor, others: Tensor, group: Tensor) -> Fates:
    """Read off each patch's fate; CLS is a token without a patch."""
    many = dominant.shape[1]
    token_of = dominant.new_full(look.features.shape[:2], -1)  # (I, N)
    numbers = torch.arange(many + targets.shape[1], device=token_of.device).expand(len(token_of), -1)
    token_of = token_of.scatter(1, torch.cat([dominant, targets], 1), numbers)
    token_of = token_of.scatter(1, others, torch.where(group < 0, group, group + many))
    centres = torch.cat([dominant, targets], 1)
    return merged_fates(centres, token_of, numbers < many, evidence.scores, look.extra)
