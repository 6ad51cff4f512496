"""Stage one of the recipe: the vision tower learns what every patch shows.

The features LLaVA reads (layer -2) are supervised patch by patch through linear heads that are
thrown away afterwards; CLS learns which things are present, so that its attention is real
saliency. Most steps see only some of the patches, which is what makes this affordable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModel

from duet_core.train.labels import COLUMNS, GRID
from duet_core.train.loop import Phase
from duet_core.train.pictures import Painted

_WEIGHTS = {"kind": 1.0, "colour": 0.5, "place": 0.5, "rank": 0.5, "count": 0.5}
_WEIGHTS |= {"tens": 2.0, "units": 2.0, "background": 0.3, "present": 1.0}
_LOOKED_AT = 12  # pictures at a time when the tower is checked
_WHOLE = ("rank", "count")  # what only the whole picture tells


def pixels(images: Tensor) -> Tensor:
    """uint8 (B, 336, 336, 3) to float (B, 3, 336, 336) in [-1, 1], as the image processor does."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0  # (B, 3, S, S)


def features(tower: CLIPVisionModel, images: Tensor, keep: Tensor | None = None) -> Tensor:
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

    def losses(self, hidden: Tensor, labels: Tensor) -> dict[str, Tensor]:
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

    def forward(self, hidden: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses by name; hidden is (B, 1 + K, D), labels (B, K, columns)."""
        losses = self.patch.losses(hidden[:, 1:], labels)
        losses["present"] = F.binary_cross_entropy_with_logits(
            self.present(hidden[:, 0]), self.presence(labels), reduction="sum"
        ) / len(hidden)
        return losses

    @staticmethod
    def presence(labels: Tensor) -> Tensor:
        """Which kinds own a patch: (B, kinds) float of 0 and 1."""
        present = torch.zeros(len(labels), COLUMNS["kind"], device=labels.device)
        return present.scatter_(1, labels[..., 0], 1.0)[:, 1:]


def patch_labels(pictures: Painted, rows: np.ndarray) -> Tensor:
    """The label columns of every patch: (B, 576, columns) int64."""
    owner, tables = pictures.owners[rows], pictures.tables[rows]
    return torch.from_numpy(tables[np.arange(len(rows))[:, None], owner].astype(np.int64))


def choose_windows(labels: Tensor, side: int, card_share: float = 0.4) -> Tensor:
    """A square window of side x side patches round a random object of each picture: (B, side * side) in grid order.

    Cards are chosen more often than their area would have it, since digits are learnt last.
    """
    column, device = list(COLUMNS).index("tens"), labels.device
    cards, objects = labels[..., column] > 0, labels[..., 0] > 0
    weights = torch.where(
        cards.any(1, keepdim=True) & (torch.rand(len(labels), 1, device=device) < card_share), cards, objects
    )
    centre = (weights + 1e-3).multinomial(1)  # (B, 1)
    corner = [part - torch.randint(side, part.shape, device=device) for part in (centre // GRID, centre % GRID)]
    row, col = (part.clamp(0, GRID - side) for part in corner)
    steps = torch.arange(side, device=device)
    rows, cols = row + steps, col + steps  # (B, side) each
    return (rows[:, :, None] * GRID + cols[:, None]).flatten(1)


@dataclass(frozen=True)
class TowerPhase(Phase):
    """A phase of the tower: pictures from these `sets` by turns, whole or through windows of `window` patches a side.

    Pictures with a number card are `cards` times likelier than others: digits are learnt last.
    """

    window: int = GRID
    sets: tuple[str, ...] = ()
    cards: float = 2.0

    def draw(self, pictures: Painted, rng: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor, int]:
        """Pictures (B, 336, 336, 3) uint8, label columns (B, 576, columns) of their patches, and the window."""
        with_card = pictures.tables[..., list(COLUMNS).index("units")].any(1)
        chances = np.where(with_card, self.cards, 1.0)
        rows = np.sort(rng.choice(len(chances), self.batch, replace=False, p=chances / chances.sum()))
        images, labels = torch.from_numpy(pictures.images[rows]), patch_labels(pictures, rows)
        return images.to(device), labels.to(device), self.window


def tower_loss(
    tower: CLIPVisionModel, heads: TowerHeads, images: Tensor, labels: Tensor, window: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted loss on some pictures, seen whole or through a window each, and its parts."""
    keep, weights = None, _WEIGHTS
    if window < GRID:
        keep = choose_windows(labels, window)
        labels = labels.gather(1, keep[..., None].expand(-1, -1, labels.shape[-1]))
        weights = {name: weight for name, weight in _WEIGHTS.items() if name not in _WHOLE}
    losses = heads(features(tower, pixels(images), keep).float(), labels)
    total = sum((weight * losses[name] for name, weight in weights.items()), torch.zeros((), device=labels.device))
    return total, {name: losses[name].detach() for name in weights}


@torch.no_grad()
def tower_accuracy(tower: CLIPVisionModel, heads: TowerHeads, pictures: Painted, count: int = 96) -> dict[str, float]:
    """The share of patches read right, column by column, where the column applies."""
    rows = np.arange(min(count, len(pictures.images)))
    labels = patch_labels(pictures, rows).to(tower.device)
    parts = np.array_split(rows, -(-len(rows) // _LOOKED_AT))
    images = (torch.from_numpy(pictures.images[part]).to(tower.device) for part in parts)
    hidden = torch.cat([features(tower, pixels(part)) for part in images])  # (N, 577, D)
    shares = {}
    for column, (name, head) in enumerate(heads.patch.items()):
        truth = labels[..., column]
        right = head(hidden[:, 1:]).argmax(-1) == truth
        shares[name] = right[truth > 0].float().mean().item()
    found = heads.present(hidden[:, 0]) > 0
    present = heads.presence(labels) > 0
    shares["present"] = (found & present).sum().item() / (found | present).sum().item()
    return shares
