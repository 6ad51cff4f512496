"""Families that cut a picture into crops: transformers' own models, the recorded order, and a trace of every crop."""

from __future__ import annotations

import json
from itertools import zip_longest

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaOnevisionConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_next.modeling_llava_next import unpad_image

import duet_core
from app.describe import describe, step_sentence
from app.patchmap import map_value
from app.render import overlay
from duet_core import Brush, ModelError, PictureError, Plan, PlanError, running
from duet_core.backbones import wrap
from duet_core.crops import Left, entry_order
from duet_core.errors import ClipError
from duet_core.grid import Grid
from duet_core.layout import Request
from duet_core.methods import METHODS
from duet_core.plan import duet_schedule, target_budget
from duet_core.recorder import Sample
from duet_core.tiling import Sheet, Tiling, best_of, cut_up, film_of
from duet_core.trace import BEFORE_MODEL, Fate, Trace
from tests.conftest import GOLDEN
from tests.test_brush import paints

ATOL, EDGE, SIDE = 1e-4, 32, 4
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"image_size": EDGE, "patch_size": EDGE // SIDE}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 100}
TEXT |= {"num_key_value_heads": 2}
PINPOINTS = [[EDGE * rows, EDGE * cols] for rows, cols in [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]]
MANY = [[EDGE * rows, EDGE * cols] for rows in (1, 2, 3) for cols in (1, 2, 3)]
WORDS = ["<unk>", "</s>", "USER", "ASSISTANT", ":", "What", "is", "in", "the", "middle", "?"]
WORDS += [f"word{number}" for number in range(len(WORDS), 98)]
IMAGE, VIDEO = 98, 99
TEMPLATE = """{% for message in messages %}{{ message['role'].upper() }} : {% for part in message['content'] %}\
{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<{{ part['type'] }}> {% endif %}{% endfor %} {% endfor %}\
{% if add_generation_prompt %}ASSISTANT :{% endif %}"""
QUESTION = "What is in the middle?"
NEXT = {"size": {"shortest_edge": EDGE}, "image_grid_pinpoints": PINPOINTS}
NEXT |= {"crop_size": {"height": EDGE, "width": EDGE}}
ONE = {"size": {"height": EDGE, "width": EDGE}, "image_grid_pinpoints": MANY}
SIZES = [(90, 40), (20, 70), (64, 64), (30, 31), (130, 9), (96, 96)]  # wide, tall, square, small, a strip, large
DUET = Plan(dominant=5, contextual=2, cluster_width=2, layers=(1, 3), keep=(0.6, 0.3), queries="all_text")
KEEPS_ALL = [Plan(method="none"), Plan(layers=(1, 3), keep=(1.0, 1.0), queries="all_text")]


def configuration(kind: str):
    """The published structures, small: two decoders behind CLIP, and SigLIP with grouped queries."""
    ids = {"image_token_index": IMAGE, "image_grid_pinpoints": PINPOINTS}
    if kind == "onevision":
        vision = SiglipVisionConfig(**VISION, vision_use_head=False)
        ids |= {"video_token_index": VIDEO, "image_grid_pinpoints": MANY, "vision_aspect_ratio": "anyres_max_2"}
        return LlavaOnevisionConfig(vision_config=vision, text_config=Qwen2Config(**TEXT), **ids)
    decoder = LlamaConfig(**TEXT) if kind == "vicuna" else MistralConfig(**TEXT, sliding_window=None)
    return LlavaNextConfig(vision_config=CLIPVisionConfig(**VISION, projection_dim=16), text_config=decoder, **ids)


def tokenizer() -> PreTrainedTokenizerFast:
    bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", eos_token="</s>")
    made.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module", params=["vicuna", "mistral", "onevision"])
def folder(request, tmp_path_factory):
    """A folder as the published checkpoints are."""
    place = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(configuration(request.param)).eval()
    model.generation_config.eos_token_id = 1
    model.save_pretrained(place)
    tokenizer().save_pretrained(place)
    name, own = ("LlavaOnevision", ONE) if request.param == "onevision" else ("LlavaNext", NEXT)
    kinds = {"image_processor_type": f"{name}ImageProcessor", "processor_class": f"{name}Processor"}
    (place / "preprocessor_config.json").write_text(json.dumps(kinds | own))
    return place


