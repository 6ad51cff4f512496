"""CDPruner's relevance from a CLIP text tower, on small random checkpoints of the real classes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from duet_core import PlanError, running
from duet_core.layout import Request
from duet_core.looking import look_of
from duet_core.methods.asked import fit, stretched
from duet_core.text_tower import FOLDER
from duet_core.timing import Stopwatch
from tests.conftest import small_inputs, small_llava
from tests.test_methods_before import COMPASS, close, look_at, select

WORDS = ["<start>", "<end>", "where", "is", "the", "cat", "blue", "?"]
LONG = " ".join(["where is the cat"] * 5)  # 20 tokens, three chunks of 8


def clip_model(folder, grid: int = 6) -> CLIPModel:
    """Save a random CLIP model whose image encoder is shaped as that of `small_llava`, and its tokenizer."""
    torch.manual_seed(1)
    text = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"vocab_size": len(WORDS), "max_position_embeddings": 10, "bos_token_id": 0, "eos_token_id": 1}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision |= {"image_size": 8 * grid, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()
    torch.nn.init.normal_(model.vision_model.post_layernorm.weight)
    model.save_pretrained(folder)
    bare = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<end>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    own = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<end>", bos_token="<start>", eos_token="<end>")
    own.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small LLaVA that believes it came from a folder; there is no tower in it yet."""
    opened = small_llava(grid=6, depth=4)
    opened.backbone.model.name_or_path = str(tmp_path_factory.mktemp("model"))
    return opened


def looked(model, texts=("where is the cat ?", LONG)):
    """What a method may look at of two pictures with a question each."""
    both = [small_inputs(model, seed=seed) for seed in (1, 2)]
    inputs = {"pixel_values": torch.cat([own["pixel_values"] for own in both])}
    requests = [Request(own["input_ids"][0].tolist(), None, text) for own, text in zip(both, texts, strict=True)]
    eye = model.backbone.eye(clip=False)
    with torch.inference_mode():
        seen = model.backbone.see(eye, inputs)
    return look_of(model.backbone, eye, seen, requests, running.deal_out(eye, seen, requests))


def test_relevance_is_minus_the_mean_cosine_with_the_chunks():
    """(1, 0) with (2, 0) and (0, 1): 1 and 0. (0.8, 0.6): 0.8 and 0.6. Stretched: -0.5 and -0.7 of [-0.7, 0.5]."""
    chunks = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    tower = SimpleNamespace(patches=lambda features: features, text=lambda text: chunks)
    look = replace(look_at(COMPASS, (2, 2)), texts=("where?",), tower=lambda folder: tower)
    close(fit(look, tower), [[-0.5, -0.5, -0.7, 0.5]])
    assert select("cdpruner", look, 1).places.tolist() == [[3]], "1 against 1/6, 1/6 and 0"
    assert select("cdpruner", look, 1, relevance="even").places.tolist() == [[0]]


@torch.inference_mode()
def test_the_tower_beside_the_model_decides_as_clip_itself_would(model, tmp_path):
    assert looked(model).tower(None) is None, "without a tower all count alike"
    theirs = clip_model(model.backbone.folder / FOLDER)
    look = looked(model)
    patches = theirs.visual_projection(theirs.vision_model.post_layernorm(look.patch_features))
    ids = [[2, 3, 4, 5, 7], [2, 3, 4, 5] * 5]
    expected = []
    for own, words in zip(patches, ids, strict=True):
        chunks = [torch.tensor([[0, *words[at : at + 8], 1]]) for at in range(0, len(words), 8)]
        said = torch.cat([theirs.text_projection(theirs.text_model(chunk).pooler_output) for chunk in chunks])
        expected.append(-torch.nn.functional.cosine_similarity(own[:, None], said[None], dim=-1).mean(1))
    tower = look.tower(None)
    close(fit(look, tower), torch.stack(expected), 1e-5)
    selection = select("cdpruner", look, 9)
    close(selection.fates().scores, stretched(torch.stack(expected)), 1e-4)
    assert not torch.equal(selection.places, select("cdpruner", look, 9, relevance="even").places)
    clip_model(tmp_path)
    given = select("cdpruner", look, 9, tower=str(tmp_path))
    assert torch.equal(given.places, selection.places), "the same tower by its folder"


def test_a_run_asks_the_tower_and_bare_ids_cannot(model):
    clip_model(model.backbone.folder / FOLDER)
    inputs, plan = small_inputs(model), model.plan("cdpruner", budget=10)
    eye = model.backbone.eye(clip=False)
    with torch.inference_mode():
        seen = model.backbone.see(eye, inputs)
    requests = [Request(inputs["input_ids"][0].tolist(), None, "where is the cat ?")]
    samples, watch = running.deal_out(eye, seen, requests), Stopwatch(model.backbone.device)
    entered = running.enter(model.backbone, eye, seen, plan, watch, requests, samples)
    trace = running.prefill(model.backbone, entered, requests, samples, plan, watch).trace
    assert trace.average_tokens == 10 and trace.stage1_scores.min() == 0 and trace.stage1_scores.max() == 1
    with pytest.raises(PlanError, match="own text"):
        model.prefill(inputs, plan)


def test_a_tower_that_is_none_of_this_encoder_is_refused(model, tmp_path):
    with pytest.raises(PlanError, match="holds no CLIP model"):
        select("cdpruner", looked(model), 9, tower=str(tmp_path / "nowhere"))
    clip_model(tmp_path, grid=5)
    with pytest.raises(PlanError, match="image_size is 40, but this model's is 48"):
        select("cdpruner", looked(model), 9, tower=str(tmp_path))
