"""A sweep as a picture: time to the first token against the budget, and at which budgets the answer held."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from app.inked import INK, inked, svg
from app.series import Ended, kept_percent, same

_HELD, _LOST = ("#009E73", "o", "same answer as all tokens"), ("#D55E00", "X", "another answer")


def curve(done: Sequence[Ended], smallest: int | None, alt: str) -> str:
    """Return the plot as an SVG to stand in the page: text and lines follow its colours, light or dark."""
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    ordered = sorted(done, key=lambda point: point.ask.reduction)
    axes.plot(*_places(ordered), color=INK, linewidth=1, alpha=0.45, zorder=1)
    for held, (colour, marker, label) in ((True, _HELD), (False, _LOST)):
        own = [point for point in ordered if bool(same(done[0], point)) == held]
        if own:
            axes.scatter(*_places(own), s=70, color=colour, marker=marker, label=label, zorder=2)
    if smallest is not None:
        axes.axvline(smallest, color=_HELD[0], linestyle="--", linewidth=1.2, label=f"smallest found: {smallest} %")
    axes.set(xlim=(0, 104), xlabel="visual tokens per layer, in % of all", ylabel="first token, ms")
    axes.set_ylim(bottom=0)
    inked(axes)
    return svg(figure, alt)


def _places(points: Sequence[Ended]) -> tuple[list[float], list[float]]:
    return [kept_percent(point.ask) for point in points], [point.cost.first_token_ms for point in points]
