"""Reads the settings, builds the page, launches it; nothing else."""

from __future__ import annotations

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"

from app.gallery import load_gallery
from app.gpu import warm_up
from app.launch import launch
from app.page import build
from app.settings import Settings


def main() -> None:
    """Serve the page until interrupted; the first model opens while the page is already up."""
    settings = Settings.from_environment()
    page = build(settings, load_gallery())
    warm_up(settings)
    launch(page, settings)


if __name__ == "__main__":
    main()
