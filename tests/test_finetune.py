"""Fine-tuning with DUET in the loop: what is learnt from, that it is the engine's own run, and that it learns."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers import LlavaForConditionalGeneration as HFLlava

import duet_core
from duet_core import decoder
from duet_core.bench.training import measure_training, training_table
from duet_core.checkpoint import BUNDLED
from duet_core.errors import DuetError, ModelError, PlanError
from duet_core.prompt import Shown, build_prompt
from duet_core.scenes import make_scene
from duet_core.train import finetune
from duet_core.train.batches import Batch, Budgets, Feed, Share, make_batch
from duet_core.train.conversations import IGNORED, encode, encode_turns, read_conversations
from duet_core.train.loop import read_log
from duet_core.train.reduced import ReducedLesson
from duet_core.train.weights import recompute_layers, train_adapters, train_all, trained

TURNS = [("What is in the picture?", "a cat and two dogs"), ("Is there a zebra?", "no")]
FAST = ["--batch", "4", "--lr", "1e-2", "--budget", "64-200"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with six pictures, their conversations in talk.json, and a tiny checkpoint with a processor."""
    folder = tmp_path_factory.mktemp("finetune")
    rows = []
    for seed in range(6):
        scene = make_scene(seed)
        scene.image.save(folder / f"{seed}.png")
        turns = []
        for question in scene.questions[: 1 + seed % 2]:
            turns += [{"from": "human", "value": question.text}, {"from": "gpt", "value": question.answer}]
        turns[0]["value"] = f"<image>\n{turns[0]['value']}"
        rows.append({"id": str(seed), "image": f"{seed}.png", "conversations": turns})
    (folder / "talk.json").write_text(json.dumps(rows))
    processor = AutoProcessor.from_pretrained(BUNDLED / "duet-mini")
    processor.save_pretrained(folder / "tiny")
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        image_size=336, patch_size=14, projection_dim=16,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(processor.tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=3, vision_feature_layer=-2)
    HFLlava(config).save_pretrained(folder / "tiny")
    return folder


@pytest.fixture
def small(place) -> duet_core.Model:
    return duet_core.open_model(str(place / "tiny"), device="cpu", dtype="float32")


@pytest.fixture
def batch(place, small) -> Batch:
    return make_batch(small, read_conversations(place / "talk.json", place)[:3])


def given(place: Path, out: Path) -> list[str]:
    """Name the tiny checkpoint and the conversations."""
    data = ["--model", str(place / "tiny"), "--data", str(place / "talk.json"), "--images", str(place)]
    return [*data, "--out", str(out), *FAST]


def tune(place: Path, out: Path, *more: str) -> list[dict]:
    """Fine-tune the tiny checkpoint and return the log."""
    assert finetune.main([*given(place, out), *more]) == 0
    return read_log(out.with_name(f"{out.name}-run"))


def distance(one: Path, other: Path) -> float:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    return max((ours[name].float() - theirs[name].float()).abs().max().item() for name in ours)


# What is learnt from


def test_only_answers_and_their_ends_are_asked_for(small):
    example = encode_turns(small, TURNS)
    tokenizer = small.processor.tokenizer
    labels = [label for label in example.labels if label != IGNORED]
    assert tokenizer.decode(labels) == " a cat and two dogs</s> no</s>"
    assert [example.labels[at] != IGNORED for at in example.last] == [True, True]
    assert all(ahead in (IGNORED, 2, now) for ahead, now in zip(example.labels, example.ids[1:], strict=False))
    assert example.ids[-1] != IGNORED and example.labels[-1] == tokenizer.eos_token_id
    said = [tokenizer.decode([example.ids[at]]).strip() for at in example.salient]
    assert said[:3] == ["What", "picture", "?"] and "".join(said[3:]) == "zebra?"


