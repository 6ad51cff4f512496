"""The recipe of duet-mini in small: its parts are exact, and the whole path runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from duet_core.__main__ import main as command
from duet_core.backbones import wrap
from duet_core.engine import Model
from duet_core.errors import PlanError
from duet_core.plan import Plan
from duet_core.scenes import FIRST_TRAINING_SEED, make_scene
from duet_core.scenes.actors import FRAMES
from duet_core.scenes.clip import make_clip
from duet_core.scenes.question import REFUSALS, UNKNOWN, Question
from duet_core.scenes.scene import compose
from duet_core.scenes.things import BACKGROUNDS, COLOURS, COUNTS, NAMES, PLURAL
from duet_core.train import main
from duet_core.train.asking import offer
from duet_core.train.attention import attend
from duet_core.train.entering import entering, written
from duet_core.train.labels import COLUMNS, GRID, owners, table
from duet_core.train.language import answer_logits
from duet_core.train.lessons import LanguagePhase, Library, draw_lesson
from duet_core.train.lexicon import SPOKEN, Lexicon
from duet_core.train.loop import read_log
from duet_core.train.model import Sizes, build_config, build_model
from duet_core.train.muon import orthogonalise
from duet_core.train.packing import pack
from duet_core.train.pictures import PictureSet
from duet_core.train.recipe import DUET_MINI
from duet_core.train.stages import Pupil, lesson_at
from duet_core.train.tower import choose_windows, features, pixels
from duet_core.train.views import Views, remember, see
from duet_core.train.words import Speech, build_processor, special_ids, world, world_tokenizer

SMALL = Sizes(32, 3, 2, 64, 64, 5, 64, 32)
PRUNED = Plan(dominant=40, contextual=6, layers=(2, 3), keep=(0.5, 0.25))


@pytest.fixture(scope="module")
def speech() -> Speech:
    return Speech(world_tokenizer())


@pytest.fixture(scope="module")
def model(speech: Speech) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = build_config(SMALL, len(speech.tokenizer), special_ids(speech.tokenizer))
    return build_model(config).eval()


def test_each_word_of_the_world_is_one_token(speech: Speech) -> None:
    assert {*NAMES, *PLURAL.values(), *COLOURS, *BACKGROUNDS, *COUNTS} <= set(world())
    assert all(len(speech.word(word)) == len(word.split()) for word in world())


@pytest.mark.parametrize("text", ["Is there a zebra?", "Où est l'œuf ? 🦓", "42 cats\n\ttoo"])
def test_other_words_fall_back_to_bytes_with_exact_offsets(speech: Speech, text: str) -> None:
    coded = speech.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert speech.tokenizer.decode(coded["input_ids"]) == text
    assert "".join(text[a:b] for a, b in dict.fromkeys(coded["offset_mapping"])) == text


def test_the_chat_template_gives_the_layout_that_was_trained(speech: Speech) -> None:
    processor = build_processor(speech.tokenizer)
    for frames, questions in ((1, make_scene(5).questions), (FRAMES, make_clip(5).questions)):
        for question in questions:
            asked = [{"type": "image"}] * frames + [{"type": "text", "text": question.text}]
            text = processor.apply_chat_template([{"role": "user", "content": asked}], add_generation_prompt=True)
            coded = speech.tokenizer(text.replace("<image>", "<image>" * 3))
            turn = speech.turn(question)
            assert coded["input_ids"] == [*speech.prefix(frames, 3), *turn.asked]
            spoken = speech.tokenizer.decode(turn.answered, skip_special_tokens=True)
            assert spoken.strip() == question.answer


def test_the_processor_leaves_a_square_picture_as_it_is(speech: Speech) -> None:
    image = make_scene(5).image
    processed = build_processor(speech.tokenizer).image_processor(image, return_tensors="pt")
    expected = pixels(torch.from_numpy(np.asarray(image)[None].copy()))
    torch.testing.assert_close(processed["pixel_values"], expected, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def views(model: LlavaForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """What the untrained tower makes of a few scenes, a picture that is no scene, and two clips."""
    folder = tmp_path_factory.mktemp("views")
    sets = (PictureSet("scenes", 1, 3), PictureSet("foreign", 3, 2, "foreign"), PictureSet("clips", 4, 2, "clip"))
    seen = [remember(model.model.vision_tower, own, folder / own.name, workers=0) for own in sets]
    return Library(*seen, SMALL.text_layers)


def packed_answers(model, speech, views: Views, questions: list[list[Question]], plan: Plan):
    """Teacher-forced logits of all questions, packed as in training."""
    subjects = np.arange(len(questions))
    tokens, _ = entering(views, views.rows(subjects), plan)
    seen = model.model.multi_modal_projector(tokens)
    packed = pack(speech, questions, views.frames, seen.shape[1] // views.frames)
    llama = model.model.language_model
    return answer_logits(llama, model.lm_head, seen, packed, tuple(zip(plan.layers, plan.keep, strict=True)))[:2]


@pytest.mark.parametrize(
    ("source", "plan"),
    # Not the clips with every patch: the scenes cover that, and eight frames of it are slow.
    [("scenes", Plan(method="none")), ("scenes", PRUNED.only("2"))]
    + [(source, plan) for source in ("scenes", "clips") for plan in (PRUNED, PRUNED.only("1"))],
)
@torch.no_grad()
def test_training_sees_what_the_engine_sees(model, speech: Speech, views: Library, plan: Plan, source: str) -> None:
    """Packed questions, with DUET's stages in the loop, give the logits that the engine gives one by one."""
    own: Views = getattr(views, source)
    engine = Model("small", wrap(model), build_processor(speech.tokenizer))
    first = FIRST_TRAINING_SEED + (100_000 if source == "scenes" else 400_000)
    subjects = [make_scene(first + k) if source == "scenes" else make_clip(first + k) for k in range(2)]
    pictures = [[subject.image] if source == "scenes" else list(subject.frames) for subject in subjects]
    questions = [list(subject.questions[:3]) for subject in subjects]
    logits, truth = packed_answers(model, speech, own, questions, plan)
    place = 0
    for frames, asked in zip(pictures, questions, strict=True):
        for question in asked:
            answered = speech.turn(question).answered
            one_by_one = first_logits(engine, speech, frames, question, plan)
            torch.testing.assert_close(logits[place], one_by_one, atol=2e-2, rtol=2e-2)  # views are kept in fp16
            assert tuple(truth[place : place + len(answered)].tolist()) == answered
            place += len(answered)
    assert place == len(truth)


