"""Scenes are the same for the same seed, and what is asked about them is true."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from duet_core.scenes import (
    FAMILIES,
    FIRST_TRAINING_SEED,
    HELD_OUT_STYLE,
    STYLES,
    TRAINING_STYLES,
    Question,
    judge,
    make_scene,
    write_scenes,
)
from duet_core.scenes.examples import EXAMPLE_SEEDS
from duet_core.scenes.layout import SIZE
from duet_core.scenes.scene import compose
from duet_core.scenes.sprites import emoji
from duet_core.scenes.things import COUNTS, EMOJI_THINGS, NAMES, PLURAL

seeds = st.integers(0, FIRST_TRAINING_SEED - 1)


def asked(question: Question, before: str, after: str = "?") -> str:
    """What stands between two known parts of a question."""
    assert question.text.startswith(before) and question.text.endswith(after)
    return question.text[len(before) : -len(after)]


@given(seeds)
@settings(max_examples=20)
def test_a_seed_is_a_scene(seed: int) -> None:
    first, second = make_scene(seed), make_scene(seed)
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.objects, first.questions) == (second.objects, second.questions)
    assert first.image.size == (SIZE, SIZE) and first.image.mode == "RGB"


@given(seeds)
@settings(max_examples=20)
def test_the_style_changes_only_the_drawing(seed: int) -> None:
    scenes = [make_scene(seed, style) for style in STYLES]
    assert len({scene.objects for scene in scenes}) == 1
    assert len({scene.questions for scene in scenes}) == 1
    assert make_scene(seed).style in TRAINING_STYLES


@given(seeds)
@settings(max_examples=60)
def test_the_answers_are_true(seed: int) -> None:
    scene = make_scene(seed)
    names = [thing.name for thing in scene.objects]
    for question in scene.questions:
        if question.family == "existence":
            name = question.text.removesuffix("?").split()[-1]
            assert (question.answer == "yes") == (name in names)
        elif question.family == "count":
            plural = asked(question, "How many ", " are there?")
            many = sum(PLURAL[name] == plural for name in names)
            assert question.answer == COUNTS[many]
        elif question.family == "colour":
            name = asked(question, "What colour is the ")
            assert [t.colour for t in scene.objects if t.name == name] == [question.answer]
        elif question.family == "background":
            assert question.answer == scene.background
        elif question.family == "number":
            assert question.answer in {str(t.number) for t in scene.objects}
        elif question.family == "caption":
            assert Counter(question.answer.split(", ")) == Counter(names)


def test_relations_and_places_follow_the_pixels() -> None:
    checked = 0
    for seed in range(150):
        scene = make_scene(seed)
        at = {thing.name: thing for thing in scene.objects}
        for question in scene.questions:
            words = question.text.removesuffix("?").split()
            if question.family == "relation" and question.answer in ("yes", "no"):
                one, other = at[words[2]], at[words[-1]]
                beyond = {
                    "left": one.x < other.x,
                    "right": one.x > other.x,
                    "above": one.y < other.y,
                    "below": one.y > other.y,
                }[words[3]]
                assert beyond == (question.answer == "yes")
                checked += 1
            elif words[0] == "Where":
                if words[-1] not in at:
                    assert question.answer == "nowhere"
                    continue
                thing = at[words[-1]]
                assert question.answer == thing.where
                assert (thing.y < SIZE / 3) == ("top" in thing.where)
                assert (thing.x > 2 * SIZE / 3) == ("right" in thing.where)
                checked += 1
    assert checked > 100


def test_every_family_is_asked_and_none_dominates() -> None:
    counts = Counter(q.family for seed in range(200) for q in make_scene(seed).questions)
    assert set(counts) == set(FAMILIES)
    assert max(counts.values()) < 0.25 * counts.total()
    assert 8 <= counts.total() / 200 <= 12


def test_yes_and_no_are_balanced() -> None:
    answers = Counter(
        (question.family, question.answer)
        for seed in range(300)
        for question in make_scene(seed).questions
        if question.answer in ("yes", "no")
    )
    for family in ("existence", "relation"):
        share = answers[family, "yes"] / (answers[family, "yes"] + answers[family, "no"])
        assert 0.4 < share < 0.6


@pytest.mark.parametrize("answer", ["two", " Two ", "TWO.", "two."])
def test_judge_forgives_case_spaces_and_a_final_dot(answer: str) -> None:
    assert judge(Question("count", "How many cats are there?", "two"), answer)


def test_judge_is_otherwise_exact() -> None:
    question = Question("count", "How many cats are there?", "two")
    assert not any(judge(question, wrong) for wrong in ("", "twos", "two cats", "2", "three"))


def test_a_caption_names_exactly_the_objects_in_any_order() -> None:
    question = Question("caption", "What is in the picture?", "cat, dog, cat")
    assert judge(question, "dog, cat, cat.")
    assert judge(question, "a cat, a cat and a dog")
    assert not judge(question, "cat, dog")
    assert not judge(question, "cat, dog, dog")
    assert not judge(question, "cat, dog, cat, bee")


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_every_thing(style: str) -> None:
    pictures = {emoji(style, thing.name).tobytes() for thing in EMOJI_THINGS}
    assert len(pictures) == len(EMOJI_THINGS)
    for thing in EMOJI_THINGS:
        solid = np.asarray(emoji(style, thing.name).getchannel("A")) > 127
        assert solid.mean() > 0.15


def test_names_are_unambiguous() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 60
    assert set(PLURAL.values()) & set(NAMES) == {"fish"}
    assert HELD_OUT_STYLE not in TRAINING_STYLES


def test_an_unknown_style_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"crayon.*noto"):
        make_scene(1, "crayon")


def test_composing_with_a_floor_of_objects() -> None:
    assert all(len(compose(seed, least=4)[1].objects) >= 4 for seed in range(50))


def test_written_scenes_read_back(tmp_path: Path) -> None:
    write_scenes(tmp_path, [7, 8], "noto")
    rows = json.loads((tmp_path / "questions.json").read_text())
    assert [row["seed"] for row in rows] == [7, 8]
    for row in rows:
        scene = make_scene(row["seed"], "noto")
        with Image.open(tmp_path / row["picture"]) as picture:
            assert picture.tobytes() == scene.image.tobytes()
        assert [Question(**q) for q in row["questions"]] == list(scene.questions)


def test_the_examples_show_what_the_world_can_do() -> None:
    assert len(set(EXAMPLE_SEEDS)) == 6 and max(EXAMPLE_SEEDS) < FIRST_TRAINING_SEED
    scenes = [make_scene(seed) for seed in EXAMPLE_SEEDS]
    families = {question.family for scene in scenes for question in scene.questions}
    assert families == set(FAMILIES)
    assert len({scene.background for scene in scenes}) >= 4
    most = [Counter(t.name for t in scene.objects).most_common(1)[0][1] for scene in scenes]
    assert max(most) >= 3
