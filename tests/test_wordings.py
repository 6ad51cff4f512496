"""Other wordings ask the same, held-out ones are really held out, and sloppy typing stays readable."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_core.scenes.clip import compose_clip
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.question import KINDS, UNKNOWN, forms
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.scene import compose
from duet_core.scenes.things import NAMES, PLURAL
from duet_core.scenes.wordings import Wordings, held_out, sloppy, trained

SETS = {"trained": trained(), "held-out": held_out()}


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z{}_']+", text.lower()))


def questions(seed: int):
    (_, layout, rng), (_, clip, _) = compose(seed), compose_clip(seed)
    return (*draw_questions(layout, rng, 1), *draw_clip_questions(clip, rng, 1))


@pytest.mark.parametrize("wordings", SETS.values(), ids=SETS)
def test_every_kind_has_wordings_that_fit_its_slots(wordings: Wordings) -> None:
    assert set(wordings.templates) == set(KINDS)
    rng = np.random.default_rng(0)
    for seed in range(60):
        for question in questions(seed):
            asked = wordings.reword(question, rng)
            assert (asked.answer, asked.family, asked.kind) == (question.answer, question.family, question.kind)
            assert "{" not in asked.text and "/" not in asked.text
    for kind, templates in wordings.templates.items():
        used = {slot for template in templates for slot in re.findall(r"{(\w+)}", template)}
        canonical = set(re.findall(r"{(\w+)}", KINDS[kind][1]))
        assert used <= set(forms(dict.fromkeys(("name", *canonical), "cat")))


def test_there_are_more_than_twenty_trained_wordings_of_every_kind() -> None:
    assert min(len(set(templates)) for templates in trained().templates.values()) >= 20
    assert all(templates[0] == KINDS[kind][1] for kind, templates in trained().templates.items())


def test_held_out_wordings_were_never_trained() -> None:
    for kind, templates in held_out().templates.items():
        known = {plain(template) for template in trained().templates[kind]}
        assert not [template for template in templates if plain(template) in known], kind
    for part in ("outside", "about_strangers"):
        known = {plain(template) for template in getattr(trained(), part)}
        assert not [template for template in getattr(held_out(), part) if plain(template) in known], part
    shared = {one for one, _ in held_out().strangers} & {one for one, _ in trained().strangers}
    assert not shared, ", ".join(sorted(shared))


def test_strangers_are_strangers() -> None:
    spoken = {*NAMES, *PLURAL.values()}
    synonyms = {form for others in trained().synonyms["names"].values() for pair in others for form in pair.split("/")}
    for wordings in SETS.values():
        strangers = {form for pair in wordings.strangers for form in pair}
        assert not strangers & (spoken | synonyms)


def test_synonyms_belong_to_one_thing_each() -> None:
    owners: dict[str, str] = {}
    for name, others in trained().synonyms["names"].items():
        assert name in NAMES
        for other in others:
            assert owners.setdefault(other, name) == name and "/" in other
            assert other.partition("/")[0] not in set(NAMES) - {name}


@pytest.mark.parametrize("wordings", SETS.values(), ids=SETS)
def test_questions_from_outside_are_not_to_be_known(wordings: Wordings) -> None:
    rng = np.random.default_rng(1)
    asked = {wordings.refusal(rng) for _ in range(300)}
    assert {question.answer for question in asked} == {UNKNOWN}
    assert len(asked) > 100 and not any("{" in question.text for question in asked)


@given(st.integers(0, 10**6), st.text(min_size=1, max_size=60))
def test_sloppy_typing_changes_little(seed: int, text: str) -> None:
    typed = sloppy(text, np.random.default_rng(seed))
    bare = text.rstrip("?.! ")
    if len(bare) > 8:
        assert SequenceMatcher(None, bare.lower(), typed.lower(), autojunk=False).ratio() > 0.6
    assert abs(len(typed) - len(text)) <= len(text) - len(bare) + 1


def test_sloppy_typing_never_touches_short_words() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        assert "cat" in sloppy("Is a cat in it?", rng).lower()
