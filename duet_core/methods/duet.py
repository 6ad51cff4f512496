"""DUET-VLM (arXiv 2602.18846): merge before the language model, prune inside it by the question's salient words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from duet_core.boundary import Boundary, Stay
from duet_core.merging import Merged, merge
from duet_core.methods.base import About, Fates, Look, Method, Selection
from duet_core.methods.choosing import stay_best, wanted
from duet_core.plan import Plan, Size, duet_schedule
from duet_core.trace import Fate
from duet_core.vision import Evidence


@dataclass(frozen=True, slots=True)
class Duet(Method):
    """Both stages of the paper (sections 3.1 and 3.2).

    Differs from the published code where that is broken: stock checkpoints act on the salient words, ratios apply once,
    batches and any depth work (CONTRIBUTING lists all).
    """

    title: ClassVar[str] = "DUET"
    about: ClassVar[About] = About(
        paper="DUET-VLM (2602.18846)",
        stage="both",
        needs=("CLS attention and keys of the encoder", "attention of the question's salient words"),
    )

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return DUET's plan for an average of `target` visual tokens per layer."""
        return duet_schedule("duet", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Stage 1: dominant and contextual tokens."""
        if self.plan.dominant is None:
            return None
        evidence = look.evidence()
        dominant = min(self.plan.dominant, look.features.shape[1])
        merged = merge(
            look.features, evidence.keys, evidence.scores, dominant, self.plan.contextual, self.plan.cluster_width
        )
        places = torch.cat([merged.dominant, merged.anchors], dim=1)  # (I, n1)
        fates = partial(_fates, look, merged, evidence)
        return Selection(merged.tokens, places, fates, merged=merged.anchors.shape[1])

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Stage 2: the tokens that the question's words attend to most."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        if not any(counts):  # nothing stays, so nothing needs a score
            return Stay([origin[:0] for origin in boundary.origin])
        return stay_best(boundary.attention(), counts)


def _fates(look: Look, merged: Merged, evidence: Evidence) -> Fates:
    """Read off each patch's fate; token indices become patch numbers by subtracting CLS."""
    n_dominant = merged.dominant.shape[1]
    blank = merged.dominant.new_full(look.features.shape[:2], -1)  # (I, N)
    own = torch.arange(merged.tokens.shape[1], device=blank.device).expand(len(blank), -1)  # (I, n1)
    token_of = blank.scatter(1, merged.dominant, own[:, :n_dominant])
    token_of = token_of.scatter(1, merged.anchors, own[:, n_dominant:])
    token_of = token_of.scatter(1, merged.members, merged.assign + n_dominant)
    fate = torch.full_like(blank, Fate.DROPPED).scatter(1, merged.dominant, int(Fate.DOMINANT))
    fate = fate.scatter(1, merged.anchors, int(Fate.ANCHOR)).scatter(1, merged.members, int(Fate.MERGED))
    joined = blank.scatter(1, merged.dominant, merged.dominant).scatter(1, merged.anchors, merged.anchors)
    joined = joined.scatter(1, merged.members, merged.anchors.gather(1, merged.assign)) - look.extra
    return Fates(
        fate=fate[:, look.extra :],
        joined=joined[:, look.extra :].clamp(min=-1),
        token_of=token_of[:, look.extra :],
        scores=evidence.scores[:, look.extra :],
    )
