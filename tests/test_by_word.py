"""What each salient word looked at: rows of the very attention that stage 2 averages, and nothing more than those."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

import duet_core
from duet_core import Plan
from duet_core.engine import Model
from duet_core.layout import Request
from duet_core.methods import METHODS
from duet_core.prompt import Prompt, Shown, build_prompt
from duet_core.recorder import Sample
from duet_core.running import enter, prefill
from duet_core.scenes import make_clip, make_scene
from duet_core.timing import Stopwatch
from duet_core.trace import Drop, Trace

QUESTION = "What is to the left of the cat, and what is below the cat?"
PLAN = Plan(dominant=85, contextual=17, layers=(4, 6), keep=(0.5, 0.25))


class Operations(TorchDispatchMode):
    """Counts what torch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def prompt_of(model: Model, encoded: duet_core.Encoded, question: str) -> Prompt:
    shown = Shown.of(encoded.eye, encoded.size.frames, encoded.size.tokens, encoded.tiles)
    return build_prompt(model.processor, question, shown)


def check_mean(drop: Drop, prompt: Prompt) -> None:
    """The mean over all tokens of the words and the prompt's end is what decided; no token here is two words'."""
    sizes = np.array([*map(len, prompt.spoken), 1], np.float32)
    rows = np.concatenate([drop.by_word, drop.by_end[None]])
    mean = (rows * sizes[:, None]).sum(0) / sizes.sum()
    np.testing.assert_allclose(mean, drop.scores, rtol=2e-5)
    assert (np.isnan(rows) == np.isnan(drop.scores)).all() and not np.isnan(drop.scores).all()


def same(one: Trace, other: Trace) -> bool:
    """Whether two traces tell the same but for the words' own scores."""
    plain, further = (trace.to_json() for trace in (one, other))
    for story in (plain, further):
        for drop in story["drops"]:
            drop.pop("by_word", None), drop.pop("by_end", None)
    return plain == further


@pytest.fixture(scope="module")
def subjects() -> dict:
    return {"picture": make_scene(24).image, "clip": list(make_clip(3).frames[:4])}


@pytest.mark.parametrize("what", ["picture", "clip"])
def test_the_mean_over_the_guiding_tokens_is_the_score(mini, subjects, what):
    encoded = mini.encode(subjects[what])
    asked, plain = (mini.ask(encoded, QUESTION, PLAN, 3, by_word=by_word) for by_word in (True, False))
    prompt = prompt_of(mini, encoded, QUESTION)
    assert asked.trace.words == prompt.words and asked.trace.words.count("cat") == 2
    for drop in asked.trace.drops:
        assert drop.by_word.dtype == drop.by_end.dtype == np.float32
        assert drop.by_word.shape == (len(prompt.words), encoded.grid.patches)
        check_mean(drop, prompt)
    assert plain.text == asked.text and same(plain.trace, asked.trace)
    assert all(drop.by_word is None and drop.by_end is None for drop in plain.trace.drops)


def test_a_word_has_the_attention_of_its_own_token_and_a_repeated_one_a_row_each_time(mini, subjects):
    encoded = mini.encode(subjects["picture"])
    prompt, trace = prompt_of(mini, encoded, QUESTION), mini.ask(encoded, QUESTION, PLAN, 1, by_word=True).trace
    first, second = (number for number, word in enumerate(trace.words) if word == "cat")
    assert not np.array_equal(*trace.drops[0].by_word[[first, second]], equal_nan=True)
    watch, sample = Stopwatch(mini.backbone.device), Sample(range(1), encoded.grid, encoded.size.tokens)
    for number, own in enumerate(prompt.spoken):  # the score, where this word alone guides
        request = Request(prompt.ids, list(own))
        entered = enter(mini.backbone, encoded.eye, encoded.seen, PLAN, watch, [request], [sample])
        alone = prefill(mini.backbone, entered, [request], [sample], PLAN, watch).trace.drops[0].scores
        np.testing.assert_allclose(trace.drops[0].by_word[number], alone, rtol=2e-5)


def test_a_word_of_several_tokens_has_their_mean_and_shared_tokens_count_for_both():
    prompt = Prompt(list(range(9)), ("sailing", "boat", "?", "!"), ((2, 3), (4,), (6,), (6,)))
    assert prompt.salient == [2, 3, 4, 6] and prompt.guides == [2, 3, 4, 6, 8]
    assert prompt.rows() == ((0, 1), (2,), (3,), (3,), (4,))


