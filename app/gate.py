"""What stands before the page: only the addresses it needs, bounded requests, safe headers, no fault unsaid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradio.route_utils import FnIndexInferError
from gradio.utils import get_upload_folder
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import messages
from app.faults import told
from app.settings import Settings
from app.tidy import used_bytes

_API, _MB = "/gradio_api/", 1_000_000
_UPLOAD, _MCP = f"{_API}upload", f"{_API}mcp"
# Gradio serves more than this: recordings, components' own functions, proxies, deep links, editors, monitoring.
_OPEN = (
    "/assets/", "/config", "/favicon.ico", "/manifest.json", "/pwa_icon", "/robots.txt", "/static/", "/svelte/",
    "/theme.css", *(
        _API + name
        for name in (
            "app_id", "call/", "cancel", "file=", "heartbeat/", "info", "mcp", "openapi.json", "queue/", "reset",
            "run/", "startup-events", "theme.css", "upload", "upload_progress",
        )
    ),
)  # fmt: skip
_CONTENT: Final = "; ".join(
    (
        "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval'", "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:", "media-src 'self' data: blob:", "font-src 'self' data:",
        "connect-src 'self' data:", "worker-src 'self' blob:", "object-src 'none'", "base-uri 'self'",
        "form-action 'self'", "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co",
    )
)  # fmt: skip
HEADERS: Final = {
    "content-security-policy": _CONTENT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(slots=True)
class _Answer:
    """The way back: adds the headers, and knows whether anything has been said."""

    send: Send
    begun: bool = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            there = {name.lower() for name, _ in message.get("headers", ())}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self.send(message)


class Gate:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it may pass; whatever goes wrong gets one sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            self._check(scope)
            await self.app(scope, self._bounded(scope, receive), answer)
        except HTTPException as refusal:
            await _say(scope, receive, answer, refusal.status_code, str(refusal.detail))
        except FnIndexInferError:
            await _say(scope, receive, answer, 404, messages.NO_SUCH_PAGE)
        except Exception as error:
            sentence = told(error)
            await _say(scope, receive, answer, 507 if sentence == messages.DISK_FULL else 500, sentence)

    def _check(self, scope: Scope) -> None:
        """Raise an HTTPException for what can be refused by the head of a request alone."""
        path = _path(scope)
        if not (path in {"", "/"} or path.startswith(_OPEN)):
            raise HTTPException(404, messages.NO_SUCH_PAGE)
        if _length(scope) > self._most(path):
            raise self._too_large(path)
        if path == _UPLOAD:
            self._check_place(_length(scope))

    def _check_place(self, length: int) -> None:
        """Refuse an upload for which there is no room."""
        folder = Path(get_upload_folder())
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < length + self.settings.file_bytes:
            raise HTTPException(507, messages.DISK_FULL)
        if used_bytes(folder) + length > self.settings.uploads_mb * _MB:
            raise HTTPException(507, messages.UPLOADS_FULL)

    def _most(self, path: str) -> int:
        """Return the most bytes that a request to this address may have."""
        if path == _UPLOAD:
            return self.settings.file_bytes + _MB
        if path.startswith(_MCP):  # there a file comes in the request, as base64
            return self.settings.file_bytes * 4 // 3 + _MB
        return self.settings.body_kb * 1000

    def _too_large(self, path: str) -> HTTPException:
        shown = self.settings.file_bytes >> 20 if path.startswith((_UPLOAD, _MCP)) else self._most(path) / _MB
        return HTTPException(413, messages.request_too_large(shown))

    def _bounded(self, scope: Scope, receive: Receive) -> Callable[[], Any]:
        """Return a receive that also refuses a body that grows too large without having said so."""
        path, had = _path(scope), 0
        most = self._most(path)

        async def bounded() -> Message:
            nonlocal had
            message = await receive()
            had += len(message.get("body", b""))
            if had > most:
                raise self._too_large(path)
            return message

        return bounded


def _path(scope: Scope) -> str:
    """Return the address that is asked for, without what a proxy puts before it."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _length(scope: Scope) -> int:
    """Return how many bytes a request says that it has; 0 where it says nothing."""
    said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(said) if said.isdigit() else 0


async def _say(scope: Scope, receive: Receive, answer: _Answer, status: int, sentence: str) -> None:
    """Answer with a sentence, unless an answer is under way already."""
    if not answer.begun:
        await JSONResponse({"detail": sentence}, status)(scope, receive, answer)