@pytest.fixture(scope="module")
def theirs(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def ours(folder) -> duet_core.Model:
    return duet_core.open_model(str(folder), device="cpu", dtype="float32")


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


def is_onevision(model: duet_core.Model) -> bool:
    return model.backbone.model.config.model_type == "llava_onevision"


def until_end(row: list[int]) -> list[int]:
    return row[: row.index(1) + 1] if 1 in row else row


# A plan that keeps everything


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_keeping_everything_equals_transformers(ours, theirs, size):
    given = ours.inputs(photo(size), QUESTION)
    logits = theirs(**given).logits[:, -1]
    more = theirs.generate(**given, max_new_tokens=4, do_sample=False)[0, given["input_ids"].shape[1] :]
    for plan in KEEPS_ALL:
        made = ours.generate(given, plan, max_new_tokens=4)
        torch.testing.assert_close(made.run.logits, logits, atol=ATOL, rtol=0)
        assert made.token_ids[0] == until_end(more.tolist())
        trace = made.run.trace
        assert trace.entering == trace.full == trace.final == int((given["input_ids"] == IMAGE).sum())
        assert set(trace.fate.tolist()) & {Fate.DROPPED} == set()


def together(*inputs: dict[str, torch.Tensor], pad_left: bool = False) -> dict[str, torch.Tensor]:
    """Batch prompts with one picture each as a processor does: text and crops are padded."""
    longest = max(one["input_ids"].shape[1] for one in inputs)
    crops = max(one["pixel_values"].shape[1] for one in inputs)
    ids, mask, pixels = [], [], []
    for one in inputs:
        row, missing = one["input_ids"][0], longest - one["input_ids"].shape[1]
        gap = (missing, 0) if pad_left else (0, missing)
        ids.append(torch.nn.functional.pad(row, gap))
        mask.append(torch.nn.functional.pad(torch.ones_like(row), gap))
        own = one["pixel_values"]
        pixels.append(torch.nn.functional.pad(own, (0, 0, 0, 0, 0, 0, 0, crops - own.shape[1])))
    return {
        "input_ids": torch.stack(ids), "attention_mask": torch.stack(mask), "pixel_values": torch.cat(pixels),
        "image_sizes": torch.cat([one["image_sizes"] for one in inputs]),
    }  # fmt: skip


@pytest.mark.parametrize("sizes", [[(90, 40), (90, 40)], [(90, 40), (64, 64)]], ids=["equal", "different"])
@torch.no_grad()
def test_a_batch_equals_transformers_and_its_samples(ours, theirs, sizes):
    alone = [ours.inputs(photo(size, seed), QUESTION) for seed, size in enumerate(sizes)]
    batch = together(*alone)
    last = batch["attention_mask"].sum(1) - 1
    logits = theirs(**batch).logits[torch.arange(2), last]
    torch.testing.assert_close(ours.prefill(batch, Plan(method="none")).logits, logits, atol=ATOL, rtol=0)
    for pad_left in (False, True):
        both = ours.generate(together(*alone, pad_left=pad_left), DUET, max_new_tokens=4)
        for number, one in enumerate(alone):
            single = ours.generate(one, DUET, max_new_tokens=4)
            torch.testing.assert_close(both.run.logits[number], single.run.logits[0], atol=ATOL, rtol=0)
            assert both.token_ids[number] == single.token_ids[0]
            assert same_fates(both.run.traces[number], single.run.trace)


def same_fates(one: Trace, other: Trace) -> bool:
    pairs = [(one.fate, other.fate), (one.joined, other.joined), (one.died_at, other.died_at)]
    return one.grid == other.grid and all(np.array_equal(*pair) for pair in pairs)


@torch.no_grad()
def test_several_pictures_in_one_prompt(ours, theirs):
    """LLaVA-OneVision cuts a picture only where it is the only one of its prompt."""
    first, second = (ours.inputs(photo(size, seed), QUESTION) for seed, size in enumerate([(90, 40), (64, 64)]))
    given = together(first, second)
    if is_onevision(ours):
        given |= {"pixel_values": given["pixel_values"][:, :1], "batch_num_images": torch.tensor([2])}
    tilings = ours.backbone.tilings_of(ours.backbone.eye(clip=False), given)
    text = [2, 4, *[IMAGE] * tilings[0].tokens, 5, *[IMAGE] * tilings[1].tokens, 6, 7, 8]
    given |= {"input_ids": torch.tensor([text]), "attention_mask": torch.ones(1, len(text), dtype=torch.long)}
    run = ours.prefill(given, Plan(method="none"))
    torch.testing.assert_close(run.logits, theirs(**given).logits[:, -1], atol=ATOL, rtol=0)
    assert run.trace.full == sum(tiling.tokens for tiling in tilings)
    reduced = ours.prefill(given, DUET)
    keeps_its_books(reduced, 0, 6)
    home, each = reduced.trace.joined, tilings[0].crops * SIDE**2
    assert (home[:each][home[:each] >= 0] < each).all() and (home[each:][home[each:] >= 0] >= each).all()


# The order, as it is recorded


@pytest.mark.parametrize("case", ["grid_w2_h2", "grid_w1_h2", "grid_w2_h1", "grid_w3_h1"])
def test_golden_order(case):
    settings_of = json.loads((GOLDEN / "next_merge_order.json").read_text())[case]
    data = load_file(GOLDEN / "next_merge_order.safetensors")
    width, height, contextual = (settings_of[name] for name in ("width", "height", "contextual"))
    kept = data[f"{case}/keep_idx"].long().sort(1).values  # (C, k), CLS = 0 first
    place = torch.cat([kept, torch.ones(len(kept), contextual, dtype=torch.long)], 1)
    merged = torch.zeros_like(place, dtype=torch.bool)
    merged[:, -contextual:] = True
    crop = torch.arange(len(kept)).unsqueeze(1).expand_as(place)
    recorded = (crop * 1000 + torch.arange(place.shape[1])).flatten()
    sheet = Sheet(height, width, 24, (0, 0, 24 * height, 24 * width), line_ends=True)
    left = Left(torch.zeros(place.numel(), 1), crop.flatten(), place.flatten(), merged.flatten())
    order, counts = entry_order(left, [Tiling((sheet,), (1, 1))], extra=1)
    assert recorded[order].tolist() == data[f"{case}/order_ids"].tolist()
    assert counts == [settings_of["n_out"]]


def test_the_whole_picture_comes_first_as_stage_1_left_it(ours):
    """Read off the decoder's input: base crop, then raster order of the grid, CLS of each crop, merged tokens."""
    given, eye = ours.inputs(photo((64, 64)), QUESTION), ours.backbone.eye(clip=False)
    with torch.inference_mode():
        seen = ours.backbone.see(eye, given)
        requests = [Request(given["input_ids"][0].tolist())]
        watch, samples = running.Stopwatch(torch.device("cpu")), running.deal_out(eye, seen, requests)
        entered = running.enter(ours.backbone, eye, seen, DUET, watch, requests, samples)
    fates, (block,) = entered.fates(), entered.blocks
    extra, dominant = seen.extra, 5 - seen.extra
    assert len(block) == 7 * 5 and fates.token_of[0].max() == 6
    base = fates.token_of[0][fates.fate[0] == Fate.DOMINANT].tolist()
    assert base == list(range(extra, 5))
    grid = torch.where(fates.fate[1:] == Fate.DOMINANT, fates.token_of[1:], -1)
    sheet = grid.view(2, 2, SIDE, SIDE).transpose(1, 2).flatten()
    assert sheet[sheet >= 0].tolist() == list(range(7, 7 + 4 * dominant))
    anchors = fates.token_of[1:][fates.fate[1:] == Fate.ANCHOR]
    assert sorted(anchors.tolist()) == list(range(7 + 4 * 5, 35))


# Reducing


def test_crops_are_not_looked_at_again(ours):
    encoded = ours.encode(photo((90, 40)))
    with pytest.raises(duet_core.PlanError, match="another size"):
        ours.ask(encoded, QUESTION, ours.plan("smaller", reduction=0.6, encoded=encoded))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_hired_shares_its_budget_out_over_the_crops(ours, size):
    encoded = ours.encode(photo(size))
    target = 0.4 * encoded.size.total
    trace = ours.ask(encoded, QUESTION, ours.plan("hired", budget=target, encoded=encoded), 1).trace
    assert abs(trace.average_tokens - target) <= 1
    entering = trace.tokens_by_frame[:, 0]
    assert entering.sum() == trace.entering and entering[0] >= min(SIDE**2, trace.entering / 2 - 1)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "smaller"])
