"""The bundled model: plain Hugging Face files, equal to transformers through our loop, streaming and stopping."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import duet_core
from duet_core.checkpoint import BUNDLED
from duet_core.scenes import make_scene

FOLDER = BUNDLED / "duet-mini"


@pytest.fixture(scope="module")
def scene():
    return make_scene(11)


@pytest.fixture(scope="module")
def plain():
    """The same weights through transformers alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=torch.float32).eval()
        return model, AutoProcessor.from_pretrained(FOLDER)


def asked(processor, scene, question):
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return processor(images=scene.image, text=prompt, return_tensors="pt")


def test_files_are_small_and_plain():
    assert all(path.stat().st_size < 10_000_000 for path in FOLDER.iterdir())
    assert not list(FOLDER.glob("*.py")) and not list(FOLDER.glob("*.bin"))
    assert (FOLDER / "README.md").is_file()


def test_our_inputs_are_the_processors(mini, plain, scene):
    for question in scene.questions:
        theirs, ours = asked(plain[1], scene, question.text), mini.inputs(scene.image, question.text)
        assert torch.equal(ours["input_ids"], theirs["input_ids"])
        torch.testing.assert_close(ours["pixel_values"], theirs["pixel_values"])


def test_keeping_everything_equals_transformers(mini, plain, scene):
    model, processor = plain
    for question in scene.questions[:5]:
        inputs = asked(processor, scene, question.text)
        with torch.inference_mode():
            logits = model(**inputs).logits[:, -1]
            ids = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        ours = mini.generate(inputs, mini.plan("none"), 12)
        torch.testing.assert_close(ours.run.logits, logits, atol=1e-4, rtol=0)
        assert ours.token_ids[0] == ids.tolist()


def test_the_stream_is_trace_then_text_then_cost(mini, scene):
    events = list(mini.stream(scene.image, scene.questions[0].text, mini.plan(budget=128)))
    assert isinstance(events[0], duet_core.Trace) and isinstance(events[-1], duet_core.Cost)
    assert all(isinstance(event, str) for event in events[1:-1])
    answer = mini.ask(scene.image, scene.questions[0].text, mini.plan(budget=128))
    assert "".join(events[1:-1]).strip() == answer.text
    assert answer.cost.new_tokens >= 1 and answer.cost.kv_bytes > 0


def test_closing_the_stream_stops_the_run(mini, scene):
    stream = mini.stream(scene.image, "What is in the picture?", mini.plan("none"))
    next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)


def test_one_encoding_serves_many_questions(mini, scene):
    encoded = mini.encode(scene.image)
    for question in scene.questions[:3]:
        plan = mini.plan(budget=64)
        again, fresh = mini.ask(encoded, question.text, plan), mini.ask(scene.image, question.text, plan)
        assert again.text == fresh.text and again.trace.to_json() == fresh.trace.to_json()


def test_salient_words_guide_and_are_named(mini, scene):
    trace = mini.ask(scene.image, "How many cats are there?", mini.plan(budget=128)).trace
    assert "cats" in trace.words and "are" not in trace.words
    rules = [
        mini.ask(scene.image, "Where is the cat?", replace(mini.plan(budget=128), queries=q))
        for q in ("salient", "last")
    ]
    assert [d.layer for d in rules[0].trace.drops] == [4, 6]
    assert rules[0].trace.drops[0].scores.tolist() != rules[1].trace.drops[0].scores.tolist()


def test_odd_pictures_and_questions(mini):
    for picture in (Image.new("RGB", (1, 1)), Image.new("RGBA", (40, 900)), Image.new("L", (900, 40))):
        assert mini.ask(picture, "what is thier?? émoji 🐱", mini.plan(budget=64)).trace.entering == 102
    with pytest.raises(duet_core.QuestionError):
        mini.ask(Image.new("RGB", (9, 9)), "  ", mini.plan("none"))


def test_a_clip_is_several_pictures_and_one_block(mini):
    frames = [make_scene(seed).image for seed in (1, 2, 3)]
    answer = mini.ask(frames, "What is in the picture?", mini.plan(budget=64))
    assert answer.trace.grid.frames == 3 and answer.trace.entering == 3 * 102 and answer.trace.full == 3 * 576
    with pytest.raises(duet_core.PictureError, match="2 different sizes"):
        mini.ask([frames[0], frames[0].resize((20, 20))], "What?", mini.plan("none"))


def test_bf16_answers_too(scene):
    half = duet_core.open_model("duet-mini", dtype="bfloat16", device="cpu")
    assert half.ask(scene.image, scene.questions[0].text, half.plan(budget=128)).text


FIRST_ANSWER = """
import socket, time

def refuse(*_, **__):
    raise OSError("no network in this test")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import duet_core
from duet_core.scenes import make_scene

picture, begin = make_scene(1).image, time.perf_counter()
model = duet_core.open_model("duet-mini")
answer = model.ask(picture, "What is in the picture?", model.plan(budget=64)).text
print(time.perf_counter() - begin, answer)
"""


def test_the_first_answer_needs_no_network_and_no_patience():
    root = FOLDER.parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FIRST_ANSWER], cwd=root, capture_output=True, text=True, check=True, timeout=120
    )
    seconds, answer = done.stdout.split(maxsplit=1)
    assert float(seconds) < 5.0 and answer.strip()
