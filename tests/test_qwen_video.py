"""Qwen2.5-VL's clips are videos: transformers' own model, patches of two frames, positions in time, an honest map."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

import duet_core
from app.describe import part_name, step_sentence
from app.patchmap import map_value
from app.render import marks_of, overlay, sheet
from duet_core import Plan
from duet_core.errors import ClipError, DuetError, PictureError
from duet_core.film import Film
from duet_core.grid import Grid
from duet_core.methods import METHODS, find_method
from duet_core.plan import Size
from duet_core.trace import Fate, Trace
from tests.conftest import GOLDEN
from tests.qwen_folder import write_folder
from tests.test_brush import paints

CHECKPOINT, ATOL, VIDEO = GOLDEN / "tiny_qwen25vl_hf", 1e-4, 991
QUESTION, ROWS, COLS = "What is in the middle?", 4, 6
N = ROWS * COLS
DUET = Plan(dominant=8, contextual=4, cluster_width=2, layers=(4, 6), keep=(0.5, 0.25), queries="all_text")
CLIP_METHODS = [name for name in METHODS if find_method(name).about.applies(clip=True) and name != "smaller"]


@pytest.fixture(scope="module")
def ours() -> duet_core.Model:
    return duet_core.open_model(str(CHECKPOINT), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def theirs() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(CHECKPOINT).eval()


@pytest.fixture(scope="module")
def asked(tmp_path_factory, theirs) -> duet_core.Model:
    folder = tmp_path_factory.mktemp("qwen")
    write_folder(folder, theirs)
    return duet_core.open_model(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def asked_theirs(asked) -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(asked.name).eval()


def clips(steps: int = 3, samples: int = 1, seconds: float | None = 1.0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random prompts, each with one random clip of so many steps in time; the text goes on behind it."""
    draw = torch.Generator().manual_seed(seed)
    text = torch.randint(3, 900, (samples, 9), generator=draw)
    ids = torch.cat([text[:, :4], torch.full((samples, steps * N), VIDEO), text[:, 4:]], 1)
    given = {
        "input_ids": ids,
        "pixel_values_videos": torch.randn(4 * N * steps * samples, 1176, generator=draw),
        "video_grid_thw": torch.tensor([[steps, 2 * ROWS, 2 * COLS]] * samples),
    }
    return given if seconds is None else given | {"second_per_grid_ts": torch.full((samples,), seconds)}


def film(frames: int, step: float = 0.5, size: tuple[int, int] = (168, 112)) -> Film:
    """Frames of noise, so that no two are alike."""
    draw = np.random.default_rng(frames)
    pictures = (Image.fromarray(draw.integers(0, 256, (*size[::-1], 3), np.uint8)) for _ in range(frames))
    return Film(tuple(pictures), tuple(step * number for number in range(frames)))


def kinds(ids: torch.Tensor, token: int) -> dict[str, torch.Tensor]:
    return {"mm_token_type_ids": 2 * (ids == token).int()}


def check_same(model, theirs, given, tokens=6):
    """Logits and greedy tokens of a plan that keeps everything are those of transformers."""
    made = model.generate(given, Plan(method="none"), max_new_tokens=tokens)
    whole = dict(given) | kinds(given["input_ids"], theirs.config.video_token_id)
    with torch.no_grad():
        torch.testing.assert_close(made.run.logits, theirs(**whole).logits[:, -1], atol=ATOL, rtol=0)
        more = theirs.generate(**whole, max_new_tokens=tokens, do_sample=False)[:, given["input_ids"].shape[1] :]
    ends = theirs.generation_config.eos_token_id
    wanted = [row[: row.index(ends) + 1] if ends in row else row for row in more.tolist()]
    assert made.token_ids == wanted
    return made.run


# The model


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("step", [0.5, 1.7])
def test_keeping_everything_equals_transformers(asked, asked_theirs, frames, step):
    run = check_same(asked, asked_theirs, asked.inputs(film(frames, step), QUESTION))
    assert run.trace.full == -(-frames // 2) * 24 and run.trace.grid.frames == -(-frames // 2)


@pytest.mark.parametrize("seconds", [None, 0.3, 1.0, 25.0])
def test_a_batch_of_two_clips_equals_transformers(ours, theirs, seconds):
    check_same(ours, theirs, clips(samples=2, seconds=seconds))


def test_clips_of_different_lengths_make_one_batch(ours, theirs):
    short, long = clips(steps=2, seed=1), clips(steps=4, seed=2)
    ids = torch.nn.utils.rnn.pad_sequence([short["input_ids"][0], long["input_ids"][0]], batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(57), torch.ones(105)], batch_first=True).long()
    both = {name: torch.cat([short[name], long[name]]) for name in short if name != "input_ids"}
    for plan in (Plan(method="none"), DUET):
        run = ours.prefill(both | {"input_ids": ids, "attention_mask": mask}, plan)
        for number, alone in enumerate((short, long)):
            torch.testing.assert_close(run.logits[number], ours.prefill(alone, plan).logits[0], atol=ATOL, rtol=0)
        assert [trace.grid.frames for trace in run.traces] == [2, 4]


