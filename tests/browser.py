"""Which browser the tests drive: one that is installed, else Playwright's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = (
    "The browser tests need Chromium: install the package chromium, or run `python -m playwright install chromium`."
)


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome, or None if there is none."""
    installed = next((path for name in _NAMES if (path := shutil.which(name))), None)
    return installed or _playwrights_own()


def _playwrights_own() -> str | None:
    with sync_playwright() as play:
        path = play.chromium.executable_path
    return path if Path(path).is_file() else None