def first_logits(engine: Model, speech: Speech, frames: list, question: Question, plan: Plan) -> torch.Tensor:
    """The engine's logits for the first token of an answer."""
    prefix, turn = speech.prefix(len(frames), GRID**2), speech.turn(question)
    images = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames]))
    inputs = {"input_ids": torch.tensor([[*prefix, *turn.asked]]), "pixel_values": pixels(images)}
    return engine.prefill(inputs, plan, [len(prefix) + place for place in turn.guides]).logits[0]


@torch.no_grad()
def test_later_answer_tokens_equal_transformers(model: LlavaForConditionalGeneration, speech: Speech, views) -> None:
    scenes = [make_scene(FIRST_TRAINING_SEED + 100_000 + k) for k in range(2)]
    logits, truth = packed_answers(
        model, speech, views.scenes, [list(s.questions) for s in scenes], Plan(method="none")
    )
    expected, tokens = [], []
    for scene in scenes:
        image = pixels(torch.from_numpy(np.asarray(scene.image)[None].copy()))
        for question in scene.questions:
            turn = speech.turn(question)
            ids = (*speech.prefix(1, GRID**2), *turn.asked, *turn.answered[:-1])
            out = model(input_ids=torch.tensor([ids]), pixel_values=image)
            expected.append(out.logits[0, -len(turn.answered) :])
            tokens += turn.answered
    torch.testing.assert_close(logits, torch.cat(expected), atol=2e-2, rtol=2e-2)
    assert truth.tolist() == tokens


