"""Fine-tuning every family with DUET in the loop, on pictures of different shapes in one batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    Qwen2Config,
    SiglipVisionConfig,
    VideoLlavaConfig,
)

import duet_core
from duet_core.methods import METHODS
from duet_core.train import finetune
from duet_core.train.batches import Batch, make_batch, plans_for
from duet_core.train.conversations import IGNORED, read_conversations
from duet_core.train.loop import read_log
from duet_core.train.reduced import ReducedLesson
from duet_core.train.weights import recompute_layers, train_adapters, train_all
from tests import test_smolvlm as smolvlm
from tests.conftest import GOLDEN
from tests.qwen_folder import write_folder
from tests.test_crops import EDGE, IMAGE, NEXT, ONE, TEXT, VIDEO, VISION, configuration, tokenizer

SHAPES = [(180, 80), (60, 140), (128, 128), (90, 96), (80, 180), (128, 128)]
BUDGET = 12  # more than some of Qwen's pictures have
QUESTION, ANSWERS = "What is in the middle?", ["middle", "in the", "What"]
KINDS = ["clip", "siglip", "next", "onevision", "video", "qwen", "idefics3", "smolvlm"]
SQUARE = {"size": {"shortest_edge": EDGE}, "crop_size": {"height": EDGE, "width": EDGE}}
PROCESSORS = {
    "clip": ("CLIPImageProcessor", "LlavaProcessor", SQUARE | {"patch_size": 8}),
    "siglip": ("SiglipImageProcessor", "LlavaProcessor", {"size": {"height": EDGE, "width": EDGE}}),
    "next": ("LlavaNextImageProcessor", "LlavaNextProcessor", NEXT),
    "onevision": ("LlavaOnevisionImageProcessor", "LlavaOnevisionProcessor", ONE),
    "video": ("VideoLlavaImageProcessor", "VideoLlavaProcessor", SQUARE),
}


def config_of(kind: str):
    """The published structures, small."""
    if kind in ("next", "onevision"):
        return configuration("vicuna" if kind == "next" else kind)
    if kind == "siglip":
        vision, text = SiglipVisionConfig(**VISION), Qwen2Config(**TEXT)
        return LlavaConfig(
            vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        )  # fmt: skip
    vision, text = CLIPVisionConfig(**VISION, projection_dim=16), LlamaConfig(**TEXT)
    if kind == "clip":
        return LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-2)
    return VideoLlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, video_token_index=VIDEO)


def write(place: Path, kind: str) -> None:
    """Write a checkpoint as the published ones are."""
    image, whole, own = PROCESSORS[kind]
    AutoModelForImageTextToText.from_config(config_of(kind)).save_pretrained(place)
    tokenizer().save_pretrained(place)
    kinds = {"image_processor_type": image, "processor_class": whole}
    (place / "preprocessor_config.json").write_text(json.dumps(kinds | own))


def entry(number: int, picture: str) -> dict:
    asked = [QUESTION, ANSWERS[number % 3]] + [QUESTION, ANSWERS[(number + 1) % 3]] * (number % 2)
    turns = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(asked)]
    return {"image": picture, "conversations": turns}


@pytest.fixture(scope="module", params=KINDS)
def place(request, tmp_path_factory) -> Path:
    """A folder with pictures of different shapes, their conversations, and a checkpoint as the published ones are."""
    folder, kind = tmp_path_factory.mktemp(request.param), request.param
    torch.manual_seed(0)
    if kind in ("idefics3", "smolvlm"):
        smolvlm.write(folder / "tiny", kind, config=smolvlm.configuration(kind, tied=kind == "smolvlm"))
    elif kind == "qwen":
        config = AutoConfig.from_pretrained(GOLDEN / "tiny_qwen25vl_hf")
        write_folder(folder / "tiny", AutoModelForImageTextToText.from_config(config))
    else:
        write(folder / "tiny", kind)
    draw = np.random.default_rng(0)
    for number, (width, height) in enumerate(SHAPES):
        noise = draw.integers(0, 255, (height, width, 3), np.uint8) // 4 + 60 * (number % 3)
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
    talk = [entry(number, f"{number}.png") for number in range(len(SHAPES))]
    (folder / "talk.json").write_text(json.dumps(talk))
    return folder


@pytest.fixture
def small(place) -> duet_core.Model:
    return duet_core.open_model(str(place / "tiny"), device="cpu", dtype="float32")


@pytest.fixture
def batch(place, small) -> Batch:
    return make_batch(small, read_conversations(place / "talk.json", place))


def plans(batch: Batch, method: str = "duet", budget: float = BUDGET) -> list[duet_core.Plan]:
    return plans_for(method, budget, "both", batch.sizes)


def tune(place: Path, out: Path, *more: str) -> list[dict]:
    talk = place / "talk.json"
    given = ["--model", place / "tiny", "--data", talk, "--images", place, "--check", talk]
    given += ["--out", out, "--batch", "6", "--budget", "12-14", "--steps", "8", *more]
    assert finetune.main([str(one) for one in given]) == 0
    return read_log(out.with_name(f"{out.name}-run"))


# The loss


def theirs(model: duet_core.Model, batch: Batch, number: int) -> torch.Tensor:
    """Transformers' own loss of one conversation."""
    example = batch.examples[number]
    last = next(label for label in reversed(example.labels) if label != IGNORED)
    ids = torch.tensor([[*example.ids, last]])
    labels = torch.tensor([[IGNORED, *example.labels]])
    eye, kind = model.backbone.eye(clip=False), model.backbone.model.config.model_type
    own = model.backbone.prepared(eye, batch.pixels[number])
    if kind == "qwen2_5_vl":
        own = own | {"mm_token_type_ids": (ids == model.backbone.model.config.image_token_id).int()}
    if kind == "video_llava":
        own = {"pixel_values_images": own["pixel_values"]}
    return model.backbone.model(input_ids=ids, labels=labels, **own).loss


