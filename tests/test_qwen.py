"""Qwen2.5-VL: the recorded reference, transformers' own model, and tokens that stay in their places."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration

import duet_core
from duet_core import Plan, PlanError, boundary
from duet_core.errors import PictureError
from duet_core.methods import METHODS
from duet_core.plan import Size
from duet_core.trace import Fate
from tests.conftest import GOLDEN
from tests.qwen_folder import write_folder

CHECKPOINT, ATOL, IMAGE = GOLDEN / "tiny_qwen25vl_hf", 1e-4, 990
CASES = {
    "stage1_abs": Plan(dominant=30, contextual=8, cluster_width=4, queries="all_text"),
    "duet_one_stage": Plan(dominant=40, contextual=8, cluster_width=4, layers=(4,), keep=(0.5,), queries="all_text"),
}


@pytest.fixture(scope="module")
def ours() -> duet_core.Model:
    return duet_core.open_model(str(CHECKPOINT), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def theirs() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(CHECKPOINT).eval()


def golden_inputs() -> dict[str, torch.Tensor]:
    data = load_file(GOLDEN / "qwen_inputs.safetensors")
    return {name: value.float() if value.is_floating_point() else value.long() for name, value in data.items()}


def inputs(pictures: int = 1, samples: int = 1, rows: int = 6, cols: int = 8) -> dict[str, torch.Tensor]:
    """Random prompts with random pictures of rows x cols visual tokens; every sample has `pictures` of them."""
    draw = torch.Generator().manual_seed(pictures)
    text = torch.randint(3, 900, (samples, 4 + pictures + 5), generator=draw)
    shown = [torch.cat([torch.full((samples, rows * cols), IMAGE), text[:, 4 + k : 5 + k]], 1) for k in range(pictures)]
    ids = torch.cat([text[:, :4], *shown, text[:, 4 + pictures :]], 1)
    grid = torch.tensor([[1, 2 * rows, 2 * cols]] * pictures * samples)
    return {
        "input_ids": ids,
        "pixel_values": torch.randn(4 * rows * cols * pictures * samples, 1176, generator=draw),
        "image_grid_thw": grid,
    }


def as_transformers_takes_them(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return given | {"mm_token_type_ids": (given["input_ids"] == IMAGE).int()}


def test_golden_vision(golden, ours):
    _, data = golden("qwen_e2e")
    with torch.inference_mode():
        seen = ours.backbone.see(ours.backbone.eye(clip=False), golden_inputs())
        evidence = ours.backbone.evidence(seen)
    assert seen.rows_cols == (8, 10)
    torch.testing.assert_close(seen.features[0], data["vision/features"], atol=ATOL, rtol=0)
    torch.testing.assert_close(evidence.scores[0], data["vision/score"], atol=ATOL, rtol=0)
    torch.testing.assert_close(evidence.keys[0], data["vision/key"], atol=ATOL, rtol=0)


def without_causal_mask(q: torch.Tensor, k: torch.Tensor, queries: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Stage 2's score as the published code computes it for this family: query tokens see what follows them."""
    keys = k.repeat_interleave(q.shape[0] // k.shape[0], 0)
    return (q @ keys.transpose(1, 2)).float().softmax(-1).mean((0, 1))[visual]


def test_our_scores_keep_the_causal_mask(golden, ours):
    """The published code forgets it here; ours does not, so its scores differ from the recorded ones."""
    _, data = golden("qwen_e2e")
    (cut,) = ours.prefill(golden_inputs(), CASES["duet_one_stage"]).state.cuts
    recorded = data["duet_one_stage/drop0/scores"]
    assert cut.scores[0].sum() > recorded.sum() + 0.05, "what follows a query token takes no attention away"


@pytest.mark.parametrize("case", CASES)
def test_golden(golden, ours, case, monkeypatch):
    """All that is recorded, with the scores of the published code."""
    monkeypatch.setattr(boundary, "text_to_vision", without_causal_mask)
    settings, data = golden("qwen_e2e")
    made = ours.generate(golden_inputs(), CASES[case], max_new_tokens=8)
    own = {key.removeprefix(f"{case}/"): value for key, value in data.items() if key.startswith(case)}
    fate, joined = torch.tensor(made.run.trace.fate), torch.tensor(made.run.trace.joined).long()
    assert torch.equal((fate == Fate.DOMINANT).nonzero().flatten(), own["dominant_idx"].long())
    assert torch.equal((fate == Fate.ANCHOR).nonzero().flatten(), own["anchor_idx"].long().sort().values)
    assert torch.equal(joined[own["merge_idx"].long()], own["anchor_idx"].long()[own["assign"].long()])
    assert [counts[0] for counts in made.run.state.lengths] == settings[case]["seq_len_per_layer_input"]
    if settings[case]["drops"]:
        cut = made.run.state.cuts[0]
        assert torch.equal(cut.kept[0] + settings[case]["first"], own["drop0/kept_seq_idx"].long())
        torch.testing.assert_close(cut.scores[0], own["drop0/scores"], atol=ATOL, rtol=0)
    torch.testing.assert_close(made.run.logits[0], own["logits_last"], atol=ATOL, rtol=0)
    assert made.token_ids[0] == own["greedy"].tolist()
    assert made.run.state.cache.lengths == settings[case]["cache_len_per_layer_end"]


@pytest.mark.parametrize("given", [golden_inputs(), inputs(), inputs(pictures=3), inputs(samples=2)])
@torch.no_grad()
def test_keeping_everything_equals_transformers(ours, theirs, given):
    made = ours.generate(given, Plan(method="none"), max_new_tokens=5)
    whole = as_transformers_takes_them(given)
    torch.testing.assert_close(made.run.logits, theirs(**whole).logits[:, -1], atol=ATOL, rtol=0)
    more = theirs.generate(**whole, max_new_tokens=5, do_sample=False)[:, given["input_ids"].shape[1] :]
    wanted = [row[: row.index(2) + 1] if 2 in row else row for row in more.tolist()]
    assert made.token_ids == wanted


def test_an_encoder_that_cannot_look_again_says_so(ours):
    with pytest.raises(PlanError, match="another size"):
        ours.prefill(inputs(), ours.plan("smaller", budget=20, encoded=encoded(ours, inputs())))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "smaller"])
