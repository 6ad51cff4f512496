"""Many questions about one picture in one sequence, exactly as if each were asked alone.

The picture comes first; each question with its answer is a block that sees the picture and
itself, and whose positions begin where the picture ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from duet_core.scenes.questions import Question
from duet_core.train.words import Speech

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Pack:
    """B packed sequences of S tokens; the first P = head + visual tokens are shared by all blocks.

    ids, positions, block, labels: (B, S) int64; block is 0 for the picture, k + 1 for question k
    and -1 for padding; labels[i] is the token that position i has to say next, or IGNORED.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    block: torch.Tensor
    labels: torch.Tensor
    head: int
    visual: int

    @property
    def prefix(self) -> int:
        """How many tokens stand before the questions."""
        return self.head + self.visual

    def mask(self) -> torch.Tensor:
        """What the question tokens may see: (B, 1, S - P, S) float, 0 or -inf."""
        block, place = self.block, torch.arange(self.block.shape[1])
        asking = block[:, self.prefix :, None]  # (B, S - P, 1)
        seen = (block[:, None] == 0) | (block[:, None] == asking)
        seen &= place <= place[self.prefix :, None]
        return torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))[:, None]


def pack(speech: Speech, asked: Sequence[Sequence[Question]], visual: int) -> Pack:
    """Pack the questions about each of B pictures that enter as `visual` tokens."""
    head = (*speech.head, *[speech.ids["image"]] * visual)
    rows = [_row(speech, questions, head) for questions in asked]
    longest = max(row.shape[1] for row in rows)
    filler = np.array([[speech.ids["pad"]], [0], [-1], [IGNORED]])
    full = [np.hstack([row, filler.repeat(longest - row.shape[1], 1)]) for row in rows]
    ids, positions, block, labels = torch.from_numpy(np.stack(full, 1))  # (B, S) each
    return Pack(ids, positions, block, labels, len(speech.head), visual)


def _row(speech: Speech, questions: Sequence[Question], head: tuple[int, ...]) -> np.ndarray:
    """ids, positions, block and labels of one picture's sequence: (4, S)."""
    start = len(head)
    parts = [np.array([head, range(start), [0] * start, [IGNORED] * start])]
    for number, question in enumerate(questions):
        turn = speech.turn(question)
        ids = (*turn.asked, *turn.answered[:-1])
        silent = [IGNORED] * (len(turn.asked) - 1)
        positions = range(start, start + len(ids))
        block = [number + 1] * len(ids)
        parts.append(np.array([ids, positions, block, [*silent, *turn.answered]]))
    return np.hstack(parts)
