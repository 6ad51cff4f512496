"""The field's trained modules: exact in small, taught before a frozen model, kept in files that know their model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

import duet_core
from duet_core import PlanError, running
from duet_core.bench.accuracy import Contestant, take_exam
from duet_core.bench.exams import Exam
from duet_core.checkpoint import BUNDLED
from duet_core.errors import ModelError
from duet_core.learnt import Learnt, find_learnt, fingerprint, save_learnt
from duet_core.methods import METHODS, TRAINED, find_method, offered
from duet_core.methods.quecc_trained import STRIDES, QueCC, block_patches
from duet_core.methods.vq_attn import MOST, VQAttn, codes_of
from duet_core.plan import Plan, Size
from duet_core.scenes import make_scene, write_scenes
from duet_core.scenes.clip import make_clip
from duet_core.scenes.question import Question
from duet_core.train import main as train
from duet_core.train.asking import offer
from duet_core.train.field import make_module, read_set
from duet_core.train.field_lessons import KINDS, FieldPupil, Shelf
from duet_core.train.lessons import show
from duet_core.train.loop import read_log
from duet_core.train.pictures import PictureSet
from duet_core.train.recipe import TINY
from duet_core.train.views import Views, remember, reopen
from duet_core.train.words import Speech
from tests.conftest import small_inputs, small_llava

MINI = BUNDLED / "duet-mini"
OF_KIND = {"quecc": ("quecc-trained", 3), "vqattn": ("vq-attn", 2)}


@pytest.fixture(scope="module")
def frozen() -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(MINI, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def speech() -> Speech:
    return Speech(PreTrainedTokenizerFast.from_pretrained(MINI))


@pytest.fixture(scope="module")
def runs(frozen, tmp_path_factory) -> Path:
    """A folder with the views of the rehearsal's recipe."""
    folder = tmp_path_factory.mktemp("runs")
    for own in (TINY.scenes, TINY.clips, TINY.check_scenes, TINY.check_clips):
        remember(frozen.model.vision_tower, own, folder / own.name, 0)
    return folder


@pytest.fixture(scope="module")
def shelf(runs) -> Shelf:
    return Shelf((reopen(TINY.scenes, runs / "scene-views"),), (reopen(TINY.clips, runs / "clip-views"),))


@pytest.fixture(scope="module")
def untrained(frozen, tmp_path_factory) -> dict[str, Path]:
    """A file of fresh weights for each method, made for the bundled model."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for number, kind in enumerate(KINDS.values()):
        torch.manual_seed(number)
        files[kind.method] = folder / f"{kind.method}.safetensors"
        save_learnt(files[kind.method], kind.method, MINI, make_module(kind, frozen).state_dict())
    return files


# The modules in small


def test_a_block_holds_its_own_patches():
    assert block_patches((4, 4), 2).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    for stride in STRIDES:
        assert sorted(block_patches((24, 24), stride).flatten().tolist()) == list(range(576))


@pytest.mark.parametrize("stride", STRIDES)
def test_quecc_begins_as_average_pooling(stride):
    torch.manual_seed(0)
    module, patches = QueCC(16, 6), torch.randn(2, 144, 16)
    tokens, weights = module(patches, torch.randn(2, 6), stride, (12, 12))
    own = patches[:, block_patches((12, 12), stride)]
    assert tokens.shape == (2, 144 // stride**2, 16) and weights.shape == own.shape[:3]
    torch.testing.assert_close(tokens, own.mean(2))


def test_quecc_s_query_attends_to_its_own_block_alone_and_asks_the_question():
    """By hand: of equal keys but for one patch in each block, that one's share is e^h / (e^h + 3) in every head."""
    torch.manual_seed(0)
    module = QueCC(8, 3, (2,)).eval()
    hot = 2.0
    with torch.no_grad():
        module.attend.in_proj_weight.copy_(torch.cat([torch.eye(8)] * 3))
        module.shrink["2"].weight.fill_(0.25)
        module.shrink["2"].bias.zero_()
        module.key, module.query = torch.nn.Identity(), torch.nn.Identity()
        for weight in module.ask.parameters():
            weight.zero_()
    patches = torch.zeros(1, 16, 8)
    patches[0, 5] = hot  # block 0: rows 0 and 1, columns 0 and 1
    tokens, weights = module(patches, torch.ones(1, 3), 2, (4, 4))
    share = np.exp(hot * 0.25 * hot) / (np.exp(hot * 0.25 * hot) + 3)  # one number a head: no scaling
    np.testing.assert_allclose(weights[0, 0].detach(), [(1 - share) / 3] * 3 + [share], rtol=1e-5)
    torch.testing.assert_close(tokens[0, 0], torch.full((8,), float(share * hot)), rtol=1e-5, atol=0)
    torch.testing.assert_close(tokens[0, 1:], torch.zeros(3, 8))
    with torch.no_grad():
        module.ask[1].bias.fill_(1.0)  # the question's embedding is now added to every patch
    share = np.exp(hot * (0.25 * hot + 1)) / (np.exp(hot * (0.25 * hot + 1)) + 3)
    assert module(patches, torch.ones(1, 3), 2, (4, 4))[1][0, 0, 3].item() == pytest.approx(share, rel=1e-5)


