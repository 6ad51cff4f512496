"""VQToken's VQ-Attn (2503.16980), trained: a clip's codes, and the map of which patch has which, make its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from duet_core.errors import PlanError
from duet_core.learnt import Learnt
from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.vqtoken import make_codebook, with_homes
from duet_core.plan import Plan, Size

MOST = 4
"""Tokens of a frame at most: with eight frames, 32 codes, the paper's most."""
ITERATIONS = 8
"""Of k-means, in training and after it."""
_HEADS, _INNER = 8, 384


class VQAttn(nn.Module):
    """One decoder layer whose queries are the rows of the index map, and whose memory is the codebook.

    A frame's row is read `each` times, into as many tokens; K = frames * each codes, where the paper tiles rows until
    they are K. Deviations: an id says nothing of itself, since k-means numbers codes by chance, so instead of a float
    it enters as an embedding that its code is mapped to; `read` is the paper's Linear(P -> D) over the patches of a
    row, one for each round, since tiled rows would give equal tokens; codes are plain means of patches, and the
    attention begins by passing codes on as they are.
    """

    def __init__(self, width: int, patches: int, most: int = MOST) -> None:
        super().__init__()
        self.spell = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.read = nn.Parameter(torch.randn(most, patches, width) / patches**0.5)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among, self.to_codes = (nn.MultiheadAttention(width, _HEADS, batch_first=True) for _ in range(2))
        self.inner = nn.Sequential(nn.Linear(width, _INNER), nn.GELU(), nn.Linear(_INNER, width))
        self._begin_by_passing_on(width)

    @torch.no_grad()
    def _begin_by_passing_on(self, width: int) -> None:
        self.to_codes.in_proj_weight[2 * width :] = torch.eye(width)
        self.to_codes.out_proj.weight.copy_(torch.eye(width))

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> VQAttn:
        """Return the module with these weights."""
        most, patches, width = state["read"].shape
        module = cls(width, patches, most)
        module.load_state_dict(state)
        return module

    def rows(self, codes: Tensor, index: Tensor, each: int) -> Tensor:
        """Return the queries [B, F, each, D] of codes [B, K, D] and an index map [B, F, P]: sums over patches."""
        spelt = self.spell(codes)  # (B, K, D)
        rows = index.flatten(1).unsqueeze(-1).expand(-1, -1, spelt.shape[-1])
        ids = spelt.gather(1, rows).unflatten(1, index.shape[1:])  # (B, F, P, D)
        return torch.einsum("bfpd,epd->bfed", ids, self.read[:each])

    def forward(self, codes: Tensor, index: Tensor, each: int) -> tuple[Tensor, Tensor]:
        """Return tokens [B, F, each, D] and how much each attends to each code, [B, F, each, K]."""
        state = self.rows(codes, index, each).flatten(1, 2)  # (B, F * each, D)
        normed = self.norms[0](state)
        state = state + self.among(normed, normed, normed, need_weights=False)[0]
        found, weights = self.to_codes(self.norms[1](state), codes, codes)
        state = state + found
        state = state + self.inner(self.norms[2](state))
        return tuple(part.unflatten(1, (-1, each)) for part in (state, weights))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class TrainedVQAttn(Method):
    """The trained module's tokens of a clip, 1 to 4 a frame, through the projector; the model was not trained with it.

    `weights`: a file that `train field` wrote for this model, instead of the project's own. Every token may draw on all
    codes of the clip; in the trace each patch counts with the token of its frame that attends to its code most, and a
    token stands at the patch that it attends to most.
    """

    title: ClassVar[str] = "VQ-Attn (trained module)"
    about: ClassVar[About] = About(
        "VQToken (2503.16980)",
        "before the model",
        ("encoder features",),
        training="the module, on painted clips with the model frozen; the paper trains the model, too",
        confidence="official code read; module in small",
        interpretation=True,
        pictures=False,
    )
    whole_grid: ClassVar[bool] = True
    weights: str | None = None

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan whose number of tokens of a frame comes closest to the target."""
        if target >= size.total:
            return Plan(method="vq-attn")
        each = min(max(1, round(target / size.frames)), MOST)
        return Plan(method="vq-attn", dominant=each)

    def after_vision(self, look: Look) -> Selection | None:
        """Find the codes of each clip, and let the module make its tokens of them."""
        if self.plan.dominant is None:
            return None
        each = self.plan.dominant + self.plan.contextual
        module = _opened(look.learnt("vq-attn", self.weights), look.features.device)
        if each > len(module.read):
            raise PlanError(f"The trained VQ-Attn makes at most {len(module.read)} tokens of a frame, not {each}.")
        clips = [self._clip(look, module, own, each) for own in look.groups]
        tokens, alike = (torch.cat(parts) for parts in zip(*clips, strict=True))  # (I, each, D), (I, P, each)
        group, centres = (torch.stack(parts) for parts in zip(*map(with_homes, alike), strict=True))
        kept = torch.zeros_like(centres, dtype=torch.bool)
        return merge_patches(look, tokens, centres, group, kept)

    def _clip(self, look: Look, module: VQAttn, own: range, each: int) -> tuple[Tensor, Tensor]:
        """Return a clip's tokens [F, each, D], and how much each attends to the code of each patch, [F, P, each]."""
        values = look.patch_features[own.start : own.stop].float()  # (F, P, D)
        with torch.autocast(values.device.type, enabled=False):
            codes, index = codes_of(values, each, self.plan.seed)
            tokens, weights = module(codes[None], index[None], each)
        return tokens[0], weights[0].gather(2, index.unsqueeze(1).expand(-1, each, -1)).mT


def codes_of(values: Tensor, each: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return K = F * each codes [K, D] of a clip's patches [F, P, D] fp32, and the index map [F, P] int64."""
    book = make_codebook(values.flatten(0, 1), len(values) * each, ITERATIONS, seed)
    return book.tokens, book.code.view(values.shape[:2])


@lru_cache(maxsize=4)
def _opened(learnt: Learnt, device: torch.device) -> VQAttn:
    return VQAttn.of(learnt.state()).to(device).eval()
