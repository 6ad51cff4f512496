"""DART (2502.11494): a few pivots, and for each of them the tokens that repeat it least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import wanted
from duet_core.methods.settings import AtLeastOne, Count
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

_AFTER = 2  # layers, of 32


@dataclass(frozen=True, slots=True)
class Dart(Method):
    """One cut. Pivots: the visual and the text tokens whose keys in the layer before have the largest L1 norm.

    Each pivot in turn takes an equal share of the visual tokens that are least alike to it (cosine after the final
    norm); they and the visual pivots stay. `visual_pivots`, `text_pivots`: how many. Differs: the pivots count as part
    of the budget, and what does not divide evenly goes to the first pivots. Open in our source, and filled in: the
    layer of the cut (2 of 32, from memory), visual pivots first, and text pivots from the whole prompt.
    """

    title: ClassVar[str] = "DART"
    about: ClassVar[About] = About(
        "DART (2502.11494)",
        "inside the model",
        ("cached keys of a layer", "states"),
        confidence="a third-party port read",
        interpretation=True,
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"
    visual_pivots: AtLeastOne = 4
    text_pivots: Count = 4

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return one cut after 2 of 32 layers."""
        return inside_model("dart", target, size, (_AFTER,))

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep the visual pivots and what is least like any pivot."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        return Stay([self._keep(boundary, sample, count) for sample, count in enumerate(counts)])

    @torch.no_grad()
    def _keep(self, boundary: Boundary, sample: int, count: int) -> Tensor:
        now = boundary.now
        visual, text, hidden = now.visual[sample], now.text[sample], now.hidden[sample]
        size = key_sizes(boundary.query_key(sample, visual[:0], back=True)[1])  # (T,)
        pivots = _largest(size[visual], min(self.visual_pivots, count))
        asked = text[_largest(size[text], self.text_pivots)]
        states = boundary.stack.normed(hidden[visual])  # (n, D)
        others = boundary.stack.normed(hidden[asked])
        return least_alike(states, pivots, torch.cat([states[pivots], others]), count)


def key_sizes(keys: Tensor) -> Tensor:
    """Return the L1 norms [T] fp32 of keys [Hkv, T, dh], heads laid end to end."""
    return keys.float().abs().sum((0, 2))


def _largest(sizes: Tensor, count: int) -> Tensor:
    return sizes.argsort(descending=True, stable=True)[:count]


def least_alike(states: Tensor, kept: Tensor, pivots: Tensor, count: int) -> Tensor:
    """Return ascending tokens [count] int64 of [n, D]: `kept` [v], and for each pivot [p, D] its least alike ones."""
    alike = F.normalize(pivots.float(), dim=-1) @ F.normalize(states.float(), dim=-1).T  # (p, n)
    taken = torch.zeros(len(states), dtype=torch.bool, device=states.device).index_fill(0, kept, True)
    share, over = divmod(count - len(kept), len(pivots))
    chosen = [kept]
    for number, own in enumerate(alike):
        order = own.masked_fill(taken, float("inf")).argsort(stable=True)
        chosen.append(order[: share + (number < over)])
        taken = taken.index_fill(0, chosen[-1], True)
    return torch.cat(chosen).sort().values
