"""Clips: the recorded reference, transformers' own Video-LLaVA, the paper's budgets, and frames in the trace."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast, VideoLlavaForConditionalGeneration

import duet_core
from duet_core import PictureError, Plan, running
from duet_core.batch import requests_of
from duet_core.methods import METHODS
from duet_core.methods.duet import Duet
from duet_core.plan import Size, duet_schedule, target_budget
from duet_core.prompt import Shown, build_prompt
from duet_core.scenes.clip import make_clip
from duet_core.timing import Stopwatch
from duet_core.trace import Fate
from tests.conftest import GOLDEN, scoring

CHECKPOINT, ATOL = GOLDEN / "tiny_videollava_hf", 1e-4
IMAGE, VIDEO = 998, 999
V960 = Plan(dominant=160, contextual=32, cluster_width=4, layers=(4, 6), keep=(0.5, 0.0))


@pytest.fixture(scope="module")
def video() -> duet_core.Model:
    return duet_core.open_model(str(CHECKPOINT), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def theirs() -> VideoLlavaForConditionalGeneration:
    return VideoLlavaForConditionalGeneration.from_pretrained(CHECKPOINT).eval()


def golden_inputs() -> dict[str, torch.Tensor]:
    prompt = json.loads((GOLDEN / "video_prompt.json").read_text())
    frames = load_file(GOLDEN / "video.safetensors")["pixel_u8_video"]
    ids = prompt["pre"] + [VIDEO] * 8 * 257 + prompt["post"]
    return {"input_ids": torch.tensor([ids]), "pixel_values_videos": ((frames.float() / 255 - 0.5) / 0.25)[None]}


def clip_inputs(frames: int = 2, clips: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    text = torch.randint(3, 900, (clips, 9), generator=draw)
    ids = torch.cat([text[:, :4], torch.full((clips, frames * 257), VIDEO), text[:, 4:]], 1)
    return {"input_ids": ids, "pixel_values_videos": torch.randn(clips, frames, 3, 224, 224, generator=draw)}


def picture_inputs() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    ids = torch.tensor([[5, 6, *[IMAGE] * 256, 7, 8, 9]])
    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, 224, 224, generator=draw)}


@pytest.mark.parametrize("queries", ["lasttoken", "alltext"])
def test_golden(golden, video, queries, monkeypatch):
    """Stage 1 for every frame, stage 2 over one block of all frames; scores are recorded at the last drop, too."""
    settings, data = golden("video_e2e")
    case = f"v960_stage1_perframe__stage2_oneblock_{queries}"
    inputs, rule = golden_inputs(), {"lasttoken": "last", "alltext": "all_text"}[queries]
    monkeypatch.setattr(Duet, "at_layer", scoring(Duet.at_layer))
    run = video.prefill(inputs, replace(V960, queries=rule))
    check_stage_1(data, run.trace)
    assert [counts[0] for counts in run.state.lengths] == settings[case]["seq_len_per_layer_input"]
    for number, cut in enumerate(run.state.cuts):
        wanted = set(data[f"{case}/drop{number}/kept_orig"].tolist())
        same = wanted & set(cut.kept[0].tolist())
        assert len(same) >= 0.995 * len(wanted) and len(cut.kept[0]) == len(wanted)
        if number == 0:
            torch.testing.assert_close(cut.scores[0], data[f"{case}/drop0/scores"], atol=ATOL, rtol=0)
    torch.testing.assert_close(run.logits[0], data[f"{case}/logits_last"], atol=ATOL, rtol=0)


def check_stage_1(data, trace):
    """The trace numbers patches through the clip, the reference tokens from each frame's CLS = 0."""
    fate, joined = torch.tensor(trace.fate).view(8, 256), torch.tensor(trace.joined).long().view(8, 256)
    vision = {
        name: data[f"v960/vision/{name}"].long() for name in ("dominant_idx", "anchor_idx", "assign", "merge_idx")
    }
    for frame in range(8):
        assert torch.equal((fate[frame] == Fate.DOMINANT).nonzero().flatten() + 1, vision["dominant_idx"][frame, 1:])
        anchors = vision["anchor_idx"][frame]
        assert torch.equal((fate[frame] == Fate.ANCHOR).nonzero().flatten() + 1, anchors.sort().values)
        members = vision["merge_idx"][frame] - 1
        assert torch.equal(joined[frame, members] - 256 * frame + 1, anchors[vision["assign"][frame]])


