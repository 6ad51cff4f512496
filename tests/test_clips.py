"""Clips are the same for the same seed, and what is asked about them is true to their frames."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from duet_core.scenes import CLIP_FAMILIES, FIRST_TRAINING_SEED, Question, write_clips
from duet_core.scenes.actors import FRAMES, MOST_ACTORS
from duet_core.scenes.clip import compose_clip, make_clip
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.layout import SIZE
from duet_core.scenes.question import KINDS
from duet_core.scenes.things import COUNTS

seeds = st.integers(0, FIRST_TRAINING_SEED - 1)
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@given(seeds)
@settings(max_examples=10)
def test_a_seed_is_a_clip(seed: int) -> None:
    first, second = make_clip(seed), make_clip(seed)
    assert [f.tobytes() for f in first.frames] == [f.tobytes() for f in second.frames]
    assert (first.actors, first.questions) == (second.actors, second.questions)
    assert len(first.frames) == FRAMES and {frame.size for frame in first.frames} == {(SIZE, SIZE)}


@given(seeds)
@settings(max_examples=20)
def test_frames_differ_only_where_something_happens(seed: int) -> None:
    clip = make_clip(seed)
    frames = np.stack([np.asarray(frame, int) for frame in clip.frames])
    changed = np.abs(np.diff(frames, axis=0)).max((0, 3)) > 0
    busy = np.zeros((SIZE, SIZE), bool)
    for actor in clip.actors:
        if actor.way or not all(actor.seen):
            for x, y in actor.path:
                reach = actor.thing.size  # turned corners and the shadow reach beyond half the size
                busy[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = True
    assert not (changed & ~busy).any()
    assert changed.any() == any(actor.way or not all(actor.seen) for actor in clip.actors)


@given(seeds)
@settings(max_examples=150)
def test_the_answers_are_true(seed: int) -> None:
    _, clip, rng = compose_clip(seed)
    shown = [{thing.name: thing for thing in clip.frame(k).objects} for k in range(FRAMES)]
    ever = set().union(*shown)
    assert 1 <= len(ever) <= MOST_ACTORS and ever == {actor.name for actor in clip.actors}
    for question in draw_clip_questions(clip, rng, most=3):
        slots, answer = dict(question.slots), question.answer
        name = slots.get("name", answer)
        if question.kind == "seen":
            assert (answer == "yes") == (name in ever)
        elif question.kind == "total":
            assert answer == COUNTS[len(ever)]
        elif question.kind in ("which_way", "what_moves") and answer not in ("nothing", "nowhere"):
            dx, dy = shown[-1][name].x - shown[0][name].x, shown[-1][name].y - shown[0][name].y
            assert max(abs(dx), abs(dy)) >= SIZE // 3
            if question.kind == "which_way":
                assert (np.sign(dx), np.sign(dy)) == WAYS[answer]
        elif question.kind == "what_appears" and answer != "nothing":
            assert name not in shown[0] and name in shown[-1]
        elif (question.kind == "what_disappears" and answer != "nothing") or question.kind == "first":
            assert name in shown[0] and name not in shown[-1]
        elif question.kind == "last":
            assert name not in shown[0] and name in shown[-1]
        elif question.kind == "times":
            rises = sum(name in now and (k == 0 or name not in shown[k - 1]) for k, now in enumerate(shown))
            assert answer == COUNTS[rises]


def test_things_never_lie_on_each_other() -> None:
    for seed in range(200):
        _, clip, _ = compose_clip(seed)
        for number in range(FRAMES):
            things = clip.frame(number).objects
            pairs = [(a, b) for k, a in enumerate(things) for b in things[k + 1 :]]
            assert all(max(abs(a.x - b.x), abs(a.y - b.y)) > 60 for a, b in pairs)
            assert all(30 <= t.x <= SIZE - 30 and 30 <= t.y <= SIZE - 30 for t in things)


def test_every_family_is_asked_and_no_answer_dominates() -> None:
    asked = [
        q for seed in range(400) for _, clip, rng in [compose_clip(seed)] for q in draw_clip_questions(clip, rng, 1)
    ]
    counts = Counter(q.family for q in asked)
    assert set(counts) == {*CLIP_FAMILIES, "background"} and {q.kind for q in asked} <= set(KINDS)
    assert min(counts.values()) >= 50
    for family, total in counts.items():
        assert Counter(q.answer for q in asked if q.family == family).most_common(1)[0][1] < 0.6 * total


def test_written_clips_read_back(tmp_path: Path) -> None:
    write_clips(tmp_path, [3], "noto")
    (row,) = json.loads((tmp_path / "questions.json").read_text())
    clip = make_clip(3, "noto")
    with Image.open(tmp_path / row["clip"]) as stored:
        # Frames that are alike are stored as one that lasts longer.
        lasting = [(frame.convert("RGB").tobytes(), frame.info["duration"]) for frame in ImageSequence.Iterator(stored)]
    frames = [pixels for pixels, duration in lasting for _ in range(duration // 500)]
    assert frames == [frame.tobytes() for frame in clip.frames]
    assert [Question(**question) for question in row["questions"]] == list(clip.questions)
