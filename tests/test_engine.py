"""What must hold for every run: equality with transformers, independence of runs, and a trace that tells the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForImageTextToText

import duet_core
from duet_core import Plan, running
from duet_core.methods import METHODS
from tests.conftest import TINY, small_inputs, small_llava

DUET = Plan(dominant=85, contextual=17, layers=(4, 6), keep=(0.5, 0.25), queries="all_text")
SMALL = Plan(dominant=5, contextual=2, cluster_width=2, layers=(1, 3), keep=(0.6, 0.3), queries="all_text")
CHAINS = {"divprune", "vispruner", "cdpruner", "apet", "vqtoken"}  # each choice hangs on those before it
KEEPS_ALL = [Plan(method="none"), Plan(layers=(4, 6), keep=(1.0, 1.0), queries="all_text")]


def together(*inputs, pad_left=False):
    """Batch several prompts as a processor does, with padding on one side."""
    longest = max(one["input_ids"].shape[1] for one in inputs)
    ids, mask = [], []
    for one in inputs:
        row, missing = one["input_ids"][0], longest - one["input_ids"].shape[1]
        pad, real = torch.zeros(missing, dtype=torch.long), torch.ones_like(row)
        ids.append(torch.cat([pad, row] if pad_left else [row, pad]))
        mask.append(torch.cat([pad, real] if pad_left else [real, pad]))
    pixels = torch.cat([one["pixel_values"] for one in inputs])
    return {"input_ids": torch.stack(ids), "attention_mask": torch.stack(mask), "pixel_values": pixels}


@pytest.mark.parametrize("plan", KEEPS_ALL)
@pytest.mark.parametrize("i", [0, 1])
def test_keeping_everything_equals_transformers(tiny, tiny_hf, tiny_inputs, plan, i):
    with torch.inference_mode():
        theirs = tiny_hf(**tiny_inputs(i)).logits[:, -1]
        ids = tiny_hf.generate(**tiny_inputs(i), max_new_tokens=8, do_sample=False)[0, -8:]
    ours = tiny.generate(tiny_inputs(i), plan, max_new_tokens=8)
    torch.testing.assert_close(ours.run.logits, theirs, atol=1e-4, rtol=0)
    assert ours.token_ids[0] == ids.tolist()
    assert ours.run.trace.average_tokens == ours.run.trace.full == 576


@pytest.mark.parametrize("shape", [(2, 1, 2), (4, 3, 3), (5, 7, 4)], ids=str)
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_any_grid_depth_and_grouped_queries_equal_transformers(shape, kv_heads):
    grid, depth, vision_depth = shape
    model = small_llava(grid, depth, vision_depth, kv_heads)
    inputs = small_inputs(model)
    with torch.inference_mode():
        theirs = model.backbone.model(**inputs).logits[:, -1]
    torch.testing.assert_close(model.prefill(inputs, Plan(method="none")).logits, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9])
def test_every_method_runs_at_any_depth_and_the_counts_are_true(method, depth):
    model = small_llava(grid=5, depth=depth)
    run = model.prefill(small_inputs(model), model.plan(method, budget=9))
    text = 8
    assert [length[0] - text for length in run.state.lengths] == list(run.trace.tokens_per_layer)
    assert run.state.cache.lengths == [own[0] for own in run.state.cached]
    first_cut = max(1, round(3 * depth / 32)) if depth > 1 else depth  # nobody can drop anything before it
    floor = run.trace.full * first_cut / depth if METHODS[method].about.stage == "inside the model" else 0
    assert method == "none" or abs(run.trace.average_tokens - max(9, floor)) <= 1


@pytest.mark.parametrize("pad_left", [False, True])
@pytest.mark.parametrize("plan", [SMALL, Plan(method="none"), Plan(layers=(2,), keep=(0.0,), queries="last")], ids=str)
def test_a_batch_equals_its_samples(plan, pad_left):
    model = small_llava()
    alone = [small_inputs(model, before, after, seed) for before, after, seed in [(3, 5, 1), (1, 9, 2), (4, 4, 3)]]
    batch = model.generate(together(*alone, pad_left=pad_left), plan, max_new_tokens=6)
    for number, inputs in enumerate(alone):
        single = model.generate(inputs, plan, max_new_tokens=6)
        torch.testing.assert_close(batch.run.logits[number], single.run.logits[0], atol=1e-4, rtol=0)
        assert batch.token_ids[number] == single.token_ids[0]
        assert batch.run.traces[number].died_at.tolist() == single.run.trace.died_at.tolist()


def test_interleaved_runs_equal_separate_runs(tiny, tiny_inputs):
    plans = [DUET, Plan(method="none"), Plan(method="random", dominant=40, contextual=8, layers=(3,), keep=(0.5,))]
    separate = [tiny.generate(tiny_inputs(0), plan, 6) for plan in plans]
    runs = [tiny.prefill(tiny_inputs(0), plan) for plan in plans]
    steps = [running.decode(tiny.backbone, run, 6) for run in runs]
    interleaved = list(zip(*(next_tokens for next_tokens in zip(*steps, strict=True)), strict=True))
    for run, ids, alone in zip(runs, interleaved, separate, strict=True):
        assert torch.equal(run.logits, alone.run.logits)
        assert [token for (token,) in ids] == alone.token_ids[0]


def test_decoding_with_the_cache_equals_recomputing_without(tiny, tiny_inputs):
    inputs = tiny_inputs(0)
    asked = list(range(590, 600))
    ids = tiny.generate(inputs, DUET, 5, query_positions=asked).token_ids[0]
    for n in range(1, 5):
        longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], torch.tensor([ids[:n]])], dim=1)}
        again = tiny.prefill(longer, DUET, query_positions=asked)
        assert again.logits.argmax().item() == ids[n]


def test_sdpa_equals_eager(tiny_inputs):
    eager = AutoModelForImageTextToText.from_pretrained(TINY, attn_implementation="eager").eval()
    wrapped = duet_core.Model("eager", duet_core.backbones.wrap(eager), None)
    sdpa = duet_core.open_model(str(TINY), device="cpu", dtype="float32")
    for plan in (DUET, Plan(method="none")):
        a, b = wrapped.generate(tiny_inputs(1), plan, 4), sdpa.generate(tiny_inputs(1), plan, 4)
        torch.testing.assert_close(a.run.logits, b.run.logits, atol=1e-4, rtol=0)
        assert a.token_ids == b.token_ids


@pytest.mark.parametrize("method", METHODS)
def test_bf16_runs_and_stays_near_fp32(tiny_inputs, method):
    half = duet_core.open_model(str(TINY), device="cpu", dtype="bfloat16")
    run = half.generate(tiny_inputs(0), half.plan(method, budget=64), 3).run
    full = duet_core.open_model(str(TINY), device="cpu", dtype="float32")
    reference = full.prefill(tiny_inputs(0), full.plan(method, budget=64))
    assert run.logits.dtype == torch.bfloat16
    assert run.trace.tokens_per_layer == reference.trace.tokens_per_layer
    alike = torch.nn.functional.cosine_similarity(run.logits.float(), reference.logits)
    # Where two patches score nearly alike, rounding may let the other one stay, and random weights make much of it.
    same = (run.trace.died_at == reference.trace.died_at).all() and (run.trace.joined == reference.trace.joined).all()
    assert alike.item() > (0.99 if same else 0.85 if method in CHAINS else 0.95)


@pytest.mark.parametrize("method", METHODS)
def test_every_tensor_is_made_on_the_models_device(method, monkeypatch):
    """On the meta device a tensor made elsewhere cannot mix in: a forgotten `device=` fails as it would on a GPU."""
    model = small_llava()
    inputs = small_inputs(model)
    model.backbone.model.to("meta")
    monkeypatch.setattr(running, "record_all", lambda *_: (None,))
    plan = replace(model.plan(method, budget=6), queries="all_text")
    run = model.prefill(inputs, plan)
    assert run.logits.device.type == "meta" and run.logits.shape == (1, 100)
    token = torch.zeros(1, dtype=torch.long, device="meta")
    assert running.next_tokens(model.backbone, run, token, 0).device.type == "meta"


@pytest.mark.parametrize("method", METHODS)
def test_every_patch_has_one_fate_and_a_home(tiny, tiny_inputs, method):
    trace = tiny.prefill(tiny_inputs(0), tiny.plan(method, budget=64)).trace
    dropped = trace.fate == 3
    assert ((trace.joined == -1) == dropped).all()
    assert (trace.died_at[dropped] == 0).all() and (trace.died_at[~dropped] != 0).all()
    assert (trace.fate[trace.joined[trace.fate == 2]] == 1).all()
    own = trace.fate <= 1
    assert own.sum() in (trace.entering, trace.entering - 1)  # DUET feeds CLS, which is no patch
    followers = trace.fate == 2
    assert (trace.died_at[followers] == trace.died_at[trace.joined[followers]]).all()


def test_the_trace_follows_its_patches(tiny, tiny_inputs):
    """Survivors after each step, as labels tell them, are as many tokens as the layer saw."""
    run = tiny.prefill(tiny_inputs(0), DUET)
    for step, drop in enumerate(run.trace.drops, start=2):
        tokens = {
            j for j, label in zip(run.trace.joined, run.trace.labels(step), strict=True) if "dropped" not in label
        }
        assert len(tokens) in (run.trace.tokens_per_layer[drop.layer], run.trace.tokens_per_layer[drop.layer] - 1)


def test_query_positions_replace_the_rule(tiny, tiny_inputs):
    last = tiny_inputs(0)["input_ids"].shape[1] - 1
    by_rule = tiny.prefill(tiny_inputs(0), Plan(dominant=85, contextual=17, layers=(4,), keep=(0.5,), queries="last"))
    everything = Plan(dominant=85, contextual=17, layers=(4,), keep=(0.5,), queries="all_text")
    by_hand = tiny.prefill(tiny_inputs(0), everything, query_positions=[last])
    assert torch.equal(by_rule.logits, by_hand.logits)


def test_two_pictures_in_one_prompt(tiny, tiny_hf, tiny_inputs):
    a, b = tiny_inputs(0), tiny_inputs(1)
    inputs = {
        "input_ids": torch.cat([a["input_ids"], b["input_ids"]], dim=1),
        "pixel_values": torch.cat([a["pixel_values"], b["pixel_values"]]),
    }
    with torch.inference_mode():
        theirs = tiny_hf(**inputs).logits[:, -1]
    run = tiny.prefill(inputs, Plan(method="none"))
    torch.testing.assert_close(run.logits, theirs, atol=1e-4, rtol=0)
    reduced = tiny.prefill(inputs, DUET).trace
    assert reduced.grid.frames == 2 and reduced.entering == 2 * 102 and reduced.full == 2 * 576


def test_cls_only_where_the_model_feeds_it(tiny_inputs):
    model = small_llava()
    model.backbone.model.config.vision_feature_select_strategy = "full"
    inputs = small_inputs(model)
    assert model.size.tokens == 17
    with torch.inference_mode():
        theirs = model.backbone.model(**inputs).logits[:, -1]
    torch.testing.assert_close(model.prefill(inputs, Plan(method="none")).logits, theirs, atol=1e-4, rtol=0)


def test_wrong_numbers_are_told(tiny, tiny_inputs):
    inputs = tiny_inputs(0)
    short = {**inputs, "input_ids": inputs["input_ids"][:, :400]}
    with pytest.raises(duet_core.PictureError, match="390 picture tokens"):
        tiny.prefill(short, Plan(method="none"))
    with pytest.raises(duet_core.PlanError, match="from 1 to 7"):
        tiny.prefill(inputs, Plan(layers=(8,), keep=(0.5,)))
    with pytest.raises(duet_core.QuestionError, match="position 20"):
        tiny.prefill(inputs, DUET, query_positions=[20])
    with pytest.raises(duet_core.ModelError, match="no processor"):
        tiny.ask(None, "What?", Plan(method="none"))


def test_no_model_of_that_name():
    with pytest.raises(duet_core.ModelNotFound, match="duet-mini"):
        duet_core.open_model("no-such-model")