def test_golden_tokens_of_stage_1(golden, video):
    _, data = golden("video_e2e")
    inputs = golden_inputs()
    eye = video.backbone.eye(clip=True)
    with torch.inference_mode():
        seen, requests = video.backbone.see(eye, inputs), requests_of(inputs, None)
        samples = running.deal_out(eye, seen, requests)
        entered = running.enter(video.backbone, eye, seen, V960, Stopwatch(torch.device("cpu")), requests, samples)
    torch.testing.assert_close(torch.stack(entered.blocks), data["v960/vision/visual_features"], atol=ATOL, rtol=0)


@pytest.mark.parametrize(
    "inputs", [clip_inputs(2), clip_inputs(3, clips=2), picture_inputs()], ids=["clip", "two", "image"]
)
@torch.no_grad()
def test_keeping_everything_equals_transformers(video, theirs, inputs):
    ours = video.generate(inputs, Plan(method="none"), max_new_tokens=4)
    torch.testing.assert_close(ours.run.logits, theirs(**inputs).logits[:, -1], atol=ATOL, rtol=0)
    more = theirs.generate(**inputs, max_new_tokens=4, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert ours.token_ids == more.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_clips_equals_its_clips(video, method):
    both = clip_inputs(2, clips=2)
    plan = video.plan(method, budget=100, frames=2)
    together = video.prefill(both, plan)
    for number in range(2):
        alone = video.prefill({name: part[number : number + 1] for name, part in both.items()}, plan)
        torch.testing.assert_close(together.logits[number], alone.logits[0], atol=ATOL, rtol=0)
        assert together.traces[number].to_json()["fate"] == alone.trace.to_json()["fate"]


def test_bf16_runs_and_tells_the_same_counts(video):
    half = duet_core.open_model(str(CHECKPOINT), device="cpu", dtype="bfloat16")
    for inputs in (clip_inputs(2), picture_inputs()):
        plan = video.plan(budget=100, frames=2 if "pixel_values_videos" in inputs else None)
        full, run = video.prefill(inputs, plan), half.prefill(inputs, plan)
        assert run.logits.dtype == torch.bfloat16 and run.logits.isfinite().all()
        assert run.trace.tokens_per_layer == full.trace.tokens_per_layer


def test_pictures_and_clips_at_once_are_refused(video):
    with pytest.raises(PictureError, match="exactly one"):
        video.prefill(clip_inputs(2) | picture_inputs(), Plan(method="none"))


# Budgets


PAPER = Size(256, 32, 8)


@pytest.mark.parametrize(("budget", "dominant", "contextual", "average"), [(960, 160, 32, 960), (136, 20, 7, 135)])
@pytest.mark.parametrize("tokens", [256, 257])
def test_the_papers_settings(budget, dominant, contextual, average, tokens):
    plan = duet_schedule("duet", budget, Size(tokens, 32, 8))
    assert (plan.dominant, plan.contextual, plan.cluster_width) == (dominant, contextual, 4)
    assert (plan.layers, plan.keep) == ((16, 24), (0.5, 0.0))
    counts = plan.tokens_per_layer(8 * (dominant + contextual), 32)
    assert sum(counts) / 32 == average


@given(frames=st.integers(1, 32), tokens=st.integers(16, 600), layers=st.integers(4, 40), share=st.floats(0.02, 1))
def test_any_budget_of_a_clip_lands_within_one_token(frames, tokens, layers, share):
    size = Size(tokens, layers, frames)
    target = max(2.0 * frames, share * size.total)
    plan = duet_schedule("duet", target, size)
    entering = size.total if plan.dominant is None else frames * (plan.dominant + plan.contextual)
    counts = plan.tokens_per_layer(entering, layers)
    assert abs(sum(counts) / layers - target) <= 1.0


def test_a_reduction_means_the_same_for_one_frame_and_for_many():
    assert target_budget(Size(256, 32, 8), reduction=0.531) == 8 * target_budget(Size(256, 32), reduction=0.531)


# Clips through the bundled model, which takes their frames as pictures


@pytest.mark.parametrize("reduction", [0.531, 0.934])
def test_frames_lie_one_after_the_other_in_the_trace(mini, reduction):
    clip = make_clip(3)
    plan = mini.plan(reduction=reduction, frames=8)
    answer = mini.ask(clip.frames, "What moves?", plan)
    trace = answer.trace
    assert (trace.grid.frames, trace.grid.patches, trace.full) == (8, 8 * 576, 8 * 576)
    assert abs(trace.average_tokens - (1 - reduction) * 8 * 576) <= 1.0
    fate = trace.fate.reshape(8, 576)
    kept = ((fate == Fate.DOMINANT) | (fate == Fate.ANCHOR)).sum(1)
    assert set(kept.tolist()) == {plan.dominant - 1 + plan.contextual}  # CLS is dominant, but no patch
    home = trace.joined.reshape(8, 576)
    for frame in range(8):
        own = home[frame][home[frame] >= 0]
        assert (own // 576 == frame).all()


# A processor as the published checkpoints have one


class VideoProcessor:
    """What the engine needs of a Video-LLaVA processor; the real one asks for torchvision."""

    image_token, video_token, chat_template = "<image>", "<video>", None

    def __init__(self) -> None:
        words = ["<s>", "</s>", "<unk>", "USER", "ASSISTANT", ":", "What", "moves", "?"]
        bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
        bare.pre_tokenizer = pre_tokenizers.Whitespace()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", eos_token="</s>")
        self.tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
        self.image_processor = CLIPImageProcessorPil(
            size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}
        )


def test_a_question_about_a_clip_takes_one_video_mark(theirs):
    processor = VideoProcessor()
    model = VideoLlavaForConditionalGeneration(theirs.config).eval()
    model.config.video_token_id = processor.tokenizer.convert_tokens_to_ids("<video>")
    model.config.image_token_id = processor.tokenizer.convert_tokens_to_ids("<image>")
    model.generation_config.eos_token_id = 2
    ours = duet_core.Model("tiny", duet_core.backbones.wrap(model), processor)
    frames = [Image.new("RGB", (320, 240), colour) for colour in ("red", "blue", "green")]
    answer = ours.ask(frames, "What moves?", ours.plan(budget=90, frames=3), max_new_tokens=3)
    assert answer.trace.grid.frames == 3 and answer.trace.full == 3 * 257
    assert abs(answer.trace.average_tokens - 90) <= 1
    assert ours.ask(frames[0], "What moves?", Plan(method="none"), 1).trace.full == 256


def test_a_checkpoint_folder_opens_without_torchvision(tmp_path, theirs):
    """transformers has no clip processor without torchvision; ours takes frames through the image processor."""
    VideoProcessor().tokenizer.save_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path)
    kinds = {"image_processor_type": "VideoLlavaImageProcessor", "processor_class": "VideoLlavaProcessor"}
    side = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(kinds | side))
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    tokenizer, config = VideoProcessor().tokenizer, json.loads((tmp_path / "config.json").read_text())
    names = {"image_token_index": "<image>", "video_token_index": "<video>"}
    config |= {key: tokenizer.convert_tokens_to_ids(name) for key, name in names.items()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = duet_core.open_model(str(tmp_path), device="cpu", dtype="float32")
    prompt = build_prompt(model.processor, "What moves?", Shown("video", 1, 3))
    spoken = model.processor.tokenizer.decode(prompt.ids).replace(" ", "")
    assert spoken == "USER:<video><video><video>Whatmoves?ASSISTANT:"


TEMPLATE = """{% for message in messages %}{{ message['role'].upper() }}: {% for part in message['content'] %}\
{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<{{ part['type'] }}> {% endif %}{% endfor %} {% endfor %}\
{% if add_generation_prompt %}ASSISTANT:{% endif %}"""
