"""The projector and the language model learn to answer: the forward pass that training differentiates.

Equal to transformers' own on each question alone, and with pruning layers to the engine's; but pictures are run
through once for all their questions until stage 2 takes them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from duet_core.train.attention import attend
from duet_core.train.packing import IGNORED, Apart, Pack, take_apart

Rotary = tuple[Tensor, Tensor]
Drops = Sequence[tuple[int, float]]
"""(layer, share of the entering visual tokens that stays from it on), ascending."""


class Answers(NamedTuple):
    """Logits (A, V) and true tokens (A,) at every place of a pack where an answer is due.

    `halfway` (B, V, D): the hidden states of all visual tokens half way up the model, before any is pruned.
    """

    logits: Tensor
    truth: Tensor
    halfway: Tensor


def answer_logits(llama: Any, head: nn.Module, seen: Tensor, pack: Pack, drops: Drops = ()) -> Answers:
    """Answer all questions of a pack, each word with the true ones before it.

    `llama` and `head`: a LlamaModel and its output layer. `seen` (B, V, D): the projected visual tokens of all frames
    in order.
    """
    words = llama.embed_tokens(pack.ids)
    hidden = words.index_copy(1, pack.visual, seen.to(words.dtype))  # (B, S, D)
    first = drops[0][0] if drops else len(llama.layers)
    half = min(first, len(llama.layers) // 2)
    hidden = _run_packed(llama, range(half), hidden, pack)
    halfway = hidden[:, pack.visual]
    hidden = _run_packed(llama, range(half, first), hidden, pack)  # (B, S, D) or (B, S - P, D)
    if drops:
        apart = _run_apart(llama, take_apart(pack, hidden), drops)
        hidden, labels = apart.hidden, apart.labels
    else:
        labels = pack.labels[:, pack.prefix :]
    due = labels != IGNORED
    return Answers(head(llama.norm(hidden[due])), labels[due], halfway)


def _run_packed(llama: Any, layers: range, hidden: Tensor, pack: Pack) -> Tensor:
    """The layers in which all questions share the pictures; the model's last one runs only over the questions.

    The pictures never see the questions, so they are a plain causal block, and the questions alone need the mask.
    """
    rotary, hiding = llama.rotary_emb(hidden, pack.positions), pack.hidden()
    causal = _later(pack.prefix, hidden.device)
    for number in layers:
        layer = llama.layers[number]
        query, key, value = _projected(layer, hidden, rotary)
        mixed = attend(query[:, :, pack.prefix :], key, value, layer.self_attn.scaling, hiding)
        if number + 1 == len(llama.layers):
            hidden = hidden[:, pack.prefix :]  # (B, S - P, D)
        else:
            seeing, seen, shown = (part[:, :, : pack.prefix] for part in (query, key, value))
            mixed = torch.cat([attend(seeing, seen, shown, layer.self_attn.scaling, causal), mixed], 2)  # (B, H, S, d)
        hidden = _finished(layer, hidden, mixed)
    return hidden


def _run_apart(llama: Any, apart: Apart, drops: Drops) -> Apart:
    """The layers from the first pruning layer on, one sequence per question."""
    entering = apart.visual.shape[1]
    bounds = [layer for layer, _ in drops] + [len(llama.layers)]
    for (first, end), (_, ratio) in zip(pairwise(bounds), drops, strict=True):
        apart = prune(llama, llama.layers[first], apart, int(entering * ratio))
        rotary, later = _compact(llama, apart.hidden), _later(apart.hidden.shape[1], apart.hidden.device)
        hidden = apart.hidden
        for layer in llama.layers[first:end]:
            query, key, value = _projected(layer, hidden, rotary)
            hidden = _finished(layer, hidden, attend(query, key, value, layer.self_attn.scaling, later))
        apart = Apart(hidden, apart.labels, apart.guides, apart.visual)
    return apart


@torch.no_grad()
def _scores(llama: Any, layer: Any, apart: Apart) -> Tensor:
    """Mean attention (Q, n) that each visual token gets from its question's guides, in the layer that comes next."""
    query, key, _ = _projected(layer, apart.hidden, _compact(llama, apart.hidden))
    many = apart.guides.sum(1)
    rank = torch.where(apart.guides, apart.guides.cumsum(1), 0).argsort(dim=1, descending=True, stable=True)
    rows = rank[:, : int(many.max())]  # (Q, R): the guides, then whatever fills up
    real = apart.guides.gather(1, rows)
    asking = query.gather(2, rows[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3]))
    logits = (asking @ key.mT).float() * layer.self_attn.scaling  # (Q, H, R, L)
    later = torch.arange(key.shape[2], device=key.device) > rows[..., None]  # (Q, R, L)
    weights = logits.masked_fill(later[:, None], float("-inf")).softmax(-1).mean(1)  # (Q, R, L)
    weights = (weights * real[..., None]).sum(1) / many[:, None]  # (Q, L)
    return weights.gather(1, apart.visual)


def prune(llama: Any, layer: Any, apart: Apart, keep: int) -> Apart:
    """Keep the `keep` visual tokens of each question that its guides attend to most (stage 2)."""
    if keep == 0:
        return apart.keep(apart.visual[:, :0])
    best = _scores(llama, layer, apart).argsort(dim=1, descending=True, stable=True)[:, :keep]
    return apart.keep(apart.visual.gather(1, best.sort(1).values))


def _projected(layer: Any, hidden: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, T, d) after norm, projections and RoPE; fewer key heads are repeated."""
    attention, normed = layer.self_attn, layer.input_layernorm(hidden)
    query, key, value = (
        project(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, 1) if groups > 1 else part for part in (key, value))
    return query.to(value.dtype), key.to(value.dtype), value


def _finished(layer: Any, hidden: Tensor, mixed: Tensor) -> Tensor:
    """The rest of a decoder layer after attention."""
    hidden = hidden + layer.self_attn.o_proj(mixed.transpose(1, 2).flatten(2))  # (B, T, D)
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _compact(llama: Any, hidden: Tensor) -> Rotary:
    return llama.rotary_emb(hidden, torch.arange(hidden.shape[1], device=hidden.device)[None])


def _later(length: int, device: torch.device) -> Tensor:
    """The causal mask (1, 1, T, T), true where a key lies in the future."""
    place = torch.arange(length, device=device)
    return (place > place[:, None])[None, None]
