"""The Video-LLaVA family: `VideoLlavaForConditionalGeneration`, one CLIP encoder for pictures and one for clips."""

from __future__ import annotations

from dataclasses import dataclass

from duet_core.backbones.eye import Eye
from duet_core.backbones.llava import Llava


@dataclass(frozen=True, slots=True)
class VideoLlava(Llava):
    """One opened checkpoint of the family: LLaVA's projector and decoder behind two encoders.

    The untouched model feeds every frame's CLS to the language model, but not that of a picture.
    """

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip: each has its own encoder and its own token."""
        if clip:
            return self._eye(self.model.model.video_tower, "video", self.model.config.video_token_id, keeps_cls=True)
        return self._eye(self.model.model.image_tower, "image", self.model.config.image_token_id)
