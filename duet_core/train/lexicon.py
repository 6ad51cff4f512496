"""The words for what a patch shows: the bridge between pictures and the language model.

A scene can be written down as words without any picture, which is how the language model learns to answer first;
then the projector learns to map patches to where those words lie.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.scenes.things import BACKGROUNDS, COLOURS, COUNTS, NAMES, PLACES
from duet_core.train.labels import COLUMNS
from duet_core.train.words import ORDINALS, TENS, Speech

_SHARPNESS = 12.0  # of the cosine cross-entropy
_LENGTH_WEIGHT = 0.5

# The words for each label of a column, label 1 first; 0 means that the column does not apply.
SPOKEN: Final = {
    "kind": (*NAMES, "foreign"),
    "colour": tuple(COLOURS),
    "place": PLACES,
    "rank": ORDINALS,
    "count": COUNTS[1:],
    "tens": ("single", "zero", *TENS),
    "units": tuple("0123456789"),
    "background": tuple(f"background {colour}" for colour in BACKGROUNDS),
}


class Lexicon:
    """The tokens of the words for each label."""

    def __init__(self, speech: Speech) -> None:
        space = set(speech.word("").tolist())
        self.tokens = {
            column: [[token for token in speech.word(word).tolist() if token not in space] for word in words]
            for column, words in SPOKEN.items()
        }

    def prototypes(self, table: Tensor, column: str) -> Tensor:
        """The direction of the words for each label of a column: (labels, D) of length 1, from embeddings (V, D)."""
        return F.normalize(torch.stack([table[ids].sum(0) for ids in self.tokens[column]]), dim=-1)

    def write(self, labels: Tensor, table: Tensor) -> Tensor:
        """Patches written as words: (B, N, D) as long as words are, for label columns (B, N, columns)."""
        sums = torch.zeros(*labels.shape[:2], table.shape[1], dtype=table.dtype, device=table.device)
        for place, column in enumerate(COLUMNS):
            prototypes = self.prototypes(table, column)
            padded = torch.cat([torch.zeros_like(prototypes[:1]), prototypes])
            sums = sums + padded[labels[..., place]]  # (B, N, D)
        return F.normalize(sums, dim=-1) * table.shape[1] ** 0.5

    def alignment(self, seen: Tensor, labels: Tensor, table: Tensor) -> Tensor:
        """How far projected patches (B, N, D) lie from the words for their label columns (B, N, columns).

        They are also asked to be as long as words, so that neither drowns the other in the residual stream.
        """
        seen, table = seen.float(), table.detach().float()
        unit = F.normalize(seen, dim=-1)
        length = seen.norm(dim=-1) / table.shape[1] ** 0.5
        loss = _LENGTH_WEIGHT * (length - 1).square().mean()
        for place, column in enumerate(COLUMNS):
            truth = labels[..., place]
            shown = truth > 0
            if shown.any():
                likeness = unit[shown] @ self.prototypes(table, column).T
                loss = loss + F.cross_entropy(_SHARPNESS * likeness, truth[shown] - 1) / len(COLUMNS)
        return loss
