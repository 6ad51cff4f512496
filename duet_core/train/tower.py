"""Stage one of the recipe: the vision tower learns what every patch shows.

The features LLaVA reads (layer -2) are supervised patch by patch through linear heads that are
thrown away afterwards; CLS learns which things are present, so that its attention is real
saliency. Most steps see only some of the patches, which is what makes this affordable.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionModel

from duet_core.train.labels import COLUMNS, GRID
from duet_core.train.pictures import Pictures

_WEIGHTS = {"kind": 1.0, "colour": 0.5, "place": 0.5, "rank": 0.5, "count": 0.5}
_WEIGHTS |= {"tens": 2.0, "units": 2.0, "background": 0.3, "present": 1.0}
_OBJECT_SHARE = 0.7  # how strongly patches of objects are preferred to background
_CARD_SHARE = 0.5  # and those of cards to those of other objects: digits are learnt last


def pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 (B, 336, 336, 3) to float (B, 3, 336, 336) in [-1, 1], as the image processor does."""
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0  # (B, 3, S, S)


def features(tower: CLIPVisionModel, images: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    """Layer -2 of the tower, CLS first: (B, 1 + K, D).

    `keep` (B, K) limits the run to some patches (0 is the first patch); None keeps all of them.
    """
    hidden = tower.embeddings(images)  # (B, 577, D)
    if keep is not None:
        cls, patches = hidden[:, :1], hidden[:, 1:]
        index = keep[..., None].expand(-1, -1, hidden.shape[-1])
        hidden = torch.cat([cls, patches.gather(1, index)], 1)  # (B, 1 + K, D)
    hidden = tower.pre_layrnorm(hidden)
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, attention_mask=None)
    return hidden


class PatchHeads(nn.ModuleDict):
    """One linear reading of a patch's features for each label column."""

    def __init__(self, width: int) -> None:
        super().__init__({name: nn.Linear(width, count) for name, count in COLUMNS.items()})

    def losses(self, hidden: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross-entropies by column; hidden is (B, K, D), labels (B, K, columns)."""
        losses = {}
        for column, (name, head) in enumerate(self.items()):
            truth = labels[..., column].flatten()
            # Every patch has a kind (0 is background); other columns only where they apply.
            where = slice(None) if name == "kind" else truth > 0
            read = head(hidden.flatten(0, 1)[where])
            losses[name] = F.cross_entropy(read, truth[where]) if read.numel() else read.sum()
        return losses


class TowerHeads(nn.Module):
    """The readings of patches, and one of CLS: which kinds are present."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch = PatchHeads(width)
        self.present = nn.Linear(width, COLUMNS["kind"] - 1)

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses by name; hidden is (B, 1 + K, D), labels (B, K, columns)."""
        losses = self.patch.losses(hidden[:, 1:], labels)
        losses["present"] = F.binary_cross_entropy_with_logits(
            self.present(hidden[:, 0]), self.presence(labels), reduction="sum"
        ) / len(hidden)
        return losses

    @staticmethod
    def presence(labels: torch.Tensor) -> torch.Tensor:
        """Which kinds own a patch: (B, kinds) float of 0 and 1."""
        present = torch.zeros(len(labels), COLUMNS["kind"])
        return present.scatter_(1, labels[..., 0], 1.0)[:, 1:]


def patch_labels(pictures: Pictures, rows: np.ndarray) -> torch.Tensor:
    """The label columns of every patch: (B, 576, columns) int64."""
    owner, tables = pictures.owners[rows], pictures.tables[rows]
    return torch.from_numpy(tables[np.arange(len(rows))[:, None], owner].astype(np.int64))


def choose(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Random patches, those of objects preferred: (B, count) indices in grid order."""
    chance = torch.rand(labels.shape[:2]) + _OBJECT_SHARE * (labels[..., 0] > 0)
    chance += _CARD_SHARE * (labels[..., list(COLUMNS).index("tens")] > 0)
    return chance.topk(count, dim=1).indices.sort(1).values


def tower_loss(
    tower: CLIPVisionModel, heads: TowerHeads, pictures: Pictures, rows: np.ndarray, kept: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """The weighted loss on some pictures with `kept` patches each, and its parts."""
    labels = patch_labels(pictures, rows)
    keep = choose(labels, kept) if kept < GRID * GRID else None
    if keep is not None:
        labels = labels.gather(1, keep[..., None].expand(-1, -1, labels.shape[-1]))
    losses = heads(features(tower, pixels(pictures.images[rows]), keep), labels)
    total = sum(_WEIGHTS[name] * loss for name, loss in losses.items())
    return total, {name: loss.item() for name, loss in losses.items()}


@torch.no_grad()
def tower_accuracy(tower: CLIPVisionModel, heads: TowerHeads, pictures: Pictures, count: int = 96) -> dict[str, float]:
    """The share of patches read right, column by column, where the column applies."""
    rows = np.arange(min(count, len(pictures)))
    labels = patch_labels(pictures, rows)
    hidden = torch.cat([features(tower, pixels(pictures.images[r])) for r in np.array_split(rows, 8)])
    shares = {}
    for column, (name, head) in enumerate(heads.patch.items()):
        truth = labels[..., column]
        right = head(hidden[:, 1:]).argmax(-1) == truth
        shares[name] = right[truth > 0].float().mean().item()
    found = heads.present(hidden[:, 0]) > 0
    present = heads.presence(labels) > 0
    shares["present"] = (found & present).sum().item() / (found | present).sum().item()
    return shares
