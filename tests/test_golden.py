"""Every recorded case of the published reference, within its tolerances."""

from __future__ import annotations

import json

import pytest
import torch

from duet_core import Plan, decoder
from duet_core.boundary import Tokens
from duet_core.merging import entering_count, merge
from duet_core.methods.duet import Duet
from duet_core.question import salient_spans, tokens_under
from duet_core.timing import Stopwatch
from tests.conftest import GOLDEN, scoring

ATOL = 1e-4


def cases(name: str) -> list[str]:
    return [case for case in json.loads((GOLDEN / f"{name}.json").read_text()) if not case.startswith("_")]


@pytest.mark.parametrize("case", cases("stage1_function"))
def test_stage1(golden, case):
    settings, data = golden("stage1_function")
    given = {key.split("/")[1]: value for key, value in data.items() if key.startswith(case + "/")}
    numbers = [settings[case][name] for name in ("dominant", "contextual", "cluster_width")]
    scores = given["cls_attn_row"].sum(dim=1)
    scores[:, 0] = float("inf")
    merged = merge(given["hidden"], given["keys"], scores, *numbers)
    assert torch.equal(merged.dominant, given["dominant_idx_sorted"].long())
    assert torch.equal(merged.anchors, given["anchor_idx"].long())
    assert torch.equal(merged.members, given["merge_idx"].long())
    assert torch.equal(merged.assign, given["assign"].long())
    torch.testing.assert_close(merged.tokens, given["out_tokens"], atol=ATOL, rtol=0)
    assert merged.tokens.shape[1] == entering_count(scores.shape[1], *numbers[:2]) == settings[case]["n_out"]


@pytest.fixture(autouse=True)
def scores_everywhere(monkeypatch):
    monkeypatch.setattr(Duet, "at_layer", scoring(Duet.at_layer))


class Watched:
    """A decoder layer that remembers what it was given."""

    def __init__(self, layer):
        self.layer, self.given = layer, None

    def __call__(self, hidden, **kwargs):
        self.given = hidden
        return self.layer(hidden, **kwargs)

    def __getattr__(self, name):
        return getattr(self.layer, name)


class PartStack:
    """The golden model's language model from layer `first` to before layer `last`."""

    needs_causal_mask = takes_real_keys = False

    def __init__(self, backbone, first=0, last=None):
        self.backbone = backbone
        self.layers = [Watched(layer) for layer in backbone.layers[first:last]]

    def rotary(self, positions, like):
        return self.backbone.rotary(positions, like)

    def query_key(self, *args):
        return self.backbone.query_key(*args)

    def logits(self, hidden):
        return self.backbone.logits(hidden)


def tokens_of(embeds, pre, n, queries):
    batch, length, _ = embeds.shape
    visual = torch.arange(pre, pre + n)
    text = torch.tensor([i for i in range(length) if not pre <= i < pre + n])
    return Tokens(
        embeds, [length] * batch, [visual] * batch, [text] * batch,
        [torch.tensor(q) for q in queries], [torch.arange(n)] * batch,
    )  # fmt: skip


def queries_of(case, settings, length):
    """The reference's recorded query positions, or all text after the picture (before the answer, in training)."""
    drops = [drop for drop in settings["drops"] if drop["drop"] == 0]
    after = settings["pre"] + settings["N"]
    recorded = [drop["query_positions"] or list(range(after, after + drop["n_queries"])) for drop in drops]
    return recorded or [[length - 1]] * settings["B"]


PLAIN_STAGE2 = [case for case in cases("stage2_function") if case != "P_salient_idx_before_image"]


@pytest.mark.parametrize("case", PLAIN_STAGE2)
def test_stage2(golden, tiny, case):
    all_settings, data = golden("stage2_function")
    settings = all_settings[case]
    embeds = data[f"{case}/inputs_embeds"]
    stack = PartStack(tiny.backbone)
    tokens = tokens_of(embeds, settings["pre"], settings["N"], queries_of(case, settings, embeds.shape[1]))
    plan = Plan(layers=tuple(settings["layer_list"]), keep=tuple(settings["ratio_list"][1:]), dominant=None)
    with torch.inference_mode():
        state = decoder.prefill(stack, tokens, Duet(plan).at_layer, Stopwatch(torch.device("cpu")))
    check_drops(case, settings, data, state.cuts)
    torch.testing.assert_close(state.logits, data[f"{case}/logits_tail"][:, -1], atol=ATOL, rtol=0)
    for number, layer in enumerate(stack.layers):
        if f"{case}/hidden_{number}" in data:
            torch.testing.assert_close(layer.given, data[f"{case}/hidden_{number}"], atol=ATOL, rtol=0)
    assert [max(lengths) for lengths in state.lengths] == settings["seq_len_per_layer_input"]
    if f"{case}/greedy" in data:
        check_decoding(case, settings, data, tiny.backbone, state)


def check_drops(case, settings, data, cuts):
    for drop in settings["drops"]:
        cut, b = cuts[drop["drop"]], drop["b"]
        key = f"{case}/drop{drop['drop']}/b{b}"
        torch.testing.assert_close(cut.scores[b], data[f"{key}/scores"], atol=ATOL, rtol=0)
        assert torch.equal(cut.kept[b], data[f"{key}/kept_orig"].long())
        relative = torch.searchsorted(cut.before[b], cut.kept[b])
        assert torch.equal(relative, data[f"{key}/kept_rel"].long())


