"""What a brush does to a run: stage 1 sees only what is not painted, and what is kept stands beside what it chooses.

So no method need know of brushes: a painted patch is to it what the padding of a crop is, and kept patches take their
share of its budget. Inside the language model the method's choice is corrected: kept tokens stay, and the lowest
scored ones make room. I pictures (or crops) of P patches, G of them in a group, N encoder tokens, n1 visual tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.brush import Brush
from duet_core.crops import Group, evidence_of, fates_with, part_of
from duet_core.errors import PlanError
from duet_core.methods import Fates, Look, Method, Selection, build_method
from duet_core.plan import Plan
from duet_core.recorder import everything
from duet_core.runs import Entered
from duet_core.tiling import Tiling
from duet_core.trace import Fate

AtLayer = Callable[[Boundary], Stay | None]


@dataclass(frozen=True, slots=True)
class Painted:
    """Which patches of the pictures a brush keeps and drops, and which it leaves to the method, [I, P] bool each."""

    keep: Tensor
    drop: Tensor
    free: Tensor

    @classmethod
    def of(cls, brushes: Sequence[Brush | None], look: Look, method: Method) -> Painted:
        """Return where brushes have painted, one for each sample and its own pictures.

        A PlanError where one leaves the pictures, keeps padding, or where the method takes a grid as a whole.
        """
        if method.whole_grid and (method.plan.dominant is not None or method.plan.layers):
            raise PlanError(
                f"{method.title} makes its tokens of the whole grid, so no patch can be kept or dropped by hand; clear"
                " the brush or choose another method."
            )
        inside = _inside(look)
        pairs = [(brush or Brush(), own) for brush, own in zip(brushes, look.groups, strict=True)]
        for brush, own in pairs:
            _check(brush, inside[own.start : own.stop])
        keep, drop = (
            _mask([own.start * look.patches + patch for brush, own in pairs for patch in getattr(brush, name)], inside)
            for name in ("keep", "drop")
        )
        return cls(*(mask.to(look.features.device) for mask in (keep, drop, inside & ~keep & ~drop)))

    def forced(self, crop: Tensor | int, place: Tensor, extra: int) -> Tensor:
        """Return which tokens at some encoder places of some pictures are kept patches, bool."""
        return (place >= extra) & self.keep[crop, (place - extra).clamp(min=0)]


def _inside(look: Look) -> Tensor:
    """Return which patches of the encoder's pictures are no padding, [I, P] bool."""
    if look.seen.tilings:
        return torch.cat([tiling.inside for tiling in look.seen.tilings])
    return torch.ones(len(look.features), look.patches, dtype=torch.bool)


def _check(brush: Brush, inside: Tensor) -> None:
    """Refuse a brush that does not fit pictures whose patches are `inside` [I, P] bool or padding."""
    brush.check(inside.numel())
    outside = next((patch for patch in brush.keep if not inside.flatten()[patch]), None)
    if outside is not None:
        raise PlanError(f"The brush keeps patch {outside}, which is padding that no model sees; keep another one.")


def _mask(patches: Sequence[int], inside: Tensor) -> Tensor:
    """Return which of the patches [I, P] are among these, bool."""
    marked = torch.zeros(inside.numel(), dtype=torch.bool)
    return marked.index_fill(0, torch.tensor(patches, dtype=torch.long), True).view_as(inside)


# Before the language model


def choose_beside(plan: Plan, look: Look, painted: Painted, keeps_cls: bool) -> list[Group]:
    """Run stage 1 on the patches that are not painted, and let the kept ones in beside what it chooses.

    Pictures with equally many free and kept patches make up one group.
    """
    kinds, evidence = torch.stack([painted.free.sum(1), painted.keep.sum(1)], 1), cache(look.evidence)
    groups = []
    for count, many in kinds.unique(dim=0).tolist():
        rows = (kinds == kinds.new_tensor([count, many])).all(1).nonzero().flatten()  # (G,)
        given, kept = (_places(look, mask[rows]) for mask in (painted.free, painted.keep))
        given = torch.cat([torch.arange(look.extra, device=rows.device).expand(len(rows), -1), given], 1)  # (G, n)
        part = _sharing(part_of(look, rows, given, partial(evidence_of, evidence, rows, given)), many)
        chosen = build_method(beside(plan, many)).after_vision(part) if count else None
        chosen = chosen or everything(part, keeps_cls)
        real = torch.cat([given, kept], 1)  # (G, n + k)
        groups.append(Group(rows, real, _joined(chosen, look, rows, kept, real) if many else chosen))
    return groups