def test_bf16_equals_transformers_in_bf16():
    half = duet_core.open_model(str(CHECKPOINT), device="cpu", dtype="bfloat16")
    theirs = Qwen2_5_VLForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.bfloat16).eval()
    given = clips(samples=2)
    made = half.prefill(given, Plan(method="none"))
    with torch.inference_mode():
        wanted = theirs(**given, **kinds(given["input_ids"], VIDEO)).logits[:, -1]
    assert made.logits.dtype == torch.bfloat16
    torch.testing.assert_close(made.logits, wanted, atol=0.12, rtol=0)
    reduced = half.prefill(given, DUET)
    assert reduced.logits.isfinite().all() and reduced.trace.entering == 36


def test_positions_are_those_of_transformers(ours, theirs):
    given = clips(steps=4, seconds=2.5)
    ids = given["input_ids"]
    wanted, _ = theirs.model.get_rope_index(
        ids,
        kinds(ids, VIDEO)["mm_token_type_ids"],
        video_grid_thw=given["video_grid_thw"],
        second_per_grid_ts=given["second_per_grid_ts"],
    )
    run = ours.prefill(given, Plan(method="none"))
    (reel,) = ours.backbone.see(ours.backbone.eye(clip=True), given).reels
    assert torch.equal(ours.backbone.positions(ids[0], (ROWS, COLS), (reel,)), wanted[:, 0])
    time = wanted[0, 0, 4 : 4 + 4 * N].view(4, N)
    assert (time - time[0, 0]).unique().tolist() == [0, 10, 20, 30], "tokens_per_second is 4"
    assert run.state.following.tolist() == [[int(wanted[0, 0, -1]) + 1]] * 3


def test_decoding_goes_on_behind_the_text_however_long_the_clip_was(ours):
    given = clips(steps=4, seconds=25.0)
    (reel,) = ours.backbone.see(ours.backbone.eye(clip=True), given).reels
    positions = ours.backbone.positions(given["input_ids"][0], (ROWS, COLS), (reel,))
    for plan in (Plan(method="none"), DUET):
        assert ours.prefill(given, plan).state.following.tolist() == [[4 + COLS + 5]] * 3
    assert positions.max() == 4 + 300


@pytest.mark.parametrize("method", ["none", "duet", "visionzip"])
def test_decoding_with_the_cache_equals_recomputing(ours, method):
    given = clips(steps=2, seconds=25.0)
    plan = ours.plan(method, budget=14, encoded=encoded(ours, given)) if method != "none" else Plan(method="none")
    after = list(range(4 + 2 * N, given["input_ids"].shape[1]))
    first, second = ours.generate(given, plan, max_new_tokens=2, query_positions=after).token_ids[0]
    ids = torch.cat([given["input_ids"], torch.tensor([[first]])], 1)
    longer = ours.prefill(given | {"input_ids": ids}, plan, query_positions=after)
    assert longer.logits.argmax(-1).item() == second


# Patches of two frames


