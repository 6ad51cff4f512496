"""ApET (2602.19870): tokens that a few basis tokens cannot rebuild stay, the others merge into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.merging import nearest, rows_of
from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.settings import AtLeastOne
from duet_core.plan import Plan, Size
from duet_core.schedules import in_stages

_LAYER, _SHARE = 16, 1 / 3  # of 32 layers; 288 -> 96, 96 -> 32


@dataclass(frozen=True, slots=True)
class ApET(Method):
    """Both stages of the published code: on encoder features, and at half of the language model's depth.

    `basis` tokens are drawn by furthest-point sampling from one that the plan's seed draws. All tokens are rebuilt from
    them by least squares; those with the largest errors are retained. The last ones of these take over the basis
    tokens' features, the others the mean of themselves and of the tokens most like them (cosine).

    Deviations: a budget of fewer than two tokens for each basis token overwrites only half of what is retained. In the
    trace a token stands at the retained patch's place, an overwritten one counts as an anchor that its basis patch has
    joined. Clips: as pictures, frame by frame; the published
    Video-LLaVA form adds the basis tokens and CLS instead.
    """

    title: ClassVar[str] = "ApET"
    about: ClassVar[About] = About("ApET (2602.19870)", "both", ("encoder features", "hidden states"))
    basis: AtLeastOne = 10

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return 288 tokens before the model and 96 from layer 16 of 32 on for 192, and others in proportion."""
        return in_stages("apet", target, size, (_LAYER,), (_SHARE,))

    def after_vision(self, look: Look) -> Selection | None:
        """Stage 1: reduce the encoder's features."""
        many = self.entering(look)
        if many is None:
            return None
        made = reduce(look.patch_features, many, self.basis, self._first(look.patches, 0))
        return merge_patches(look, made.tokens, made.kept, made.group, made.unchanged, made.errors)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Stage 2: reduce the hidden states of the visual tokens."""
        ratio = self.plan.ratio_at(boundary.layer)
        if ratio is None:
            return None
        pairs = zip(boundary.now.states(), boundary.entering, strict=True)
        made = [self._reduced(own, max(1, int(entering * ratio)), boundary.layer) for own, entering in pairs]
        return Stay(
            keep=[own.kept[0] for own in made],
            scores=[own.errors[0] for own in made],
            states=[own.tokens[0] for own in made],
            joined=[own.kept[0][own.group[0]] for own in made],
        )

    def _reduced(self, states: Tensor, many: int, layer: int) -> Reduced:
        return reduce(states[None], many, self.basis, self._first(len(states), layer))

    def _first(self, available: int, layer: int) -> int:
        """Draw the first basis token, on the CPU so that every device and every picture draw alike."""
        draw = torch.Generator().manual_seed(1000 * self.plan.seed + layer)
        return int(torch.randint(max(1, available), (1,), generator=draw))


@dataclass(frozen=True, slots=True)
class Reduced:
    """What is made of N tokens: `tokens` [I, n, D] at the places `kept` [I, n] (ascending), `unchanged` [I, n] or not.

    `errors` [I, N] of rebuilding; `group` [I, N] the number of the token that each went into.
    """

    tokens: Tensor
    kept: Tensor
    unchanged: Tensor
    errors: Tensor
    group: Tensor


def reduce(features: Tensor, many: int, basis: AtLeastOne, first: int) -> Reduced:
    """Reduce features [I, N, D] to `many` tokens by `basis` of them, the sampling of which starts at `first`."""
    values = features.float()
    drawn = furthest_points(values, min(basis, values.shape[1]), first)  # (I, k)
    errors = rebuilding_errors(values, rows_of(values, drawn))  # (I, N)
    order = errors.argsort(dim=1, descending=True, stable=True)
    given = drawn[:, : min(drawn.shape[1], many // 2)]  # (I, g)
    targets, slots, others = order.split([many - given.shape[1], given.shape[1], order.shape[1] - many], 1)
    group = nearest(values, targets, others)  # (I, N - n)
    joins = F.one_hot(group, max(1, targets.shape[1]))[..., : targets.shape[1]].float()  # (I, N - n, t)
    counts = joins.sum(1).unsqueeze(-1)  # (I, t, 1)
    merged = (rows_of(values, targets) + joins.transpose(1, 2) @ rows_of(values, others)) / (1 + counts)
    tokens = torch.cat([merged, rows_of(values, given)], 1)  # (I, n, D)
    alone = torch.cat([counts.squeeze(-1) == 0, torch.zeros_like(slots, dtype=torch.bool)], 1)  # (I, n)
    return _in_order(tokens, torch.cat([targets, slots], 1), alone, errors, _joined(order, many, group, given))


def furthest_points(values: Tensor, many: int, first: int) -> Tensor:
    """Return [I, many] tokens of [I, N, D], each the furthest (L2) from those before it, from `first` on."""
    chosen = [torch.full_like(values[:, :1, 0], first, dtype=torch.long)]  # (I, 1) each
    distance = torch.full_like(values[:, :, 0], float("inf"))  # (I, N)
    for _ in range(many - 1):
        distance = torch.minimum(distance, (values - rows_of(values, chosen[-1])).square().sum(-1))
        distance = distance.scatter(1, chosen[-1], -1.0)
        chosen.append(distance.argmax(1, keepdim=True))
    return torch.cat(chosen, 1)


def rebuilding_errors(values: Tensor, basis: Tensor) -> Tensor:
    """Return |x - W s| [I, N] for tokens [I, N, D] and their best weights W over a basis [I, k, D] (ridge 1e-5)."""
    gram = basis @ basis.transpose(1, 2)  # (I, k, k)
    ridge = 1e-5 * torch.eye(gram.shape[1], device=gram.device)
    weights = values @ basis.transpose(1, 2) @ torch.linalg.pinv(gram + ridge, hermitian=True)  # (I, N, k)
    return (values - weights @ basis).norm(dim=-1)


def _joined(order: Tensor, many: int, group: Tensor, given: Tensor) -> Tensor:
    """Return the token of each place [I, N]: their own, their slot (basis tokens), or their target."""
    numbers = torch.arange(many, device=order.device).expand(len(order), -1)
    slots = numbers[:, many - given.shape[1] :]
    of_rank = torch.cat([numbers, group], 1)  # (I, N) in the order of the errors
    return (
        of_rank.new_empty(order.shape)
        .scatter(1, order, of_rank)
        .scatter(1, given, slots)
        .scatter(1, order[:, :many], numbers)
    )


def _in_order(tokens: Tensor, places: Tensor, alone: Tensor, errors: Tensor, group: Tensor) -> Reduced:
    """Bring tokens [I, n, D] into the order of their places."""
    order = places.argsort(dim=1)
    return Reduced(
        tokens=rows_of(tokens, order),
        kept=places.gather(1, order),
        unchanged=alone.gather(1, order),
        errors=errors,
        group=order.argsort(dim=1).gather(1, group),
    )