@pytest.mark.parametrize("size", [(90, 40), (130, 9)], ids=str)
def test_every_method_runs_and_keeps_its_books(ours, method, size):
    encoded = ours.encode(photo(size))
    plan = ours.plan(method, reduction=0.6, encoded=encoded)
    run = ours.prefill(ours.inputs(photo(size), QUESTION), plan)
    keeps_its_books(run, 0, len(ours.inputs(photo(size), QUESTION)["input_ids"][0]) - run.trace.full)
    if method in ("duet", "random", "uniform"):  # the others come as close as one cut can
        assert abs(run.trace.average_tokens - 0.4 * run.trace.full) <= 1
    assert run.trace.full == encoded.size.total


def keeps_its_books(run: duet_core.Run, number: int, text: int) -> None:
    """Every patch has one fate, borders alone are left out by all, and the counts are the lengths that were run."""
    trace = run.traces[number]
    assert len(trace.fate) == trace.grid.patches and {int(fate) for fate in trace.fate} <= set(Fate)
    assert [lengths[number] - text for lengths in run.state.lengths] == list(trace.tokens_per_layer)
    gone = np.isin(trace.fate, (Fate.DROPPED, Fate.BORDER))
    assert ((trace.joined < 0) == gone).all() and (trace.died_at[gone] == BEFORE_MODEL).all()
    own = np.flatnonzero(np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR)))
    assert (trace.joined[own] == own).all()
    merged = trace.fate == Fate.MERGED
    assert (trace.fate[trace.joined[merged]] == Fate.ANCHOR).all()
    assert (trace.died_at[merged] == trace.died_at[trace.joined[merged]]).all()
    if len(run.traces) == 1:
        assert run.state.cache.lengths == [lengths[0] for lengths in run.state.cached]


