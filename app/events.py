"""How the page's events run: none of them is an endpoint, and the light ones wait for nobody."""

from __future__ import annotations

from typing import Any, Final

PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private"}
QUICK: Final[dict[str, Any]] = {"queue": False, **PRIVATE}
LIGHT: Final[dict[str, Any]] = {"show_progress": "hidden", **QUICK}
ON_GPU: Final[dict[str, Any]] = {"concurrency_id": "gpu", "concurrency_limit": 1, "show_progress": "minimal", **PRIVATE}