def test_vq_attn_s_rows_are_sums_over_the_index_map():
    module = VQAttn(8, 3, most=2)
    module.spell = torch.nn.Identity()
    read = torch.tensor([[1.0, 10.0, 100.0], [1.0, 0.0, -1.0]])
    with torch.no_grad():
        module.read.copy_(read.unsqueeze(-1).expand(-1, -1, 8))
    codes = torch.arange(1.0, 3.0).view(1, 2, 1).expand(-1, -1, 8)  # code 0 is all 1, code 1 all 2
    index = torch.tensor([[[0, 1, 1], [1, 0, 0]]])
    rows = module.rows(codes, index, 2)
    assert rows.shape == (1, 2, 2, 8)
    assert rows[0, :, :, 0].tolist() == [[221.0, -1.0], [112.0, 1.0]]


def test_vq_attn_does_not_mind_how_codes_are_numbered():
    torch.manual_seed(0)
    module, order = VQAttn(16, 9), torch.tensor([2, 0, 3, 1])
    codes, index = torch.randn(1, 4, 16), torch.randint(0, 4, (1, 2, 9))
    tokens, weights = module(codes, index, 2)
    assert tokens.shape == (1, 2, 2, 16) and weights.shape == (1, 2, 2, 4)
    again, moved = module(codes[:, order], order.argsort()[index], 2)
    torch.testing.assert_close(again, tokens)
    torch.testing.assert_close(moved, weights[..., order])


def test_the_codes_of_a_clip_and_their_map():
    """Frames of two kinds of patches have two codes, and the map tells which patch is which."""
    values = torch.zeros(2, 4, 3)
    values[..., 0], values[0, 1:3] = 1.0, torch.tensor([0.0, 3.0, 0.0])
    codes, index = codes_of(values, 1)
    assert sorted(codes.tolist()) == [[0.0, 3.0, 0.0], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(codes[index], values)


# Training with the model frozen


@pytest.mark.parametrize("name", KINDS)
def test_only_the_module_learns_and_a_few_steps_lower_the_loss(name, frozen, speech, shelf):
    torch.manual_seed(0)
    kind = KINDS[name]
    pupil = FieldPupil(frozen, make_module(kind, frozen))
    before = {at: weight.clone() for at, weight in frozen.named_parameters()}
    views, numbers = (shelf.clips[0], np.arange(1)) if kind.clips == 1 else (shelf.scenes[0], np.arange(2))
    shown, level = show(views, numbers), max(kind.levels) if kind.apart else 1
    asked = [offer(own, np.random.default_rng(0), 1)[:10] for own in shown.subjects]
    lesson = kind.lesson(views, shown, asked, level, speech)
    optimiser = torch.optim.AdamW(pupil.learner.parameters(), lr=4e-4 if kind.apart else 3e-3)
    losses = []
    for _ in range(6):
        loss, parts = pupil(lesson)
        loss.backward()
        assert all(weight.grad is None for weight in frozen.parameters())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0] and 0 <= parts["right"] <= 1
    assert all(torch.equal(weight, before[at]) for at, weight in frozen.named_parameters())


def test_every_part_of_a_module_gets_gradients(frozen, speech, shelf):
    for kind in KINDS.values():
        torch.manual_seed(0)
        module = make_module(kind, frozen)
        for weight in module.parameters():
            weight.data += 0.02 * torch.randn_like(weight)  # away from what it begins as
        pupil, reached = FieldPupil(frozen, module), set()
        for level in kind.levels:
            views = shelf.clips[0] if kind.clips == 1 else shelf.scenes[0]
            shown = show(views, np.arange(1))
            asked = [make_clip(0).questions[:2] if kind.clips == 1 else make_scene(0).questions[:2]]
            pupil(kind.lesson(views, shown, asked, level, speech))[0].backward()
            reached |= {at for at, weight in module.named_parameters() if weight.grad is not None and weight.grad.any()}
        assert reached == {at for at, _ in module.named_parameters()}