def check_decoding(case, settings, data, backbone, state):
    chosen = state.logits.argmax(dim=-1)
    for step, wanted in enumerate(data[f"{case}/greedy"].long().T):
        assert torch.equal(chosen, wanted)
        if step + 1 == data[f"{case}/greedy"].shape[1]:
            break
        with torch.inference_mode():
            logits = decoder.decode(PartStack(backbone), state, backbone.embed(chosen).unsqueeze(1), step)
        torch.testing.assert_close(logits, data[f"{case}/decode_logits"][:, step + 1], atol=ATOL, rtol=0)
        chosen = logits.argmax(dim=-1)
    assert state.cache.lengths == settings["cache_len_per_layer_end"]


def test_stage2_with_a_query_inside_the_picture(golden, tiny):
    """Case P: the reference shifts a salient word before the picture into it, so each leg is run with its positions."""
    case = "P_salient_idx_before_image"
    all_settings, data = golden("stage2_function")
    settings = all_settings[case]
    hidden, n, first, kept = data[f"{case}/inputs_embeds"], settings["N"], 0, torch.arange(settings["N"])
    for drop in settings["drops"]:
        tokens = tokens_of(hidden, settings["pre"], n, [drop["query_positions"]])
        layer = drop["after_layer"]
        leg = PartStack(tiny.backbone, first, layer + 1)
        plan = Plan(layers=(layer - first,), keep=(drop["n_keep"] / n,))
        with torch.inference_mode():
            state = decoder.prefill(leg, tokens, Duet(plan).at_layer, Stopwatch(torch.device("cpu")))
        key = f"{case}/drop{drop['drop']}/b0"
        torch.testing.assert_close(state.cuts[0].scores[0], data[f"{key}/scores"], atol=ATOL, rtol=0)
        assert torch.equal(state.cuts[0].kept[0], data[f"{key}/kept_rel"].long())
        kept = kept[state.cuts[0].kept[0]]
        assert torch.equal(kept, data[f"{key}/kept_orig"].long())
        hidden, n, first = leg.layers[-1].given, drop["n_keep"], layer
    rest = PartStack(tiny.backbone, first)
    tokens = tokens_of(hidden, settings["pre"], n, [[hidden.shape[1] - 1]])
    with torch.inference_mode():
        state = decoder.prefill(rest, tokens, lambda _: None, Stopwatch(torch.device("cpu")))
    torch.testing.assert_close(state.logits, data[f"{case}/logits_tail"][:, -1], atol=ATOL, rtol=0)


@pytest.mark.parametrize("case", cases("llava_e2e"))
def test_end_to_end(golden, tiny, tiny_inputs, case):
    all_settings, data = golden("llava_e2e")
    settings = all_settings[case]
    plan = Plan(
        dominant=settings["dominant"], contextual=settings["contextual"], layers=tuple(settings["layer_list"]),
        keep=tuple(settings["ratio_list"][1:]), queries="salient" if settings["use_salient_tokens"] else "all_text",
    )  # fmt: skip
    positions = None if settings["idxs"] is None else [place + 575 for place in settings["idxs"]]
    made = tiny.generate(tiny_inputs(0), plan, max_new_tokens=8, query_positions=positions)
    check_vision(case, data, made.run.trace)
    check_drops(case, settings, data, made.run.state.cuts)
    torch.testing.assert_close(made.run.logits[0], data[f"{case}/logits_last"], atol=ATOL, rtol=0)
    assert made.token_ids[0] == data[f"{case}/greedy"].tolist()
    assert made.run.state.cache.lengths == settings["cache_len_per_layer_end"]
    assert made.run.trace.entering == settings["n_visual_stage1"]


def check_vision(case, data, trace):
    """The trace counts patches from 0, the reference tokens from CLS = 0."""
    vision = {key.split("/")[2]: value.long() for key, value in data.items() if key.startswith(f"{case}/vision/")}
    fate, joined = torch.tensor(trace.fate), torch.tensor(trace.joined).long()
    assert torch.equal((fate == 0).nonzero().flatten() + 1, vision["dominant_idx"][1:])
    assert torch.equal((fate == 1).nonzero().flatten() + 1, vision["anchor_idx"].sort().values)
    members = vision["merge_idx"] - 1
    assert torch.equal(joined[members] + 1, vision["anchor_idx"][vision["assign"]])
    scores = data[f"{case}/vision/cls_scores"]
    torch.testing.assert_close(torch.tensor(trace.stage1_scores), scores, atol=ATOL, rtol=0)


REFERENCE_DIFFERS = {
    # repeated words: the reference keeps a set, we mark each occurrence
    "Where was this photo taken, and why do you think so? What time: morning or evening?": ["?"],
    "Which animal isn't running - the cat or the dog? The dog is brown.": ["dog"],
}


def test_salient_words():
    """Our list of closed-class words chooses as the reference's tagger does, but for the differences listed here."""
    for row in json.loads((GOLDEN / "salient_words.json").read_text())["rows"]:
        ours = [row["sentence"][start:end] for start, end in salient_spans(row["sentence"])]
        extra = REFERENCE_DIFFERS.get(row["sentence"], [])
        assert sorted(ours) == sorted(row["result"] + extra), row["sentence"]


def test_salient_positions_cover_the_words_and_nothing_else():
    """Offsets are exact: the tokens chosen spell the salient words, whatever the tokenizer's pieces are."""
    question = "What is the color of the large umbrella on the left?"
    offsets = [(i, min(i + 3, len(question))) for i in range(0, len(question), 3)]
    spans = salient_spans(question)
    chosen = tokens_under(spans, offsets)
    covered = {at for number in chosen for at in range(*offsets[number])}
    assert all(at in covered for span in spans for at in range(*span))
    assert all(any(offsets[n][0] < end and start < offsets[n][1] for start, end in spans) for n in chosen)
