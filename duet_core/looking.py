"""What a backbone lets a method look at before the language model runs; what is costly is worked out when it is asked.

I pictures, Q words of a question, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from duet_core.backbones import Backbone, Eye
from duet_core.grid import Crops
from duet_core.layout import Request
from duet_core.learnt import find_learnt
from duet_core.methods import Look
from duet_core.recorder import Sample
from duet_core.text_tower import TextTower, find_tower
from duet_core.tiling import grid_of
from duet_core.vision import Seen


def look_of(backbone: Backbone, eye: Eye, seen: Seen, requests: Sequence[Request], samples: Sequence[Sample]) -> Look:
    """Return what a method may look at of the pictures of all samples; `requests` are what is asked about them."""
    return Look(
        seen,
        torch.no_grad()(partial(backbone.evidence, seen)),
        torch.no_grad()(backbone.project),
        _groups(seen, samples),
        torch.no_grad()(lambda: [_question(backbone, eye, request) for request in requests]),
        partial(backbone.see_again, eye, seen),
        learnt=lambda method, file: find_learnt(method, backbone.folder, file),
        crops=_crops(seen, samples),
        early=torch.no_grad()(partial(_early, backbone, eye, seen)),
        texts=tuple(request.text for request in requests),
        tower=partial(_tower, backbone, eye),
    )


def _groups(seen: Seen, samples: Sequence[Sample]) -> tuple[range, ...]:
    """Return which of the encoder's pictures, or crops of pictures, are each sample's."""
    if not seen.tilings:
        return tuple(sample.pictures for sample in samples)
    first = [0, *accumulate(tiling.crops for tiling in seen.tilings)]
    return tuple(range(first[sample.pictures.start], first[sample.pictures.stop]) for sample in samples)


def _crops(seen: Seen, samples: Sequence[Sample]) -> tuple[Crops, ...]:
    """Return how the crops of each picture lie that is cut into some; of tiles, where the sample knows how they lie."""
    if not seen.tilings:
        each = prod(seen.rows_cols)
        cut = [sample for sample in samples if len(sample.grid.crops) == len(sample.pictures) > 1]
        return tuple(Crops(own.pictures, own.grid, (each,) * len(own.pictures)) for own in cut)
    first = accumulate((tiling.crops for tiling in seen.tilings), initial=0)
    return tuple(
        Crops(range(start, start + own.crops), grid_of([own]), tuple(own.inside.sum(1).tolist()))
        for start, own in zip(first, seen.tilings, strict=False)
        if own.boxes
    )


def _early(backbone: Backbone, eye: Eye, seen: Seen, pictures: Sequence[int]) -> Tensor:
    return backbone.first_evidence(eye, seen, list(pictures)).scores[:, seen.extra :]


def _question(backbone: Backbone, eye: Eye, request: Request) -> Tensor:
    """Return the embeddings [Q, D] of the words that guide, or else of all text behind the last picture."""
    places = request.salient
    if places is None:
        last = len(request.ids) - 1 - request.ids[::-1].index(eye.token)
        places = list(range(last + 1, len(request.ids)))
    return backbone.embed(torch.tensor([request.ids[at] for at in places], device=backbone.device))


def _tower(backbone: Backbone, eye: Eye, place: str | None) -> TextTower | None:
    config = eye.tower.config.to_dict()
    return find_tower(place, backbone.folder, config, backbone.device, backbone.dtype)