@pytest.mark.parametrize("name", KINDS)
def test_the_command_trains_goes_on_and_writes_a_file_that_the_engine_opens(name, runs, tmp_path, capsys):
    out, (method, _) = tmp_path / "own.safetensors", OF_KIND[name]
    words = ["field", "--method", name, "--runs", str(runs), "--out", str(out), "--log", str(tmp_path / "log")]
    words += ["--recipe", "tiny", "--batch", "4", "--workers", "0", "--threads", "1", "--check-every", "0"]
    assert train([*words, "--steps", "2"]) == 0
    marks = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {f"clips {own}" for own in KINDS[name].levels} <= marks.keys()
    assert train([*words, "--steps", "3"]) == 0
    assert [row["step"] for row in read_log(tmp_path / "log") if "losses" in row] == [2, 3]
    assert out.stat().st_size < 2_000_000
    with safe_open(out, "pt") as file:
        assert file.metadata()["method"] == method and file.metadata()["base"] == fingerprint(MINI)
    assert find_learnt(method, MINI, str(out)).path == out


@pytest.mark.parametrize("name", KINDS)
def test_a_module_learns_on_from_what_was_learnt_before_another_model(name, runs, untrained, tmp_path):
    """A step of no length leaves the module what it was, and makes it this model's."""
    method, other, out = OF_KIND[name][0], tmp_path / "other.safetensors", tmp_path / "out.safetensors"
    state = Learnt(untrained[method], 0).state()
    small_llava().backbone.model.save_pretrained(tmp_path / "small")
    save_learnt(other, method, tmp_path / "small", state)
    words = ["field", "--method", name, "--recipe", "tiny", "--runs", str(runs), "--log", str(tmp_path / "log")]
    words += ["--workers", "0", "--batch", "2", "--steps", "1", "--lr", "0", "--out", str(out), "--begin"]
    assert train([*words, str(other)]) == 0
    learnt = find_learnt(method, MINI, str(out)).state()
    assert learnt.keys() == state.keys() and all(torch.equal(learnt[key], state[key]) for key in state)
    with pytest.raises(ModelError, match="holds no weights of the method"):
        train([*words, str(tmp_path / "none.safetensors")])


def test_sets_of_views_may_be_given_and_hold_fewer_than_the_recipe_says(runs):
    assert read_set("clip-views:4:1500", "clip") == PictureSet("clip-views", 4, 1500, "clip")
    for wrong in ("clip-views", "clip-views:4", ":4:5", "clip-views:4:many"):
        with pytest.raises(ModelError, match="write its folder, number and count"):
            read_set(wrong, "clip")
    many, few = (reopen(PictureSet("scene-views", 1, count), runs / "scene-views") for count in (7000, 2))
    assert isinstance(many, Views) and (len(many), len(few)) == (TINY.scenes.count, 2)


# Through the engine


@pytest.mark.parametrize("name", KINDS)
def test_the_engine_shows_the_very_tokens_that_were_learnt(name, mini, frozen, speech, untrained):
    """The logits of the first word of an answer, in training and from the engine."""
    kind, (method, level) = KINDS[name], OF_KIND[name]
    seen = make_clip(3) if name == "vqattn" else make_scene(3)
    picture = seen.frames if name == "vqattn" else seen.image
    question = Question("", seen.questions[0].text, "yes")
    encoded = mini.encode(picture)
    views = _views_of(encoded)
    module = type(make_module(kind, frozen)).of(find_learnt(method, MINI, str(untrained[method])).state())
    lesson = kind.lesson(views, _shown(views), [[question]], level, speech)
    with torch.no_grad():
        logits = FieldPupil(frozen, module).answer(lesson).logits[0]
    size = encoded.size
    each = 576 // level**2 if name == "quecc" else level
    plan = mini.plan(method, budget=each * size.frames, encoded=encoded, settings=_own(untrained[method]))
    request, sample = mini._asked(question.text, encoded, plan)
    watch = running.Stopwatch(mini.backbone.device)
    entered = running.enter(mini.backbone, encoded.eye, encoded.seen, plan, watch, [request], [sample])
    run = running.prefill(mini.backbone, entered, [request], [sample], plan, watch)
    assert run.trace.entering == each * size.frames == run.trace.average_tokens
    torch.testing.assert_close(run.logits[0], logits, atol=2e-3, rtol=1e-3)


