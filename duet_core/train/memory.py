"""The frozen tower's view of every training picture, computed once and kept on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from transformers import CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from duet_core.scenes.layout import Layout
from duet_core.scenes.scene import compose
from duet_core.train.labels import GRID
from duet_core.train.pictures import Pictures
from duet_core.train.tower import pixels

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Views:
    """N scenes: features (N, 577, D) float16, CLS first; saliency (N, 576) float16; the truth."""

    features: np.ndarray
    saliency: np.ndarray
    owners: np.ndarray
    tables: np.ndarray
    layouts: tuple[Layout, ...]

    def __len__(self) -> int:
        return len(self.layouts)


@torch.no_grad()
def look(tower: CLIPVisionModel, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Layer -2 (B, 577, D) and the attention CLS pays each patch there, summed over heads (B, 576)."""
    hidden = tower.pre_layrnorm(tower.embeddings(images))
    *first, layer = (cast(CLIPEncoderLayer, layer) for layer in tower.encoder.layers[:-1])
    for earlier in first:
        hidden = earlier(hidden, attention_mask=None)
    attention, normed = layer.self_attn, layer.layer_norm1(hidden)
    heads = (attention.num_heads, attention.head_dim)
    query = attention.q_proj(normed[:, 0]).unflatten(-1, heads) * attention.scale  # (B, H, d)
    keys = attention.k_proj(normed).unflatten(-1, heads)  # (B, 577, H, d)
    weights = torch.einsum("bhd,bnhd->bhn", query, keys).softmax(-1)  # (B, H, 577)
    return layer(hidden, attention_mask=None), weights[..., 1:].sum(1)


def remember(tower: CLIPVisionModel, pictures: Pictures, folder: Path, least: int) -> Views:
    """Compute the views of all pictures into `folder`, or reopen them when they are there."""
    if not (folder / "saliency.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        count, width = len(pictures), tower.config.hidden_size
        shape = (count, GRID * GRID + 1, width)
        features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, shape)
        saliency = np.zeros((count, GRID * GRID), np.float16)
        for start in range(0, count, _BATCH):
            rows = slice(start, start + _BATCH)
            seen, weights = look(tower, pixels(pictures.images[rows]))
            features[rows], saliency[rows] = seen.numpy(), weights.numpy()
        np.save(folder / "saliency.npy", saliency)
    layouts = tuple(compose(int(seed), least)[1] for seed in pictures.seeds)
    features = np.load(folder / "features.npy")  # in memory: rows are picked at random
    saliency = np.load(folder / "saliency.npy")
    return Views(features, saliency, pictures.owners, pictures.tables, layouts)