def beside(plan: Plan, kept: int) -> Plan:
    """Return the plan for what a method chooses of a picture beside so many kept patches.

    They take the places of dominant tokens first, then those of contextual ones; one dominant token is left to the
    method, which is CLS where there is one.
    """
    if plan.dominant is None:
        return plan
    dominant = max(1, plan.dominant - kept)
    left = plan.dominant + plan.contextual - kept - dominant
    return plan.resized(dominant, max(0, left))


def _sharing(part: Look, kept: int) -> Look:
    """Return the look with so many tokens less in each picture's share; at least one is left to the method."""
    shares = None if part.shares is None else tuple(max(1, share - kept) for share in part.shares)
    return replace(part, shares=shares)


def _places(look: Look, mask: Tensor) -> Tensor:
    """Return the encoder tokens [G, k] of the patches that a mask [G, P] marks, equally many in each row."""
    return mask.nonzero()[:, 1].view(len(mask), -1) + look.extra


def _joined(chosen: Selection, look: Look, rows: Tensor, kept: Tensor, real: Tensor) -> Selection:
    """Return a selection with kept patches [G, k], the last ones of `real` [G, n + k]; merged tokens stay the last."""
    given, many = real.shape[1] - kept.shape[1], kept.shape[1]
    own = torch.arange(many, device=kept.device).expand(len(kept), -1)  # (G, k)
    both = Selection(
        tokens=torch.cat([look.features[rows.unsqueeze(1), kept], chosen.tokens], 1),  # (G, k + n1, D)
        places=torch.cat([given + own, chosen.places], 1),
        fates=partial(_joined_fates, chosen, own, given - look.extra),
        sizes=tuple(count + many for count in chosen.counts),
        merged=chosen.merged,
    )
    return both.in_order(real.gather(1, both.places))


def _joined_fates(chosen: Selection, own: Tensor, patches: int) -> Fates:
    """Return the fates of `patches` patches and of the kept ones behind them, whose tokens `own` [G, k] come first."""
    fates = chosen.fates()
    token_of = torch.where(fates.token_of < 0, -1, fates.token_of + own.shape[1])
    return Fates(
        fate=torch.cat([fates.fate, torch.full_like(own, Fate.DOMINANT)], 1),
        joined=torch.cat([fates.joined, patches + own], 1),
        token_of=torch.cat([token_of, own], 1),
        scores=torch.cat([fates.scores, torch.full(own.shape, float("nan"), device=own.device)], 1),
    )


def assembled(groups: Sequence[Group], look: Look) -> Selection:
    """Return the selection of all pictures of several groups, in the order of the pictures."""
    features, sizes = look.features, [0] * len(look.features)
    most = max(group.selection.places.shape[1] for group in groups)
    tokens = features.new_zeros(len(features), most, features.shape[2])  # (I, n1, D)
    places = torch.zeros(tokens.shape[:2], dtype=torch.long, device=tokens.device)
    for group in groups:
        own = group.selection
        tokens[group.rows, : own.places.shape[1]] = own.tokens
        places[group.rows, : own.places.shape[1]] = group.real.gather(1, own.places)
        for row, size in zip(group.rows.tolist(), own.counts, strict=True):
            sizes[row] = size
    return Selection(tokens, places, partial(_assembled_fates, groups, look), tuple(sizes))


def _assembled_fates(groups: Sequence[Group], look: Look) -> Fates:
    blank = torch.full((len(look.features), look.patches), -1, device=look.features.device)
    found = Fates(torch.full_like(blank, Fate.DROPPED), blank, blank, blank.float().fill_(float("nan")))
    for group in groups:
        number = torch.cat([torch.arange(count, device=blank.device) for count in group.selection.counts])
        found = fates_with(found, group, number, look.extra)
    return found


