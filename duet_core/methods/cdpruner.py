"""CDPruner (2506.10967): the patches that together span most, by a determinantal point process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.methods.asked import fit, relevance, stretched
from duet_core.methods.base import About, Look, Method, Selection, keep_patches
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model

_NOTHING = 1e-6  # gains below this are rounding


@dataclass(frozen=True, slots=True)
class CDPruner(Method):
    """Greedy choice of the largest determinant of L = diag(r) S diag(r), S the cosines of projected tokens.

    r is how much a patch fits the question, stretched to [0, 1]: minus the mean cosine of what CLIP's image and text
    tower make of patch and question. `tower`: a folder with the CLIP model that the encoder is from; without it, the
    folder `text_tower` beside the model's weights. `relevance`: "auto" asks the tower, and where there is none takes r
    as 1 everywhere, as "even" does; "question" asks for our stand-in, the cosine of projected patches with the
    question's word embeddings [interpretation]. Clips: frame by frame.
    """

    title: ClassVar[str] = "CDPruner"
    about: ClassVar[About] = About(
        "CDPruner (2506.10967)",
        "before the model",
        ("projected tokens", "CLIP's text tower beside the model, for relevance"),
        confidence="official code read; without a text tower, all patches count as equally relevant",
        interpretation=True,
    )
    asks: ClassVar[bool] = True
    relevance: Literal["auto", "even", "question"] = "auto"
    tower: str | None = None

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, equally many of each frame."""
        return before_model("cdpruner", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Keep the patches that the process chooses, in raster order."""
        many = self.entering(look)
        if many is None:
            return None
        projected = look.project(look.patch_features)
        weight = self._weight(look, projected)
        chosen = most_spanning(kernel(projected, weight), many)
        return keep_patches(look, chosen.sort(1).values, weight)

    def _weight(self, look: Look, projected: Tensor) -> Tensor | None:
        """Return the relevance [I, P] of projected patches [I, P, D]; None where all are equally relevant."""
        if self.relevance == "question":
            return stretched(relevance(look, projected))
        tower = look.tower(self.tower) if self.relevance == "auto" else None
        return None if tower is None else stretched(fit(look, tower))


def kernel(tokens: Tensor, weight: Tensor | None) -> Tensor:
    """Return L [I, P, P] fp32 of tokens [I, P, D] and their relevance [I, P] (None: 1 everywhere)."""
    directions = F.normalize(tokens.float(), dim=-1)
    directions = directions if weight is None else directions * weight.unsqueeze(-1)
    return directions @ directions.transpose(1, 2)


def most_spanning(kernel: Tensor, many: int) -> Tensor:
    """Return the numbers [I, many] of the greedy choice for a kernel [I, P, P], in its order.

    Each choice adds most to the determinant; a row of the Cholesky factor [I, many, P] is worked out with each. Where
    nothing adds anything any more, the first ones in raster order follow.
    """
    gain, floor = kernel.diagonal(dim1=1, dim2=2), torch.zeros_like(kernel[:, 0])  # (I, P)
    factor, chosen = kernel.new_zeros(len(kernel), many, kernel.shape[2]), []
    for step in range(many):
        best = gain.argmax(1, keepdim=True)  # (I, 1)
        past = factor[:, :step]  # (I, step, P)
        known = (past.gather(2, best.unsqueeze(1).expand(-1, step, -1)) * past).sum(1)  # (I, P)
        row = kernel.gather(1, best.unsqueeze(-1).expand(-1, -1, kernel.shape[2])).squeeze(1)  # (I, P)
        factor[:, step] = (row - known) / gain.gather(1, best).clamp(min=_NOTHING).sqrt()
        floor = floor.scatter(1, best, -float("inf"))
        gain = gain - factor[:, step] ** 2
        gain = torch.where((gain < _NOTHING) | floor.isinf(), floor, gain)
        chosen.append(best)
    return torch.cat(chosen, 1)  # (I, many)
