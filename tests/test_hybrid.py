"""The tiny hybrid: its recurrence, its memory, how tokens are scored and dropped, its training and its bench."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duet_core import DuetError, PlanError
from duet_core.bench import state
from duet_core.bench.cli import main as bench
from duet_core.errors import ModelNotFound
from duet_core.hybrid import FOLDER, Shape, TokenModel, load_model, save_model
from duet_core.hybrid.layers import AttentionLayer, State, StateLayer, repeated
from duet_core.hybrid.reduce import Prompt, at_random, before, by_text, cliff, run, schedule, standardised
from duet_core.hybrid.scan import Inputs, empty_state, scan, weights
from duet_core.hybrid.words import PER_FRAME, VISUAL, VOCABULARY, compose, questions, speak, tell
from duet_core.train.hybrid import main as train
from duet_core.train.loop import read_log

FULL = [VISUAL] * 8


def inputs(seed: int, tokens: int, batch: int = 2, heads: int = 3, width: int = 4, size: int = 5) -> Inputs:
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    steps = some(batch, heads, tokens).exp()
    return Inputs(
        some(batch, heads, tokens, width),
        steps,
        -some(heads).exp(),
        some(batch, tokens, size),
        some(batch, tokens, size),
    )


def naive(given: Inputs, held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The recurrence word for word, token by token."""
    read = []
    for t in range(given.x.shape[2]):
        dt = given.dt[:, :, t, None, None]
        added = given.x[:, :, t, :, None] * given.b[:, None, t, None, :]
        held = (dt * given.a[:, None, None]).exp() * held + dt * added
        read.append((held * given.c[:, None, t, None, :]).sum(-1))
    return torch.stack(read, 2), held


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 41))
def test_scan_is_the_recurrence_whatever_the_chunk_and_the_state_before(seed, tokens, chunk):
    own = inputs(seed, tokens)
    began = torch.randn(empty_state(own).shape, dtype=torch.float64)
    for one, other in zip(scan(own, began, chunk), naive(own, began), strict=True):
        torch.testing.assert_close(one, other)


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_what_a_token_reads_is_a_weighted_sum_of_all_so_far(seed, tokens):
    """The implicit attention, its terms written out one by one."""
    own = inputs(seed, tokens, batch=1, heads=2)
    y, _ = scan(own, empty_state(own), 7)
    torch.testing.assert_close(weights(own) @ own.x, y)
    h, t = 1, tokens - 1
    terms = [
        own.c[0, t] @ own.b[0, j] * (own.dt[0, h, j + 1 :].sum() * own.a[h]).exp() * own.dt[0, h, j] * own.x[0, h, j]
        for j in range(tokens)
    ]
    torch.testing.assert_close(torch.stack(terms).sum(0), y[0, h, t])


def test_weights_equal_hand_worked_numbers():
    """C.B is 2 and -3, dt is 1/2 and 2, a is -ln 2: after the second token a quarter is left of the first."""
    one, half = torch.ones(1, 1, 2, 1), torch.tensor([[[0.5, 2.0]]])
    own = Inputs(
        one, half, torch.tensor([-np.log(2.0)]).float(), torch.tensor([[[1.0], [-1.5]]]), torch.full((1, 2, 1), 2.0)
    )
    assert weights(own, decay=False)[0, 0].tolist() == [[1.0, 0.0], [1.0, -6.0]]
    torch.testing.assert_close(weights(own)[0, 0], torch.tensor([[1.0, 0.0], [0.25, -6.0]]))