def test_samples_of_a_batch_each_have_their_own_words(mini, subjects):
    encoded, texts = mini.encode(subjects["picture"]), [QUESTION, "Where is the dog?"]
    prompts = [prompt_of(mini, encoded, text) for text in texts]
    requests = [Request(prompt.ids, prompt.guides) for prompt in prompts]
    samples = [Sample(range(1), encoded.grid, 576, prompt.words, prompt.rows()) for prompt in prompts]
    watch = Stopwatch(mini.backbone.device)
    entered = enter(mini.backbone, encoded.eye, encoded.seen, PLAN, watch, requests[:1], samples[:1])
    traces = prefill(mini.backbone, entered, requests, samples, PLAN, watch).traces
    for text, prompt, trace in zip(texts, prompts, traces, strict=True):
        alone = mini.ask(encoded, text, PLAN, 1, by_word=True).trace
        for drop, single in zip(trace.drops, alone.drops, strict=True):
            check_mean(drop, prompt)
            np.testing.assert_allclose(drop.by_word, single.by_word, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_only_what_the_words_decided_is_told(mini, subjects, method):
    subject = subjects["picture" if METHODS[method].about.applies(clip=False) else "clip"]
    encoded = mini.encode(subject)
    plan = mini.plan(method, budget=encoded.size.total / 4, encoded=encoded)
    told = [drop.by_word is not None for drop in mini.ask(encoded, QUESTION, plan, 1, by_word=True).trace.drops]
    assert told == ([True, False] if method == "duet" else [False] * len(told)), "a layer that drops all ranks none"


def test_without_salient_words_as_guides_there_are_none(mini, subjects):
    for rule in ("last", "all_text"):
        plan = Plan(dominant=85, contextual=17, layers=(4,), keep=(0.5,), queries=rule)
        (drop,) = mini.ask(subjects["picture"], QUESTION, plan, 1, by_word=True).trace.drops
        assert drop.by_word is None and drop.by_end is None and not np.isnan(drop.scores).all()
    (drop,) = mini.ask(subjects["picture"], "7 and 9", Plan(layers=(4,), keep=(0.5,)), 1, by_word=True).trace.drops
    assert drop.by_word is None and not np.isnan(drop.scores).any(), "no word, and only the prompt's end guides"


def test_it_costs_nothing_unasked_and_no_further_attention_when_asked(mini, subjects):
    encoded = mini.encode(subjects["picture"])

    def operations(**asked) -> Counter[str]:
        with Operations() as counted:
            next(mini.stream(encoded, QUESTION, PLAN, 1, **asked))
        return counted.seen

    usual, off, on = operations(), operations(by_word=False), operations(by_word=True)
    assert off == usual and not usual - on
    further = on - usual
    products = {name for name in further if "mm" in name or "softmax" in name or "attention" in name}
    assert not products, "the map is there anyway"
    words = len(prompt_of(mini, encoded, QUESTION).words)
    assert 0 < further["aten.mean.dim"] <= len(PLAN.layers) * (words + 2)


def test_a_trace_keeps_them_in_json_and_old_traces_can_be_read(mini, subjects):
    trace = mini.ask(subjects["picture"], QUESTION, PLAN, 1, by_word=True).trace
    story = json.loads(json.dumps(trace.to_json(), allow_nan=False))
    again = Trace.from_json(story)
    for drop, read in zip(trace.drops, again.drops, strict=True):
        np.testing.assert_allclose(read.by_word, drop.by_word, rtol=1e-4)
        np.testing.assert_allclose(read.by_end, drop.by_end, rtol=1e-4)
        assert read.by_word.dtype == np.float32
    plain = mini.ask(subjects["picture"], QUESTION, PLAN, 1).trace.to_json()
    assert all(set(drop) == {"layer", "scores"} for drop in plain["drops"])
    assert Trace.from_json(plain).drops[0].by_word is None


def test_bf16_tells_them_too(subjects):
    half = duet_core.open_model("duet-mini", device="cpu", dtype="bfloat16")
    encoded = half.encode(subjects["picture"])
    trace = half.ask(encoded, QUESTION, PLAN, 1, by_word=True).trace
    for drop in trace.drops:
        check_mean(drop, prompt_of(half, encoded, QUESTION))