@torch.no_grad()
def test_the_views_are_what_transformers_computes(model: LlavaForConditionalGeneration) -> None:
    tower, image = model.model.vision_tower, np.asarray(make_scene(5).image)[None].copy()
    hidden, scores, _ = see(tower, image)
    used = tower.config._attn_implementation
    tower.set_attn_implementation("eager")
    out = tower(pixels(torch.from_numpy(image)), output_attentions=True, output_hidden_states=True)
    tower.set_attn_implementation(used)
    torch.testing.assert_close(hidden, out.hidden_states[-2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores[:, 1:], out.attentions[-2][:, :, 0, 1:].sum(1))
    torch.testing.assert_close(features(tower, pixels(torch.from_numpy(image))), hidden)


@pytest.mark.parametrize(("pictures", "heads", "asking", "keys"), [(3, 4, 50, 50), (2, 4, 700, 1300), (5, 6, 577, 577)])
@pytest.mark.parametrize("hiding", ["nothing", "shared", "own"])
def test_attention_equals_torchs(pictures: int, heads: int, asking: int, keys: int, hiding: str) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(pictures, heads, length, 32, requires_grad=True) for length in (asking, keys, keys)]
    rows = {"shared": 1, "own": pictures}.get(hiding)
    hidden = None if rows is None else torch.rand(rows, 1, asking, keys) > 0.7
    seen = None if hidden is None else ~hidden
    ours = attend(*parts, 0.2, hidden)
    theirs = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen, scale=0.2)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    weight = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, parts, weight), torch.autograd.grad(theirs, parts, weight), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_written_scene_says_everything_once_in_reading_order(views: Library) -> None:
    rng = np.random.default_rng(0)
    for own in (views.scenes, views.clips, views.foreign):
        labels = written(own, np.arange(len(own)), rng).numpy()
        labels = labels.reshape(len(own) * own.frames, -1, labels.shape[-1])
        for row, tokens in zip(own.tables, labels, strict=True):
            ranks = [rank for rank in tokens[:, list(COLUMNS).index("rank")].tolist() if rank]
            assert ranks == sorted(ranks)
            assert set(tokens[:, 0].tolist()) - {0} <= set(row[:, 0].tolist())


def test_words_for_patches_are_told_apart(speech: Speech) -> None:
    lexicon, embeddings = Lexicon(speech), torch.randn(len(speech.tokenizer), 64)
    assert {column: len(words) + 1 for column, words in SPOKEN.items()} == COLUMNS
    labels = torch.zeros(1, 2, len(COLUMNS), dtype=torch.long)
    labels[0, 0, :3] = torch.tensor([1, 2, 3])
    labels[0, 1, :3] = torch.tensor([2, 2, 3])
    exact = lexicon.write(labels, embeddings)
    assert lexicon.alignment(exact, labels, embeddings) < lexicon.alignment(exact.flip(1), labels, embeddings)
    torch.testing.assert_close(exact.norm(dim=-1), torch.full((1, 2), 8.0))


@pytest.mark.parametrize("told", [0.0, 1.0])
def test_a_lesson_teaches_the_truth(speech: Speech, views: Library, told: float) -> None:
    phase = LanguagePhase("x", 1, 2, 1e-3, 1e-3, written=told, clips=0.5, clip_batch=2, reduced=0.5, budgets=(30, 60))
    for step in range(6):
        lesson = draw_lesson(views, speech, phase, np.random.default_rng(step))
        assert lesson.labels.shape[1] == len(lesson.pack.visual)
        spoken = lesson.pack.labels[lesson.pack.labels >= 0]
        assert len(spoken) and speech.ids["eos"] in spoken.tolist()


@pytest.mark.parametrize("readings", [True, False])
def test_a_phase_decides_whether_clips_tell_their_past(speech: Speech, views: Library, readings: bool) -> None:
    phase = LanguagePhase("x", 1, 2, 1e-3, 1e-3, clips=1.0, clip_batch=2, readings=readings)
    lesson = draw_lesson(views, speech, phase, np.random.default_rng(0))
    assert (lesson.courses is not None) == readings


