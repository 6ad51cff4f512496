"""The text tower beside an image encoder: how well patches fit a text, by the CLIP model that both are from.

I pictures, n patches of each, C chunks of a text, D width of the image encoder, E width of the space that both share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel

from duet_core.errors import PlanError

FOLDER: Final = "text_tower"
"""The folder beside a checkpoint's weights in which its text tower is looked for."""
_SAME = ("hidden_size", "num_hidden_layers", "patch_size", "image_size")


@dataclass(frozen=True, slots=True)
class TextTower:
    """A CLIP model without the layers of its image encoder, which the language model's checkpoint has itself."""

    model: Any
    tokenizer: Any

    @torch.no_grad()
    def patches(self, features: Tensor) -> Tensor:
        """Map encoder features [I, n, D] into the shared space: visual_projection(post_layernorm(.)) [I, n, E]."""
        return self.model.visual_projection(self.model.vision_model.post_layernorm(features))

    @torch.no_grad()
    def text(self, text: str) -> Tensor:
        """Return the embeddings [C, E] of a text, one for each chunk of as many tokens as the tower takes at once."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        room = self.model.config.text_config.max_position_embeddings - 2  # for the tokens of beginning and end
        return torch.cat([self._chunk(ids[at : at + room]) for at in range(0, max(1, len(ids)), room)])

    def _chunk(self, ids: list[int]) -> Tensor:
        whole = [self.tokenizer.bos_token_id, *ids, self.tokenizer.eos_token_id]
        seen = self.model.text_model(input_ids=torch.tensor([whole], device=self.model.device))
        return self.model.text_projection(seen.pooler_output)  # (1, E)


def find_tower(
    place: str | None, beside: Path | None, encoder: Mapping[str, Any], device: torch.device, dtype: torch.dtype
) -> TextTower | None:
    """Return the text tower in the folder `place` or, without one, in the folder `text_tower` of the folder `beside`.

    None where neither is given. `encoder`: the configuration of the image encoder that the tower must be of. Raises a
    PlanError where the folder holds no CLIP model, or one of another encoder.
    """
    folder = Path(place) if place else beside / FOLDER if beside else None
    if folder is None or not (place or folder.is_dir()):
        return None
    tower = _opened(folder, device, dtype)
    own = tower.model.config.vision_config.to_dict()
    for name in _SAME:
        if own[name] != encoder.get(name):
            raise PlanError(
                f"The text tower in {folder.name} is of an encoder whose {name} is {own[name]}, but this model's is"
                f" {encoder.get(name)}; give the CLIP model that its encoder is from."
            )
    return tower


@lru_cache(maxsize=2)
def _opened(folder: Path, device: torch.device, dtype: torch.dtype) -> TextTower:
    """Read a CLIP checkpoint; of its image encoder only what comes behind the layers stays in memory."""
    try:
        model: Any = CLIPModel.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise PlanError(
            f"The folder {folder.name} holds no CLIP model with its tokenizer that can be read; give a complete one,"
            " such as a copy of openai/clip-vit-large-patch14-336 for LLaVA-1.5."
        ) from error
    del model.vision_model.encoder, model.vision_model.embeddings
    return TextTower(model.eval().to(device), tokenizer)
