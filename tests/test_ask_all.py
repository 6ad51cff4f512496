"""Many questions about one picture at once: the answers of one by one, with the picture's part computed once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import duet_core
from duet_core import engine, running
from duet_core.backbones import Llava
from duet_core.batch import in_batches
from duet_core.grid import Grid
from duet_core.layout import Request
from duet_core.methods import METHODS
from duet_core.plan import Plan
from duet_core.recorder import Sample
from duet_core.scenes import make_scene
from duet_core.scenes.clip import make_clip
from duet_core.sharing import shared_rows
from duet_core.timing import Stopwatch
from tests.conftest import small_inputs, small_llava

LONGEST = 24


def plans(model):
    """All tokens, and every method at its own budget."""
    return [model.plan("none"), model.plan(budget=192), model.plan(budget=40), model.plan("random", budget=128)]


@pytest.mark.parametrize("number", range(4))
def test_all_at_once_equals_one_by_one(mini, number):
    scene, plan = make_scene(21), plans(mini)[number]
    encoded, questions = mini.encode(scene.image), [question.text for question in scene.questions]
    alone = [mini.ask(encoded, question, plan, LONGEST).text for question in questions]
    assert len(set(alone)) > 3, "answers that are all alike would prove nothing"
    assert mini.ask_all(encoded, questions, plan, LONGEST) == alone
    assert mini.ask_all(scene.image, questions[::-1], plan, LONGEST) == alone[::-1]


@pytest.mark.parametrize("reduction", [0.0, 0.53, 0.934])
def test_a_clip_too(mini, reduction):
    frames, plan = make_clip(4).frames[:3], mini.plan(reduction=reduction)
    encoded, questions = (
        mini.encode(frames),
        ["What is in the picture?", "What happens in the clip?", "Is there a cat?"],
    )
    alone = [mini.ask(encoded, question, plan, LONGEST).text for question in questions]
    assert mini.ask_all(encoded, questions, plan, LONGEST) == alone


def test_small_batches_change_nothing(mini, monkeypatch):
    scene, plan = make_scene(22), mini.plan(budget=64)
    questions = [question.text for question in scene.questions]
    together = mini.ask_all(scene.image, questions, plan, LONGEST)
    monkeypatch.setattr(engine, "BATCH_BYTES", 1)
    assert mini.ask_all(scene.image, questions, plan, LONGEST) == together


def test_no_question_the_same_question_and_a_bad_one(mini):
    scene, plan = make_scene(23), mini.plan(budget=64)
    assert mini.ask_all(scene.image, [], plan) == []
    same = mini.ask_all(scene.image, ["What is in the picture?"] * 3, plan)
    assert same == [mini.ask(scene.image, "What is in the picture?", plan).text] * 3
    with pytest.raises(duet_core.QuestionError):
        mini.ask_all(scene.image, ["What is in the picture?", " "], plan)


def test_stage_one_is_run_once(mini, monkeypatch):
    calls = []
    project = Llava.project
    monkeypatch.setattr(Llava, "project", lambda self, features: calls.append(1) or project(self, features))
    mini.ask_all(make_scene(24).image, ["What is in the picture?", "Is there a cat?"], mini.plan(budget=64), 4)
    assert len(calls) == 1


def asked_together(model, plan, texts):
    """Prefill several prompts about the same picture in one batch."""
    inputs, watch, eye = small_inputs(model), Stopwatch(torch.device("cpu")), model.backbone.eye(clip=False)
    with torch.inference_mode():
        seen = model.backbone.see(eye, inputs)
    requests = [Request([5, 6, *[99] * model.size.tokens, *text]) for text in texts]
    grid = Grid(1, *seen.rows_cols, (32, 32), (0, 0, 32, 32))
    samples = [Sample(range(1), grid, model.size.tokens)] * len(texts)
    entered = running.enter(model.backbone, eye, seen, plan, watch, requests, samples)
    return running.prefill(model.backbone, entered, requests, samples, plan, watch)


def rows_run(model):
    """Count the rows that go through each decoder layer."""
    counts = [0] * len(model.backbone.layers)

    def count(number):
        def hook(_layer, args, _out):
            counts[number] += args[0].shape[0] * args[0].shape[1]

        return hook

    hooks = [layer.register_forward_hook(count(number)) for number, layer in enumerate(model.backbone.layers)]
    return counts, hooks


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.asks])
def test_a_shared_start_changes_no_logits_and_no_trace(method, attention):
    model = small_llava(grid=5, depth=4)
    model.backbone.model.set_attn_implementation(attention)
    plan, texts = model.plan(method, budget=12), [[7, 8, 9], [7, 11], [12, 13, 14, 15]]
    together = asked_together(model, plan, texts)
    for number, text in enumerate(texts):
        alone = asked_together(model, plan, [text])
        torch.testing.assert_close(together.logits[number], alone.logits[0], atol=1e-5, rtol=0)
        assert together.traces[number].died_at.tolist() == alone.trace.died_at.tolist()
    assert together.state.cache.lengths == [max(lengths) for lengths in together.state.cached]


def like_flash(module, query, key, value, attention_mask, scaling, **_):
    """What transformers' flash attention does: no mask but one of real keys, new rows are the last of all keys."""
    assert attention_mask is None or (
        attention_mask.shape == (len(key), key.shape[2]) and not attention_mask.is_floating_point()
    )
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
    seen = (seen.tril(key.shape[2] - query.shape[2]) if module.is_causal else seen).expand(len(key), 1, -1, -1)
    seen = seen if attention_mask is None else seen & attention_mask[:, None, None].bool()
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, seen, scale=scaling)
    return mixed.transpose(1, 2), None


@pytest.mark.parametrize("method", ["none", "duet", "fastv", "dart"])
def test_flash_attention_gets_masks_that_it_takes(monkeypatch, method):
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", like_flash)
    texts, answers = [[7, 8, 9], [7, 11], [12, 13, 14, 15]], []
    for attention in ("sdpa", "flash_attention_2"):
        model = small_llava(grid=5, depth=4)
        for part in model.backbone.model.modules():
            if hasattr(part, "config"):
                part.config._attn_implementation = attention
        run = asked_together(model, model.plan(method, budget=12), texts)
        answers.append((run.logits, running.finish(model.backbone, run, 5)))
    torch.testing.assert_close(*(logits for logits, _ in answers), atol=1e-5, rtol=0)
    assert answers[0][1] == answers[1][1]


def test_the_shared_start_runs_once():
    model = small_llava(grid=5, depth=4)
    counts, hooks = rows_run(model)
    asked_together(model, Plan(method="none"), [[7, 8, 9], [10, 11], [12, 13, 14, 15]])
    for hook in hooks:
        hook.remove()
    assert counts == [2 + 25 + 3 * 4] * 4, "two words and the picture once, then three padded questions"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(1, 6))
def test_shared_rows_are_those_before_the_first_difference(changed, length):
    hidden = torch.zeros(len(changed), length, 2)
    for sample, at in enumerate(changed):
        hidden[sample, min(at, length - 1)] = 1.0
    first = next((t for t in range(length) if not (hidden[:, t] == hidden[0, t]).all()), length)
    assert shared_rows(hidden) == min(first, length - 1)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_batches_cover_all_in_order_and_are_bounded(lengths, most):
    batches = list(in_batches(lengths, most))
    assert [number for batch in batches for number in batch] == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= most
