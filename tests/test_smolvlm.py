"""Idefics3, SmolVLM and SmolVLM2: transformers' own models and processor, blocks of tiles, a trace of every tile."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Idefics3Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SmolVLMConfig,
)
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

import duet_core
from app.patchmap import map_value
from duet_core import ModelError, PictureError, Plan, PlanError, running
from duet_core.__main__ import main
from duet_core.backbones import wrap
from duet_core.grid import Grid
from duet_core.layout import Request
from duet_core.methods import METHODS
from duet_core.pictures import pixels_of
from duet_core.plan import Size
from duet_core.processors import PlainProcessor
from duet_core.tiles import Tiles, tiles_in
from duet_core.trace import BEFORE_MODEL, Fate, Trace
from tests.test_brush import paints
from tests.test_crops import DUET, QUESTION, answers_all_as_one_by_one, photo

ATOL, EDGE, SIDE = 1e-4, 32, 4  # a tile of 32 x 32 pixels has 8 x 8 patches, which become 4 x 4 tokens
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"image_size": EDGE, "patch_size": EDGE // SIDE // 2}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
TEXT |= {"num_key_value_heads": 2}
WORDS = ["<unk>", "</s>", "User", "Assistant", ":", "What", "is", "in", "the", "middle", "?", "\n"]
MARKS = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "<image>"]
MARKS += [f"<row_{row}_col_{col}>" for row in range(1, 4) for col in range(1, 4)]
IMAGE, VOCABULARY = len(WORDS) + 4, len(WORDS) + len(MARKS)
TEMPLATE = """<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}\
{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}\
{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}\
{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""
SIZES = [(90, 40), (20, 70), (64, 64), (30, 31), (96, 20)]  # 2 x 3 tiles, 3 x 1, 3 x 3, 3 x 3, 1 x 3
KEEPS_ALL = [Plan(method="none"), Plan(layers=(1, 3), keep=(1.0, 1.0), queries="all_text")]
WHOLE = {"do_image_splitting": False}


def configuration(kind: str, tied: bool = False):
    """The published structures, small."""
    make = Idefics3Config if kind == "idefics3" else SmolVLMConfig
    vision, text = VISION | {"model_type": f"{kind}_vision"}, LlamaConfig(**TEXT, vocab_size=VOCABULARY, pad_token_id=0)
    return make(vision_config=vision, text_config=text, image_token_id=IMAGE, scale_factor=2, tie_word_embeddings=tied)


def tokenizer() -> PreTrainedTokenizerFast:
    bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|\w+|[^\w\s]"), "removed", invert=True)
    made = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", eos_token="</s>", pad_token="<unk>")
    made.add_special_tokens({"additional_special_tokens": MARKS})
    made.add_special_tokens({"bos_token": MARKS[0]})
    return made


def write(place, kind: str, processing: dict | None = None, config=None):
    """Write a folder as the published checkpoints are."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config or configuration(kind)).eval()
    model.generation_config.eos_token_id = 1
    model.save_pretrained(place)
    tokenizer().save_pretrained(place)
    name = "Idefics3" if kind == "idefics3" else "SmolVLM"
    kinds = {"image_processor_type": f"{name}ImageProcessor", "processor_class": f"{name}Processor"}
    sizes = {"size": {"longest_edge": 3 * EDGE}, "max_image_size": {"longest_edge": EDGE}}
    (place / "preprocessor_config.json").write_text(json.dumps(kinds | sizes | (processing or {})))
    (place / "processor_config.json").write_text(json.dumps(kinds | {"image_seq_len": SIDE**2}))
    (place / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return place


@pytest.fixture(scope="module", params=["idefics3", "smolvlm"])
def folder(request, tmp_path_factory):
    """One with a head of its own, one with a tied one."""
    config = configuration(request.param, tied=request.param == "smolvlm")
    return write(tmp_path_factory.mktemp(request.param), request.param, config=config)


@pytest.fixture(scope="module")
def theirs(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def ours(folder) -> duet_core.Model:
    return duet_core.open_model(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def uncut(tmp_path_factory) -> duet_core.Model:
    """A checkpoint whose processor cuts nothing."""
    place = write(tmp_path_factory.mktemp("uncut"), "idefics3", WHOLE)
    return duet_core.open_model(str(place), device="cpu", dtype="float32")


def until_end(row: list[int]) -> list[int]:
    return row[: row.index(1) + 1] if 1 in row else row


# A plan that keeps everything


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_keeping_everything_equals_transformers(ours, theirs, size):
    equals(ours, theirs, ours.inputs(photo(size), QUESTION))


@torch.no_grad()
def test_keeping_everything_equals_transformers_where_nothing_is_cut(uncut):
    given = uncut.inputs(photo((90, 40)), QUESTION)
    assert given["pixel_values"].shape == (1, 1, 3, EDGE, EDGE)
    equals(uncut, uncut.backbone.model, given)


@torch.no_grad()
def test_keeping_everything_equals_transformers_where_patches_leave_a_rest(tmp_path):
    """SmolVLM2 2.2B: tiles of 384 pixels in patches of 14, 3 x 3 of which become a token: 81 of each."""
    vision = VISION | {"image_size": 384, "patch_size": 14, "num_hidden_layers": 1, "model_type": "smolvlm_vision"}
    config = SmolVLMConfig(
        vision_config=vision, text_config=configuration("smolvlm").text_config, image_token_id=IMAGE, scale_factor=3
    )
    sizes = {"size": {"longest_edge": 768}, "max_image_size": {"longest_edge": 384}}
    place = write(tmp_path, "smolvlm", sizes, config)
    model = duet_core.open_model(str(place), device="cpu", dtype="float32")
    given = model.inputs(photo((90, 40)), QUESTION)
    assert given["pixel_values"].shape[1] == 3 and (given["input_ids"] == IMAGE).sum() == 3 * 81
    equals(model, model.backbone.model, given)
    assert model.backbone.size(2) == Size(81, 4, 2)


def equals(ours, theirs, given) -> None:
    logits = theirs(**given).logits[:, -1]
    more = theirs.generate(**given, max_new_tokens=4, do_sample=False)[:, given["input_ids"].shape[1] :]
    for plan in KEEPS_ALL:
        made = ours.generate(given, plan, max_new_tokens=4)
        torch.testing.assert_close(made.run.logits, logits, atol=ATOL, rtol=0)
        assert made.token_ids == [until_end(row) for row in more.tolist()]
        for number, trace in enumerate(made.run.traces):
            assert trace.entering == trace.full == trace.final == int((given["input_ids"][number] == IMAGE).sum())
            assert set(trace.fate.tolist()) == {Fate.DOMINANT}


def together(*inputs: dict[str, torch.Tensor], pad_left: bool = False) -> dict[str, torch.Tensor]:
    """Batch prompts with one picture each as a processor does: text and tiles are padded."""
    longest = max(one["input_ids"].shape[1] for one in inputs)
    tiles = max(one["pixel_values"].shape[1] for one in inputs)
    made: dict[str, list[torch.Tensor]] = {name: [] for name in inputs[0]}
    for one in inputs:
        missing = longest - one["input_ids"].shape[1]
        gap, more = (missing, 0) if pad_left else (0, missing), tiles - one["pixel_values"].shape[1]
        for name in ("input_ids", "attention_mask"):
            made[name].append(torch.nn.functional.pad(one[name], gap))
        made["pixel_values"].append(torch.nn.functional.pad(one["pixel_values"], (0, 0, 0, 0, 0, 0, 0, more)))
        made["pixel_attention_mask"].append(torch.nn.functional.pad(one["pixel_attention_mask"], (0, 0, 0, 0, 0, more)))
    return {name: torch.cat(parts) for name, parts in made.items()}


@pytest.mark.parametrize("sizes", [[(90, 40), (90, 40)], [(90, 40), (20, 70)]], ids=["equal", "different"])
@torch.no_grad()
def test_a_batch_equals_transformers_and_its_samples(ours, theirs, sizes):
    """Where one picture has fewer tiles, tiles of zeros fill up its row."""
    alone = [ours.inputs(photo(size, seed), QUESTION) for seed, size in enumerate(sizes)]
    equals(ours, theirs, together(*alone, pad_left=True)) if sizes[0] == sizes[1] else None
    batch = together(*alone)
    logits = theirs(**batch).logits[torch.arange(2), batch["attention_mask"].sum(1) - 1]
    torch.testing.assert_close(ours.prefill(batch, Plan(method="none")).logits, logits, atol=ATOL, rtol=0)
    for pad_left in (False, True):
        both = ours.generate(together(*alone, pad_left=pad_left), DUET, max_new_tokens=4)
        for number, one in enumerate(alone):
            single = ours.generate(one, DUET, max_new_tokens=4)
            torch.testing.assert_close(both.run.logits[number], single.run.logits[0], atol=ATOL, rtol=0)
            assert both.token_ids[number] == single.token_ids[0]
            assert np.array_equal(both.run.traces[number].died_at, single.run.trace.died_at)


@torch.no_grad()
def test_padding_inside_a_tile_is_masked_as_transformers_masks_it(ours, theirs):
    given = ours.inputs(photo((90, 40)), QUESTION)
    mask = given["pixel_attention_mask"].clone()
    mask[:, 1, 20:], mask[:, 3, :, 12:] = 0, 0
    given["pixel_attention_mask"] = mask
    equals(ours, theirs, given)
    seen = ours.backbone.see(ours.backbone.eye(clip=False), given)
    scores = ours.backbone.evidence(seen).scores.view(7, SIDE, SIDE)
    assert (scores[1, 3:] == 0).all() and (scores[3, :, 2:] == 0).all() and (scores[1, :2] > 0).all()
    torch.testing.assert_close(4 * scores.sum((1, 2)), torch.tensor([64.0, 40, 64, 24, 64, 64, 64]))


# As the processor writes it


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_prompt_and_tiles_are_the_processors(ours, folder, size):
    """SmolVLM2's own processor asks for torchvision, so its image processor and its words are compared."""
    if isinstance(ours.processor, PlainProcessor):
        tiles = tiles_in(pixels_of(ours.processor.image_processor, [photo(size)]))
        words = MARKS[2], MARKS[4], MARKS[3]
        assert ours.processor.video_token is None
        assert tiles.text(MARKS[4], 16) == get_image_prompt_string(tiles.rows, tiles.cols, 16, *words)
        assert Tiles(0, 0).text(MARKS[4], 16) == get_image_prompt_string(0, 0, 16, *words)
        return
    theirs = AutoProcessor.from_pretrained(folder, backend="pil")
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = theirs.apply_chat_template(talk, add_generation_prompt=True)
    wanted = theirs(text=text, images=[photo(size)], return_tensors="pt", add_special_tokens=False)
    given = ours.inputs(photo(size), QUESTION)
    assert set(given) == set(wanted)
    for name, value in given.items():
        assert torch.equal(value, wanted[name]), name


# Reducing


def test_a_token_is_scored_by_the_patches_that_it_stands_for(ours):
    """Both in the mean over the 2 x 2 patches, which lie where the token lies."""
    given, backbone = ours.inputs(photo((90, 40)), QUESTION), ours.backbone
    with torch.inference_mode():
        seen = backbone.see(backbone.eye(clip=False), given)
        evidence = backbone.evidence(seen)
        tower, tiles = backbone.model.model.vision_model, given["pixel_values"][0]
        hidden = tower.embeddings(tiles, torch.ones(len(tiles), 8, 8, dtype=torch.bool))
        for layer in tower.encoder.layers[:-1]:
            hidden = layer(hidden, attention_mask=None)
        last = tower.encoder.layers[-1]
        query, keys = (
            projected(last.layer_norm1(hidden)).unflatten(-1, (2, 8)).transpose(1, 2)
            for projected in (last.self_attn.q_proj, last.self_attn.k_proj)
        )
        received = (query @ keys.transpose(2, 3) * 8**-0.5).softmax(-1).mean(1).sum(1).view(-1, 1, 8, 8)
        scores = torch.nn.functional.avg_pool2d(received, 2).flatten(1)
        mean = torch.nn.functional.avg_pool2d(keys.mean(1).transpose(1, 2).unflatten(2, (8, 8)), 2)
        whole = backbone.model.model.get_image_features(given["pixel_values"], given["pixel_attention_mask"])
    torch.testing.assert_close(evidence.scores, scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(evidence.keys, mean.flatten(2).transpose(1, 2), atol=1e-5, rtol=0)
    with torch.inference_mode():
        projected = backbone.project(seen.features).flatten(0, 1)
    torch.testing.assert_close(projected, torch.cat(list(whole.pooler_output)), atol=ATOL, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(90, 40), (96, 20)], ids=str)
def test_every_method_runs_and_keeps_its_books(ours, method, size):
    encoded = ours.encode(photo(size))
    plan = ours.plan(method, reduction=0.6, encoded=encoded)
    given = ours.inputs(photo(size), QUESTION)
    run = ours.prefill(given, plan)
    keeps_its_books(run, 0, len(given["input_ids"][0]) - run.trace.full)
    assert run.trace.full == encoded.size.total == 16 * encoded.grid.frames
    if method in ("duet", "random", "uniform"):  # the others come as close as one cut can
        assert abs(run.trace.average_tokens - 0.4 * run.trace.full) <= 1
    asked = ours.ask(encoded, QUESTION, plan, 1).trace
    assert asked.tokens_per_layer == run.trace.tokens_per_layer and asked.full == run.trace.full


def keeps_its_books(run: duet_core.Run, number: int, text: int) -> None:
    """Every patch has one fate, and the counts are the lengths that were run."""
    trace = run.traces[number]
    assert len(trace.fate) == trace.grid.patches and {int(fate) for fate in trace.fate} <= set(Fate) - {Fate.BORDER}
    assert [lengths[number] - text for lengths in run.state.lengths] == list(trace.tokens_per_layer)
    gone = trace.fate == Fate.DROPPED
    assert ((trace.joined < 0) == gone).all() and (trace.died_at[gone] == BEFORE_MODEL).all()
    own = np.flatnonzero(np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR)))
    assert (trace.joined[own] == own).all()
    merged = trace.fate == Fate.MERGED
    assert (trace.fate[trace.joined[merged]] == Fate.ANCHOR).all()
    assert (trace.died_at[merged] == trace.died_at[trace.joined[merged]]).all()
    assert run.state.cache.lengths == [lengths[0] for lengths in run.state.cached]


