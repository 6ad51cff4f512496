"""How the page is served: limits, looks, and what is switched off."""

from __future__ import annotations

from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from app.gate import Gate
from app.patchmap import ASSETS
from app.settings import Settings
from app.theme import theme
from app.zerogpu import ON_ZERO_GPU


def launch(page: gr.Blocks, settings: Settings, **more: Any) -> Any:
    """Launch with the house's options; host and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    return page.launch(
        max_file_size=settings.file_bytes,
        app_kwargs={"middleware": [Middleware(Gate, settings=settings)]},
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        allowed_paths=[],
        footer_links=["api", "settings"],
        state_session_capacity=settings.sessions,
        max_threads=16,
        ssr_mode=False,
        mcp_server=True,
        theme=theme(),
        head=_styles() + _release(),
        **more,
    )


def _release() -> str:
    """Return the script that runs the model when the slider is let go; not where that would spend a visitor's quota."""
    script = (ASSETS / "release.js").read_text(encoding="utf-8")
    return "" if ON_ZERO_GPU else f"<script>\n{script}</script>\n"


def _styles() -> str:
    """Return our style sheets for the head: Gradio's own `css` rewrites selectors and loses container queries."""
    sheets = [(ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "patchmap.css", "tabs.css")]
    return "".join(f"<style>\n{sheet}</style>\n" for sheet in sheets)
