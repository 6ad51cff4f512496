"""Shows a part of the visual tokens, mostly those of things: more clips fit a step, and no gap means anything."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_FAVOUR = 0.7  # how much further ahead a thing's token stands than one of background, in a draw between 0 and 1


def thinned(
    features: Tensor, labels: Tensor, frames: int, kept: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Keep so many tokens of every frame, in their order; the tokens of things mostly stay.

    `features` [B, F * n, Dv]; `labels` [B, F * n, columns] int64, whose first column is 0 for what shows nothing of its
    own; `kept` at most n. Returns both with F * kept tokens.
    """
    tokens = labels.shape[1] // frames
    drawn = torch.from_numpy(rng.random(labels.shape[:2])) + _FAVOUR * (labels[..., 0] > 0)  # (B, F * n)
    chosen = drawn.unflatten(1, (frames, tokens)).topk(kept, dim=-1).indices.sort(-1).values  # (B, F, kept)
    rows = (chosen + tokens * torch.arange(frames)[:, None]).flatten(1)[..., None]  # (B, F * kept, 1)
    return _picked(features, rows), _picked(labels, rows)


def _picked(part: Tensor, rows: Tensor) -> Tensor:
    return part.gather(1, rows.expand(-1, -1, part.shape[-1]))  # (B, F * kept, width)