def test_an_end_token_of_the_template_is_learnt_as_it_stands(small):
    theirs = small.processor.chat_template
    small.processor.chat_template = theirs.replace("part['text'] + ' '", "part['text'] + '</s>'")
    example = encode_turns(small, TURNS)
    assert example.ids.count(2) == 3 and [label for label in example.labels if label == 2] == [2, 2]
    small.processor.chat_template = "USER: {{ messages[0]['content'][-1]['text'] }}"
    with pytest.raises(DuetError, match="apart"):
        encode_turns(small, TURNS)
    small.processor.chat_template = None  # LLaVA-1.5's own form is known
    plain = encode_turns(small, TURNS)
    small.processor.chat_template = theirs
    assert plain == encode_turns(small, TURNS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": None}, "Entry 1 of t.json has no picture"),
        ({"image": "gone.png"}, "gone.png, which does not exist"),
        ({"image": "talk.json"}, "no picture that can be read"),
        ({"image": "strip.png"}, "crop it"),
        ({"conversations": []}, "pairs of human and gpt"),
        ({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}, "no human turn"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": 3}]}, "no gpt turn"),
        ({"conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "b"}]}, "says nothing"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "<image>b"}]}, "too many"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b</s>"}]}, "reserves"),
    ],
)
def test_a_wrong_entry_is_named_in_one_sentence(place, small, change, sentence):
    Image.new("RGB", (900, 2)).save(place / "strip.png")
    entry = json.loads((place / "talk.json").read_text())[0] | change
    (place / "t.json").write_text(json.dumps([entry]))
    with pytest.raises(DuetError, match=sentence) as caught:
        make_batch(small, read_conversations(place / "t.json", place))
    assert str(caught.value).startswith("Entry 1 of t.json") and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "no JSON"), ("{}", "no list"), ("[]", "no list"), ("[3]", "object")]
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path, text, sentence):
    (tmp_path / "talk.json").write_text(text)
    with pytest.raises(DuetError, match=sentence):
        read_conversations(tmp_path / "talk.json", tmp_path)
    with pytest.raises(DuetError, match="no readable file"):
        read_conversations(tmp_path / "gone.json", tmp_path)


def test_long_conversations_are_cut_where_an_answer_is_left(place, small):
    conversation = replace(read_conversations(place / "talk.json", place)[1], turns=tuple(TURNS))
    whole = encode(small, conversation)
    short = encode(small, conversation, longest=whole.last[1])
    assert len(short.ids) == whole.last[1] and short.last == whole.last[:1] and short.targets < whole.targets
    with pytest.raises(DuetError, match="no answer within 580 tokens"):
        encode(small, conversation, longest=580)


def test_processes_share_batches_and_epochs_show_everything_once(place, small):
    conversations = read_conversations(place / "talk.json", place)
    feed = Feed(small, conversations, 4, 0, Share(), None)
    rows = [row for step in range(3) for row in feed.rows(step)]
    assert sorted(rows[:6]) == sorted(rows[6:]) == list(range(6)) and rows[:6] != rows[6:]
    halves = [Feed(small, conversations, 4, 0, Share(rank, 2), None)(1) for rank in (0, 1)]
    whole = feed(1).examples
    assert [one.ids for one in whole[::2]] == [one.ids for one in halves[0].examples]
    assert [one.ids for one in whole[1::2]] == [one.ids for one in halves[1].examples]
    with pytest.raises(PlanError, match="shared by 3"):
        Feed(small, conversations, 4, 0, Share(0, 3), None)


def test_a_budget_beyond_the_picture_is_refused_at_once(place, tmp_path):
    with pytest.raises(PlanError, match="between 1 and 576"):
        tune(place, tmp_path / "out", "--budget", "64-700")


def test_budgets_are_numbers_or_ranges():
    assert Budgets.parse("192") == Budgets(192, 192) and str(Budgets.parse("64-300")) == "64-300"
    drawn = [Budgets(64, 66).draw(0, step) for step in range(40)]
    assert set(drawn) == {64, 65, 66} and drawn == [Budgets(64, 66).draw(0, step) for step in range(40)]
    for wrong in ("", "many", "300-64", "1.5"):
        with pytest.raises(PlanError, match="range like"):
            Budgets.parse(wrong)


# The engine's own run


@pytest.mark.parametrize("queries", ["salient", "all_text", "last"])
def test_what_is_kept_is_what_the_engine_keeps(mini, monkeypatch, queries):
    runs = []
    layers = decoder.run_layers
    monkeypatch.setattr(decoder, "run_layers", lambda *given: runs.append((given[1], layers(*given))) or runs[-1][1])
    scene, plan = make_scene(2), replace(mini.plan(budget=128), queries=queries)
    question = scene.questions[0]
    example = encode_turns(mini, [(question.text, question.answer)])
    inputs = mini.inputs(scene.image, question.text)
    prompt = build_prompt(mini.processor, question.text, Shown("image", 1, 576))
    assert example.ids[: len(prompt.ids)] == prompt.ids and example.last == [len(prompt.ids) - 1]
    asked = [*prompt.salient, len(prompt.ids) - 1] if queries == "salient" else None
    pixels = {"pixel_values": inputs["pixel_values"]}
    with torch.no_grad():
        mini.prefill(inputs, plan, asked)
        ReducedLesson(mini.backbone)([pixels], [example], [plan], 1.0)
    (entered, run), (learnt, lesson) = runs
    torch.testing.assert_close(learnt.hidden[0, learnt.visual[0]], entered.hidden[0, entered.visual[0]])
    assert lesson.visual_counts == run.visual_counts and len(lesson.cuts) == 2
    for ours, theirs in zip(lesson.cuts, run.cuts, strict=True):
        assert torch.equal(ours.kept[0], theirs.kept[0])


