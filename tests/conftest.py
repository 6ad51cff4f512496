"""What several test files share: the golden data and small real models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import hypothesis
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers import LlavaForConditionalGeneration as HFLlava

import duet_core
from duet_core.backbones import Llava

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one takes its time
hypothesis.settings.load_profile("any machine")

_BESIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _BESIDE > 1:  # several processes share the cores
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // _BESIDE))  # what a test starts
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

GOLDEN = Path(__file__).parent / "golden"
TINY = GOLDEN / "tiny_llava_hf"


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Every training is the first of its process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def golden():
    """Read one golden file pair: (settings by case, tensors by key)."""

    def read(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
        return json.loads((GOLDEN / f"{name}.json").read_text()), load_file(GOLDEN / f"{name}.safetensors")

    return read


@pytest.fixture(scope="session")
def tiny() -> duet_core.Model:
    """The golden checkpoint, opened by the engine."""
    return duet_core.open_model(str(TINY), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def tiny_hf() -> HFLlava:
    """The golden checkpoint, opened by transformers alone."""
    return AutoModelForImageTextToText.from_pretrained(TINY).eval()


@pytest.fixture(scope="session")
def tiny_inputs():
    """Make the golden prompt i with the golden picture i, as a processor would."""
    pictures = load_file(GOLDEN / "images.safetensors")
    prompts = json.loads((GOLDEN / "prompts.json").read_text())["prompts"]

    def make(i: int) -> dict[str, torch.Tensor]:
        pixels = (pictures[f"pixel_u8_{i}"].float() / 255 - 0.5) / 0.25
        ids = prompts[i]["pre"] + [999] * 576 + prompts[i]["post"]
        return {"input_ids": torch.tensor([ids]), "pixel_values": pixels[None]}

    return make


@pytest.fixture(scope="session")
def mini() -> duet_core.Model:
    """The bundled model."""
    return duet_core.open_model("duet-mini", device="cpu", dtype="float32")


def small_llava(grid: int = 4, depth: int = 4, vision_depth: int = 3, kv_heads: int = 2, **text) -> duet_core.Model:
    """Build a random LLaVA of any depth and grid, without a processor; picture token 99."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=vision_depth, num_attention_heads=2,
        image_size=8 * grid, patch_size=8, projection_dim=16,
    )  # fmt: skip
    language = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=depth, num_attention_heads=4,
        num_key_value_heads=kv_heads, vocab_size=100, **text,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=language, image_token_id=99, vision_feature_layer=-2)
    model = HFLlava(config).eval()
    model.generation_config.eos_token_id = None
    return duet_core.Model("small", Llava(model), None)


def small_inputs(model: duet_core.Model, before: int = 3, after: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    """Make a random prompt with one random picture for a small model."""
    draw = torch.Generator().manual_seed(seed)
    side = model.backbone.model.config.vision_config.image_size
    text = torch.randint(3, 90, (before + after,), generator=draw).tolist()
    ids = text[:before] + [99] * model.size.tokens + text[before:]
    return {"input_ids": torch.tensor([ids]), "pixel_values": torch.randn(1, 3, side, side, generator=draw)}


def scoring(at_layer):
    """Make a method ask for scores even where a ratio of 0 makes them needless: the recording has them too."""

    def choose(method, boundary):
        if method.plan.ratio_at(boundary.layer) is not None:
            boundary.attention()
        return at_layer(method, boundary)

    return choose


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with two pictures that are no scene, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in (("one.jpg", "teal"), ("two.PNG", "pink")):
        Image.new("RGB", (60, 40), colour).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder
