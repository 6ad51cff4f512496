"""FLOPs and KV bytes by formula: what a run costs, apart from any clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The widths of one language-model layer that its cost depends on; `element_bytes` is the dtype's size."""

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    element_bytes: int


def layer_flops(shape: LayerShape, tokens: int) -> int:
    """Return the FLOPs of one layer for `tokens` tokens (a multiply-add counts as two).

    2 n D (2 H dh + 2 Hkv dh) for the q, o, k, v projections, 4 n^2 H dh for scores and their weighted sum (the causal
    half is not discounted, as in the field's tables), 6 n D M for the gated MLP.
    """
    projections = 2 * tokens * shape.width * 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    attention = 4 * tokens * tokens * shape.heads * shape.head_dim
    return projections + attention + 6 * tokens * shape.width * shape.mlp_width


def prefill_flops(shape: LayerShape, visual_per_layer: Sequence[int], text: int) -> int:
    """Return the FLOPs of all layers when each sees its own number of visual tokens beside `text` text tokens."""
    return sum(layer_flops(shape, visual + text) for visual in visual_per_layer)


def kv_bytes(shape: LayerShape, tokens_per_layer: Sequence[int]) -> int:
    """Return the bytes of keys and values cached over all layers."""
    return sum(tokens_per_layer) * 2 * shape.kv_heads * shape.head_dim * shape.element_bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """What one answer took. Times are milliseconds inside the model, measured once in this very run.

    `encode_ms`: vision encoder and projector. `select_ms`: both selection stages. `prefill_ms`: the language model
    over the prompt, without selection. `first_token_ms`: all of these plus choosing the first token.
    `decode_ms`: median per further token, None when there was none. `prefill_flops`: by formula (`layer_flops`).
    `kv_bytes`: keys and values cached after the prefill.
    """

    encode_ms: float
    select_ms: float
    prefill_ms: float
    first_token_ms: float
    decode_ms: float | None
    new_tokens: int
    text_tokens: int
    prefill_flops: int
    kv_bytes: int

    @property
    def answer_ms(self) -> float:
        """Milliseconds of the whole answer: its first token, and every further one at their median."""
        return self.first_token_ms + (self.decode_ms or 0.0) * max(0, self.new_tokens - 1)

    def to_json(self) -> dict[str, float | int | None]:
        """Return the figures as plain JSON values, times to a thousandth of a millisecond."""
        rounded = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(v, 3) if isinstance(v, float) else v for name, v in rounded.items()}