@torch.no_grad()
def test_text_is_never_touched(ours):
    """What enters beside the visual tokens are the embeddings of the text, in their order."""
    given, watch = ours.inputs(photo((90, 40)), QUESTION), running.Stopwatch(torch.device("cpu"))
    backbone, eye = ours.backbone, ours.backbone.eye(clip=False)
    seen = backbone.see(eye, given)
    request = Request(given["input_ids"][0].tolist())
    samples = running.deal_out(eye, seen, [request])
    entered = running.enter(backbone, eye, seen, DUET, watch, [request], samples)
    caught = {}
    handle = backbone.layers[0].register_forward_pre_hook(lambda _, args: caught.update(hidden=args[0]))
    running.prefill(backbone, entered, [request], samples, DUET, watch)
    handle.remove()
    n, text = len(entered.blocks[0]), [token for token in request.ids if token != IMAGE]
    before = request.ids.index(IMAGE)
    hidden = caught["hidden"][0]
    assert torch.equal(hidden[before : before + n], entered.blocks[0])
    assert torch.equal(torch.cat([hidden[:before], hidden[before + n :]]), backbone.embed(torch.tensor(text)))


def test_decoding_with_the_cache_equals_recomputing(ours):
    given = ours.inputs(photo((90, 40)), QUESTION)
    total = given["input_ids"].shape[1]
    after = list(range(int((given["input_ids"][0] == IMAGE).nonzero().max()) + 1, total))
    first, second = ours.generate(given, DUET, max_new_tokens=2).token_ids[0]
    ids = torch.cat([given["input_ids"], torch.tensor([[first]])], 1)
    longer = given | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert ours.prefill(longer, DUET, query_positions=after).logits.argmax(-1).item() == second


