"""What was just encoded is not encoded again, and what was just answered with all tokens is not asked again."""

from __future__ import annotations

import gc
import weakref

from PIL import Image

from app import gpu
from app.film import Film
from app.job import Answered, Job, Phase, Piece
from app.recent import Recent
from app.settings import Settings
from duet_core import open_model
from duet_core.scenes import make_scene


def test_the_same_picture_is_encoded_once_however_it_came(mini):
    recent, picture = Recent(), make_scene(3).image
    first = recent.take(mini, picture)
    assert recent.take(mini, picture.copy()) is first
    assert recent.take(mini, make_scene(4).image) is not first
    assert recent.take(mini, Film((picture,))) is not first, "a clip of one frame is no picture"


def test_only_the_last_few_are_kept(mini):
    recent = Recent()
    pictures = [Image.new("RGB", (40, 40), (10 * shade, 0, 0)) for shade in range(6)]
    kept = [recent.take(mini, picture) for picture in pictures]
    assert recent.take(mini, pictures[5]) is kept[5] and recent.take(mini, pictures[0]) is not kept[0]


def test_another_model_gets_nothing_of_the_last_one_and_does_not_hold_it(mini):
    recent, picture = Recent(), make_scene(3).image
    other = open_model("duet-mini", device="cpu")
    held = weakref.ref(other.backbone.model)
    theirs = recent.take(other, picture)
    assert recent.take(mini, picture) is not theirs
    recent.take(other, picture)
    del other, theirs
    gc.collect()
    assert held() is None


def test_a_second_question_and_another_reduction_do_only_what_is_new(mini, monkeypatch):
    """The page's own run: the encoder and the answer with all tokens are not done again, and say the same."""
    seen = []
    encode = type(mini).encode
    monkeypatch.setattr(type(mini), "encode", lambda *given: seen.append(1) or encode(*given))
    clip = Film(tuple(make_scene(seed).image for seed in (70, 71)))

    def ask(question: str, reduction: float) -> list:
        return list(gpu.run(Job("duet-mini", clip, question, "duet", reduction, measure=False), Settings()))

    def said(events: list, side: str) -> str:
        return "".join(event.text for event in events if isinstance(event, Piece) and event.side == side)

    first, again = ask("What is in the picture?", 0.5), ask("What is in the picture?", 0.9)
    assert said(first, "full") == said(again, "full") != ""
    traces = [[event.trace for event in events if isinstance(event, Answered)] for events in (first, again)]
    assert traces[0][0] is traces[1][0] and traces[1][1].average_tokens < traces[0][1].average_tokens
    assert [event.name for event in again if isinstance(event, Phase)][-2:] == ["full", "reduced"]
    ask("How many are there?", 0.9)
    assert len(seen) == 1
    spent = [[event.spent_ms for event in events if isinstance(event, Answered)] for events in (first, again)]
    assert spent[0][0] > spent[0][1] > 0 and spent[1][0] == 0 < spent[1][1], "what was told again took nothing"
