"""The map alone in a browser, drawn from any trace: the component's own script and styles, without Gradio around it."""

from __future__ import annotations

import json

from PIL import Image
from playwright.sync_api import Page

from app.film import Film
from app.patchmap import ASSETS, map_value, script
from duet_core.trace import Trace

_COLOURS = {
    "light": ("#ffffff", "#f3f1ec", "#22252a", "#716e66", "#e5e2da", "#067354"),
    "dark": ("#191c20", "#22262a", "#eceae4", "#9d998f", "#33363a", "#35a382"),
}
_NAMES = (
    "background-fill-primary", "background-fill-secondary", "body-text-color", "body-text-color-subdued",
    "border-color-primary", "accent",
)  # fmt: skip
_MOUNT = """([script, value]) => {
  window.sent = [];
  window.addEventListener('duet-brush', (event) => window.sent.push(event.detail));
  const watchers = [];
  window.props = { value };
  window.redraw = (next) => { window.props.value = next; watchers.forEach((act) => act()); };
  new Function('element', 'props', 'watch', 'trigger', script)(
    document.getElementById('patchmap'), window.props, (_, act) => watchers.push(act), () => {});
}"""


def show_map(page: Page, value: str, theme: str = "light") -> None:
    """Draw a map's value on an otherwise empty page."""
    sheet = (ASSETS / "patchmap.css").read_text(encoding="utf-8")
    colours = "".join(f"--{name}: {colour};" for name, colour in zip(_NAMES, _COLOURS[theme], strict=True))
    look = f"body {{ {colours} background: var(--background-fill-primary); font-family: sans-serif; }}"
    page.set_content(
        f'<html lang="en"><head><title>The map</title><style>{look}{sheet}</style></head>'
        f'<body class="{theme}"><main><h1>The map</h1><div id="patchmap"></div></main></body></html>'
    )
    page.evaluate(_MOUNT, [script(), value])


def value_of(trace: Trace, question: str = "", **changes: object) -> str:
    """Return the map's value for a trace over a grey picture or clip of its size, some entries changed."""
    photo = Image.new("RGB", trace.grid.picture, "#a8b0a0")
    frames = trace.grid.pictures
    subject = photo if frames == 1 else Film((photo,) * frames, tuple(map(float, range(frames))))
    return json.dumps(json.loads(map_value(subject, trace, question)) | changes)


def slide(page: Page, percent: float, method: str = "duet") -> None:
    """Tell the map where the slider stands, as the page does, and wait until it is drawn."""
    page.evaluate(
        """(detail) => new Promise((done) => {
          window.dispatchEvent(new CustomEvent('duet-slider', { detail }));
          requestAnimationFrame(() => requestAnimationFrame(done)); })""",
        [percent, method],
    )