def test_interleaved_runs_equal_separate_runs(ours):
    wide, tall = photo((90, 40)), photo((20, 70))
    plans = DUET, Plan(method="uniform", dominant=4, layers=(2,), keep=(0.5,))
    separate = [ours.ask(one, QUESTION, plan, 6).text for one, plan in zip((wide, tall), plans, strict=True)]
    streams = [ours.stream(one, QUESTION, plan, 6) for one, plan in zip((wide, tall), plans, strict=True)]
    heard = ["", ""]
    for pair in zip_longest(*streams):
        heard = [said + event if isinstance(event, str) else said for said, event in zip(heard, pair, strict=True)]
    assert [said.strip() for said in heard] == separate and all(separate)


def answers_all_as_one_by_one(model: duet_core.Model, plan: Plan) -> None:
    encoded = model.encode(photo((90, 40)))
    texts = [QUESTION, "What is the middle?", "is the middle in?"]
    for own in (plan, Plan(method="none")):
        alone = [model.ask(encoded, text, own, 4).text for text in texts]
        assert model.ask_all(encoded, texts, own, 4) == alone and all(alone)


def test_many_questions_about_one_picture(ours):
    answers_all_as_one_by_one(ours, DUET)


def test_bf16_runs_and_tells_the_same_counts(folder, ours):
    half = duet_core.open_model(str(folder), device="cpu", dtype="bfloat16")
    for plan in (DUET, Plan(method="none")):
        made = half.generate(half.inputs(photo((96, 96)), QUESTION), plan, max_new_tokens=2)
        assert made.run.logits.dtype == torch.bfloat16 and made.run.logits.isfinite().all()
        full = ours.prefill(ours.inputs(photo((96, 96)), QUESTION), plan)
        assert made.run.trace.tokens_per_layer == full.trace.tokens_per_layer


# Budgets


@given(
    width=st.integers(10, 1500), height=st.integers(10, 1500), layers=st.integers(4, 40), share=st.floats(0.04, 1.0),
    side=st.sampled_from([4, 24, 27]), most=st.sampled_from([None, 2, 9]), extra=st.integers(0, 1),
)  # fmt: skip
def test_any_budget_of_any_picture_lands_within_one_token(width, height, layers, share, side, most, extra):
    tiling = cut_up((width, height), best_of((width, height), MANY), EDGE, side, most)
    size = tiling.size(layers, extra)
    target = max(size.parts * 2.0, share * size.total)
    plan = duet_schedule("duet", target, size)
    entering = size.total
    if plan.dominant is not None:
        entering = sum(min(plan.dominant + max(1, plan.contextual), room) for room in size.rooms)
    assert entering <= max(size.total, 2 * size.parts)
    assert abs(sum(plan.tokens_per_layer(entering, layers)) / layers - target) <= 1.0


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.6, 0.64, 0.7, 0.9, 1.0])
def test_a_budget_is_met_by_the_run(ours, share):
    encoded = ours.encode(photo((90, 40)))
    total = encoded.size.total
    budget = max(share * total, encoded.size.parts)
    trace = ours.ask(encoded, QUESTION, ours.plan(budget=budget, encoded=encoded), 1).trace
    assert abs(trace.average_tokens - budget) <= 1 and trace.full == total


def test_pictures_tell_how_many_tokens_they_have(ours):
    with pytest.raises(PlanError, match="encoded"):
        ours.plan(budget=20)
    size = ours.encode(photo((90, 40))).size
    with pytest.raises(PlanError, match=f"between {size.parts} and {size.total} tokens"):
        target_budget(size, budget=2)


# Where the crops lie


