"""How much visual tokens resemble the question, for methods that want to know before the language model runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.methods.base import Look
from duet_core.text_tower import TextTower


def relevance(look: Look, projected: Tensor) -> Tensor:
    """Return how much each projected token [I, n, D] resembles the question's words, [I, n] fp32.

    The published methods ask a text tower beside the image encoder; most checkpoints have none, so the question's word
    embeddings stand in for it [interpretation].
    """
    pairs = zip(look.groups, look.question(), strict=True)
    return torch.cat([likeness(projected[own.start : own.stop], words) for own, words in pairs])


def fit(look: Look, tower: TextTower) -> Tensor:
    """Return how much each patch fits its question [I, P] fp32: minus the mean cosine with the text's chunks.

    Minus, as published: what CLIP's patches say runs against the text.
    """
    pairs = zip(look.groups, look.said(), strict=True)
    patches = tower.patches(look.patch_features)  # (I, P, E)
    return -torch.cat([likeness(patches[own.start : own.stop], tower.text(said)) for own, said in pairs])


def likeness(tokens: Tensor, words: Tensor) -> Tensor:
    """Return the mean cosine of tokens [I, n, D] with the words [Q, D], [I, n] fp32; 0 where there are no words."""
    if len(words) == 0:
        return tokens.new_zeros(tokens.shape[:2], dtype=torch.float32)
    return (F.normalize(tokens.float(), dim=-1) @ F.normalize(words.float(), dim=-1).T).mean(-1)  # (I, n)


def stretched(scores: Tensor) -> Tensor:
    """Return scores [I, n] stretched to [0, 1] in each picture; all 1 where they are even."""
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return torch.where(high > low, (scores - low) / (high - low).clamp(min=1e-12), 1.0)