def test_with_all_tokens_the_loss_is_that_of_transformers(place, small):
    only = make_batch(small, read_conversations(place / "talk.json", place)[:1])
    example = only.examples[0]
    loss, figures = ReducedLesson(small.backbone)(only.pixels, only.examples, [small.plan("none")], example.targets)
    ids = torch.tensor([[*example.ids, 2]])
    labels = torch.tensor([[IGNORED, *example.labels]])
    theirs = small.backbone.model(input_ids=ids, **only.pixels[0], labels=labels).loss
    torch.testing.assert_close(loss, theirs, atol=1e-4, rtol=0)
    assert figures["visual_tokens"] == 576


@pytest.mark.parametrize("stages", ["both", "1", "2"])
def test_a_batch_costs_what_its_samples_cost(small, batch, stages):
    lesson, plan = ReducedLesson(small.backbone), small.plan(budget=128).only(stages)
    together, _ = lesson(batch.pixels, batch.examples, [plan] * 3, batch.targets)
    parts = [lesson([own], [one], [plan], 1.0)[0] for own, one in zip(batch.pixels, batch.examples, strict=True)]
    assert len({len(one.ids) for one in batch.examples}) > 1
    torch.testing.assert_close(together, sum(parts) / batch.targets)


def test_a_loss_that_is_no_number_ends_the_run(small, batch):
    small.backbone.model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="smaller learning rate"):
        ReducedLesson(small.backbone)(batch.pixels, batch.examples, [small.plan(budget=64)] * 3, 1.0)


# It learns


@pytest.mark.parametrize("how", ["all", "tower", "adapters"])
def test_gradients_reach_what_is_trained_and_nothing_else(small, batch, how):
    inner = small.backbone.model.model
    train_adapters(small.backbone, 2, "tiny") if how == "adapters" else train_all(small.backbone, how == "tower")
    lesson = ReducedLesson(small.backbone).train()
    lesson(batch.pixels, batch.examples, [small.plan(budget=128)] * 3, batch.targets)[0].backward()
    reached = {name for name, weight in inner.named_parameters() if weight.grad is not None}
    assert reached == {name for name, weight in inner.named_parameters() if weight.requires_grad}
    assert any("multi_modal_projector" in name for name in reached)
    assert any("vision_tower" in name for name in reached) == (how == "tower")
    assert all("lora" in name for name in reached) == (how == "adapters")
    if how == "tower":
        assert inner.vision_tower.embeddings.patch_embedding.weight.grad.abs().max() > 0


def test_recomputing_gives_the_same_gradients(place, small, batch):
    other = duet_core.open_model(str(place / "tiny"), device="cpu", dtype="float32")
    recompute_layers(other.backbone)
    grads = []
    for model in (small, other):
        train_all(model.backbone)
        lesson = ReducedLesson(model.backbone).train()
        lesson(batch.pixels, batch.examples, [model.plan(budget=128)] * 3, batch.targets)[0].backward()
        grads.append([weight.grad for weight in trained(lesson)])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    "how", [[], ["--stages", "1"], ["--stages", "2"], ["--method", "none"], ["--lora", "8", "--lr", "3e-2"]], ids=str
)
def test_the_loss_falls_and_a_plain_folder_is_left(place, small, tmp_path, how):
    log = tune(place, tmp_path / "out", "--steps", "10", "--check", str(place / "talk.json"), *how)
    checked = log[-1]["check"]
    chance = math.log(small.backbone.model.config.text_config.vocab_size)
    assert checked["reduced"] < chance - 0.2 and checked["all_tokens"] < chance - 0.2
    tuned = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert AutoProcessor.from_pretrained(tmp_path / "out").chat_template == small.processor.chat_template
    inputs = small.inputs(make_scene(0).image, "Is there a cat?")
    with torch.no_grad():
        before, after = (model(**inputs).logits for model in (small.backbone.model, tuned))
    assert (before - after).abs().max() > 0.1
    if "--lora" in how:
        assert (tmp_path / "out" / "adapter_config.json").exists() and not (tmp_path / "out" / "config.json").exists()
        state = load_file(tmp_path / "out-run" / "checkpoint" / "model.safetensors")
        assert all("lora" in name for name in state)
    opened = duet_core.open_model(str(tmp_path / "out"))
    torch.testing.assert_close(opened.prefill(inputs, opened.plan("none")).logits, after[:, -1], atol=1e-3, rtol=1e-3)