def whole_painted(entered: Entered, tilings: Sequence[Tiling], painted: Painted) -> Entered:
    """Return what enters of pictures laid out as in the untouched model, without the dropped patches.

    What ends a line stays. A PlanError where the model itself makes one token of several patches.
    """
    crops = [tiling.crops for tiling in tilings]
    parts = zip(tilings, painted.keep.cpu().split(crops), painted.drop.cpu().split(crops), strict=True)
    seats = [_seats(*own) for own in parts]
    blocks = tuple(block[own.stays.to(block.device)] for block, own in zip(entered.blocks, seats, strict=True))
    fates = partial(_whole_painted_fates, entered.fates, seats)
    return replace(entered, blocks=blocks, fates=fates, forced=tuple(own.forced for own in seats))


@dataclass(frozen=True, slots=True)
class _Seats:
    """Of the tokens of an untouched picture: which stay [tokens] bool, and which of these a brush keeps [n] bool.

    `gone` [C, P]: which patches are dropped.
    """

    stays: Tensor
    forced: Tensor
    gone: Tensor


def _seats(tiling: Tiling, keep: Tensor, drop: Tensor) -> _Seats:
    number, _ = tiling.numbers()  # (C, P), -1 in the padding
    gone, shrunk = drop & (number >= 0), tiling.shrunk  # (C, 1)
    if ((keep | gone) & shrunk).any():
        raise PlanError(
            "The model itself makes one token of several patches here, so none of them can be kept or dropped alone;"
            " choose a method that reduces before the model, such as duet."
        )
    stays = torch.ones(tiling.tokens, dtype=torch.bool).index_fill(0, number[gone], False)
    forced = torch.zeros_like(stays).index_fill(0, number[keep], True)
    return _Seats(stays, forced[stays], gone)


def _whole_painted_fates(whole: Callable[[], Fates], seats: Sequence[_Seats]) -> Fates:
    fates, gone = whole(), torch.cat([own.gone for own in seats])
    first, parts = 0, []
    for own in seats:
        token_of = fates.token_of[first : first + len(own.gone)]
        parts.append(torch.where(token_of < 0, -1, (own.stays.cumsum(0) - 1)[token_of.clamp(min=0)]))
        first += len(own.gone)
    return Fates(
        fate=fates.fate.masked_fill(gone, int(Fate.DROPPED)),
        joined=fates.joined.masked_fill(gone, -1),
        token_of=torch.cat(parts).masked_fill(gone, -1),
        scores=fates.scores,
    )


# Inside the language model


def holding(at_layer: AtLayer, boundary: Boundary) -> Stay | None:
    """Ask a method which tokens stay before a layer, and let the kept patches stay in any case."""
    stay, forced = at_layer(boundary), boundary.forced
    if stay is None or forced is None:
        return stay
    scores: Sequence[Tensor | None] = stay.scores or boundary.scores or [None] * len(forced)
    keep = [held(*own) for own in zip(stay.keep, forced, scores, strict=True)]
    joined = None if stay.joined is None else [_rejoined(*own) for own in zip(stay.joined, keep, strict=True)]
    if stay.states is None:
        return Stay(keep, stay.scores, joined=joined)
    went_on = zip(boundary.now.states(), stay.keep, stay.states, keep, strict=True)
    states = [before.index_copy(0, old, made.to(before.dtype))[new] for before, old, made, new in went_on]
    return Stay(keep, stay.scores, states, joined)


def held(keep: Tensor, forced: Tensor, scores: Tensor | None) -> Tensor:
    """Return ascending tokens as many as `keep` [n'], all `forced` [n] bool among them; more if these are more.

    The lowest of `scores` [n] make room, without scores the last ones.
    """
    rank = torch.zeros_like(forced, dtype=torch.long).index_fill(0, keep, 1).masked_fill(forced, 2)
    order = torch.arange(len(forced), device=keep.device)
    order = order if scores is None else scores.argsort(descending=True, stable=True)
    order = order[rank[order].argsort(descending=True, stable=True)]
    return order[: max(len(keep), int(forced.sum()))].sort().values


def _rejoined(joined: Tensor, keep: Tensor) -> Tensor:
    """Return into which of n tokens each was merged, int64 [n], when those to `keep` [n'] alone can take in others."""
    stays = torch.zeros_like(joined, dtype=torch.bool).index_fill(0, keep, True)
    joined = torch.where(stays, torch.arange(len(joined), device=joined.device), joined)
    return torch.where((joined >= 0) & stays[joined.clamp(min=0)], joined, -1)
