"""What the tokens of a clip should remember is true to its frames."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from duet_core.scenes.actors import FRAMES, make_clip_layout
from duet_core.scenes.things import NAMES
from duet_core.train.packing import IGNORED
from duet_core.train.recall import Recall, courses, memories


def kinds_of(clip, per_frame: int = 5) -> torch.Tensor:
    """Kinds of tokens, frame by frame: every thing in sight once, then background."""
    rows = []
    for frame in range(FRAMES):
        shown = [1 + NAMES.index(actor.name) for actor in clip.actors if actor.seen[frame]]
        rows += shown + [0] * (per_frame - len(shown))
    return torch.tensor([rows])


def names_in(kinds: torch.Tensor) -> set[str]:
    return {NAMES[number] for number in kinds.nonzero().flatten().tolist()}


def coming(actor, frame: int) -> int:
    """How many times an actor has come into sight, up to and with this frame."""
    steps = zip((False, *actor.seen), actor.seen[: frame + 1], strict=False)
    return sum(now and not before for before, now in steps)


@given(st.integers(0, 10_000))
def test_memories_are_what_the_frames_before_showed(seed):
    clip = make_clip_layout(np.random.default_rng(seed))
    kinds, places = kinds_of(clip), courses([clip])
    truth = memories(places, kinds)
    for frame in range(FRAMES):
        seen_before = {actor.name for actor in clip.actors if frame and actor.seen[frame - 1]}
        ever = {actor.name for actor in clip.actors if any(actor.seen[: frame + 1])}
        assert names_in(truth["last"][0, frame, 0]) == seen_before
        assert names_in(truth["ever"][0, frame, 0]) == ever
        before = {actor.name for actor in clip.actors if any(actor.seen[:frame])}
        assert names_in(truth["gone"][0, frame, 0]) == before - seen_before
        assert names_in(truth["come"][0, frame, 0]) == {
            actor.name for actor in clip.actors if actor.name in seen_before and not actor.seen[0]
        }
        assert truth["most"][0, frame].tolist() == [max(coming(actor, frame) for actor in clip.actors)] * 5
        assert truth["frame"][0, frame].tolist() == [frame] * 5
        for token, kind in enumerate(kinds.view(FRAMES, 5)[frame].tolist()):
            own = {name: truth[name][0, frame, token].item() for name in ("start", "before", "times")}
            if not kind:
                assert set(own.values()) == {IGNORED}
                continue
            actor = next(actor for actor in clip.actors if actor.name == NAMES[kind - 1])
            assert own["start"] == (actor.at(0).place + 1 if actor.seen[0] else 0)
            assert own["before"] == (actor.at(frame - 1).place + 1 if frame and actor.seen[frame - 1] else 0)
            assert own["times"] == coming(actor, frame)


def test_a_patch_of_no_thing_of_the_world_is_not_asked_about():
    clip = make_clip_layout(np.random.default_rng(0))
    foreign = torch.full((1, FRAMES), len(NAMES) + 1)
    assert (memories(courses([clip]), foreign)["start"] == IGNORED).all()


def test_recall_can_be_learnt_from_states_that_hold_it():
    torch.manual_seed(0)
    clips = [make_clip_layout(np.random.default_rng(seed)) for seed in range(4)]
    kinds, places = torch.cat([kinds_of(clip) for clip in clips]), courses(clips)
    hidden = torch.randn(4, FRAMES * 5, 256)  # as good as one direction per token
    recall = Recall(256)
    begin = recall(hidden, places, kinds)
    optimiser = torch.optim.Adam(recall.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        recall(hidden, places, kinds).backward()
        optimiser.step()
    assert recall(hidden, places, kinds) < 0.1 * begin
