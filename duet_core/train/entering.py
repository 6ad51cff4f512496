"""What enters the language model of a subject: the tower's tokens with their labels, or labels alone, as words."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from duet_core.merging import merge
from duet_core.plan import Plan
from duet_core.train.labels import COLUMNS
from duet_core.train.views import Views

_UNREAD = 0.06  # share of labels that a written token lacks, as a patch may be read wrong
# Shares of pictures whose patches do not tell this at all, as the tower often cannot: it must be worked out.
_HIDDEN = {"count": 0.7, "rank": 0.4}


def entering(views: Views, rows: np.ndarray, plan: Plan) -> tuple[Tensor, Tensor]:
    """Features (B, F * n1, Dv) of what enters of these pictures under the plan, and its labels (B, F * n1, columns)."""
    features = torch.from_numpy(views.features[rows].astype(np.float32))  # (B * F, 577, Dv)
    table = views.tables[rows[:, None], views.owners[rows]].astype(np.int64)  # (B * F, 576, columns)
    labels = torch.from_numpy(np.pad(table, ((0, 0), (1, 0), (0, 0))))  # CLS shows nothing of its own
    if plan.dominant is None:
        tokens, labels = features[:, 1:], labels[:, 1:]
    else:
        keys = torch.from_numpy(views.keys[rows].astype(np.float32))
        scores = torch.from_numpy(views.scores[rows].astype(np.float32))
        merged = merge(features, keys, scores, plan.dominant, plan.contextual, plan.cluster_width)
        tokens = merged.tokens  # (B * F, n1, Dv)
        own = labels.gather(1, merged.dominant[..., None].expand(-1, -1, labels.shape[-1]))
        labels = torch.nn.functional.pad(own, (0, 0, 0, tokens.shape[1] - own.shape[1]))  # merged ones show a mixture
    shape = len(rows) // views.frames, views.frames * tokens.shape[1]
    return tokens.reshape(*shape, -1), labels.reshape(*shape, -1)


def written(views: Views, subjects: np.ndarray, rng: np.random.Generator) -> Tensor:
    """The labels (B, F * n, columns) of a few tokens per picture: every thing some times, in reading order."""
    rows = views.rows(subjects)
    count = int(rng.integers(5, 13)) if views.frames > 1 else int(rng.integers(10, 41))
    tables = views.tables[rows].astype(np.int64)
    things = (tables[:, 1:, 0] > 0).sum(1)
    chosen = rng.integers(0, things[:, None] + 1, (len(rows), count))
    seats = np.minimum(np.arange(count), things[:, None])  # the first seats go to each thing once
    chosen = np.where(np.arange(count) <= things[:, None], seats, chosen)
    # Background tokens lie between the things, wherever.
    order = np.where(chosen == 0, rng.random(chosen.shape) * (things[:, None] + 1), chosen)
    chosen = np.take_along_axis(chosen, order.argsort(1), 1)
    labels = tables[np.arange(len(rows))[:, None], chosen]  # (B * F, n, columns)
    labels = labels * (rng.random(labels.shape) > _UNREAD)
    for column, chance in _HIDDEN.items():
        labels[..., list(COLUMNS).index(column)] *= rng.random((len(rows), 1)) > chance
    return torch.from_numpy(labels).reshape(len(subjects), -1, len(COLUMNS))
