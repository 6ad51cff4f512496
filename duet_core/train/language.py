"""Stage two of the recipe: the projector and the language model learn to answer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

from duet_core.scenes.things import COLOURS, COUNTS, NAMES, PLACES
from duet_core.train.labels import COLUMNS
from duet_core.train.packing import IGNORED, Pack
from duet_core.train.tower import PatchHeads
from duet_core.train.words import Speech

_SHARPNESS = 12.0  # of the cosine cross-entropy
_SPOKEN = {"kind": NAMES, "colour": tuple(COLOURS), "place": PLACES, "count": COUNTS[1:]}


def answer_logits(
    model: LlavaForConditionalGeneration, seen: torch.Tensor, pack: Pack
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (A, V) and true tokens (A,) at every place of the pack where an answer is due.

    `seen` (B, N, D) holds the projected visual tokens. Equal to transformers' forward on each
    question alone, but the picture is run through only once.
    """
    llama = model.model.language_model
    hidden = llama.embed_tokens(pack.ids)  # (B, S, D)
    hidden = torch.cat([hidden[:, : pack.head], seen, hidden[:, pack.prefix :]], 1)
    rotary, mask = llama.rotary_emb(hidden, pack.positions), pack.mask()
    *layers, last = llama.layers
    for layer in layers:
        hidden = _decode(layer, hidden, rotary, mask, pack.prefix)
    hidden = _decode(last, hidden, rotary, mask, pack.prefix, only_asked=True)  # (B, S - P, D)
    labels = pack.labels[:, pack.prefix :]
    due = labels != IGNORED
    return model.lm_head(llama.norm(hidden[due])), labels[due]


def _decode(
    layer: LlamaDecoderLayer,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
    prefix: int,
    only_asked: bool = False,
) -> torch.Tensor:
    """One decoder layer, equal to transformers' own under the pack's mask.

    The picture's tokens never see the questions, so they run as a plain causal block, and only the
    question tokens need the mask. The last layer needs no more than the question tokens.
    """
    attention, normed = layer.self_attn, layer.input_layernorm(hidden)
    shape = (*normed.shape[:2], -1, attention.head_dim)
    query, key, value = (
        project(normed).view(shape).transpose(1, 2)  # (B, H, S, d)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    mixed = F.scaled_dot_product_attention(query[:, :, prefix:], key, value, attn_mask=mask)
    if only_asked:
        hidden = hidden[:, prefix:]
    else:
        first = [part[:, :, :prefix] for part in (query, key, value)]
        picture = F.scaled_dot_product_attention(first[0], first[1], first[2], is_causal=True)
        mixed = torch.cat([picture, mixed], 2)
    hidden = hidden + attention.o_proj(mixed.transpose(1, 2).flatten(2))  # (B, S, D)
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


class Alignment(nn.Module):
    """Ties projected patches to the words for what they show, and keeps the rest readable."""

    def __init__(self, width: int, speech: Speech) -> None:
        super().__init__()
        self.heads = PatchHeads(width)
        self.words = {column: [speech.word(word) for word in words] for column, words in _SPOKEN.items()}

    def prototypes(self, table: torch.Tensor, column: str) -> torch.Tensor:
        """The summed embeddings of the words of each label: (labels, D), of length 1."""
        sums = torch.stack([table[ids].sum(0) for ids in self.words[column]])
        return F.normalize(sums, dim=-1)

    def forward(self, seen: torch.Tensor, labels: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """The loss of projected patches (B, N, D) under label columns (B, N, columns)."""
        loss = sum(self.heads.losses(seen, labels).values()) / len(COLUMNS)
        unit, table = F.normalize(seen, dim=-1), table.detach()
        for column in _SPOKEN:
            truth = labels[..., list(COLUMNS).index(column)]
            shown = truth > 0
            if shown.any():
                likeness = unit[shown] @ self.prototypes(table, column).T
                loss = loss + F.cross_entropy(_SHARPNESS * likeness, truth[shown] - 1) / 2
        # Visual tokens as long as words, so that neither drowns the other in the residual stream.
        length = seen.norm(dim=-1) / table.shape[1] ** 0.5
        return loss + (length - 1).square().mean()
