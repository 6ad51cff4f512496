"""What the state keeps: a tiny hybrid and its attention-only twin, tokens dropped inside, before, or by lot.

Our reading of Stateful Token Reduction (2603.00198) on a toy of our own [interpretation]; no figure is the authors'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from duet_core.bench.accuracy import ALL_FAMILIES, FULL, Asked, Contestant, Sheet, read_budget
from duet_core.bench.exams import Exam
from duet_core.errors import PlanError
from duet_core.hybrid import FOLDER, TokenModel, load_model
from duet_core.hybrid.reduce import Choose, Prompt, at_random, before, by_text, cliff, run, schedule
from duet_core.hybrid.words import VISUAL, compose, questions, speak, tell
from duet_core.plan import Plan
from duet_core.scenes import Question

BUNDLED: Final = "duet-hybrid"
MODELS: Final = ("hybrid", "attention-only")
BY_TEXT: Final = "by the text"
EXAM: Final = Exam("clips told in words")

READING: Final = {"interpretation": " ".join((__doc__ or "").split())}
"""What every report says of itself."""

Answer = Callable[[TokenModel, Prompt, float, int], tuple[Tensor, float]]
"""Logits (B, V) and visual tokens per layer, from a model, a prompt, the share to keep and the seed of a lot."""


def _inside(choose: Callable[[int], Choose], course: Callable[[float, int, int], tuple[int, ...]] = schedule) -> Answer:
    def answer(model: TokenModel, prompt: Prompt, share: float, seed: int) -> tuple[Tensor, float]:
        counts = course(share, len(model.depth), VISUAL)
        return run(model, prompt, counts, choose(seed)).logits, sum(counts) / len(counts)

    return answer


def _before(choose: Callable[[int], Choose]) -> Answer:
    def answer(model: TokenModel, prompt: Prompt, share: float, seed: int) -> tuple[Tensor, float]:
        many = round(share * VISUAL)
        left = before(model, prompt, many, choose(seed))
        return run(model, left, (many,) * len(model.depth), at_random(seed)).logits, float(many)

    return answer


METHODS: Final[dict[str, Answer]] = {
    BY_TEXT: _inside(lambda seed: by_text()),
    "by the text, with decay": _inside(lambda seed: by_text(decay=True)),
    "random": _inside(at_random),
    "all, then none": _inside(lambda seed: by_text(), cliff),
    "before, by the text": _before(lambda seed: by_text()),
    "before, random": _before(at_random),
}
_ONLY_HYBRID = ("by the text, with decay",)


def measure_state(folder: str, budgets: Sequence[str], clips: int, seed: int) -> list[Sheet]:
    """Let both models of a folder (or the bundled ones) answer about the clips from `seed` on, at every budget."""
    shares = {budget: _share(budget) for budget in dict.fromkeys(budgets)}
    place = FOLDER if folder == BUNDLED else Path(folder)
    exam = list(_exam(clips, seed))
    return [
        sheet for name in MODELS for sheet in _sheets(name, load_model(place / f"{name}.safetensors"), shares, exam)
    ]


def _share(budget: str) -> float:
    if budget == FULL:
        return 1.0
    kept = read_budget(budget)
    share = 1 - kept["reduction"] if "reduction" in kept else kept["budget"] / VISUAL
    if not 0 < share <= 1:
        raise PlanError(
            f"The budget {budget} keeps {share:.0%} of the tokens; it must keep more than 0 and at most 100 %."
        )
    return share


Item = tuple[int, list[Question], Prompt, Tensor]
"""The seed of a clip, questions about it, both as words, and the answers (B,)."""


def _exam(clips: int, seed: int) -> Iterator[Item]:
    for own in range(seed, seed + clips):
        clip, rng = compose(own)
        told, asked = tell(clip, rng), questions(clip, rng)
        texts, answers = speak(asked)
        many = len(asked)
        places = torch.arange(VISUAL).expand(many, -1)
        yield own, asked, Prompt(told.expand(many, -1, -1), places, texts), answers


def _sheets(name: str, model: TokenModel, shares: dict[str, float], exam: Sequence[Item]) -> list[Sheet]:
    """One model's sheets: all tokens once, then every method at every budget."""
    asked = Asked.of([(str(seed), 0, _by_family(questions, np.ones(len(questions)))) for seed, questions, _, _ in exam])
    field = [(method, budget) for budget in shares for method in METHODS if budget != FULL]
    field = [one for one in field if name == MODELS[0] or one[0] not in _ONLY_HYBRID]
    field = [("none", FULL)] * (FULL in shares) + field
    sheets = []
    for method, budget in tqdm(field, desc=name, unit=" methods", disable=None):
        answer = METHODS[BY_TEXT if budget == FULL else method]
        right, tokens = _marked(model, exam, answer, shares[budget])
        one = Contestant(method, budget, Plan(method="none"))  # the engine's plan, which has no part here
        sheets.append(Sheet(EXAM, name, one, tokens, VISUAL, asked, right, np.zeros_like(right)))
    return sheets


@torch.no_grad()
def _marked(model: TokenModel, exam: Sequence[Item], answer: Answer, share: float) -> tuple[np.ndarray, float]:
    """Right answers per clip and family [S, F], and visual tokens per layer."""
    right, tokens = [], 0.0
    for seed, asked, prompt, truth in exam:
        logits, tokens = answer(model, prompt, share, seed)
        right.append(_by_family(asked, (logits.argmax(-1) == truth).numpy()))
    return np.array(right), tokens


def _by_family(asked: Sequence[Question], counted: np.ndarray) -> np.ndarray:
    families = [ALL_FAMILIES.index(question.family) for question in asked]
    return np.bincount(families, counted, len(ALL_FAMILIES)).astype(np.int64)