def stopped(monkeypatch, step: int, *wanted) -> None:
    """Fine-tune until a step, where somebody stops it."""
    made = Feed.__call__

    def stop(feed: Feed, now: int) -> Batch:
        if now == step:
            raise KeyboardInterrupt
        return made(feed, now)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Feed, "__call__", stop)
        tune(*wanted)
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_stopped_run_goes_on_as_if_nothing_had_been(place, tmp_path, monkeypatch):
    tune(place, tmp_path / "whole", "--steps", "5")
    AcceleratorState._reset_state(reset_partial_state=True)
    stopped(monkeypatch, 3, place, tmp_path / "parts", "--steps", "5", "--check-every", "2")
    tune(place, tmp_path / "parts", "--steps", "5", "--check-every", "2")
    assert distance(tmp_path / "whole", tmp_path / "parts") < 1e-6
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(ModelError, match="began with --seed 0, not 1"):
        tune(place, tmp_path / "parts", "--steps", "9", "--seed", "1")


def test_a_checkpoint_of_other_weights_is_refused(place, tmp_path):
    tune(place, tmp_path / "out", "--steps", "1")
    (tmp_path / "out-run" / "settings.json").unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(ModelError, match="trains other weights"):
        tune(place, tmp_path / "out", "--steps", "2", "--lora", "4")


@pytest.mark.parametrize("how", [["--precision", "bf16"], ["--dtype", "bfloat16", "--lora", "4"]], ids=str)
def test_half_precision_learns_too(place, tmp_path, how):
    log = tune(place, tmp_path / "out", "--steps", "4", "--check", str(place / "talk.json"), *how)
    vocabulary = len(AutoProcessor.from_pretrained(place / "tiny").tokenizer)
    assert log[-1]["check"]["reduced"] < math.log(vocabulary)


def test_adapters_need_peft(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match="install it with `pip install peft`"):
        train_adapters(small.backbone, 4, "tiny")


def test_two_processes_go_on_where_one_stopped_and_learn_what_one_does(place, tmp_path, monkeypatch):
    tune(place, tmp_path / "one", "--steps", "4")
    AcceleratorState._reset_state(reset_partial_state=True)
    stopped(monkeypatch, 1, place, tmp_path / "two", "--steps", "4", "--check-every", "1")
    words = "accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 -m duet_core.train.finetune"
    command = [sys.executable, "-m", *words.split(), *given(place, tmp_path / "two"), "--steps", "4"]
    path = str(Path(duet_core.__file__).parent.parent)
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in read_log(tmp_path / "two-run") if "losses" in row] == [4]
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-4


def test_sharded_layers_are_gathered_before_stage_2_scores(small, batch):
    plans = [small.plan(budget=128)] * 3
    expected, _ = ReducedLesson(small.backbone)(batch.pixels, batch.examples, plans, 1.0)
    train_all(small.backbone)
    lesson = ReducedLesson(small.backbone)
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        for layer in small.backbone.layers:
            fully_shard(layer)
        fully_shard(lesson)
        loss, _ = lesson(batch.pixels, batch.examples, plans, 1.0)
        loss.backward()
    finally:
        destroy_process_group()
    torch.testing.assert_close(loss, expected)


def test_the_bench_times_steps_side_by_side_and_leaves_the_model_alone(small):
    before = {name: weight.clone() for name, weight in small.backbone.model.state_dict().items()}
    report = measure_training(small, [192, 64], batch=2, repeats=2, seed=0)
    assert [row["budget"] for row in report["budgets"]] == ["full", 192, 64]
    assert report["budgets"][0]["saved_percent"]["median"] == 0 and report["budgets"][2]["step_ms"]["runs"] == 2
    assert "| 64 |" in training_table(report)
    assert all(torch.equal(weight, before[name]) for name, weight in small.backbone.model.state_dict().items())