@pytest.mark.parametrize("told", [0.0, 1.0])
def test_blind_lessons_end_without_visual_tokens(speech: Speech, views: Library, told: float) -> None:
    phase = LanguagePhase("x", 1, 2, 1e-3, 1e-3, written=told, clips=0.5, clip_batch=2, reduced=0.5, blind=1.0)
    lessons = [draw_lesson(views, speech, phase, np.random.default_rng(step)) for step in range(8)]
    assert all(lesson.drops[-1][1] == 0.0 for lesson in lessons)
    alone = [lesson.drops for lesson in lessons if len(lesson.drops) == 1]
    assert alone and set(alone) == {((3 * views.layers // 4, 0.0),)}


def test_lessons_in_words_may_lose_half_of_their_tokens_before_the_rest(speech: Speech, views: Library) -> None:
    phase = LanguagePhase("x", 1, 2, 1e-3, 1e-3, written=1.0, written_clips=0.5, blind=1.0, halved=0.5)
    drops = {draw_lesson(views, speech, phase, np.random.default_rng(step)).drops for step in range(12)}
    half, last = views.layers // 2, 3 * views.layers // 4
    assert drops == {((last, 0.0),), ((half, 0.5), (last, 0.0))}


def test_the_phase_for_half_of_the_tokens_shows_half_of_them(speech: Speech, views: Library) -> None:
    (half,) = DUET_MINI.finishing("half")
    phase = replace(half, written=0.0, clips=1.0, clip_batch=1, questions=1, apart=1, reduced_clips=1.0, thinned=0.0)
    library = replace(views, layers=DUET_MINI.sizes.text_layers)
    for step in range(6):
        lesson = draw_lesson(library, speech, phase, np.random.default_rng(step))
        layers, keep = zip(*lesson.drops, strict=True)
        assert layers == (4, 6)
        counts = Plan(layers=layers, keep=keep).tokens_per_layer(lesson.labels.shape[1], library.layers)
        assert sum(counts) / len(counts) / library.size(FRAMES).total == pytest.approx(1 - 0.531, abs=0.035)


@pytest.mark.parametrize("name", ["budgets", "clip_budgets"])
def test_a_budget_that_would_reduce_nothing_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="go up to 2300 visual tokens a picture, of which it has 576; give"):
        LanguagePhase("half", 1, 2, 1e-3, 1e-3, **{name: (2050, 2300)})


def test_another_seed_draws_other_lessons(speech: Speech, views: Library) -> None:
    phase = LanguagePhase("x", 1, 2, 1e-3, 1e-3, written=1.0)
    pupils = [Pupil(None, speech, None, (), seed) for seed in (0, 0, 1)]  # type: ignore[arg-type]
    one, same, other = (lesson_at(pupil, views, phase, 5, Accelerator()).pack.ids for pupil in pupils)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_phase_that_is_not_there_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "mini", "--phase", "hlaf", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert command(argv) == 2
    assert "no phase 'hlaf'; choose from clips, few, duet, thinned, half." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pictures_that_are_no_scene_are_never_answered(speech: Speech, views: Library) -> None:
    offered = offer(None, np.random.default_rng(0), 3)
    assert offered and all((q.family, q.answer) == (REFUSALS, UNKNOWN) for q in offered)


def test_patch_labels_tell_what_the_scene_holds() -> None:
    for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 20):
        style, layout, _ = compose(seed)
        owner, rows = owners(layout, style), table(layout)
        assert set(owner) == set(range(len(layout.objects) + 1))
        for number, thing in enumerate(layout.objects):
            middle = np.flatnonzero(owner == number + 1)
            centre = np.stack([middle % GRID, middle // GRID]).mean(1) * 14 + 7
            assert np.abs(centre - (thing.x, thing.y)).max() < 20
            assert NAMES[rows[number + 1, 0] - 1] == thing.name
            if thing.number is not None:
                tens, units = (rows[number + 1, list(COLUMNS).index(k)] for k in ("tens", "units"))
                assert max(0, int(tens) - 2) * 10 + int(units) - 1 == thing.number
        assert (rows.max(0) < np.array(list(COLUMNS.values()))).all()


def test_windows_are_squares_round_objects() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(64, GRID * GRID, len(COLUMNS), dtype=torch.long)
    labels[:, 250, 0] = 5
    windows = choose_windows(labels, 8)
    assert windows.shape == (64, 64) and (windows.diff(dim=1) > 0).all()
    rows, cols = windows // GRID, windows % GRID
    assert (rows.max(1).values - rows.min(1).values == 7).all() and (cols.max(1).values - cols.min(1).values == 7).all()
    assert (windows == 250).any(1).float().mean() > 0.5


def test_orthogonal_updates_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 48), (2, 48, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.4 and values.max() < 1.4


def test_training_seeds_are_out_of_reach_of_visitors_and_exams() -> None:
    recipe = DUET_MINI
    taught = [*recipe.tower_sets.values(), recipe.scenes, recipe.foreign, recipe.clips]
    assert min(min(own.seeds) for own in (*taught, recipe.check_scenes, recipe.check_clips)) >= FIRST_TRAINING_SEED
    for exam in (recipe.check_scenes, recipe.check_clips):
        assert not any(set(exam.seeds) & set(own.seeds) for own in taught)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_rehearsal_trains_resumes_and_saves_a_plain_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    argv = ["mini", "--recipe", "tiny", "--workers", "0", *folders]
    assert main(argv) == 0
    assert 0.0 <= json.loads(capsys.readouterr().out.splitlines()[-1])["full"] <= 1.0
    logs = {stage: read_log(tmp_path / "runs" / stage) for stage in ("tower", "speak", "align", "answer", "duet")}
    assert main(argv) == 0
    assert {stage: read_log(tmp_path / "runs" / stage) for stage in logs} == logs
    plot = tmp_path / "plot.png"
    assert main(["plot", str(tmp_path / "runs" / "duet"), "--out", str(plot)]) == 0 and plot.stat().st_size > 1000
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    text = "USER: <image>\nIs there a cat? ASSISTANT:"
    inputs = processor(images=make_scene(1).image, text=text, return_tensors="pt")
    out = model.generate(**inputs.to(model.dtype), max_new_tokens=2, do_sample=False)
    assert out.shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_goes_on_learning_for_as_long_as_it_is_told(tmp_path: Path) -> None:
    runs = ["--recipe", "tiny", "--workers", "0", "--runs", str(tmp_path / "runs")]
    assert main(["mini", *runs, "--no-duet", "--out", str(tmp_path / "base")]) == 0
    assert not (tmp_path / "runs" / "duet").exists()
    begun = ["mini", *runs, "--start", str(tmp_path / "base"), "--phase", "duet", "--minutes", "0.05"]
    for stage, more in (("duet", []), ("all-tokens", ["--all-tokens"])):
        assert main([*begun, *more, "--out", str(tmp_path / stage)]) == 0
        last = read_log(tmp_path / "runs" / stage)[-1]
        assert 3.0 <= last["seconds"] < 60.0 and "full" in last["check"]
        assert (tmp_path / stage / "model.safetensors").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.timeout(600)
def test_the_recipe_in_short_comes_down_to_the_stated_loss(tmp_path: Path) -> None:
    """The whole recipe at full size for two to three minutes; the README of the model states these losses."""
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["mini", "--recipe", "short", *folders]) == 0
    losses = {
        stage: [row["losses"] for row in read_log(tmp_path / "runs" / stage) if "losses" in row]
        for stage in ("tower", "speak", "align", "duet")
    }
    assert losses["tower"][-1]["loss"] < 30.0
    assert losses["speak"][-1]["answer"] < 2.0 < losses["speak"][0]["answer"]
    assert losses["align"][-1]["align"] < 3.0
    assert losses["duet"][-1]["answer"] < 2.5
