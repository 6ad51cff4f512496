"""Clips told in another rhythm or backwards: what is true of them is read off the frames that are shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_core.scenes.actors import FRAMES, make_clip_layout
from duet_core.scenes.events import draw_clip_questions, tell
from duet_core.train.retime import draw_frames, retimed

BACKWARDS = np.arange(FRAMES)[::-1]
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", None: None}


def clip_of(seed, script=None):
    rng = np.random.default_rng(seed)
    clip = make_clip_layout(rng)
    while script is not None and clip.script != script:
        clip = make_clip_layout(rng)
    return clip


@given(st.integers(0, 2**32 - 1))
def test_every_drawn_order_shows_the_ends_and_can_be_asked_about(seed):
    rng = np.random.default_rng(seed)
    clip = clip_of(seed)
    frames = draw_frames(clip, rng)
    assert {int(frames[0]), int(frames[-1])} == {0, FRAMES - 1} and len(frames) == FRAMES
    told = retimed(clip, frames)
    assert told.actors and tell(told) and draw_clip_questions(told, rng, 3)
    for number, frame in enumerate(frames):
        assert told.frame(number) == clip.frame(int(frame))


@given(st.integers(0, 2**32 - 1))
def test_backwards_everything_moves_the_other_way(seed):
    clip = clip_of(seed)
    back = retimed(clip, BACKWARDS)
    assert [actor.way for actor in back.actors] == [OPPOSITE[actor.way] for actor in clip.actors]
    assert retimed(back, BACKWARDS) == clip


def test_backwards_what_came_last_comes_first():
    clip = clip_of(5, "parade")
    assert tell(retimed(clip, BACKWARDS)).split(", then ") == tell(clip).split(", then ")[::-1]


@pytest.mark.parametrize("seed", range(20))
def test_a_flash_that_is_skipped_is_not_counted(seed):
    clip = clip_of(seed, "flash")
    flashing = next(actor for actor in clip.actors if not all(actor.seen))
    still = [frame for frame in range(FRAMES) if not flashing.seen[frame]]
    shown = np.array([still[0]] * (FRAMES - 1) + [flashing.seen.index(True)])
    assert tell(retimed(clip, shown)) == f"the {flashing.name} flashes one time"