def pairs_of(asked, shown: Film) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut the frames into what Conv3d sees [steps, rows, cols, C, 2, 14, 14]; also returns the frames [F, C, h, w]."""
    processor = asked.processor.image_processor
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (processor.image_mean, processor.image_std))
    pixels = [torch.from_numpy(np.array(frame)).permute(2, 0, 1).float() / 255 for frame in shown.frames]
    frames = torch.stack([(own - mean) / std for own in pixels])
    steps, rows, cols = -(-len(frames) // 2), frames.shape[2] // 14, frames.shape[3] // 14
    cut = torch.zeros(steps, rows, cols, 3, 2, 14, 14)
    for step in range(steps):
        for row in range(rows):
            for col in range(cols):
                for time in range(2):
                    frame = frames[min(2 * step + time, len(frames) - 1)]
                    cut[step, row, col, :, time] = frame[:, 14 * row : 14 * row + 14, 14 * col : 14 * col + 14]
    return cut, frames


@pytest.mark.parametrize("frames", [2, 5])
def test_patches_lie_as_the_models_convolution_expects(asked, asked_theirs, frames):
    """What the embedding makes of our patches is Conv3d over the frames themselves, in the order of the merger."""
    shown = film(frames)
    given = asked.inputs(shown, QUESTION)
    cut, pixels = pairs_of(asked, shown)
    steps, rows, cols = cut.shape[:3]
    assert given["video_grid_thw"].tolist() == [[steps, rows, cols]]
    order = [
        (step, 2 * row + down, 2 * col + right)
        for step in range(steps)
        for row in range(rows // 2)
        for col in range(cols // 2)
        for down in range(2)
        for right in range(2)
    ]
    wanted = torch.stack([cut[place].flatten() for place in order])
    torch.testing.assert_close(given["pixel_values_videos"], wanted, atol=1e-5, rtol=0)

    embed = asked_theirs.model.visual.patch_embed
    film_pixels = torch.cat([pixels, pixels[-1:]])[: 2 * steps].transpose(0, 1)[None]  # (1, C, 2 G, h, w)
    with torch.no_grad():
        conv = embed.proj(film_pixels)[0]  # (D, G, rows, cols)
        ours = embed(given["pixel_values_videos"])
    wanted = torch.stack([conv[(slice(None), *place)] for place in order])
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=0)


def test_the_seconds_between_steps_are_those_of_two_frames(asked):
    assert asked.inputs(film(6, 0.4), QUESTION)["second_per_grid_ts"].tolist() == pytest.approx([0.8])
    assert asked.inputs(list(film(6).frames), QUESTION)["second_per_grid_ts"].tolist() == [1.0]
    assert Film(film(3).frames, (0.0, 1.0, 3.0)).step == 1.5
    assert Film(film(2).frames, (1.0, 1.0)).step == Film(film(1).frames, (2.0,)).step == 0.5


def test_the_prompt_holds_one_video(asked):
    ids = asked.inputs(film(5), QUESTION)["input_ids"][0].tolist()
    spoken = asked.processor.tokenizer.convert_ids_to_tokens(ids)
    assert spoken.count("<|video_pad|>") == 3 * 24 and spoken.count("<|vision_start|>") == 1
    assert "<|image_pad|>" not in spoken


# Budgets and methods


def encoded(model: duet_core.Model, given: dict[str, torch.Tensor]) -> duet_core.Encoded:
    """What `Model.encode` would return, without a processor."""
    eye = model.backbone.eye(clip=True)
    with torch.inference_mode():
        seen = model.backbone.see(eye, given)
    steps = int(given["video_grid_thw"][0, 0])
    grid = Grid(steps, *seen.rows_cols, (80, 60), (0, 0, 80, 60), homes=eye.homes(2 * steps))
    return duet_core.Encoded(eye, seen, grid, model.layers, 0.0)


@pytest.mark.parametrize("reduction", [0.3, 0.531, 0.8, 0.9])
def test_budgets_are_met_over_the_whole_clip(asked, reduction):
    shown = asked.encode(film(8))
    plan = asked.plan(reduction=reduction, encoded=shown)
    trace = asked.ask(shown, QUESTION, plan, max_new_tokens=3).trace
    assert trace.full == 4 * 24 and abs(trace.average_tokens - (1 - reduction) * trace.full) <= 1
    assert shown.size == Size(24, 8, 4)


def test_a_brush_paints_pictures_and_clips(asked):
    paints(asked, film(6), QUESTION)
    paints(asked, film(1).frames[0], QUESTION)


@pytest.mark.parametrize("method", CLIP_METHODS)
def test_every_method_runs_and_a_batch_equals_its_clips(ours, method):
    both = clips(samples=2)
    plan = ours.plan(method, budget=24, encoded=encoded(ours, both))
    together, each = ours.generate(both, plan, max_new_tokens=3), len(both["pixel_values_videos"]) // 2
    for number in range(2):
        alone = {name: part[number : number + 1] for name, part in both.items()}
        alone["pixel_values_videos"] = both["pixel_values_videos"][number * each : (number + 1) * each]
        run = ours.prefill(alone, plan)
        torch.testing.assert_close(together.run.logits[number], run.logits[0], atol=ATOL, rtol=0)
        check_invariants(run, 3)
        assert method == "none" or abs(run.trace.average_tokens - 24) <= 1


def check_invariants(run, steps):
    """Every patch has one fate, counts are the lengths run, and caches hold what their layers saw."""
    trace = run.trace
    assert len(trace.fate) == trace.full == trace.grid.patches == steps * N
    own = np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR))
    assert own.sum() == trace.entering == run.state.visual_counts[0][0]
    assert (trace.joined[own] == np.flatnonzero(own)).all() and (trace.joined[trace.fate == Fate.DROPPED] == -1).all()
    assert own[trace.joined[trace.fate == Fate.MERGED]].all()
    for lengths, visual in zip(run.state.lengths, trace.tokens_per_layer, strict=True):
        assert lengths[0] == visual + 9
    assert run.state.cache.lengths == [counts[0] for counts in run.state.cached]


def test_stage_1_chooses_in_each_step_of_time_alone(ours):
    trace = ours.prefill(clips(), DUET).trace
    own = np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR)).reshape(3, N).sum(1)
    assert own.tolist() == [12, 12, 12]
    home = trace.joined.reshape(3, N)
    assert all((row[row >= 0] // N == step).all() for step, row in enumerate(home))


def test_many_questions_share_a_clip(asked):
    shown = asked.encode(film(5))
    plan = asked.plan(reduction=0.5, encoded=shown)
    questions = [QUESTION, "What is the middle?"]
    one_by_one = [asked.ask(shown, question, plan, max_new_tokens=4).text for question in questions]
    assert asked.ask_all(shown, questions, plan, max_new_tokens=4) == one_by_one


# The map


def test_a_token_says_which_two_frames_it_stands_for(asked):
    trace = asked.ask(film(5), QUESTION, DUET, max_new_tokens=1).trace
    assert trace.grid.homes == (0, 0, 1, 1, 2) and (trace.grid.frames, trace.grid.pictures) == (3, 5)
    assert [part_name(trace.grid, step) for step in range(3)] == ["frames 1+2", "frames 3+4", "frame 5"]
    assert step_sentence(trace, 0).startswith("All 72 patches of the clip's 5 frames, 2 frames to a patch")
    again = Trace.from_json(json.loads(json.dumps(trace.to_json(), allow_nan=False)))
    assert again.grid == trace.grid and again.to_json() == trace.to_json()


def test_the_map_draws_every_token_on_both_its_frames(asked):
    shown = film(5)
    trace = asked.ask(shown, QUESTION, DUET, max_new_tokens=1).trace
    drawn = json.loads(map_value(shown, trace))
    assert [own["home"] for own in drawn["frames"]] == [0, 0, 1, 1, 2] and len(
        {f["photo"] for f in drawn["frames"]}
    ) == 5
    assert [own["time"] for own in drawn["frames"]] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert drawn["frames"][0]["tokens"] == drawn["frames"][1]["tokens"] == trace.tokens_by_frame[0].tolist()
    white = Image.new("RGB", (168, 112), "white")
    first, second, third = (overlay(white, trace, 1, 168, frame).tobytes() for frame in range(3))
    assert first == second != third
    assert 396 < sheet(shown.frames, trace.grid, marks_of(trace, 1), 400).width <= 400


# Wrong inputs


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"video_grid_thw": None}, PictureError, "video_grid_thw does not tell how their 288 patches lie"),
        ({"video_grid_thw": torch.tensor([[2, 8, 12]])}, PictureError, "288 patches"),
        ({"second_per_grid_ts": torch.ones(2)}, ClipError, "2 second_per_grid_ts for 1 clips"),
        ({"input_ids": torch.tensor([[5, *[VIDEO] * (2 * N), 6]])}, ClipError, "room for 2 steps in time"),
        ({"input_ids": torch.tensor([[5, *[VIDEO] * 7, 6]])}, PictureError, "has 7 picture tokens"),
        ({"pixel_values": torch.zeros(4, 1176)}, PictureError, "exactly one of the two"),
    ],
)
def test_wrong_inputs_say_so_in_one_sentence(ours, change, kind, words):
    with pytest.raises(kind, match=words) as told:
        ours.prefill(clips() | change, DUET)
    assert str(told.value).count(". ") == 0 and str(told.value).endswith(".")


def test_clips_of_two_sizes_make_no_batch(ours):
    mixed = clips(samples=2) | {"video_grid_thw": torch.tensor([[3, 8, 12], [3, 12, 8]])}
    with pytest.raises(PictureError, match="clips of a batch have 2 different sizes"):
        ours.prefill(mixed, DUET)


@pytest.mark.parametrize("frames", [[], [Image.new("RGB", (56, 56)), Image.new("RGB", (84, 56))], ["no picture"]])
def test_no_frames_and_unlike_frames_are_refused(asked, frames):
    with pytest.raises(DuetError):
        asked.encode(frames)


def test_an_encoder_that_cannot_look_again_says_so(asked):
    shown = asked.encode(film(4))
    with pytest.raises(duet_core.PlanError, match="another size"):
        asked.ask(shown, QUESTION, asked.plan("smaller", budget=20, encoded=shown))
