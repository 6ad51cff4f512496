"""Many questions about one picture or clip in one sequence, exactly as if each were asked alone.

The pictures come first; each question with its answer is a block that sees the pictures and itself, and whose
positions begin where the pictures end. Where stage 2 drops tokens inside the model, every question keeps others, so
there the pack is taken apart: one sequence per question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from duet_core.scenes.question import Question
from duet_core.train.words import Speech

IGNORED = -100
_PADDING = -1


@dataclass(frozen=True, slots=True)
class Pack:
    """B packed sequences of S tokens; the first P are the pictures' part, shared by all blocks.

    ids, positions, block, labels (B, S) int64: block is 0 for the pictures, k + 1 for question k and -1 for padding;
    labels[i] is the token that position i has to say next, or IGNORED. guides (B, S) bool: whose attention ranks the
    visual tokens in stage 2. visual (V,) int64: where the visual tokens stand. prefix: P.
    """

    ids: Tensor
    positions: Tensor
    block: Tensor
    labels: Tensor
    guides: Tensor
    visual: Tensor
    prefix: int

    def hidden(self) -> Tensor:
        """What the question tokens must not see: (B, 1, S - P, S) bool."""
        place = torch.arange(self.block.shape[1], device=self.block.device)
        asking = self.block[:, self.prefix :, None]  # (B, S - P, 1)
        seen = (self.block[:, None] == 0) | (self.block[:, None] == asking)  # (B, S - P, S)
        return ~(seen & (place <= place[self.prefix :, None]))[:, None]

    def to(self, device: torch.device) -> Pack:
        """The same pack on another device."""
        tensors = {name: getattr(self, name).to(device) for name in self.__slots__ if name != "prefix"}
        return Pack(**tensors, prefix=self.prefix)


def pack(speech: Speech, asked: Sequence[Sequence[Question]], frames: int, tokens: int) -> Pack:
    """Pack the questions about each of B subjects of so many frames, that enter as `tokens` visual tokens each."""
    head = speech.prefix(frames, tokens)
    rows = [_row(speech, questions, head) for questions in asked]
    longest = max(row.shape[1] for row in rows)
    filler = np.array([[speech.ids["pad"]], [0], [_PADDING], [IGNORED], [0]])
    full = [np.hstack([row, filler.repeat(longest - row.shape[1], 1)]) for row in rows]
    ids, positions, block, labels, guides = torch.from_numpy(np.stack(full, 1))  # (B, S) each
    visual = torch.tensor([place for place, token in enumerate(head) if token == speech.ids["image"]])
    return Pack(ids, positions, block, labels, guides.bool(), visual, len(head))


def _row(speech: Speech, questions: Sequence[Question], head: tuple[int, ...]) -> np.ndarray:
    """ids, positions, block, labels and guides of one subject's sequence: (5, S)."""
    start = len(head)
    parts = [np.array([head, range(start), [0] * start, [IGNORED] * start, [0] * start])]
    for number, question in enumerate(questions):
        turn = speech.turn(question)
        ids = (*turn.asked, *turn.answered[:-1])
        silent = [IGNORED] * (len(turn.asked) - 1)
        guides = np.isin(np.arange(len(ids)), turn.guides)
        positions = range(start, start + len(ids))
        parts.append(np.array([ids, positions, [number + 1] * len(ids), [*silent, *turn.answered], guides]))
    return np.hstack(parts)


@dataclass(frozen=True, slots=True)
class Apart:
    """Q sequences of L tokens, one per question, padded on the right.

    hidden (Q, L, D); labels (Q, L) as in the pack; guides (Q, L) bool; visual (Q, n) int64, where the visual tokens
    stand; positions are 0..L-1.
    """

    hidden: Tensor
    labels: Tensor
    guides: Tensor
    visual: Tensor

    def keep(self, visual: Tensor) -> Apart:
        """Only the visual tokens at the places `visual` (Q, m), ascending, and all that is not visual."""
        stays = torch.ones(self.labels.shape, dtype=torch.bool, device=visual.device)
        stays = stays.scatter(1, self.visual, False).scatter(1, visual, True)  # (Q, L)
        index = stays.nonzero()[:, 1].view(len(stays), -1)  # (Q, L'): every row keeps as many
        hidden = self.hidden.gather(1, index[..., None].expand(-1, -1, self.hidden.shape[-1]))  # (Q, L', D)
        moved = (stays.cumsum(1) - 1).gather(1, visual)
        return Apart(hidden, self.labels.gather(1, index), self.guides.gather(1, index), moved)


def take_apart(pack: Pack, hidden: Tensor) -> Apart:
    """One sequence per question from packed hidden states (B, S, D)."""
    places = [
        (sample, (blocks == number).nonzero().flatten())
        for sample, blocks in enumerate(pack.block)
        for number in range(1, int(blocks.max()) + 1)
    ]
    longest = max(len(own) for _, own in places)
    device = hidden.device
    own = torch.zeros(len(places), longest, dtype=torch.long, device=device)
    there = torch.zeros(own.shape, dtype=torch.bool, device=device)
    for row, (_, question) in enumerate(places):
        own[row, : len(question)] = question
        there[row, : len(question)] = True
    samples = torch.tensor([number for number, _ in places], device=device)[:, None]
    shared = torch.arange(pack.prefix, device=device).expand(len(places), -1)
    index = torch.cat([shared, own], 1)  # (Q, L)
    real = torch.cat([torch.ones_like(shared, dtype=torch.bool), there], 1)
    labels = pack.labels[samples, index].masked_fill(~real, IGNORED)
    guides = pack.guides[samples, index] & real
    return Apart(hidden[samples, index], labels, guides, pack.visual.expand(len(places), -1))