def test_duet_counts_are_those_of_the_plan(ours):
    """7 tiles of 5 + 2 tokens, in one block for stage 2 whatever text lies between them."""
    run = ours.prefill(ours.inputs(photo((90, 40)), QUESTION), DUET)
    assert run.trace.tokens_per_layer == (49, int(49 * 0.6), int(49 * 0.6), int(49 * 0.3))
    own = run.trace.fate.reshape(7, -1)
    assert ((own == Fate.DOMINANT).sum(1) == 5).all() and ((own == Fate.ANCHOR).sum(1) == 2).all()
    assert (run.trace.joined // 16 == np.arange(112) // 16)[run.trace.joined >= 0].all(), "tiles never mix in stage 1"


@torch.no_grad()
def test_text_is_never_touched_and_stays_between_its_tiles(ours):
    """What enters are the tiles' tokens at their blocks' places, and the embeddings of the text around them."""
    given, watch = ours.inputs(photo((90, 40)), QUESTION), running.Stopwatch(torch.device("cpu"))
    backbone, eye = ours.backbone, ours.backbone.eye(clip=False)
    seen, request = backbone.see(eye, given), Request(given["input_ids"][0].tolist())
    samples = running.deal_out(eye, seen, [request])
    entered = running.enter(backbone, eye, seen, DUET, watch, [request], samples)
    caught = {}
    handle = backbone.layers[0].register_forward_pre_hook(
        lambda _, args, more: caught.update(hidden=args[0], rotary=more["position_embeddings"]), with_kwargs=True
    )
    running.prefill(backbone, entered, [request], samples, DUET, watch)
    handle.remove()
    rows, block, at = [], 0, 0
    while at < len(request.ids):
        shown = request.ids[at] == IMAGE
        rows.append(entered.blocks[block] if shown else backbone.embed(torch.tensor(request.ids[at : at + 1])))
        block, at = block + shown, at + (16 if shown else 1)
    assert block == 7
    assert torch.equal(caught["hidden"][0], torch.cat(rows))
    compact = torch.arange(len(caught["hidden"][0]))[None]
    for part, wanted in zip(caught["rotary"], backbone.rotary(compact, caught["hidden"]), strict=True):
        assert torch.equal(part, wanted)


def test_decoding_with_the_cache_equals_recomputing(ours):
    given = ours.inputs(photo((90, 40)), QUESTION)
    after = list(range(int((given["input_ids"][0] == IMAGE).nonzero().max()) + 1, given["input_ids"].shape[1]))
    first, second = ours.generate(given, DUET, max_new_tokens=2).token_ids[0]
    ids = torch.cat([given["input_ids"], torch.tensor([[first]])], 1)
    longer = given | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert ours.prefill(longer, DUET, query_positions=after).logits.argmax(-1).item() == second


def test_many_questions_about_one_picture(ours):
    answers_all_as_one_by_one(ours, DUET)


def test_eager_attention_equals_sdpa(folder, ours):
    eager = duet_core.open_model(str(folder), device="cpu", dtype="float32", attention="eager")
    given = ours.inputs(photo((90, 40)), QUESTION)
    given["pixel_attention_mask"][:, 1, 20:] = 0
    for plan in (DUET, Plan(method="none")):
        torch.testing.assert_close(
            eager.prefill(given, plan).logits, ours.prefill(given, plan).logits, atol=ATOL, rtol=0
        )


def test_bf16_runs_and_tells_the_same_counts(folder, ours):
    half = duet_core.open_model(str(folder), device="cpu", dtype="bfloat16")
    for plan in (DUET, Plan(method="none")):
        made = half.generate(half.inputs(photo((96, 96)), QUESTION), plan, max_new_tokens=2)
        assert made.run.logits.dtype == torch.bfloat16 and made.run.logits.isfinite().all()
        full = ours.prefill(ours.inputs(photo((96, 96)), QUESTION), plan)
        assert made.run.trace.tokens_per_layer == full.trace.tokens_per_layer


@pytest.mark.parametrize("share", [0.07, 0.2, 0.35, 0.5, 0.64, 0.7, 0.9, 1.0])
def test_a_budget_is_met_by_the_run(ours, share):
    encoded = ours.encode(photo((90, 40)))
    total = encoded.size.total
    trace = ours.ask(encoded, QUESTION, ours.plan(budget=share * total, encoded=encoded), 1).trace
    assert abs(trace.average_tokens - share * total) <= 1 and trace.full == total == 7 * 16


# Where the tiles lie


@pytest.mark.parametrize("size", [(90, 40), (20, 70), (96, 20)], ids=str)
def test_a_box_is_where_its_token_looks(ours, size):
    """Paint the box of one token of each tile white: among the tile's tokens, it becomes the brightest."""
    grid = ours.encode(photo(size)).grid
    assert grid.frames == len(grid.crops) and grid.crops[-1] == (0, 0, *size)
    for frame in range(grid.frames):
        patch = grid.frame_patches(frame)[6]
        picture = Image.new("RGB", size)
        left, top, right, bottom = grid.box(patch)
        picture.paste((255, 255, 255), (round(left), round(top), max(round(right), round(left) + 1), round(bottom)))
        pixels = ours.inputs(picture, QUESTION)["pixel_values"][0, frame].mean(0)
        brightness = torch.nn.functional.avg_pool2d(pixels[None], EDGE // SIDE)[0].flatten()
        assert brightness.argmax().item() == 6
        assert grid.patch_at((left + right) / 2, (top + bottom) / 2, frame) == patch


@drawn(rows=st.integers(0, 6), cols=st.integers(1, 6), width=st.integers(1, 900), height=st.integers(1, 900))
def test_tiles_cover_the_picture_without_overlap(rows, cols, width, height):
    tiles = Tiles(rows, cols)
    boxes = tiles.boxes((width, height))
    assert len(boxes) == (tiles.count if rows else 0)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    assert sum(areas[:-1]) == pytest.approx(width * height if rows else 0)
    assert tiles.text("<image>", 3).count("<image>") == 3 * tiles.count


def test_the_page_draws_every_tile_on_the_picture(ours):
    subject = photo((90, 40))
    trace = ours.ask(subject, QUESTION, DUET, 1).trace
    names = [f"crop {number}" for number in range(1, 7)]
    page = json.loads(map_value(subject, trace))
    assert [part["name"] for part in page["frames"]] == [*names, "whole picture"]
    assert [tuple(part["seen"]) for part in page["frames"]] == list(trace.grid.crops)
    again = Trace.from_json(json.loads(json.dumps(trace.to_json(), allow_nan=False)))
    assert again.to_json() == trace.to_json() and again.grid == trace.grid


def test_a_picture_that_is_not_cut_has_one_tile(uncut):
    trace = uncut.ask(photo((90, 40)), QUESTION, DUET, 1).trace
    assert trace.grid == Grid(1, SIDE, SIDE, (90, 40), (0, 0, 90, 40)) and trace.full == 16 and trace.entering == 7


def test_the_shell_tells_of_a_picture_in_tiles(folder, tmp_path, capsys):
    photo((90, 40)).save(tmp_path / "photo.png")
    asked = ["ask", str(tmp_path / "photo.png"), QUESTION, "--model", str(folder), "--device", "cpu", "--budget", "50"]
    assert main(asked) == 0
    assert "112 in all (7 crops)" in capsys.readouterr().out


def test_a_brush_paints_tiles_and_frames(ours):
    paints(ours, photo((90, 40)), QUESTION)
    paints(ours, [photo((90, 40), seed) for seed in range(3)], QUESTION)


# Clips


@torch.no_grad()
def test_a_clip_is_as_many_uncut_pictures_as_it_has_frames(ours, theirs):
    frames = [photo((90, 40), seed) for seed in range(3)]
    given = ours.inputs(frames, QUESTION)
    assert given["pixel_values"].shape == (1, 3, 3, EDGE, EDGE)
    assert tokenizer().decode(given["input_ids"][0]).count("<global-img>") == 3
    equals(ours, theirs, given)
    plan = ours.plan(reduction=0.5, frames=3)
    assert ours.encode(frames).size == ours.backbone.size(3) == Size(16, 4, 3)
    trace = ours.ask(frames, QUESTION, plan, 2).trace
    assert abs(trace.average_tokens - 24) <= 1
    assert trace.grid == Grid(3, SIDE, SIDE, (90, 40), (0, 0, 90, 40))


# What is refused


def test_what_does_not_fit_is_one_sentence(ours):
    given = ours.inputs(photo((90, 40)), QUESTION)
    with pytest.raises(PictureError, match="give whole pictures"):
        ours.prefill(given | {"input_ids": given["input_ids"][:, 12:], "attention_mask": None}, DUET)
    with pytest.raises(PictureError, match="All 7 tiles of the inputs are padding"):
        ours.prefill(given | {"pixel_values": torch.zeros_like(given["pixel_values"])}, DUET)
    with pytest.raises(PictureError, match="A tile has 7 x 8 patches"):
        short = {name: given[name][..., :28, :] for name in ("pixel_values", "pixel_attention_mask")}
        ours.prefill(given | short, DUET)
    with pytest.raises(PictureError, match="exactly one of the two"):
        ours.prefill({"input_ids": given["input_ids"]}, DUET)
    with pytest.raises(PlanError, match="encoded"):
        ours.plan(budget=20)
    with pytest.raises(PlanError, match="between 7 and 112"):
        ours.plan(budget=3, encoded=ours.encode(photo((90, 40))))
    with pytest.raises(duet_core.errors.QuestionError, match="reserves"):
        ours.ask(photo((90, 40)), "What is <image>?", DUET)


def test_another_decoder_is_one_sentence():
    config = configuration("smolvlm")
    config.text_config = Qwen2Config(**TEXT, vocab_size=VOCABULARY)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    with pytest.raises(ModelError, match="of type qwen2; choose one with a Llama decoder"):
        wrap(model)
