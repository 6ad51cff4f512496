"""The recipe of duet-mini in small: its parts are exact, and the whole path runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from duet_core.scenes import FIRST_TRAINING_SEED, make_scene
from duet_core.scenes.scene import compose
from duet_core.scenes.things import BACKGROUNDS, COLOURS, COUNTS, NAMES, PLURAL
from duet_core.train import main
from duet_core.train.labels import COLUMNS, GRID, owners, table
from duet_core.train.language import answer_logits
from duet_core.train.memory import look
from duet_core.train.model import Sizes, build_config, build_model
from duet_core.train.muon import orthogonalise
from duet_core.train.packing import pack
from duet_core.train.recipe import DUET_MINI
from duet_core.train.tower import choose, features, pixels
from duet_core.train.words import Speech, build_processor, corpus, special_ids, train_tokenizer

SMALL = Sizes(32, 3, 2, 64, 64, 3, 64)


@pytest.fixture(scope="module")
def speech() -> Speech:
    return Speech(train_tokenizer(corpus()))


@pytest.fixture(scope="module")
def model(speech: Speech) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = build_config(SMALL, len(speech.tokenizer), special_ids(speech.tokenizer))
    return build_model(config).eval()


def test_each_word_of_the_world_is_one_token(speech: Speech) -> None:
    words = (*NAMES, *PLURAL.values(), *COLOURS, *BACKGROUNDS, *COUNTS, "yes", "no", "nothing")
    assert {len(speech.word(word)) for word in words} == {1}


@pytest.mark.parametrize("text", ["Is there a zebra?", "Où est l'œuf ? 🦓", "42 cats\n\ttoo"])
def test_other_words_fall_back_to_bytes_with_exact_offsets(speech: Speech, text: str) -> None:
    coded = speech.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert speech.tokenizer.decode(coded["input_ids"]) == text
    assert "".join(text[a:b] for a, b in dict.fromkeys(coded["offset_mapping"])) == text


def test_the_chat_template_gives_the_layout_that_was_trained(speech: Speech) -> None:
    processor = build_processor(speech.tokenizer)
    scene = make_scene(5)
    for question in scene.questions:
        asked = [{"type": "image"}, {"type": "text", "text": question.text}]
        text = processor.apply_chat_template([{"role": "user", "content": asked}], add_generation_prompt=True)
        assert text == f"USER: <image>\n{question.text} ASSISTANT:"
        coded = processor(images=scene.image, text=text, return_tensors="pt")
        image = [speech.ids["image"]] * GRID**2
        turn = speech.turn(question)
        assert coded["input_ids"][0].tolist() == [*speech.head, *image, *turn.asked]
        spoken = speech.tokenizer.decode(turn.answered, skip_special_tokens=True)
        assert spoken.strip() == question.answer


def test_the_processor_leaves_a_square_picture_as_it_is(speech: Speech) -> None:
    image = make_scene(5).image
    processed = build_processor(speech.tokenizer).image_processor(image, return_tensors="pt")
    expected = pixels(np.asarray(image)[None])
    torch.testing.assert_close(processed["pixel_values"], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_packed_questions_equal_transformers_one_by_one(model: LlavaForConditionalGeneration, speech: Speech) -> None:
    scenes = [make_scene(seed) for seed in (3, 5)]
    images = pixels(np.stack([np.asarray(scene.image) for scene in scenes]))
    seen = model.model.multi_modal_projector(look(model.model.vision_tower, images)[0][:, 1:])
    packed = pack(speech, [scene.questions for scene in scenes], GRID**2)
    logits, truth = answer_logits(model, seen, packed)
    expected, tokens = [], []
    for scene, image in zip(scenes, images, strict=True):
        for question in scene.questions:
            turn = speech.turn(question)
            ids = (*speech.head, *[speech.ids["image"]] * GRID**2, *turn.asked, *turn.answered[:-1])
            out = model(input_ids=torch.tensor([ids]), pixel_values=image[None])
            expected.append(out.logits[0, -len(turn.answered) :])
            tokens += turn.answered
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-4, rtol=1e-4)
    assert truth.tolist() == tokens


@torch.no_grad()
def test_saliency_is_the_attention_of_cls_in_layer_minus_two(
    model: LlavaForConditionalGeneration,
) -> None:
    tower = model.model.vision_tower
    images = pixels(np.asarray(make_scene(5).image)[None])
    hidden, saliency = look(tower, images)
    used = tower.config._attn_implementation
    tower.set_attn_implementation("eager")
    out = tower(images, output_attentions=True, output_hidden_states=True)
    tower.set_attn_implementation(used)
    torch.testing.assert_close(hidden, out.hidden_states[-2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(saliency, out.attentions[-2][:, :, 0, 1:].sum(1))
    torch.testing.assert_close(features(tower, images), hidden)


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


def test_chosen_patches_prefer_objects_and_keep_their_order() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(4, 576, len(COLUMNS), dtype=torch.long)
    labels[:, 100:200, 0] = 5
    chosen = choose(labels, 150)
    assert (chosen.diff(dim=1) > 0).all()
    share = ((chosen >= 100) & (chosen < 200)).float().mean()
    assert share > 2 * 100 / 576


def test_orthogonal_updates_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 48), (2, 48, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.3


def test_training_seeds_are_out_of_reach_of_visitors() -> None:
    recipe = DUET_MINI
    sets = [set(part.seeds) for part in (recipe.dense, recipe.normal, recipe.check)]
    assert min(min(part) for part in sets) >= FIRST_TRAINING_SEED
    assert len(set.union(*sets)) == sum(map(len, sets))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_rehearsal_trains_resumes_and_saves_a_plain_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--tiny", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main([*argv, "--workers", "1", "--threads", "1"]) == 0
    assert 0.0 <= json.loads(capsys.readouterr().out.splitlines()[-1])["overall"] <= 1.0
    log = (tmp_path / "runs" / "language" / "log.jsonl").read_text()
    assert main([*argv, "--workers", "1", "--threads", "1"]) == 0
    assert (tmp_path / "runs" / "language" / "log.jsonl").read_text() == log
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    text = "USER: <image>\nIs there a cat? ASSISTANT:"
    inputs = processor(images=make_scene(1).image, text=text, return_tensors="pt")
    out = model.generate(**inputs.to(model.dtype), max_new_tokens=2, do_sample=False)
    assert out.shape[1] > inputs["input_ids"].shape[1]
