"""Puts text and visual tokens into one sequence per sample, and knows where each of them sits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from duet_core.boundary import Tokens
from duet_core.decoder import pad_positions
from duet_core.errors import PictureError, QuestionError
from duet_core.plan import Queries


@dataclass(frozen=True, slots=True)
class Request:
    """One sample's prompt: its token ids without padding, and the places in them that guide stage 2 (None: rule).

    `text`: the question as it was asked, None where only ids came.
    """

    ids: list[int]
    salient: list[int] | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where a sample's tokens go: `text` and `visual` places in a sequence of `length`, `moved` from prompt places.

    `runs`: where in the prompt each picture's placeholders begin.
    """

    text: list[int]
    visual: list[int]
    moved: dict[int, int]
    length: int
    runs: list[int]


def count_pictures(ids: Sequence[int], image_token: int, placeholders: Sequence[int]) -> int:
    """Return how many of the next pictures, of so many `placeholders` each, a prompt has room for.

    Raises a PictureError if they do not come out even.
    """
    found = list(ids).count(image_token)
    filled = list(accumulate(placeholders))
    if found not in filled:
        takes = " and ".join(str(one) for one in sorted(set(placeholders))) or "none that is left"
        raise PictureError(f"The prompt has {found} picture tokens, but a picture takes {takes}: give whole pictures.")
    return filled.index(found) + 1


def place(ids: Sequence[int], image_token: int, placeholders: Sequence[int], entering: Sequence[int]) -> Places:
    """Give each picture's run of placeholders as many places as `entering` says; text keeps its order around them."""
    text: list[int] = []
    visual: list[int] = []
    moved: dict[int, int] = {}
    runs: list[int] = []
    at, old = 0, 0
    while old < len(ids):
        if ids[old] == image_token:
            full, many = placeholders[len(runs)], entering[len(runs)]
            runs.append(old)
            visual += range(at, at + many)
            at, old = at + many, old + full
        else:
            moved[old] = at
            text.append(at)
            at, old = at + 1, old + 1
    return Places(text, visual, moved, at, runs)


def sources(places: Places, seats: Sequence[Tensor]) -> Tensor:
    """Return the place in the prompt that each token of the sequence has, [T] int64.

    `seats` [n1]: of each picture, which of its placeholders each visual token stands for.
    """
    visual = torch.cat([own + run for own, run in zip(seats, places.runs, strict=True)])  # (n,)
    source = visual.new_zeros(places.length)
    source[visual.new_tensor(places.text)] = visual.new_tensor(list(places.moved))
    source[visual.new_tensor(places.visual)] = visual
    return source


def query_places(request: Request, places: Places, rule: Queries) -> list[int]:
    """Return the ascending places whose attention ranks the visual tokens; never empty.

    Given places replace the rule. `salient` without any (a prompt that came as bare ids) falls back to `all_text`.
    """
    last = places.length - 1
    if request.salient is not None:
        return sorted({_text_place(places, position) for position in request.salient}) or [last]
    after = [at for at in places.text if at > max(places.visual, default=-1)]
    return [last] if rule == "last" or not after else after


def _text_place(places: Places, position: int) -> int:
    if position not in places.moved:
        raise QuestionError(f"Query position {position} is no text token of the prompt; give positions of text.")
    return places.moved[position]


def lay_out(
    requests: Sequence[Request],
    visual: Sequence[Tensor],
    embed: Callable[[Tensor], Tensor],
    where: Sequence[Places],
    rule: Queries,
    positions: Sequence[Tensor] | None = None,
) -> Tokens:
    """Return the packed batch: `visual[b]` [n, D] are sample b's projected visual tokens, picture after picture.

    `positions[b]` [A, T]: where positions are no mere count, those of the sample's tokens.
    """
    device = visual[0].device
    rows = []
    for request, tokens, places in zip(requests, visual, where, strict=True):
        text_ids = torch.tensor([request.ids[old] for old in places.moved], device=device)
        text = embed(text_ids)
        row = tokens.new_empty(places.length, tokens.shape[-1], dtype=text.dtype)  # (T, D)
        row[torch.tensor(places.text, device=device)] = text.to(device)
        row[torch.tensor(places.visual, device=device)] = tokens.to(row)
        rows.append(row)

    def tensors(lists: Sequence[Sequence[int]]) -> list[Tensor]:
        return [torch.tensor(values, device=device, dtype=torch.long) for values in lists]

    queries = [query_places(request, places, rule) for request, places in zip(requests, where, strict=True)]
    return Tokens(
        hidden=nn.utils.rnn.pad_sequence(rows, batch_first=True),  # (B, T, D)
        lengths=[places.length for places in where],
        visual=tensors([places.visual for places in where]),
        text=tensors([places.text for places in where]),
        queries=tensors(queries),
        origin=tensors([range(len(places.visual)) for places in where]),
        positions=None if positions is None else pad_positions(positions).to(device),
    )
