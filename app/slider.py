"""The slider without requests: what it means at each place, worked out once, and the script that looks it up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from functools import lru_cache

from app import views
from app.checks import MOST_REDUCTION
from app.plans import exact_of, in_words, plan_for
from duet_core.plan import Plan, Size

FOLLOW = """(reduction, method, rows, ...fields) => {
  window.dispatchEvent(new CustomEvent('duet-slider', { detail: [reduction, method] }));
  const row = JSON.parse(rows)[Math.round(reduction)];
  return [...row, ...fields.slice(row.length - 2)];
}"""
"""Runs in the browser at every move: tells the map, and looks up tokens line, custom and fields in `slider_rows`."""

FOLLOW_UNLESS_EXACT = f"""(custom, tokens, ...rest) =>
  custom ? [tokens, custom, ...rest.slice(3)] : ({FOLLOW})(...rest)"""
"""The same where nobody moved the slider: exact numbers that count, as those of a link, stay as they are."""


@lru_cache(maxsize=64)
def slider_plans(method: str, size: Size) -> tuple[Plan, ...]:
    """Return a method's plan at every whole percent of the slider, from none."""
    return tuple(plan_for(method, percent / 100, size) for percent in range(MOST_REDUCTION + 1))


def slider_rows(method: str, size: Size | None, cost: Callable[[int, float], str] | None = None) -> str:
    """Return as JSON what each whole percent means: the tokens line, that the slider counts, and the six plan fields.

    Without a size, as of a model that is not open yet, only the first two. `cost(frames, reduction)`: what the tokens
    line says more, where asking has a price.
    """
    if size is None:
        shares = (f"{100 - percent} % of the model's tokens on average" for percent in range(MOST_REDUCTION + 1))
        return json.dumps([[views.tokens_line(share), False] for share in shares])
    plans = slider_plans(method, size)
    prices = [cost(size.frames, percent / 100) if cost else "" for percent in range(len(plans))]
    lines = [views.tokens_line(in_words(plan, size) + price) for plan, price in zip(plans, prices, strict=True)]
    return json.dumps([[line, False, *astuple(exact_of(plan))] for line, plan in zip(lines, plans, strict=True)])
