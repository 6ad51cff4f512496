"""QueCC (2411.03312), trained: convolution and cross-attention within blocks, under the question, make the tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from duet_core.errors import PlanError
from duet_core.learnt import Learnt
from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.blocks import Shape, blocks_of
from duet_core.plan import Plan, Size

STRIDES = (2, 3, 4, 6)
"""Sides of a block in patches; of 24 x 24 patches they leave 144, 64, 36 and 16 tokens."""
_HEADS = 8


class QueCC(nn.Module):
    """The module of the paper's section 4 for features of `width` and word embeddings of width `words`.

    One module serves all strides, each with a convolution of its own (the paper trains one module for each).
    Deviations: the question is the mean of its words' embeddings, where the paper runs the language model over it;
    keys and values come from the one layer of the encoder that the model reads, not from four; what is learnt of a
    value is added to the patch itself, and the attention begins as an even one, so that training starts from plain
    average pooling.
    """

    def __init__(self, width: int, words: int, strides: Sequence[int] = STRIDES) -> None:
        super().__init__()
        self.ask = nn.Sequential(nn.Linear(words, width), nn.LayerNorm(width))
        self.query, self.key, self.value = (_perceptron(width) for _ in range(3))
        convolutions = {str(side): nn.Conv2d(width, width, side, side, groups=width) for side in strides}
        self.shrink = nn.ModuleDict(convolutions)
        self.attend = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self._begin_as_pooling(width)

    @torch.no_grad()
    def _begin_as_pooling(self, width: int) -> None:
        nn.init.zeros_(self.value[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.attend.in_proj_weight[:width])
        self.attend.in_proj_weight[2 * width :] = torch.eye(width)
        self.attend.out_proj.weight.copy_(torch.eye(width))

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> QueCC:
        """Return the module with these weights."""
        width, words = state["ask.0.weight"].shape
        strides = [weight.shape[-1] for name, weight in state.items() if name.startswith("shrink.") and weight.ndim > 1]
        module = cls(width, words, sorted(strides))
        module.load_state_dict(state)
        return module

    def forward(self, patches: Tensor, question: Tensor, stride: int, rows_cols: Shape) -> tuple[Tensor, Tensor]:
        """Return tokens [I, n, D] and, for the s * s patches of each one's block, the weights [I, n, s * s].

        `patches` [I, P, D] of pictures of (rows, columns) that the stride s divides; `question` [I, words].
        """
        own = block_patches(rows_cols, stride).to(patches.device)  # (n, s * s)
        asked = patches + self.ask(question).unsqueeze(1)
        grid = self.query(asked).mT.unflatten(2, rows_cols)  # (I, D, rows, cols)
        query = self.shrink[str(stride)](grid).flatten(2).mT  # (I, n, D)
        keys, values = self.key(patches), patches + self.value(patches)
        mixed, weights = self.attend(
            query.flatten(0, 1).unsqueeze(1),  # (I * n, 1, D)
            keys[:, own].flatten(0, 1),  # (I * n, s * s, D)
            values[:, own].flatten(0, 1),
        )
        return mixed.view_as(query), weights.view(len(patches), *own.shape)


def _perceptron(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width))


def block_patches(rows_cols: Shape, stride: int) -> Tensor:
    """Return the patches [n, s * s] int64 of each block of s x s, row after row, on the CPU."""
    block = blocks_of(rows_cols, (rows_cols[0] // stride, rows_cols[1] // stride))
    return block.argsort(stable=True).view(-1, stride * stride)


@dataclass(frozen=True, slots=True)
class TrainedQueCC(Method):
    """The trained module's tokens, through the model's own projector; the language model was not trained with them.

    So only budgets of (24 / s)^2 tokens can be met, and the plan takes the nearest. `weights`: a file that
    `train field` wrote for this model, instead of the project's own. In the trace a block stands at the patch that its
    query attends to most.
    """

    title: ClassVar[str] = "QueCC (trained module)"
    about: ClassVar[About] = About(
        "QueCC (2411.03312)",
        "before the model",
        ("encoder features", "the question's words"),
        training="the module, on painted scenes and clips with the model frozen; the paper trains the model, too",
        confidence="official code read; module in small",
        interpretation=True,
    )
    whole_grid: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    weights: str | None = None

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan whose number of blocks in a picture or frame comes closest to the target."""
        if target >= size.total:
            return Plan(method="quecc-trained")
        counts = [size.tokens // side**2 for side in STRIDES]
        return Plan(method="quecc-trained", dominant=min(counts, key=lambda n: abs(n - target / size.frames)))

    def after_vision(self, look: Look) -> Selection | None:
        """Let the module make its tokens of each picture, under the question of the picture's sample."""
        if self.plan.dominant is None:
            return None
        module = _opened(look.learnt("quecc-trained", self.weights), look.features.device)
        rows_cols, stride = look.seen.rows_cols, _stride(look.patches, self.plan.dominant + self.plan.contextual)
        with torch.autocast(look.features.device.type, enabled=False):
            tokens, weights = module(look.patch_features.float(), _questions(look), stride, rows_cols)
        own = block_patches(rows_cols, stride).to(tokens.device)  # (n, s * s)
        centres = own.expand(len(tokens), -1, -1).gather(2, weights.argmax(-1, keepdim=True)).squeeze(-1)  # (I, n)
        order = own.flatten().argsort()  # (P,)
        group = (order // own.shape[1]).expand(len(tokens), -1)  # (I, P)
        kept = torch.zeros_like(centres, dtype=torch.bool)
        return merge_patches(look, tokens, centres, group, kept, weights.flatten(1)[:, order])


def _stride(patches: int, tokens: int) -> int:
    """Return the side of a block; a PlanError where no module makes so many tokens."""
    for side in STRIDES:
        if tokens * side**2 == patches:
            return side
    counts = ", ".join(str(patches // side**2) for side in STRIDES)
    raise PlanError(f"The trained QueCC makes {counts} tokens of a picture, not {tokens}; choose one of these.")


def _questions(look: Look) -> Tensor:
    """Return for each picture the mean [I, words] fp32 of its question's word embeddings, zero where there is none."""
    means = [words.float().sum(0) / max(1, len(words)) for words in look.question()]
    counts = torch.tensor([len(own) for own in look.groups], device=look.features.device)
    return torch.stack(means).repeat_interleave(counts, 0)


@lru_cache(maxsize=4)
def _opened(learnt: Learnt, device: torch.device) -> QueCC:
    return QueCC.of(learnt.state()).to(device).eval()
