"""Makes the moving picture of the README from the running page: `python scripts/make_tour.py [FILE]`.

Asks once, then drags the slider, moves through the steps, opens a patch's card and a word's heat map. Every frame is a
screenshot of the page at that moment, with the pointer drawn in; how long each one stands is set here.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser import MISSING, find_browser

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "tour.webp"
MOST_BYTES = 3_000_000
WIDTH, HEIGHT, SHOWN = 1280, 1190, 960  # of the window in pixels; the width of the picture made from it
STILL, STEP, MOVE = 1700, 1000, 90  # milliseconds that a frame stands
WAIT = 300_000  # milliseconds that a busy machine may take for anything
_POINTER = """() => {
  const dot = document.createElement('div');
  dot.style.cssText = 'position:fixed;z-index:9999;pointer-events:none;width:22px;height:22px;margin:-11px;'
    + 'border-radius:50%;background:#e69f0088;box-shadow:0 0 0 2px #111, 0 0 0 4px #fff;left:-99px';
  document.body.append(dot);
  addEventListener('pointermove', (event) => {
    [dot.style.left, dot.style.top] = [`${event.clientX}px`, `${event.clientY}px`];
  }, true);
}"""
_DRAWN = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))"


class Tour:
    """Frames and how long each one stands."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.lasting: list[int] = []

    def take(self, milliseconds: int) -> None:
        """Take what the page shows now, once it is drawn."""
        self.page.evaluate(_DRAWN)
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        self.frames.append(picture.resize((SHOWN, HEIGHT * SHOWN // WIDTH), Image.Resampling.LANCZOS))
        self.lasting.append(milliseconds)

    def save(self, file: Path) -> None:
        """Write all frames as one animated WebP."""
        first, *rest = self.frames
        first.save(file, save_all=True, append_images=rest, duration=self.lasting, loop=0, quality=72, method=6)


def main() -> None:
    """Serve the page, walk through it, and write the picture."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    with served() as address, opened(address) as page:
        tour = walk(page)
    tour.save(file)
    size = file.stat().st_size
    print(f"{file}: {len(tour.frames)} frames, {sum(tour.lasting) / 1000:.0f} s, {size / 1e6:.2f} MB")
    if size > MOST_BYTES:
        sys.exit(f"The picture has {size:,} bytes and the limit is {MOST_BYTES:,}: take fewer frames.")


def walk(page: Page) -> Tour:
    """Ask, drag the slider, move through the steps, open a patch and a word."""
    ask(page)
    tour = Tour(page)
    tour.take(STILL)
    drag_slider(tour)
    for step in (2, 3, 1):
        press(tour, f".pm-step[data-step='{step}']")
    press(tour, ".pm-cell[data-fate='anchor'] >> nth=1", STILL)
    press(tour, ".pm-word >> nth=1", STILL)
    press(tour, "[data-mode='fate'].pm-mode")
    return tour


def ask(page: Page) -> None:
    """Ask live, so that the run also knows what each word looks at."""
    page.click("#ask")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#ask")).to_be_enabled()
    expect(page.locator(".pm-word").first).to_be_visible()
    page.evaluate(_POINTER)
    page.evaluate("scrollTo(0, document.querySelector('#columns').offsetTop)")


def drag_slider(tour: Tour) -> None:
    """Drag from where the slider stands up to nearly all, and back."""
    page, slider = tour.page, tour.page.locator("#reduction input[type=range]")
    box, begin, most = slider.bounding_box(), int(slider.input_value()), int(slider.get_attribute("max") or 95)

    def place(percent: int) -> tuple[float, float]:
        return box["x"] + 8 + (box["width"] - 16) * percent / most, box["y"] + box["height"] / 2

    page.mouse.move(*place(begin))
    page.mouse.down()
    for percent in [*range(begin, 92, 3), 92, *range(90, begin - 30, -4), *range(begin - 28, begin, 4), begin]:
        page.mouse.move(*place(percent))
        tour.take(STEP if percent == 92 else MOVE)
    page.mouse.up()
    page.get_by_role("button", name=f"Set the reduction to {begin} percent").click()
    expect(page.locator(".pm-note")).to_have_text("")
    tour.take(STEP)


def press(tour: Tour, what: str, milliseconds: int = STEP) -> None:
    """Click on something, and show what comes of it."""
    tour.page.locator(what).click()
    tour.take(milliseconds)


@contextmanager
def served() -> Iterator[str]:
    """Serve the page on a free port, its uploads in a folder that goes afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as folder:
        own = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": folder}
        server = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | own)
        try:
            wait_for(address, server)
            yield address
        finally:
            server.terminate()
            server.wait(20)


def wait_for(address: str, server: subprocess.Popen) -> None:
    """Return once the page answers."""
    while server.poll() is None:
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            time.sleep(0.5)
    sys.exit("The page ended before it answered; what it said stands above.")


@contextmanager
def opened(address: str) -> Iterator[Page]:
    """Open the page in a browser, in the light theme."""
    path = find_browser()
    if not path:
        sys.exit(MISSING)
    expect.set_options(timeout=WAIT)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(WAIT)
        page.goto(f"{address}?__theme=light")
        expect(page.locator("#patchmap [role=gridcell]")).to_have_count(576)
        expect(page.locator("#picture img")).to_be_visible()
        yield page
        browser.close()


if __name__ == "__main__":
    main()