def _views_of(encoded) -> Views:
    """What was encoded, as training keeps it, but in full precision."""
    features = encoded.seen.features.numpy()
    return Views(features, features, features, features, features, [None], len(features))


def _shown(views: Views):
    return type(show(views, np.arange(1)))([None], np.arange(views.frames))


def _own(path: Path) -> dict[str, str]:
    return {"weights": str(path)}


@pytest.mark.parametrize(
    ("method", "frames", "budgets"),
    [("quecc-trained", None, {1: 16, 45: 36, 64: 64, 128: 144, 576: 576}), ("vq-attn", 8, {8: 8, 20: 16, 500: 32})],
)
def test_a_plan_states_the_nearest_that_a_module_can_reach(method, frames, budgets, mini, untrained):
    picture = make_scene(1).image if frames is None else make_clip(1).frames
    encoded = mini.encode(picture)
    for budget, reached in budgets.items():
        plan = mini.plan(method, budget=budget, frames=frames, settings=_own(untrained[method]))
        trace = mini.ask(encoded, "What is there?", plan, max_new_tokens=1).trace
        assert trace.entering == trace.final == trace.average_tokens == reached
        fates = np.bincount(trace.fate.flatten(), minlength=4)
        assert fates.sum() == trace.grid.patches
        if reached < trace.full:
            stands = int(duet_core.trace.Fate.ANCHOR)
            assert fates[stands] == reached  # every token at a patch of its own, all others are part of one


def test_no_module_makes_other_numbers_of_tokens(mini, untrained):
    picture, clip = make_scene(1).image, make_clip(1).frames
    for method, seen, many, said in (
        ("quecc-trained", picture, 100, "144, 64, 36, 16 tokens of a picture, not 100"),
        ("vq-attn", clip, 5, "at most 4 tokens of a frame, not 5"),
    ):
        plan = Plan(method, dominant=many, settings=tuple(_own(untrained[method]).items()))
        with pytest.raises(PlanError, match=said):
            mini.ask(seen, "What is there?", plan)


