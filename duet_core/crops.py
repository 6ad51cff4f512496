"""What enters the language model of pictures cut into crops: stage 1 for every crop, and the order of what is left.

The order is that of the published code: what stage 1 left of the whole picture, as it left it; then of the grid of
crops the kept patches in raster order of the whole grid, each crop's CLS, and the merged tokens. The tokens that end a
line in the untouched model enter only where every patch does, for a reduced picture has no whole lines; so it is in the
published code. Patches of the padding never enter. I crops (of all pictures) of P patches, S tokens that stage 1 leaves
of all of them, D width.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.methods import Fates, Look, Selection
from duet_core.tiling import Sheet, Tiling
from duet_core.trace import Fate
from duet_core.vision import Evidence, Seen

AfterVision = Callable[[Look], Selection | None]


@dataclass(frozen=True, slots=True)
class Group:
    """Crops with equally many patches: their numbers `rows` [G], `real` encoder tokens [G, n], and what is left."""

    rows: Tensor
    real: Tensor
    selection: Selection

    @property
    def counts(self) -> Tensor:
        """How many tokens are left of each crop [G]."""
        return torch.tensor(self.selection.counts, device=self.rows.device)

    @property
    def entering(self) -> Tensor:
        """Which of the selection's tokens [G, n1] are no padding."""
        return torch.arange(self.selection.places.shape[1], device=self.rows.device) < self.counts.unsqueeze(1)

    @property
    def merged(self) -> Tensor:
        """Which of the selection's tokens [G, n1] are merged ones: the last ones of each crop."""
        number = torch.arange(self.selection.places.shape[1], device=self.rows.device)
        return number >= self.counts.unsqueeze(1) - self.selection.merged


@dataclass(frozen=True, slots=True)
class Left:
    """What stage 1 left, token after token.

    `tokens` [S, D]; `crop` and `place` [S]: the encoder token at whose place each of them stands; `merged` [S] bool;
    `labels` [S] where the method gave any.
    """

    tokens: Tensor
    crop: Tensor
    place: Tensor
    merged: Tensor
    labels: Tensor | None = None


def choose(after_vision: AfterVision, look: Look, tilings: Sequence[Tiling]) -> list[Group]:
    """Run stage 1 on every crop without its padding; nothing comes back where the method lets everything in."""
    inside = torch.cat([tiling.inside for tiling in tilings])  # (I, P)
    counts, groups, evidence = inside.sum(1), [], cache(look.evidence)
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero().flatten()  # (G,)
        patches = inside[rows].nonzero()[:, 1].view(len(rows), count) + look.extra
        real = torch.cat([torch.arange(look.extra).expand(len(rows), -1), patches], dim=1)  # (G, n)
        rows, real = rows.to(look.features.device), real.to(look.features.device)
        part = part_of(look, rows, real, partial(evidence_of, evidence, rows, real))
        selection = after_vision(part) if count else None
        if selection is not None:
            groups.append(Group(rows, real, selection))
    return groups


def part_of(look: Look, rows: Tensor, real: Tensor, evidence: Callable[[], Evidence]) -> Look:
    """Return what a method may look at of some crops [G], or pictures, and their encoder tokens [G, n].

    `evidence` is that of these tokens. Without its padding, a crop is no rectangle: its patches count as one row. Crops
    cannot be seen in another size.
    """
    owner = [next(number for number, group in enumerate(look.groups) if row in group) for row in rows.tolist()]
    starts = [bisect_left(owner, number) for number in range(len(look.groups) + 1)]
    groups = tuple(range(*pair) for pair in pairwise(starts))
    return look.part(rows.tolist(), _seen(look.seen, rows, real), evidence, groups)


def evidence_of(whole: Callable[[], Evidence], rows: Tensor, real: Tensor) -> Evidence:
    """Return of the `whole()` evidence that of some crops [G] and their encoder tokens [G, n]."""
    found = whole()
    return Evidence(found.scores[rows].gather(1, real), _tokens(found.keys, rows, real))


def _seen(seen: Seen, rows: Tensor, real: Tensor) -> Seen:
    """Return what the encoder made of some crops [G], of their encoder tokens [G, n] alone."""
    many = seen.keys.shape[2] // seen.features.shape[1]  # where several patches make one token
    each = (many * real.unsqueeze(-1) + torch.arange(many, device=real.device)).flatten(1)  # (G, n * many)

    def heads(values: Tensor) -> Tensor:
        return _tokens(values.transpose(1, 2), rows, each).transpose(1, 2)  # (G, H, n * many, Dh)

    return replace(
        seen,
        features=_tokens(seen.features, rows, real),
        query=heads(seen.query) if seen.query.shape[2] == seen.keys.shape[2] else seen.query[rows],
        keys=heads(seen.keys),
        rows_cols=seen.rows_cols if real.shape[1] == seen.features.shape[1] else (1, real.shape[1] - seen.extra),
        pixels=seen.pixels[:0],
        tilings=(),
        real=None,
    )


def _tokens(values: Tensor, rows: Tensor, real: Tensor) -> Tensor:
    """Return [G, n, D] of [I, N, D]."""
    return values[rows.unsqueeze(1), real]  # (G, n, D)