def test_a_batch_equals_its_samples(ours, method):
    both = inputs(samples=2)
    plan = ours.plan(method, budget=20, encoded=encoded(ours, both))
    together = ours.prefill(both, plan)
    patches = len(both["pixel_values"]) // 2
    for number in range(2):
        alone = {
            "input_ids": both["input_ids"][number : number + 1],
            "pixel_values": both["pixel_values"][number * patches : (number + 1) * patches],
            "image_grid_thw": both["image_grid_thw"][:1],
        }
        run = ours.prefill(alone, plan)
        torch.testing.assert_close(together.logits[number], run.logits[0], atol=ATOL, rtol=0)
        assert method == "none" or abs(run.trace.average_tokens - 20) <= 1


def encoded(model: duet_core.Model, given: dict[str, torch.Tensor]):
    """What `Model.encode` would return, without a processor."""
    eye = model.backbone.eye(clip=False)
    with torch.inference_mode():
        seen = model.backbone.see(eye, given)
    grid = duet_core.grid.Grid(1, *seen.rows_cols, (80, 60), (0, 0, 80, 60))
    return duet_core.Encoded(eye, seen, grid, model.layers, 0.0)


def test_kept_tokens_stay_in_their_places_and_keep_their_positions(ours):
    given, plan = golden_inputs(), CASES["stage1_abs"]
    run = ours.prefill(given, plan)
    fate = torch.tensor(run.trace.fate)
    kept = ((fate == Fate.DOMINANT) | (fate == Fate.ANCHOR)).nonzero().flatten()
    whole = ours.backbone.positions(given["input_ids"][0], (8, 10))
    assert run.state.following.tolist() == [[int(whole.max()) + 1]] * 3
    assert run.trace.entering == len(kept) == 38


def test_decoding_with_the_cache_equals_recomputing(ours):
    given, plan = inputs(), CASES["duet_one_stage"]
    after = list(range(4 + 48, given["input_ids"].shape[1]))
    first, second = ours.generate(given, plan, max_new_tokens=2).token_ids[0]
    ids = torch.cat([given["input_ids"], torch.tensor([[first]])], 1)
    longer = ours.prefill(given | {"input_ids": ids}, plan, query_positions=after)
    assert longer.logits.argmax(-1).item() == second


def test_bf16_runs(ours):
    half = duet_core.open_model(str(CHECKPOINT), device="cpu", dtype="bfloat16")
    run = half.prefill(inputs(), CASES["duet_one_stage"])
    assert run.logits.dtype == torch.bfloat16 and run.logits.isfinite().all()


def test_pictures_tell_how_many_tokens_they_have(ours):
    assert encoded(ours, inputs()).size == Size(48, 8)
    assert encoded(ours, golden_inputs()).size == Size(80, 8)
    with pytest.raises(PlanError, match="encoded"):
        ours.plan(budget=20)
    mixed = inputs(pictures=2)
    mixed["image_grid_thw"] = torch.tensor([[1, 12, 16], [1, 16, 12]])
    with pytest.raises(PictureError, match="2 different sizes"):
        ours.prefill(mixed, Plan(method="none"))


# With a processor


@pytest.fixture(scope="module")
def asked(tmp_path_factory, theirs) -> duet_core.Model:
    folder = tmp_path_factory.mktemp("qwen")
    write_folder(folder, theirs)
    return duet_core.open_model(str(folder), device="cpu", dtype="float32")


@pytest.mark.parametrize("size", [(280, 168), (168, 280), (500, 500)])
def test_a_question_about_a_picture_of_any_shape(asked, size):
    photo = Image.new("RGB", size, "teal")
    encoded = asked.encode(photo)
    rows, cols = encoded.seen.rows_cols
    assert abs(cols / rows - size[0] / size[1]) < 0.4 and rows * cols <= 100
    assert encoded.grid.seen == (0, 0, *size)
    plan = asked.plan(reduction=0.6, encoded=encoded)
    answer = asked.ask(encoded, "What is in the middle?", plan, max_new_tokens=3)
    assert abs(answer.trace.average_tokens - 0.4 * rows * cols) <= 1
    assert len(answer.trace.fate) == answer.trace.full == rows * cols
    made = asked.prefill(asked.inputs(photo, "What is in the middle?"), Plan(method="none"))
    assert made.trace.full == rows * cols
