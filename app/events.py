"""How the page's events run: none of them is an endpoint, and the light ones wait for nobody."""

from __future__ import annotations

from typing import Any, Final

GPU: Final = "gpu"
PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private"}
QUICK: Final[dict[str, Any]] = {"queue": False, **PRIVATE}
LIGHT: Final[dict[str, Any]] = {"show_progress": "hidden", **QUICK}
MODEL: Final[dict[str, Any]] = {"concurrency_id": GPU, "concurrency_limit": 1}
ON_GPU: Final[dict[str, Any]] = {**MODEL, "show_progress": "minimal", **PRIVATE}