def left_of(groups: Sequence[Group]) -> Left:
    """Return the tokens of all groups in one row."""
    noted = [group.selection.labels[group.entering] for group in groups if group.selection.labels is not None]
    return Left(
        tokens=torch.cat([group.selection.tokens[group.entering] for group in groups]),  # (S, D)
        crop=torch.cat([group.rows.repeat_interleave(group.counts) for group in groups]),
        place=torch.cat([group.real.gather(1, group.selection.places)[group.entering] for group in groups]),
        merged=torch.cat([group.merged[group.entering] for group in groups]),
        labels=torch.cat(noted) if noted else None,
    )


def entry_order(left: Left, tilings: Sequence[Tiling], extra: int) -> tuple[Tensor, list[int]]:
    """Return the order [S] in which tokens enter, picture after picture, and how many each picture has."""
    sheets = [sheet for tiling in tilings for sheet in tiling.sheets]
    span = 3 * max(sheet.crops * sheet.side**2 for sheet in sheets)
    keys = torch.cat([number * span + _rank(sheet, extra) for number, sheet in enumerate(sheets)])  # (I, 3, N)
    kind = torch.where(left.merged, 2, (left.place < extra).long())
    order = keys.to(left.crop.device)[left.crop, kind, left.place].argsort(stable=True)  # (S,)
    owner = torch.arange(len(tilings)).repeat_interleave(torch.tensor([tiling.crops for tiling in tilings]))
    return order, owner[left.crop.cpu()].bincount(minlength=len(tilings)).tolist()


def _rank(sheet: Sheet, extra: int) -> Tensor:
    """Return the rank of a sheet's tokens [C, 3, N]: kept patches, then CLS, then merged ones.

    Those of equal rank stay as stage 1 left them; one crop alone stays so as a whole.
    """
    n_patches = sheet.side**2
    if sheet.crops == 1:
        return torch.zeros(1, 3, extra + n_patches, dtype=torch.long)
    crops, whole = torch.arange(sheet.crops).view(-1, 1, 1), sheet.crops * n_patches
    by_crop = crops.expand(-1, 2, extra + n_patches) + torch.tensor([[whole], [2 * whole]])
    patches = torch.cat([torch.zeros(sheet.crops, extra, dtype=torch.long), sheet.raster()], dim=1)  # (C, N)
    return torch.cat([patches.unsqueeze(1), by_crop], dim=1)  # (C, 3, N)


def fates_of(
    groups: Sequence[Group], order: Tensor, counts: Sequence[int], extra: int, tilings: Sequence[Tiling]
) -> Fates:
    """Return what became of every patch, with tokens and patches numbered through each picture."""
    inside = torch.cat([tiling.inside for tiling in tilings])  # (I, P)
    blank = torch.full(inside.shape, -1, device=order.device)
    begin = torch.where(inside, int(Fate.DROPPED), int(Fate.BORDER)).to(order.device)
    found = Fates(begin, blank, blank, blank.float().fill_(float("nan")))
    number, first = _numbers(order, counts), 0
    for group in groups:
        found, first = fates_with(found, group, number[first:], extra), first + sum(group.selection.counts)
    joined = found.joined + _first_patches(tilings, inside.shape[1]).to(order.device)
    return replace(found, joined=torch.where(found.joined < 0, found.joined, joined))


def _first_patches(tilings: Sequence[Tiling], patches: int) -> Tensor:
    """Return the number [I, 1] that each crop's first patch has in its picture."""
    return torch.cat([torch.arange(tiling.crops) * patches for tiling in tilings]).unsqueeze(1)


def _numbers(order: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the number [S] that each token has in its picture."""
    within = torch.cat([torch.arange(count, device=order.device) for count in counts])
    return torch.empty_like(order).index_put((order,), within)


def fates_with(found: Fates, group: Group, number: Tensor, extra: int) -> Fates:
    """Write the fates of a group's patches into those of all crops; `number`: of its tokens, and what follows them."""
    fates, patches, rows = group.selection.fates(), group.real[:, extra:] - extra, group.rows.unsqueeze(1)
    number = F.pad(number, (0, 1), value=-1)  # of the token -1, where no other is left
    starts = (group.counts.cumsum(0) - group.counts).unsqueeze(1)  # (G, 1)
    token_of = number[(fates.token_of + starts).clamp(min=0)].where(fates.token_of >= 0, -1)
    joined = patches.gather(1, fates.joined.clamp(min=0)).where(fates.joined >= 0, -1)
    return Fates(
        fate=found.fate.index_put((rows, patches), fates.fate),
        joined=found.joined.index_put((rows, patches), joined),
        token_of=found.token_of.index_put((rows, patches), token_of),
        scores=found.scores.index_put((rows, patches), fates.scores.to(found.scores)),
    )


def whole_fates(tilings: Sequence[Tiling]) -> Fates:
    """Return what becomes of every patch in the untouched model, numbered as in `fates_of`.

    Where it shrinks a sheet, the patch in the middle of a token is an anchor, and the others have merged with it.
    """
    return Fates.stacked([_whole_fates(tiling) for tiling in tilings])


def _whole_fates(tiling: Tiling) -> Fates:
    number, centre = tiling.numbers()  # (C, P) each
    fate = torch.where(centre, torch.where(tiling.shrunk, int(Fate.ANCHOR), int(Fate.DOMINANT)), int(Fate.MERGED))
    homes = torch.full((tiling.tokens,), -1).index_put((number[centre],), centre.flatten().nonzero().flatten())
    return Fates(
        fate=torch.where(number < 0, int(Fate.BORDER), fate),
        joined=torch.where(number < 0, -1, homes[number.clamp(min=0)]),
        token_of=number,
        scores=torch.full(number.shape, float("nan")),
    )
