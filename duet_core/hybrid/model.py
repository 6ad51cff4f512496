"""A language model of state-space and attention layers whose tokens are a few words each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from duet_core.errors import ModelNotFound
from duet_core.hybrid.layers import AttentionLayer, Layer, Memory, StateLayer
from duet_core.hybrid.words import VOCABULARY

FOLDER: Final = Path(__file__).parents[2] / "assets/models/duet-hybrid"
KINDS: Final = {"s": StateLayer, "a": AttentionLayer}


@dataclass(frozen=True, slots=True)
class Shape:
    """The width, and a letter per layer: `s` for state-space, `a` for attention."""

    width: int = 64
    layers: str = "sssasssa"


HYBRID: Final = Shape()
ATTENTION_ONLY: Final = Shape(layers="a" * 8)


class TokenModel(nn.Module):
    """Words in, the next word out. A token is the sum of its words, so that a patch can say several things at once."""

    def __init__(self, shape: Shape, words: int = len(VOCABULARY)) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(words, shape.width, padding_idx=0)
        self.layers = nn.ModuleList(KINDS[kind](shape.width) for kind in shape.layers)
        self.norm, self.head = nn.RMSNorm(shape.width), nn.Linear(shape.width, shape.width, bias=False)
        nn.init.normal_(self.words.weight, std=shape.width**-0.5)
        nn.init.zeros_(self.words.weight.data[0])
        # At the start every layer passes its tokens on as they are, and all words are equally likely.
        for matrix in (self.head, *(layer.out for layer in self.depth), *(own.down for own in self.attending)):
            nn.init.zeros_(matrix.weight)

    @property
    def depth(self) -> Sequence[Layer]:
        """The layers in order."""
        return self.layers  # type: ignore[return-value]

    @property
    def attending(self) -> list[AttentionLayer]:
        """The attention layers alone."""
        return [layer for layer in self.depth if isinstance(layer, AttentionLayer)]

    def embed(self, ids: Tensor) -> Tensor:
        """Tokens (B, T, D) of words (B, T, W) int64, where 0 is no word."""
        return self.words(ids).sum(2) * self.shape.width**0.5  # (B, T, D), about 1 in size

    def forward(
        self, hidden: Tensor, positions: Tensor, memory: Sequence[Memory] | None = None
    ) -> tuple[Tensor, list[Memory]]:
        """Run embedded tokens (B, T, D) at positions (B, T) through all layers, on from a memory per layer."""
        after = []
        for number, layer in enumerate(self.depth):
            hidden, own = layer(hidden, positions, memory[number] if memory else None)
            after.append(own)
        return hidden, after

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits (B, V) of the word that follows the last token of hidden states (B, T, D)."""
        return self.head(self.norm(hidden[:, -1])) @ self.words.weight.T * self.shape.width**0.5


def save_model(model: TokenModel, path: Path) -> None:
    """Write the weights in bf16, with the shape in the header."""
    weights = {name: weight.detach().bfloat16().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, path, {"shape": json.dumps(asdict(model.shape))})
    path.chmod(0o644)


def load_model(path: Path) -> TokenModel:
    """Read a model in fp32; a ModelNotFound says when there is none."""
    if not path.is_file():
        raise ModelNotFound(f"There is no file {path}; train one with python -m duet_core train hybrid --out FOLDER.")
    model = TokenModel(Shape(**_header(path)))
    model.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return model.eval()


def _header(path: Path) -> dict:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["shape"])
