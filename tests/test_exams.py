"""What the accuracy bench asks: the right number of questions, from seeds of their own, with true answers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duet_core.bench.accuracy import LONGEST_ANSWER
from duet_core.bench.exams import FEWEST, GROUP_SEEDS, SUBJECTS, WORDINGS, Exam
from duet_core.scenes import FIRST_TRAINING_SEED, HELD_OUT_STYLE, make_scene
from duet_core.scenes.clip import compose_clip, make_clip
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.question import REFUSALS, UNKNOWN
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.scene import compose

seeds = st.integers(0, FIRST_TRAINING_SEED - 1)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_group_gets_its_number_of_questions_from_its_own_seeds(subject, photos):
    exam = Exam(subject, photos=photos)
    items = list(exam.items(40, 17, groups=2))
    for group in (0, 1):
        own = [item for item in items if item.group == group]
        assert sum(len(item.questions) for item in own) == 17
        if subject != "photos":
            first = 40 + group * GROUP_SEEDS
            assert [item.unit for item in own] == [str(first + number) for number in range(len(own))]
    if subject == "photos":
        assert {item.unit for item in items} == {"one.jpg", "two.PNG"}
    if not exam.in_world:
        assert {(question.answer, question.family) for item in items for question in item.questions} == {
            (UNKNOWN, REFUSALS)
        }


@pytest.mark.parametrize("subject", ["pictures", "clips"])
@pytest.mark.parametrize("wording", WORDINGS)
def test_words_change_and_truth_does_not(subject, wording):
    (said,) = Exam(subject, wording).items(11, 1)
    whole = [next(Exam(subject, wording).items(11, 100)) for _ in range(2)]
    assert whole[0].questions == whole[1].questions, "the same at every call"
    true = make_scene(11) if subject == "pictures" else make_clip(11)
    pairs = list(zip(whole[0].questions, true.questions, strict=True))
    assert all((q.kind, q.slots, q.answer) == (t.kind, t.slots, t.answer) for q, t in pairs)
    assert len(said.questions) == 1 and all(q.text for q, _ in pairs)
    assert all(q.text == t.text for q, t in pairs) == (wording == "canonical")


def test_questions_from_outside_follow_the_wording():
    texts = {}
    for wording in WORDINGS:
        (item,) = Exam("outside", wording).items(3, FEWEST)
        assert len(item.questions) == FEWEST
        texts[wording] = [question.text for question in item.questions]
    assert len({tuple(own) for own in texts.values()}) == 3


def test_the_held_out_style_is_drawn():
    plain, strange = (next(Exam("pictures", style=style).items(5, 1)) for style in (None, HELD_OUT_STYLE))
    assert plain.questions == strange.questions and plain.picture.tobytes() != strange.picture.tobytes()


@given(seeds)
@settings(max_examples=60)
def test_every_scene_and_clip_has_questions_enough(seed):
    _, layout, rng = compose(seed)
    _, clip, clip_rng = compose_clip(seed)
    assert len(draw_questions(layout, rng, most=1)) >= FEWEST
    assert len(draw_clip_questions(clip, clip_rng, most=1)) >= FEWEST


def test_every_true_answer_can_be_said_in_full(mini):
    tokenizer = mini.processor.tokenizer
    for seed in range(300):
        _, layout, rng = compose(seed)
        _, clip, clip_rng = compose_clip(seed)
        for question in (*draw_questions(layout, rng, most=1), *draw_clip_questions(clip, clip_rng, most=1)):
            assert len(tokenizer(question.answer)["input_ids"]) < LONGEST_ANSWER