def test_with_all_tokens_the_loss_is_that_of_transformers(small, batch):
    lesson, everything = ReducedLesson(small.backbone), [duet_core.Plan(method="none")] * len(SHAPES)
    loss, figures = lesson(batch.pixels, batch.examples, everything, batch.targets)
    losses = [theirs(small, batch, number) * one.targets for number, one in enumerate(batch.examples)]
    torch.testing.assert_close(loss, sum(losses) / batch.targets, atol=1e-4, rtol=0)
    assert figures["visual_tokens"] == sum(size.total for size in batch.sizes) / len(SHAPES)
    alone, _ = lesson(batch.pixels[1:2], batch.examples[1:2], everything[:1], batch.examples[1].targets)
    torch.testing.assert_close(alone, theirs(small, batch, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "smaller"])
def test_a_batch_costs_what_its_samples_cost(small, batch, method):
    lesson, made = ReducedLesson(small.backbone), plans(batch, method)
    together, _ = lesson(batch.pixels, batch.examples, made, batch.targets)
    samples = zip(batch.pixels, batch.examples, made, strict=True)
    parts = [lesson([own], [example], [plan], 1.0)[0] for own, example, plan in samples]
    torch.testing.assert_close(together, sum(parts) / batch.targets)


def test_every_picture_gets_the_budget(small, batch):
    lesson, seen = ReducedLesson(small.backbone), []
    for pixels, example, plan in zip(batch.pixels, batch.examples, plans(batch), strict=True):
        _, figures = lesson([pixels], [example], [plan], 1.0)
        seen.append(float(figures["visual_tokens"]))
    wanted = [min(BUDGET, size.total) for size in batch.sizes]
    assert all(abs(got - budget) <= 1 for got, budget in zip(seen, wanted, strict=True))
    _, figures = lesson(batch.pixels, batch.examples, plans(batch), 1.0)
    assert float(figures["visual_tokens"]) == pytest.approx(sum(seen) / len(seen))


# It learns


@pytest.mark.parametrize("how", ["all", "tower", "adapters"])
def test_gradients_reach_what_is_trained_and_nothing_else(small, batch, how):
    backbone, inner = small.backbone, small.backbone.model.model
    train_adapters(backbone, 2, "tiny") if how == "adapters" else train_all(backbone, how == "tower")
    lesson = ReducedLesson(backbone).train()
    lesson(batch.pixels, batch.examples, plans(batch), batch.targets)[0].backward()
    reached = {name for name, weight in inner.named_parameters() if weight.grad is not None}
    assert reached == {name for name, weight in inner.named_parameters() if weight.requires_grad}
    assert all("lora" in name for name in reached) == (how == "adapters")
    assert any(weight.grad is not None for weight in backbone.decoder.parameters())
    own = [weight.grad for weight in backbone.projector.parameters() if weight.requires_grad]
    assert own and max(grad.abs().max() for grad in own) > 0
    parts = backbone.encoder_parts(backbone.eye(clip=False))
    assert all((weight.grad is not None) == (how == "tower") for part in parts for weight in part.parameters())
    if how == "tower":
        assert next(parts[0].parameters()).grad.abs().max() > 0


def test_recomputing_gives_the_same_gradients(place, small, batch):
    other = duet_core.open_model(str(place / "tiny"), device="cpu", dtype="float32")
    recompute_layers(other.backbone)
    grads = []
    for model in (small, other):
        train_all(model.backbone)
        ReducedLesson(model.backbone).train()(batch.pixels, batch.examples, plans(batch), 1.0)[0].backward()
        grads.append([weight.grad for weight in model.backbone.model.parameters() if weight.requires_grad])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    "how", [["--lr", "1e-2"], ["--lora", "8", "--lr", "1e-2", "--steps", "16"]], ids=["all", "adapters"]
)
def test_the_loss_falls_and_the_engine_opens_what_is_left(place, small, batch, tmp_path, how):
    with torch.no_grad():
        before, _ = ReducedLesson(small.backbone)(batch.pixels, batch.examples, plans(batch), batch.targets)
    log = tune(place, tmp_path / "out", *how)
    checked = log[-1]["check"]
    assert checked["reduced"] < before - 0.2 and checked["all_tokens"] < before - 0.2
    opened = duet_core.open_model(str(tmp_path / "out"), device="cpu", dtype="float32")
    assert (tmp_path / "out" / "adapter_config.json").exists() == ("--lora" in how)
    again = make_batch(opened, read_conversations(place / "talk.json", place))
    with torch.no_grad():
        after, _ = ReducedLesson(opened.backbone)(again.pixels, again.examples, plans(again), again.targets)
    torch.testing.assert_close(float(after), checked["reduced"], atol=1e-4, rtol=1e-4)
    encoded = opened.encode(Image.open(place / "0.png"))
    plan = opened.plan(budget=BUDGET, encoded=encoded)
    assert opened.ask(encoded, QUESTION, plan, max_new_tokens=2).trace.average_tokens < encoded.size.total
