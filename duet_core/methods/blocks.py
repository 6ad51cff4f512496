"""Blocks of a grid of patches, which the pooling methods share: every patch lies in just one block."""

from __future__ import annotations

from itertools import pairwise, product
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, int]


def nearest_shape(rows_cols: Shape, wanted: float) -> Shape:
    """Return the rows and columns of blocks, no more than the grid has, whose product comes closest to `wanted`.

    All that come within one token count as equally close (of 4 or more); of these, the one shaped most like the grid.
    """
    rows, cols = rows_cols
    near = 1.0 if wanted >= 4 else 0.5

    def cost(shape: Shape) -> tuple[float, ...]:
        blocks = shape[0] * shape[1]
        off = abs(blocks - wanted)
        shear = round(abs(log(shape[0] * cols / (shape[1] * rows))), 6)
        return max(off, near), -blocks if off > near else 0.0, shear, off

    return min(product(range(1, rows + 1), range(1, cols + 1)), key=cost)


def blocks_of(rows_cols: Shape, shape: Shape) -> Tensor:
    """Return the number of the block that each patch lies in, [P] int64 on the CPU."""
    down, across = (torch.arange(side) * parts // side for side, parts in zip(rows_cols, shape, strict=True))
    return (down.unsqueeze(1) * shape[1] + across).flatten()  # (P,)


def middles(rows_cols: Shape, shape: Shape) -> Tensor:
    """Return the patch in the middle of each block (up and left of it where there is none), [n] int64 on the CPU."""
    down, across = (_middle(side, parts) for side, parts in zip(rows_cols, shape, strict=True))
    return (down.unsqueeze(1) * rows_cols[1] + across).flatten()  # (n,)


def _middle(side: int, parts: int) -> Tensor:
    starts = [-(-number * side // parts) for number in range(parts + 1)]
    return torch.tensor([(start + end - 1) // 2 for start, end in pairwise(starts)])


def members(block: Tensor) -> Tensor:
    """Return which patches belong to each block, [n, P] bool, from the block of each patch [P]."""
    return F.one_hot(block).T.bool()


def block_means(features: Tensor, block: Tensor) -> Tensor:
    """Return the mean [I, n, D] fp32 of the features [I, P, D] in each block."""
    belongs = members(block).float()  # (n, P)
    return (belongs / belongs.sum(1, keepdim=True)).to(features.device) @ features.float()
