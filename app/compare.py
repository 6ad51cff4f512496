"""Full against reduced: the words that differ, whether they agree, and the honest sentence about speed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from duet_core.bench.speed import PlanSpeed
from duet_core.timing import Spread

_CLEAR = 1.05  # a smaller gain in the median is not worth a claim


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an answer, and whether the other answer lacks it there."""

    text: str
    differs: bool


def agree(full: str, reduced: str) -> bool:
    """Whether two answers are the same but for spaces."""
    return full.split() == reduced.split()


def differing_words(full: str, reduced: str) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Return the words of both answers, each marked where the other answer has something else."""
    ours, theirs = full.split(), reduced.split()
    marks = [True] * len(ours), [True] * len(theirs)
    for block in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        marks[0][block.a : block.a + block.size] = [False] * block.size
        marks[1][block.b : block.b + block.size] = [False] * block.size
    return _words(ours, marks[0]), _words(theirs, marks[1])


def _words(texts: list[str], marks: list[bool]) -> tuple[Word, ...]:
    return tuple(Word(text, mark) for text, mark in zip(texts, marks, strict=True))


def speed_sentence(full: PlanSpeed, reduced: PlanSpeed, same: bool) -> str:
    """Say how much sooner the first word came, how much cache was saved, and whether the answer held.

    A gain or loss is claimed only where every interleaved run shows it and the median is clear.
    """
    parts = [_pace(reduced.first_token_ratio), _cache(full.kv_bytes, reduced.kv_bytes)]
    parts.append("same answer" if same else "a different answer")
    sentence = ", ".join(part for part in parts if part)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _pace(ratio: Spread) -> str:
    if ratio.low > 1.0 and ratio.median >= _CLEAR:
        return (
            f"first word {ratio.median:.1f}x sooner"
            if ratio.median >= 1.15
            else f"first word {ratio.median:.2f}x sooner"
        )
    if ratio.high < 1.0 and ratio.median <= 1 / _CLEAR:
        return f"no speed-up here: first word {1 / ratio.median:.2f}x later"
    return "no speed-up here"


def _cache(full: int, reduced: int) -> str:
    saved = 1 - reduced / full
    if saved < 0.005:
        return "no KV cache saved" if saved > -0.005 else f"{-saved:.0%} more KV cache".replace("%", " %")
    return f"{saved * 100:.0f} % less KV cache"