def test_scores_are_means_over_words_and_heads(monkeypatch):
    """Two heads, two visual tokens and one word; rows that are no text do not count."""
    layer = StateLayer(32)
    steps = torch.tensor([[[1.0, 2.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]])
    b, c = torch.tensor([[[1.0], [-2.0], [0.0], [0.0]]]), torch.tensor([[[9.0], [9.0], [0.5], [9.0]]])
    own = Inputs(torch.zeros(1, 2, 4, 1), steps, torch.tensor([-1.0, -1.0]), b, c)
    monkeypatch.setattr(layer, "project", lambda hidden: (own, hidden))
    text = torch.tensor([[False, False, True, False]])
    taken = layer.taken(torch.zeros(1, 4, 32), torch.zeros(1, 4), text)
    torch.testing.assert_close(taken[0, :2], torch.tensor([(0.5 * 1 + 0.5 * 3) / 2, (1.0 * 2 + 0.0) / 2]))
    faded = layer.taken(torch.zeros(1, 4, 32), torch.zeros(1, 4), text, decay=True)
    torch.testing.assert_close(faded[0, :2], torch.tensor([(0.5 * np.exp(-2.0) + 1.5) / 2, 1.0]).float())


def test_attention_of_a_word_is_shared_out_among_what_it_sees():
    layer, hidden = AttentionLayer(64), torch.randn(2, 6, 64)
    text = torch.tensor([[False] * 4 + [True] * 2] * 2)
    taken = layer.taken(hidden, torch.arange(6).expand(2, -1), text)
    torch.testing.assert_close(taken.sum(1), torch.ones(2))


def test_standardised_scores():
    torch.testing.assert_close(standardised(torch.tensor([[1.0, 3.0]])), torch.tensor([[-1.0, 1.0]]))
    assert standardised(torch.ones(1, 3)).tolist() == [[0.0] * 3]


@pytest.fixture(scope="module")
def small() -> TokenModel:
    torch.manual_seed(0)
    return TokenModel(Shape(64, "ssas")).eval()


def prompt(seed: int) -> Prompt:
    clip, rng = compose(seed)
    told, (texts, _) = tell(clip, rng), speak(questions(clip, rng))
    return Prompt(told.expand(len(texts), -1, -1), torch.arange(VISUAL).expand(len(texts), -1), texts)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["s", "a"])
def test_no_token_sees_the_future(kind):
    torch.manual_seed(0)
    model = TokenModel(Shape(64, kind * 2)).eval()
    hidden, places = torch.randn(1, 50, 64), torch.arange(50)[None]
    changed = hidden.clone()
    changed[:, 40:] = 0.0
    one, other = model(hidden, places)[0], model(changed, places)[0]
    torch.testing.assert_close(one[:, :40], other[:, :40])
    assert not torch.allclose(one[:, 40:], other[:, 40:])


@torch.no_grad()
def test_going_on_from_a_memory_is_reading_all_at_once(small):
    hidden, places = torch.randn(2, 50, 64), torch.arange(50).expand(2, -1)
    whole, _ = small(hidden, places)
    _, memory = small(hidden[:, :37], places[:, :37])
    memory = [repeated(own, 2) for own in memory]
    rest, _ = small(hidden[:, 37:].repeat_interleave(2, 0), places[:, 37:].repeat_interleave(2, 0), memory)
    torch.testing.assert_close(rest[::2], whole[:, 37:])
    torch.testing.assert_close(rest[1::2], whole[:, 37:])


@torch.no_grad()
def test_what_was_dropped_stays_in_the_states_of_earlier_layers(small):
    own = prompt(3)
    full, less = (run(small, own, counts, by_text()) for counts in ([80] * 4, [80, 80, 9, 9]))
    for number in (0, 1):
        for one, other in zip(full.memory[number], less.memory[number], strict=True):
            assert torch.equal(one, other)
    assert isinstance(full.memory[3], State)
    assert not torch.allclose(full.memory[3].state, less.memory[3].state)
    # Those that go on are the ones that the text took most of in the layer before, in their old order and places.
    best = less.scores[1].topk(9).indices.sort(1).values
    assert torch.equal(less.kept[2], best)
    assert less.memory[2].key.shape[2] == 9 + own.texts.shape[1]


@torch.no_grad()
def test_dropping_nothing_changes_nothing_and_what_stays_before_the_model_is_whole(small):
    own = prompt(4)
    hidden = torch.cat([small.embed(own.clips), small.embed(own.texts)], 1)
    plain, _ = small(hidden, torch.arange(hidden.shape[1]).expand(len(hidden), -1))
    full = run(small, own, [VISUAL] * 4, at_random(0))
    torch.testing.assert_close(full.logits, small.answer(plain))
    left = before(small, own, 7, by_text())
    assert left.clips.shape == (len(own.clips), 7, 3)
    assert torch.equal(left.clips, own.clips.gather(1, left.places[..., None].expand(-1, -1, 3)))


@given(st.floats(1 / 8, 1.0))
def test_the_schedule_falls_and_has_the_mean_that_was_asked_for(share):
    counts = schedule(share, 8, VISUAL)
    assert counts[0] == VISUAL and len(counts) == 8
    assert abs(sum(counts) / 8 - share * VISUAL) < 1
    assert all(0 <= late <= early for early, late in pairwise(counts))
    assert abs(sum(cliff(share, 8, VISUAL)) / 8 - share * VISUAL) < 1