@given(width=st.integers(10, 900), height=st.integers(10, 900), side=st.sampled_from([4, 24, 27]))
def test_padding_is_what_transformers_leaves_out(width, height, side):
    best = best_of((width, height), PINPOINTS)
    sheet = cut_up((width, height), best, EDGE, side).sheets[1]
    rows, cols = sheet.rows * side, sheet.cols * side
    kept = unpad_image(torch.arange(rows * cols).view(1, rows, cols), [height, width]).flatten()
    raster, (number, _) = sheet.raster(), sheet.numbers()
    assert sorted(raster[number >= 0].tolist()) == kept.tolist()
    assert sheet.lines[0] * (sheet.lines[1] - 1) == len(kept)


@pytest.mark.parametrize("size", [(90, 40), (20, 70), (200, 60)], ids=str)
def test_a_box_is_where_its_patch_looks(ours, size):
    """Paint the box of one patch of each crop white: among the crop's patches, it becomes the brightest."""
    processor = ours.processor.image_processor
    grid = ours.encode(photo(size)).grid
    for frame in range(grid.frames):
        inside = [patch for patch in grid.frame_patches(frame) if whole_in(grid, patch)]
        patch = inside[len(inside) // 2]
        picture = Image.new("RGB", size)
        picture.paste((255, 255, 255), tuple(round(v) for v in grid.box(patch)))
        pixels = processor(images=[picture], return_tensors="pt")["pixel_values"][0, frame].mean(0)
        brightness = torch.nn.functional.avg_pool2d(pixels[None], EDGE // SIDE)[0].flatten()
        assert brightness.argmax().item() == patch - grid.frame_patches(frame)[0]
        left, top, right, bottom = grid.box(patch)
        assert grid.patch_at((left + right) / 2, (top + bottom) / 2, frame) == patch


def whole_in(grid: Grid, patch: int) -> bool:
    left, top, right, bottom = grid.box(patch)
    return left >= -0.01 and top >= -0.01 and right <= grid.picture[0] + 0.01 and bottom <= grid.picture[1] + 0.01


def test_the_trace_tells_which_patches_are_padding(ours):
    for plan in (Plan(method="none"), DUET):
        trace = ours.ask(photo((200, 30)), QUESTION, plan, 1).trace
        grid = trace.grid
        assert len(grid.crops) == grid.frames > 2 and grid.crops[0] == (0, 0, 200, 30)
        for patch, fate in enumerate(trace.fate.tolist()):
            left, top, right, bottom = grid.box(patch)
            outside = right <= 0 or bottom <= 0 or left >= 200 or top >= 30
            assert fate == Fate.BORDER or not outside
            assert fate != Fate.BORDER or not 1 < (top + bottom) / 2 < 29
        assert set(trace.labels(0)) == {"border", "dominant"} and "border" in trace.labels(1)
        again = Trace.from_json(json.loads(json.dumps(trace.to_json(), allow_nan=False)))
        assert again.to_json() == trace.to_json() and again.grid == grid


def test_the_page_draws_every_crop_on_the_picture(ours):
    subject = photo((200, 30))
    trace = ours.ask(subject, QUESTION, DUET, 1).trace
    drawn, many = json.loads(map_value(subject, trace)), trace.grid.frames
    assert [part["name"] for part in drawn["frames"]] == ["whole picture", *[f"crop {k}" for k in range(1, many)]]
    assert [tuple(part["seen"]) for part in drawn["frames"]] == list(trace.grid.crops)
    assert [bool(part["photo"]) for part in drawn["frames"]] == [True, *[False] * (many - 1)]
    assert "border" in [look["fate"] for look in drawn["looks"]]
    real = int((trace.fate != Fate.BORDER).sum())
    assert sum(part["patches"] for part in drawn["frames"]) == real
    assert step_sentence(trace, 0).startswith(f"All {real} patches of the picture's {many} crops")
    assert "crop" in describe(trace) and f"drops {(trace.fate == Fate.DROPPED).sum()} before" in describe(trace)
    sides = [overlay(subject, trace, 1, 180, frame) for frame in range(many)]
    assert {side.size for side in sides} == {sides[0].size}
    assert len({side.tobytes() for side in sides}) == many


@pytest.mark.parametrize("size", [(90, 40), (96, 96)], ids=str)
def test_a_brush_paints_crops_but_no_padding(ours, size):
    paints(ours, photo(size), QUESTION)
    encoded = ours.encode(photo((200, 30)))
    border = int(np.flatnonzero(ours.ask(encoded, QUESTION, DUET, 1).trace.fate == Fate.BORDER)[0])
    with pytest.raises(PlanError, match="padding"):
        ours.ask(encoded, QUESTION, DUET, 1, brush=Brush((border,)))


# Too many crops, and clips


@pytest.mark.parametrize("folder", ["onevision"], indirect=True)  # the only family that shrinks
def test_shrinking_joins_patches_to_the_middle_of_their_token(ours):
    trace = ours.ask(photo((96, 96)), QUESTION, Plan(method="none"), 1).trace
    assert trace.full == SIDE**2 + 5 * (5 + 1), "9 crops of 16 patches, 2 allowed: 12 / sqrt(4.5) = 5"
    grid = trace.fate[SIDE**2 :]
    assert (grid == Fate.ANCHOR).sum() == 25 and (grid == Fate.MERGED).sum() == 144 - 25
    reduced = ours.ask(photo((96, 96)), QUESTION, ours.plan(reduction=0.5, encoded=ours.encode(photo((96, 96)))), 1)
    assert reduced.trace.entering <= trace.full and abs(reduced.trace.average_tokens - 0.5 * trace.full) <= 1


@torch.no_grad()
def test_a_clip_is_pooled_as_the_model_does_it(ours, theirs):
    frames = [photo((90, 40), seed) for seed in range(3)]
    if not is_onevision(ours):
        with pytest.raises(ClipError, match="one picture in many crops"):
            ours.encode(frames)
        return
    given = ours.inputs(frames, QUESTION)
    assert given["pixel_values_videos"].shape == (1, 3, 3, EDGE, EDGE)
    logits = theirs(**given).logits[:, -1]
    made = ours.generate(given, Plan(method="none"), max_new_tokens=3)
    torch.testing.assert_close(made.run.logits, logits, atol=ATOL, rtol=0)
    assert made.run.trace.full == 3 * 4 + 1
    answer = ours.ask(frames, QUESTION, ours.plan(reduction=0.4, frames=3), 2)
    assert abs(answer.trace.average_tokens - 0.6 * 13) <= 1
    assert answer.trace.grid == Grid(3, SIDE, SIDE, (90, 40), (0, 0, 90, 40))
    assert film_of(3, SIDE).size(4, 0) == ours.encode(frames).size


# What is refused


def test_what_does_not_fit_is_one_sentence(ours):
    given = ours.inputs(photo((90, 40)), QUESTION)
    with pytest.raises(PictureError, match="lack image_sizes"):
        ours.prefill({name: value for name, value in given.items() if name != "image_sizes"}, DUET)
    with pytest.raises(PictureError, match="give whole pictures"):
        ours.prefill(given | {"input_ids": given["input_ids"][:, 5:]} | {"attention_mask": None}, DUET)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_feature_select_strategy": "full"}, "keeps CLS among the patches"),
        ({"vision_feature_layer": [-2, -1]}, "only one feature layer"),
    ],
)
def test_structures_that_are_not_supported_are_one_sentence(change, words):
    config = configuration("vicuna")
    model = AutoModelForImageTextToText.from_config(config)
    for name, value in change.items():
        setattr(model.config, name, value)
    with pytest.raises(ModelError, match=words):
        wrap(model)


def test_one_sample_is_about_pictures_of_its_own(ours):
    """Samples hold numbers of pictures, not of crops."""
    seen = ours.encode(photo((64, 64))).seen
    eye = ours.backbone.eye(clip=False)
    tokens = seen.tilings[0].tokens
    (sample,) = running.deal_out(eye, seen, [Request([5, *[IMAGE] * tokens, 6])])
    assert isinstance(sample, Sample) and sample.pictures == range(1) and sample.full == tokens
    assert sample.grid.frames == seen.tilings[0].crops
