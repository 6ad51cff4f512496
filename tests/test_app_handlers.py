"""The page's events against the real engine and the bundled model."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from html import unescape
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from app import gpu, messages, views
from app.film import length_of
from app.gallery import Gallery, load_gallery
from app.given import CLIP, PICTURE, Given
from app.handlers import Desk
from app.inputs import Inputs
from app.settings import Settings
from duet_core.cost import Cost
from tests import pictures

SETTINGS = Settings(device="cpu", repeats=2)
FIELDS = ("notice", "asked", "full", "reduced", "speed", "patchmap", "overlay", "figures", "ask", "stop", "run")
CLIPS = Path(__file__).parent / "clips"
EXACT = (None, 0, 4, "", "", "salient", 8)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return load_gallery()


@pytest.fixture(scope="module")
def desk(gallery) -> Desk:
    return Desk(SETTINGS, gallery)


def given(path, question="What is in the middle?", reduction=78, method="duet", model="duet-mini", **more):
    """What the page sends: a picture, or a clip with `clip=` and, if wanted, `frames=(count, rule, times)`."""
    clip, frames = more.get("clip"), more.get("frames", (8, "Evenly spread", ""))
    asked = (
        question,
        reduction,
        method,
        model,
        more.get("custom", False),
        *more.get("exact", EXACT),
        more.get("brush", ""),
    )
    return (CLIP if clip else PICTURE, path, clip, *frames, *asked)


def ask(desk: Desk, path, *asked, **more):
    """Run a request and return what the page shows at the end, and how often each part was sent."""
    final, sent = {}, dict.fromkeys(FIELDS, 0)
    for outputs in desk.ask_on_page(*given(path, *asked, **more)):
        for name, value in zip(FIELDS, outputs, strict=True):
            if value != gr.skip():
                final[name] = value
                sent[name] += 1
    return final, sent


def test_the_inputs_of_the_page_are_the_fields_of_a_request():
    assert [field.name for field in fields(Inputs)] == [field.name for field in fields(Given)]


def test_a_request_ends_with_both_answers_the_map_and_the_figures(desk, gallery):
    example = gallery.examples[0]
    final, sent = ask(desk, str(example.file), example.duel.question)
    truth = example.questions[[q.text for q in example.questions].index(example.duel.question)].answer
    assert "All tokens" in final["full"]
    assert "576 tokens" in final["full"]
    assert "of 576 tokens on average" in final["reduced"]
    for card in (final["full"], final["reduced"]):
        assert ("✓ right" in card) != ("✗ wrong" in card)
        assert "✓ right" in card or truth in card
    assert "KV cache" in final["speed"]
    assert messages.MEASURED_NOW in final["speed"]
    assert float(re.search(r"Both answers took the model ([\d,]+) ms", final["speed"])[1].replace(",", "")) > 0
    assert re.search("2 interleaved runs|one run of each", final["figures"])  # as many as a busy machine can afford
    value = json.loads(final["patchmap"])
    assert abs(sum(value["layers"]) / len(value["layers"]) - 0.22 * 576) <= 1
    assert sent["patchmap"] == 1
    assert final["notice"] == ""
    assert final["ask"]["interactive"]
    assert not final["stop"]["interactive"]


def test_the_map_is_drawn_before_the_reduced_answer_is_spoken(desk, gallery):
    order = []
    for outputs in desk.ask_on_page(*given(str(gallery.examples[0].file))):
        order += [name for name, value in zip(FIELDS, outputs, strict=True) if value != gr.skip()]
    drawn = order.index("patchmap")
    assert order[:drawn].count("full") >= 3  # empty, some words, all of them
    assert "full" in order[:drawn] and "run" in order[drawn:]
    assert order[:drawn].count("reduced") == 1  # the empty card of the beginning
    assert "reduced" in order[drawn:]


def test_keeping_everything_gives_the_same_answer_and_claims_nothing(desk, gallery):
    final, _ = ask(desk, str(gallery.examples[1].file), reduction=0)
    assert "<mark>" not in final["full"] + final["reduced"]
    assert "same answer" in final["speed"]
    assert "less KV cache" not in final["speed"]


def test_exact_numbers_override_the_slider(desk, gallery):
    exact = (40, 8, 4, "2, 5", "0.5, 0.25", "last", 4)
    final, _ = ask(desk, str(gallery.examples[0].file), reduction=10, custom=True, exact=exact)
    assert json.loads(final["patchmap"])["layers"] == [48, 48, 24, 24, 24, 12, 12, 12]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": None}, "no picture yet"),
        ({"question": "   "}, "no question yet"),
        ({"question": "a" * 5000}, "5,000 characters and the limit is 500"),
        ({"model": "no-such-model"}, "no model"),
        ({"model": "../secret"}, "no model"),
        ({"method": "magic"}, "no method"),
        ({"reduction": 100}, "from 0 to 95"),
        ({"custom": True, "exact": (10, 2, 4, "99", "0.5", "salient", 8)}, "layer numbers from 1 to 7"),
        ({"custom": True, "exact": (10, 2, 4, "two", "0.5", "salient", 8)}, "layers field"),
    ],
)
def test_a_bad_request_is_one_notice_and_leaves_the_page_ready(desk, gallery, change, words):
    final, sent = ask(desk, **({"path": str(gallery.examples[0].file)} | change))
    assert words in final["notice"]
    assert sent["patchmap"] == 0
    assert final["ask"]["interactive"]


def test_a_hub_name_without_a_network_says_so(desk, gallery, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    final, _ = ask(desk, str(gallery.examples[0].file), model="nobody-here/no-model")
    assert "cannot be reached" in final["notice"]
    assert 'class="caret"' not in final["full"]


def test_bad_pictures_become_notices_at_once_and_on_asking(desk, tmp_path):
    for write in (pictures.text_named_png, pictures.truncated_jpeg, pictures.bomb):
        path = str(write(tmp_path / f"{write.__name__}.png"))
        hint, *suggestions, notice = desk.picture_changed(path, "duet-mini")
        assert "notice" in notice
        assert hint == ""
        assert len(suggestions) == 3
        assert ask(desk, path)[0]["notice"] == notice


def test_after_a_bad_request_a_good_one_still_works(desk, gallery, tmp_path):
    ask(desk, str(pictures.text_named_png(tmp_path / "fake.png")))
    assert "KV cache" in ask(desk, str(gallery.examples[2].file))[0]["speed"]


def test_foreign_pictures_come_with_what_the_model_knows(desk, gallery, tmp_path):
    path = tmp_path / "photo.png"
    pictures.half_and_half().save(path)
    assert "drawn scenes" in desk.picture_changed(str(path), "duet-mini")[0]
    assert desk.picture_changed(str(path), "owner/other")[0] == ""
    assert desk.picture_changed(str(gallery.examples[0].file), "duet-mini")[0] == ""


def test_a_wide_foreign_picture_is_asked_and_drawn_unstretched(desk, tmp_path):
    path = tmp_path / "wide.png"
    pictures.half_and_half(size=(600, 200)).save(path)
    value = json.loads(ask(desk, str(path))[0]["patchmap"])
    left, top, right, bottom = value["seen"]
    assert right - left == pytest.approx(bottom - top, rel=0.01)
    assert value["picture"] == [600, 200]


def test_closing_a_request_stops_the_run_and_frees_the_model(desk, gallery):
    question = "What is in the picture?"
    run = desk.ask_on_page(*given(str(gallery.examples[0].file), question, 67))
    for outputs in run:
        if messages.WHAT_IS_RUNNING["reduced"] in str(outputs[4]):
            break
    assert gpu._running.locked()
    run.close()
    assert not gpu._running.locked()
    assert "KV cache" in ask(desk, str(gallery.examples[0].file))[0]["speed"]


def test_stopped_answers_keep_their_words_and_lose_the_caret(desk):
    card = views.answer("All tokens", "", views.streaming("the ca", done=False))
    outputs = dict(zip(FIELDS, desk.stopped(card, card), strict=True))
    assert "the ca" in outputs["full"]
    assert 'class="caret"' not in outputs["full"]
    assert messages.STOPPED in outputs["notice"]


def test_the_examples_need_no_model(gallery):
    settings = Settings(models=("no/where",), hub=False)
    desk = Desk(settings, gallery)
    for example in (*gallery.examples, *gallery.clips):
        screen = desk.example_screen(example)
        assert json.loads(screen.patchmap)["steps"] and "answer-text" in screen.full + screen.reduced
        assert desk.model_of_examples() == "no/where"
    assert gpu.size_of("no/where") is None
    assert "% of the model&#x27;s tokens" in json.loads(desk.slider("duet", "no/where", PICTURE, 8))[78][0]


def test_an_example_brings_its_own_recorded_run(desk, gallery):
    for number, example in enumerate(gallery.examples):
        event = gr.EventData(None, {"number": number})
        picture, question, reduction, method, model, custom, *screen = desk.take_example(event)
        shown = dict(zip(FIELDS, screen, strict=True))
        assert picture.size == (336, 336)
        assert (question, reduction, method, model, custom) == (
            example.duel.question, example.reduction, "duet", "duet-mini", False,
        )  # fmt: skip
        assert question in example.suggested
        assert "Recorded with duet-mini" in shown["speed"]
        assert len(set(example.suggested)) == 3


def test_the_recorded_answers_are_those_the_bundled_model_gives(desk, gallery):
    model = gpu.opened("duet-mini", SETTINGS)
    for example in (*gallery.examples, *gallery.clips):
        subject = example.subject
        plan = model.plan(example.method, reduction=example.reduction / 100, frames=length_of(subject))
        shown = subject if isinstance(subject, Image.Image) else list(subject.frames)
        answer = model.ask(shown, example.duel.question, plan)
        assert answer.text == example.duel.reduced
        assert answer.trace.tokens_per_layer == example.duel.trace.tokens_per_layer


def test_the_gallery_finds_a_picture_by_its_pixels(gallery, tmp_path):
    copy = tmp_path / "copy.webp"
    gallery.examples[3].subject.save(copy, lossless=True)
    with Image.open(copy) as again:
        assert gallery.find(again.convert("RGB")) is gallery.examples[3]
    assert gallery.find(Image.new("RGB", (336, 336))) is None
    known = gallery.examples[3].questions[0]
    assert gallery.truth(gallery.examples[3].subject, f"  {known.text.upper()} ") == known


def test_the_slider_speaks_in_tokens_and_fills_the_folded_fields(desk):
    rows = json.loads(desk.slider("duet", "duet-mini", PICTURE, 8))
    line, custom, dominant, contextual, _, layers, keep, _ = rows[67]
    assert len(rows) == 96
    assert "190 of 576 tokens on average" in line
    assert not custom
    assert (layers, keep) == ("4, 6", "0.5, 0")
    assert dominant + contextual == 304
    line, custom = desk.preview_exact("duet", "duet-mini", PICTURE, 8, 100, 20, 4, "4", "0.5", "salient")
    assert custom
    assert "90 of 576" in line
    line, *_ = json.loads(desk.slider("duet", "owner/not-open-yet", CLIP, 8))[67]
    assert "33 %" in line


def test_slow_models_get_fewer_repeats_but_at_least_one():
    def cost(seconds: float) -> Cost:
        return Cost(0, 0, 0, seconds * 1000, None, 1, 1, 1, 1)

    assert gpu.affordable_repeats([cost(0.1), cost(0.1)], 5) == 5
    assert gpu.affordable_repeats([cost(5), cost(4)], 5) == 2
    assert gpu.affordable_repeats([cost(60), cost(40)], 5) == 1


# Clips


def test_a_clip_ends_with_answers_a_map_of_its_frames_and_an_overlay_clip(desk, gallery):
    example = gallery.clips[0]
    final, sent = ask(desk, None, example.duel.question, 93, clip=str(example.file))
    assert "4,608 tokens" in final["full"]
    assert "of 4,608 tokens on average" in final["reduced"]
    for card in (final["full"], final["reduced"]):
        assert ("✓ right" in card) != ("✗ wrong" in card)
    value = json.loads(final["patchmap"])
    assert len(value["frames"]) == 8 and sent["patchmap"] == 1
    assert abs(sum(value["layers"]) / len(value["layers"]) - 0.07 * 4608) <= 1
    assert "data:video/webm" in final["overlay"]
    assert "KV cache" in final["speed"]


def test_a_clip_may_be_looked_at_in_other_frames(desk):
    for frames, many in (
        ((12, "Evenly spread", ""), 12),
        ((5, "Most change", ""), 5),
        ((8, "At these times", "0, 0.5, 1"), 3),
    ):
        final, _ = ask(desk, None, "What moves?", 93, clip=str(CLIPS / "h264.mp4"), frames=frames)
        assert len(json.loads(final["patchmap"])["frames"]) == many


@pytest.mark.parametrize(
    ("name", "frames", "words"),
    [
        ("av1.mp4", (8, "Evenly spread", ""), "AV1"),
        ("cut.mp4", (8, "Evenly spread", ""), "cut off or damaged"),
        ("no-frames.mp4", (8, "Evenly spread", ""), "Not one frame"),
        ("ten-minutes.mp4", (8, "Evenly spread", ""), "the limit is 60"),
        ("four-k.mp4", (8, "Evenly spread", ""), "3,840 x 2,160 pixels and the limit is 1,920 x 1,080"),
        ("h264.mp4", (33, "Evenly spread", ""), "from 4 to 32"),
        ("h264.mp4", (4.5, "Evenly spread", ""), "whole number from 4 to 32"),
        ("h264.mp4", (8, "By magic", ""), "no way to choose frames called 'By magic'"),
        ("h264.mp4", (8, "At these times", "noon"), "'noon', which is not a time"),
        ("h264.mp4", (8, "At these times", "99"), "lies outside the clip"),
        ("no-such.mp4", (8, "Evenly spread", ""), "deleted after half an hour"),
    ],
)
def test_a_clip_that_cannot_be_used_is_one_notice(desk, name, frames, words):
    final, sent = ask(desk, None, "What moves?", clip=str(CLIPS / name), frames=frames)
    assert words in unescape(final["notice"])
    assert sent["patchmap"] == 0 and final["ask"]["interactive"]
    strip, hint, *_, notice = desk.clip_changed(str(CLIPS / name), *frames, "duet-mini")
    assert (strip, hint, notice) == ("", "", final["notice"])


def test_no_clip_yet(desk):
    outputs = list(desk.ask_on_page(CLIP, None, None, *given(None)[3:]))
    assert messages.NO_CLIP in outputs[-1][0]


def test_a_new_clip_is_shown_frame_by_frame_with_what_the_model_knows(desk, gallery):
    strip, hint, *suggestions, notice = desk.clip_changed(str(CLIPS / "h264.mp4"), 6, "Evenly spread", "", "duet-mini")
    assert strip.count("<img") == 6 and notice == ""
    assert "drawn clips" in hint and suggestions[0] == "What happens in the clip?"
    own = gallery.clips[1]
    _, hint, *suggestions, _ = desk.clip_changed(str(own.file), 8, "Evenly spread", "", "duet-mini")
    assert hint == "" and tuple(suggestions) == own.suggested


def test_a_clip_example_brings_its_own_recorded_run(desk, gallery):
    for number, example in enumerate(gallery.clips):
        clip, count, rule, times, question, reduction, *_ = desk.take_clip(gr.EventData(None, {"number": number}))
        assert (clip, count, rule, times) == (str(example.file), 8, "Evenly spread", "")
        assert (question, reduction) == (example.duel.question, example.reduction)
    assert desk.open_clips(None)[0] == str(gallery.clips[0].file)
    assert set(map(str, desk.open_clips("/some/clip"))) == {str(gr.skip())}


def test_the_slider_speaks_of_all_frames_together(desk):
    for frames, words in ((8, "2,165 of 4,608"), (4, "of 2,304")):
        assert words in json.loads(desk.slider("duet", "duet-mini", CLIP, frames))[53][0]
    assert "53" in desk.points(CLIP) and "67" in desk.points(PICTURE)
