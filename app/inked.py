"""Plots that stand in the page as SVG and follow its colours, light or dark."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's own text colour, whatever that is


def inked(axes: Any) -> None:
    """Give the frame, the grid and the words of a plot the page's text colour."""
    axes.grid(alpha=0.25, color=INK)
    axes.tick_params(colors=INK)
    axes.spines[:].set_color(INK)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(INK)
    axes.legend(frameon=False, labelcolor=INK, fontsize="small", loc="best")


def svg(figure: Figure, alt: str) -> str:
    """Return a figure as an SVG element, named for those who cannot see it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    whole = stream.getvalue()
    body = re.sub(r"<metadata>.*?</metadata>", "", whole[whole.index("<svg") :], flags=re.DOTALL)
    named = body.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" class="curve" ', 1)
    return named.replace(INK, "currentColor")
