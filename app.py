"""Reads the settings, builds the page, launches it; nothing else."""

from __future__ import annotations

import os
import tempfile

os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"
os.environ.setdefault("GRADIO_TEMP_DIR", os.path.join(tempfile.gettempdir(), "duet-lens"))  # swept: ours alone

from app.gallery import load_gallery
from app.gpu import warm_up
from app.launch import launch
from app.page import build
from app.seals import check_seals
from app.settings import Settings
from app.tidy import keep_tidy


def main() -> None:
    """Serve the page until interrupted; the first model opens while the page is already up."""
    settings = Settings.from_environment()
    check_seals()
    page = build(settings, load_gallery())
    keep_tidy(page, 60.0 * settings.keep_minutes)
    warm_up(settings)
    launch(page, settings)


if __name__ == "__main__":
    main()