@pytest.mark.parametrize("method", TRAINED)
def test_a_batch_equals_its_samples(method, mini, untrained):
    many, own = 36 if method == "quecc-trained" else 2, tuple(_own(untrained[method]).items())
    plan = Plan(method, dominant=many, settings=own)
    pictures, clips = [make_scene(seed).image for seed in (1, 2)], [make_clip(seed).frames[:2] for seed in (1, 2)]
    subjects = pictures if method == "quecc-trained" else clips
    alone = [mini.inputs(own, "What is there?") for own in subjects]
    batch = {name: torch.cat([own[name] for own in alone]) for name in alone[0]}
    together = mini.prefill(batch, plan)
    for number, own in enumerate(alone):
        torch.testing.assert_close(together.logits[number], mini.prefill(own, plan).logits[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("method", TRAINED)
def test_it_runs_in_half_precision(method, untrained):
    model = duet_core.open_model("duet-mini", device="cpu", dtype="bfloat16")
    picture = make_scene(1).image if method == "quecc-trained" else make_clip(1).frames
    plan = model.plan(method, reduction=0.9, encoded=(seen := model.encode(picture)), settings=_own(untrained[method]))
    assert model.ask(seen, "What is there?", plan, max_new_tokens=2).trace.entering == plan.dominant * seen.size.frames


@pytest.mark.parametrize("clip", [False, True])
def test_answers_in_batches_are_those_of_one_by_one(clip, mini, untrained):
    method = "vq-attn" if clip else "quecc-trained"
    seen = make_clip(4) if clip else make_scene(4)
    encoded = mini.encode(seen.frames if clip else seen.image)
    plan = mini.plan(method, reduction=0.99 if clip else 0.9, encoded=encoded, settings=_own(untrained[method]))
    texts = [question.text for question in seen.questions[:2]]
    assert mini.ask_all(encoded, texts, plan, 6) == [mini.ask(encoded, text, plan, 6).text for text in texts]


# Whose weights they are


def test_files_are_for_one_method_and_one_model(mini, untrained, tmp_path):
    other = small_llava()
    for method in TRAINED:
        with pytest.raises(PlanError, match=f"{method} has no weights trained for this model"):
            other.plan(method, budget=4)
        with pytest.raises(PlanError, match="were trained on another model's weights"):
            other.plan(method, budget=4, settings=_own(untrained[method]))
        assert not other.offers(method) and other.offers("duet")
        with pytest.raises(PlanError, match="were trained on another model's weights"):
            own = tuple(_own(untrained[method]).items())
            other.prefill(small_inputs(other), Plan(method, dominant=4, settings=own))
    with pytest.raises(PlanError, match="are none of the method vq-attn"):
        mini.plan("vq-attn", budget=8, frames=8, settings=_own(untrained["quecc-trained"]))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    for wrong in (broken, tmp_path / "nowhere.safetensors"):
        with pytest.raises(PlanError, match="train them anew"):
            mini.plan("vq-attn", budget=8, frames=8, settings=_own(wrong))


def test_a_model_with_other_numbers_of_the_same_size_is_another_one(untrained, tmp_path):
    for file in MINI.glob("model*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    own = str(untrained["vq-attn"])
    assert find_learnt("vq-attn", tmp_path, own)
    shard = sorted(tmp_path.glob("*.safetensors"))[0]
    changed = bytearray(shard.read_bytes())
    changed[-1] ^= 1
    shard.write_bytes(changed)
    with pytest.raises(PlanError, match="another model's weights"):
        find_learnt("vq-attn", tmp_path, own)
    with pytest.raises(PlanError, match="another model's weights"):
        find_learnt("vq-attn", tmp_path / "nowhere", own)


def test_weights_come_back_as_they_were_to_16_bits(untrained):
    for method, module in (("quecc-trained", QueCC), ("vq-attn", VQAttn)):
        state = find_learnt(method, MINI, str(untrained[method])).state()
        again = module.of(state).state_dict()
        assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)


def test_trained_methods_are_offered_where_their_weights_are():
    assert offered([Path("nowhere")]) == list(METHODS)
    for name, method in TRAINED.items():
        assert find_method(name) is method and "frozen" in method.about.training


def test_schedules_take_the_nearest_of_what_there_is():
    quecc, vq = (TRAINED[name].schedule for name in ("quecc-trained", "vq-attn"))
    assert [quecc(budget, Size(576, 8)).dominant for budget in (16, 40, 100, 110, 300)] == [16, 36, 64, 144, 144]
    assert quecc(576, Size(576, 8)).dominant is None
    assert [vq(budget, Size(576, 8, 8)).dominant for budget in (8, 19, 21, 32, 1000)] == [1, 2, 3, MOST, MOST]


# ADSC, trained: fine-tuning with its cuts in the loop


def test_adsc_s_cuts_in_training_are_those_of_asking(mini):
    """Positions stay, and every second patch of a grid goes, not of a row."""
    from duet_core.train.conversations import IGNORED, Example
    from duet_core.train.reduced import ReducedLesson

    plan = mini.plan("adsc", budget=128)
    inputs = mini.inputs(make_scene(5).image, "What is there?")
    ids = inputs["input_ids"][0].tolist()
    run = mini.prefill(inputs, plan)
    word = int(run.logits[0].argmax())
    example = Example(ids, [IGNORED] * (len(ids) - 1) + [word], [], [len(ids) - 1], [])
    with torch.no_grad():
        loss, parts = ReducedLesson(mini.backbone)([{"pixel_values": inputs["pixel_values"]}], [example], [plan], 1.0)
    assert parts["visual_tokens"].item() == pytest.approx(run.trace.average_tokens)
    torch.testing.assert_close(loss, -run.logits[0].log_softmax(-1)[word], atol=1e-4, rtol=1e-4)


def test_adsc_is_trained_by_the_command_that_the_documents_give(tmp_path):
    pytest.importorskip("peft")
    write_scenes(tmp_path / "data", range(10_000_000, 10_000_002))
    words = ["finetune", "--method", "adsc", "--lora", "2", "--budget", "72-300", "--steps", "1", "--batch", "2"]
    words += ["--data", str(tmp_path / "data" / "conversations.json"), "--images", str(tmp_path / "data")]
    assert train([*words, "--out", str(tmp_path / "adsc")]) == 0
    opened = duet_core.open_model(str(tmp_path / "adsc"), device="cpu", dtype="float32")
    assert opened.backbone.folder is None and not any(map(opened.offers, TRAINED))


@pytest.mark.parametrize(
    ("method", "budget", "subject", "least"), [("quecc-trained", 144, "pictures", 0.8), ("vq-attn", 32, "clips", 0.4)]
)
def test_what_ships_learnt_before_the_shipped_model_and_answers(method, budget, subject, least, mini):
    exam = Exam(subject)
    plan = mini.plan(method, budget=budget, frames=exam.frames)
    sheet = take_exam(mini, [Contestant(method, str(budget), plan)], exam, exam.items(5000, 60))[0]
    assert sheet.right.sum() / sheet.asked.total.sum() > least
