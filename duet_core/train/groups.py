"""Samples of one batch that follow different plans: grouped by what they share, one pass of the layers for all.

Groups stand one after the other, so that each of them is a slice of the batch. B batch, T tokens, D width, A axes of
the positions.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import nn

from duet_core.boundary import Boundary, Stay, Tokens
from duet_core.decoder import pad_positions
from duet_core.methods import Method


@dataclass(frozen=True, slots=True)
class Group:
    """Samples with one plan: their `rows` of the batch, and their sequences as they enter the language model."""

    rows: slice
    method: Method
    first: Tokens


def alike(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the numbers of equal keys together, in the order of their first ones."""
    found: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return list(found.values())


def line_up(methods: Sequence[Method], parts: Sequence[Tokens]) -> list[Group]:
    """Return the groups of a batch, of each its method and the sequences of its samples."""
    rows = pairwise(accumulate((len(part.lengths) for part in parts), initial=0))
    return [Group(slice(*own), method, part) for own, method, part in zip(rows, methods, parts, strict=True)]


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Return the sequences of all parts as one batch; what only `first` tells of them stays with the groups."""
    samples = [(part, number, length) for part in parts for number, length in enumerate(part.lengths)]
    rows = [part.hidden[number, :length] for part, number, length in samples]
    places = [part.positions[:, number, :length] for part, number, length in samples if part.positions is not None]
    return Tokens(
        hidden=nn.utils.rnn.pad_sequence(rows, batch_first=True),  # (B, T, D)
        lengths=[length for _, _, length in samples],
        visual=[own for part in parts for own in part.visual],
        text=[own for part in parts for own in part.text],
        queries=[own for part in parts for own in part.queries],
        origin=[own for part in parts for own in part.origin],
        positions=pad_positions(places) if places else None,  # (A, B, T)
    )


def choose(groups: Sequence[Group], boundary: Boundary) -> Stay | None:
    """Ask each group's method about its own samples; None where all keep everything."""
    parts = [_part(boundary, group) for group in groups]
    stays = [group.method.at_layer(part) for group, part in zip(groups, parts, strict=True)]
    if all(stay is None for stay in stays):
        return None
    full = [stay or _everything(part) for stay, part in zip(stays, parts, strict=True)]
    keep = [own for stay in full for own in stay.keep]
    if all(stay.states is None for stay in full):
        return Stay(keep)
    pairs = zip(full, parts, strict=True)
    return Stay(keep, states=[own for stay, part in pairs for own in stay.states or _states(part, stay)])


def _part(boundary: Boundary, group: Group) -> Boundary:
    """Return what the method of a group may look at: its own samples, as if there were no others."""
    rows = group.rows
    cos, sin = (part[rows] if len(part) > 1 else part for part in boundary.rotary)  # one for all where they are compact
    now, before = _of(boundary.now, rows), _of(boundary.before, rows)
    entering, first = boundary.entering[rows], group.first.to(now.hidden.device)
    return Boundary(boundary.layer, entering, now, before, first, boundary.stack, (cos, sin))


def _of(tokens: Tokens, rows: slice) -> Tokens:
    """Return some samples of a batch."""
    return replace(
        tokens,
        hidden=tokens.hidden[rows],
        lengths=tokens.lengths[rows],
        visual=tokens.visual[rows],
        text=tokens.text[rows],
        queries=tokens.queries[rows],
        origin=tokens.origin[rows],
        positions=None if tokens.positions is None else tokens.positions[:, rows],
    )


def _everything(part: Boundary) -> Stay:
    return Stay([torch.arange(len(own), device=own.device) for own in part.now.visual])


def _states(part: Boundary, stay: Stay) -> list[torch.Tensor]:
    """Return the states [n, D] that kept tokens have anyway."""
    return [own[keep] for own, keep in zip(part.now.states(), stay.keep, strict=True)]
