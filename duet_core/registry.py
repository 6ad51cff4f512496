"""The models we suggest: what each is good for, how large it is and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from duet_core.backbones import FAMILIES


@dataclass(frozen=True, slots=True)
class Suggested:
    """A checkpoint worth trying.

    `name`: bundled or hub name. `parameters`: weights. `download`: GB. `licence`: as its card states it; "see its card"
    where we are not certain. `model_type`: the family, as in its configuration.
    """

    name: str
    title: str
    model_type: str
    parameters: int
    download: float
    licence: str
    good_for: str
    note: str = ""

    @property
    def label(self) -> str:
        """The entry in a menu: the title and, where there is one, the download."""
        size = f"{self.download:.0f}" if self.download >= 10 else f"{self.download:.1f}"
        return f"{self.title} · {size} GB" if self.download else self.title


# Weights are counted from the published configurations; downloads are these in 16 bits, SmolVLM2's in 32.
_ALL = (
    Suggested(
        "duet-mini", "duet-mini", "llava", 9_304_832, 0.0, "Apache-2.0", "drawn scenes, on any laptop",
        "Bundled, and trained with DUET in the loop.",
    ),
    Suggested(
        "llava-hf/llava-interleave-qwen-0.5b-hf", "LLaVA-Interleave 0.5B", "llava", 864_031_264, 1.7,
        "Tongyi Qianwen Research", "photos on a CPU", "Research use only.",
    ),
    Suggested(
        "llava-hf/llava-1.5-7b-hf", "LLaVA-1.5 7B", "llava", 7_063_427_072, 14.1, "Llama 2 Community",
        "photos; the paper's main model", "The paper's budgets 192, 128 and 64 are of its 576 tokens.",
    ),
    Suggested(
        "llava-hf/llava-1.5-13b-hf", "LLaVA-1.5 13B", "llava", 13_351_494_656, 26.7, "Llama 2 Community",
        "photos, where 7B errs",
    ),
    Suggested(
        "llava-hf/llava-v1.6-vicuna-7b-hf", "LLaVA-1.6 Vicuna 7B", "llava_next", 7_063_431_168, 14.1,
        "Llama 2 Community", "photos with small text", "Up to 2,928 visual tokens of a picture; no clips.",
    ),
    Suggested(
        "llava-hf/llava-v1.6-mistral-7b-hf", "LLaVA-1.6 Mistral 7B", "llava_next", 7_566_747_648, 15.1,
        "Apache-2.0", "photos with small text", "Up to 2,928 visual tokens of a picture; no clips.",
    ),
    Suggested(
        "LanguageBind/Video-LLaVA-7B-hf", "Video-LLaVA 7B", "video_llava", 7_366_279_168, 14.7, "see its card",
        "clips of eight frames; the paper's video model",
    ),
    Suggested(
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "LLaVA-OneVision 0.5B", "llava_onevision", 893_675_552, 1.8,
        "Apache-2.0", "photos and clips on a CPU", "Thousands of visual tokens of a large photo, 196 of a frame.",
    ),
    Suggested(
        "llava-hf/llava-onevision-qwen2-7b-ov-hf", "LLaVA-OneVision 7B", "llava_onevision", 8_030_348_832, 16.1,
        "Apache-2.0", "photos and clips", "Thousands of visual tokens of a large photo, 196 of a frame.",
    ),
    Suggested(
        "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL 3B", "qwen2_5_vl", 3_754_622_976, 7.5, "Qwen Research",
        "photos, documents and clips", "Not for commercial use.",
    ),
    Suggested(
        "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL 7B", "qwen2_5_vl", 8_292_166_656, 16.6, "Apache-2.0",
        "photos, documents and clips",
    ),
    Suggested(
        "HuggingFaceTB/SmolVLM-256M-Instruct", "SmolVLM 256M", "idefics3", 256_484_928, 0.5, "Apache-2.0",
        "photos on a small CPU", "Up to 1,088 visual tokens of a picture, in tiles of 64.",
    ),
    Suggested(
        "HuggingFaceTB/SmolVLM-500M-Instruct", "SmolVLM 500M", "idefics3", 507_482_304, 1.0, "Apache-2.0",
        "photos on a CPU", "Up to 1,088 visual tokens of a picture, in tiles of 64.",
    ),
    Suggested(
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct", "SmolVLM2 256M", "smolvlm", 256_484_928, 1.0, "Apache-2.0",
        "photos and clips on a small CPU", "64 visual tokens of a frame.",
    ),
    Suggested(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "SmolVLM2 500M", "smolvlm", 507_482_304, 2.0, "Apache-2.0",
        "photos and clips on a CPU", "64 visual tokens of a frame.",
    ),
    Suggested(
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct", "SmolVLM2 2.2B", "smolvlm", 2_246_784_880, 9.0, "Apache-2.0",
        "photos and clips", "81 visual tokens of a frame.",
    ),
)  # fmt: skip


def suggested() -> tuple[Suggested, ...]:
    """Return the models that a backbone of this installation can drive."""
    return tuple(entry for entry in _ALL if entry.model_type in FAMILIES)
