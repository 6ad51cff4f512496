"""QueCC's scaling law (2411.03312): a larger model with fewer visual tokens, or a smaller one with more?

error(N, T) = A / N^a / T^c + d, with N parameters (in billions) and T visual tokens. A model of N parameters takes
2 N FLOPs a token, so at fixed inference FLOPs every N leaves just so many T.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from duet_core.errors import PlanError

MOST_TOKENS: Final = 576
ASSUMED: Final = {"a": 0.077, "c": 0.015, "d": 0.0}
"""Where the points do not identify a parameter: exponents by which size counts five times as much as tokens."""
_WIDEST, _STEPS, _ROUNDS = 2.0, 13, 16
_TOKENS_FOR_C, _POINTS_FOR_D, _SIZES_FOR_A = 3, 2, 2


@dataclass(frozen=True, slots=True)
class Point:
    """A published score in percent of a model of `billions` parameters with so many visual tokens; `flag`: a doubt."""

    billions: float
    tokens: int
    score: float
    flag: str = ""

    @property
    def error(self) -> float:
        """What is missing to 100 percent."""
        return 100.0 - self.score


_SLIP = "the published file has the same number for 4B and 7B, probably a copy slip"
RECORDED: Final = {
    "average": (Point(7, 1, 48.1), Point(7, 36, 51.4), Point(7, 576, 53.5)),
    "OCR-like": (Point(7, 1, 13.9), Point(7, 576, 34.6, _SLIP)),
}
"""What the paper's repository records, by kind of task."""


@dataclass(frozen=True, slots=True)
class Law:
    """The four numbers of the law; `assumed`: which of them the points do not identify.

    Where `a` is assumed, A is right for the points' own N only: from one N to another the law says what was assumed.
    """

    A: float
    a: float
    c: float
    d: float
    assumed: tuple[str, ...] = ()

    def error(self, billions: float, tokens: float) -> float:
        """Return the error in percent."""
        return self.A / billions**self.a / tokens**self.c + self.d


def unidentified(points: Sequence[Point]) -> tuple[str, ...]:
    """Return the parameters that so few points cannot tell: `a` needs two N, `c` three T, `d` two T."""
    sizes, tokens = ({getattr(point, name) for point in points} for name in ("billions", "tokens"))
    held = {"a": len(sizes) >= _SIZES_FOR_A, "c": len(tokens) >= _TOKENS_FOR_C, "d": len(tokens) >= _POINTS_FOR_D}
    return tuple(name for name, known in held.items() if not known)


def fit(points: Sequence[Point]) -> Law:
    """Return the law of least squares: a grid over the exponents, narrowed round by round, and A and d solved for each.

    No exponent is below 0. A PlanError where there is no point.
    """
    if not points:
        raise PlanError("A scaling law needs at least one point; give some.")
    assumed = unidentified(points)
    middle, reach = np.array([_WIDEST / 2, _WIDEST / 2]), _WIDEST / 2
    for _ in range(_ROUNDS):
        grids = [
            [ASSUMED[name]] if name in assumed else np.linspace(max(0.0, at - reach), at + reach, _STEPS)
            for name, at in zip("ac", middle, strict=True)
        ]
        best = min(product(*grids), key=lambda pair: _solved(points, pair, assumed)[2])
        middle, reach = np.array(best), reach / 3
    big, rest, _ = _solved(points, best, assumed)
    return Law(big, float(best[0]), float(best[1]), rest, assumed)


def _solved(
    points: Sequence[Point], exponents: tuple[float, float], assumed: Sequence[str]
) -> tuple[float, float, float]:
    """Return A, d and the sum of squares for given exponents; d lies in 0 to the least error."""
    a, c = exponents
    x = np.array([1.0 / point.billions**a / point.tokens**c for point in points])
    y = np.array([point.error for point in points])
    d = ASSUMED["d"]
    if "d" not in assumed and np.ptp(x) > 0:
        slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
        d = float(np.clip(y.mean() - slope * x.mean(), 0.0, y.min()))
    big = float(max(0.0, (x * (y - d)).sum() / (x * x).sum()))
    return big, d, float(((big * x + d - y) ** 2).sum())


@dataclass(frozen=True, slots=True)
class Choice:
    """A model of so many parameters with so many visual tokens, and the error that a law gives it."""

    billions: float
    tokens: int
    error: float


def choices(law: Law, flops: float, sizes: Sequence[float], text: int = 0) -> list[Choice]:
    """Return of every size that the FLOPs allow, in order, the most visual tokens beside `text` other tokens."""
    counts = [(size, min(MOST_TOKENS, int(flops / (2e9 * size)) - text)) for size in sizes]
    return [Choice(size, tokens, law.error(size, tokens)) for size, tokens in sorted(counts) if tokens >= 1]


def best_choice(law: Law, flops: float, sizes: Sequence[float], text: int = 0) -> Choice:
    """Return the choice of least error at these FLOPs; a PlanError where no size leaves room for a visual token."""
    offered = choices(law, flops, sizes, text)
    if not offered:
        raise PlanError(
            f"{flops:.3g} FLOPs are too few for a model of {min(sizes):g} billion parameters with {text + 1} tokens;"
            " allow more FLOPs or smaller models."
        )
    return min(offered, key=lambda choice: choice.error)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit the law to the published scores, and tell which model is best at how many inference FLOPs."""
    parser = argparse.ArgumentParser("duet_core scaling", description=main.__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 1.8, 4, 7, 14], metavar="BILLIONS")
    parser.add_argument("--tflops", type=float, nargs="+", default=[0.5, 1, 2, 4, 8], help="for reading the prompt")
    parser.add_argument("--text", type=int, default=0, help="tokens of the question, unless they are cached")
    options = parser.parse_args(argv)
    for task, points in RECORDED.items():
        print(table(task, points, options.sizes, [1e12 * flops for flops in options.tflops], options.text))
    return 0


def table(task: str, points: Sequence[Point], sizes: Sequence[float], flops: Sequence[float], text: int) -> str:
    """Return the points, the law and what is best at each number of FLOPs as Markdown; flagged points are left out."""
    law = fit([point for point in points if not point.flag])
    said = [f"## {task}", "", "| parameters | visual tokens | score | |", "| --- | --- | --- | --- |"]
    said += [f"| {one.billions:g}B | {one.tokens} | {one.score} | {_doubt(one)} |" for one in points]
    said += ["", f"error = {law.A:.3g} / N^{law.a:.3g} / T^{law.c:.3g} + {law.d:.3g}; {_known(law)}", ""]
    head = [*(f"{size:g}B" for size in sorted(sizes)), "best"]
    said += [f"| FLOPs | {' | '.join(head)} |", f"| --- |{' --- |' * len(head)}"]
    return "\n".join([*said, *(_row(law, one, sizes, text) for one in flops), ""])


def _doubt(point: Point) -> str:
    return f"left out: {point.flag}" if point.flag else ""


def _known(law: Law) -> str:
    if not law.assumed:
        return "all of it fitted."
    return f"not identified by these points, but assumed: {', '.join(law.assumed)}."


def _row(law: Law, flops: float, sizes: Sequence[float], text: int) -> str:
    offered = {one.billions: f"{one.error:.1f} % at {one.tokens}" for one in choices(law, flops, sizes, text)}
    best = f"{best_choice(law, flops, sizes, text).billions:g}B" if offered else "none"
    return f"| {flops:.3g} | {' | '.join(offered.get(size, '') for size in sorted(sizes))} | {best} |"