def test_a_share_that_the_first_layer_exceeds_is_refused():
    with pytest.raises(PlanError, match=r"0\.1; with 8 layers it must be between 0\.125 and 1"):
        schedule(0.1, 8, VISUAL)


@given(st.integers(0, 10_000))
def test_a_clip_in_words_tells_every_thing_in_every_frame(seed):
    clip, rng = compose(seed)
    words = [[VOCABULARY[word] for word in row] for row in tell(clip, rng).tolist()]
    for frame in range(8):
        rows = words[frame * PER_FRAME : (frame + 1) * PER_FRAME]
        assert {row[2] for row in rows} == {f"frame {frame}"}
        shown = {actor.name for actor in clip.actors if actor.seen[frame]}
        assert {row[0] for row in rows} - {clip.background} == shown
    texts, answers = speak(asked := questions(clip, rng))
    for question, text, answer in zip(asked, texts, answers, strict=True):
        kind, *rest = [VOCABULARY[word] for word in text[-1]]
        assert (kind, rest) == (question.kind, [dict(question.slots).get("name", ""), "?"])
        assert VOCABULARY[answer] == question.answer


def test_a_short_training_lowers_the_loss_and_goes_on_where_it_stopped(tmp_path):
    options = [
        "--short",
        "--threads",
        "1",
        "--only",
        "hybrid",
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path),
    ]
    assert train(options) == 0
    rows = [row for row in read_log(tmp_path / "runs/hybrid") if "losses" in row]
    assert rows[-1]["losses"]["loss"] < 0.8 * rows[0]["losses"]["loss"]
    assert train(options) == 0
    assert len([row for row in read_log(tmp_path / "runs/hybrid") if "losses" in row]) == len(rows)
    assert load_model(tmp_path / "hybrid.safetensors").shape == Shape()


def test_weights_come_back_as_they_were_written(tmp_path, small):
    save_model(small, tmp_path / "one.safetensors")
    again = load_model(tmp_path / "one.safetensors")
    assert again.shape == small.shape
    torch.testing.assert_close(again.words.weight, small.words.weight.bfloat16().float())
    with pytest.raises(ModelNotFound, match="train hybrid"):
        load_model(tmp_path / "none.safetensors")


@torch.no_grad()
@pytest.mark.parametrize("name", state.MODELS)
def test_the_shipped_models_answer_about_unseen_clips(name):
    model = load_model(FOLDER / f"{name}.safetensors")
    right = []
    for seed in range(20_000, 20_050):
        clip, rng = compose(seed)
        told, (texts, answers) = tell(clip, rng), speak(questions(clip, rng))
        places = torch.arange(VISUAL).expand(len(texts), -1)
        logits = run(model, Prompt(told.expand(len(texts), -1, -1), places, texts), FULL, at_random(0)).logits
        right += (logits.argmax(-1) == answers).tolist()
    assert np.mean(right) > 0.9  # always the likeliest answer to a kind of question: 0.42


def test_the_models_are_small_and_alike():
    sizes = [
        sum(weight.numel() for weight in load_model(FOLDER / f"{name}.safetensors").parameters())
        for name in state.MODELS
    ]
    assert max(sizes) < 1.05 * min(sizes)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4 * 2**20


def test_the_bench_tells_both_models_and_every_method(tmp_path, capsys):
    files = {name: tmp_path / f"state.{end}" for name, end in (("json", "json"), ("table", "md"), ("plot", "png"))}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert bench(["state", "--n", "2", "--budgets", "full,75%", *options]) == 0
    report = json.loads(files["json"].read_text())
    assert "[interpretation]" in report["interpretation"]
    hybrid = [row for row in report["rows"] if row["model"] == "hybrid"]
    assert [row["method"] for row in hybrid] == ["none", *state.METHODS]
    assert len(report["rows"]) == 2 * len(hybrid) - 1  # the twin has no decay to leave out
    assert all(row["full_tokens"] == VISUAL and abs(row["tokens"] - 20) < 1 for row in hybrid[1:])
    assert {pair["other_method"] for pair in report["pairs"]} >= {"random", "before, by the text", "by the text"}
    assert files["table"].read_text().strip() == capsys.readouterr().out.strip()
    assert files["plot"].stat().st_size > 1000


@pytest.mark.parametrize(
    ("budget", "said"),
    [("90%", "between 0.125 and 1"), ("100%", "more than 0"), ("some", "cannot be read")],
)
def test_bad_budgets_get_their_sentence(budget, said):
    with pytest.raises(DuetError, match=said):
        bench(["state", "--n", "1", "--budgets", budget])
