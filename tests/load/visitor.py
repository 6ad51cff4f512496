"""One visitor of a running page, by the requests that the page in a browser would send."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx

from app.gallery import FOLDER

PICTURE = FOLDER / "example-1.png"


class Refused(Exception):  # noqa: N818
    """The page said no: `status`, and the sentence as the text."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Visitor:
    """`address` ends with a slash. Whatever is sent goes to that address alone."""

    address: str
    http: httpx.Client
    session: str = field(default_factory=lambda: secrets.token_hex(6))

    @cached_property
    def events(self) -> dict[str, dict[str, Any]]:
        """The page's events by name, the first of each."""
        page = self.http.get(f"{self.address}config").raise_for_status().json()
        return {one["api_name"]: one for one in reversed(page["dependencies"])}

    def upload(self) -> dict[str, Any]:
        """Upload the picture and return how a request names it."""
        said = self.http.post(f"{self.address}gradio_api/upload", files={"files": (PICTURE.name, PICTURE.read_bytes())})
        if said.status_code != 200:
            raise Refused(said.status_code, said.text)
        return {"path": said.json()[0], "meta": {"_type": "gradio.FileData"}}

    def light(self, name: str = "slider", data: Sequence[Any] = ("duet", "duet-mini", None, 8)) -> httpx.Response:
        """Trigger an event that waits in no queue, such as to ask what the slider means."""
        return self._post("run/predict", name, [*data])

    def ask(self, picture: dict[str, Any], question: str = "What is in the middle?") -> str:
        """Press Ask on the page; returns the name of the run."""
        exact = [False, None, 0, 4, "", "", "salient", 64, ""]
        given = [None, picture, None, 8, "Evenly spread", "", question, 67, "duet", "duet-mini", *exact]
        return self.join("ask_on_page", given)

    def join(self, name: str, data: list[Any]) -> str:
        """Put an event into the queue."""
        said = self._post("queue/join", name, data)
        if said.status_code != 200:
            raise Refused(said.status_code, said.json()["detail"])
        return said.json()["event_id"]

    def stop(self, event: str, name: str = "ask_on_page") -> None:
        """Press Stop."""
        body = {"session_hash": self.session, "fn_index": self.events[name]["id"], "event_id": event}
        self.http.post(f"{self.address}gradio_api/cancel", json=body).raise_for_status()

    @contextmanager
    def listening(self) -> Iterator[Iterator[dict[str, Any]]]:
        """Listen to what happens to this visitor's runs; who leaves is a browser that was closed."""
        address = f"{self.address}gradio_api/queue/data"
        with self.http.stream("GET", address, params={"session_hash": self.session}, timeout=120) as stream:
            lines = (line for line in stream.iter_lines() if line.startswith("data:"))
            yield (json.loads(line[5:]) for line in lines)

    def followed(self) -> dict[str, Any]:
        """Listen to the end of a run; returns its last message, and under `seen` the kinds of all."""
        seen = []
        with self.listening() as messages:
            for message in messages:
                seen.append(message["msg"])
                if message["msg"] in {"process_completed", "unexpected_error"}:
                    return message | {"seen": seen}
        return {"msg": "cut off", "seen": seen}

    def _post(self, where: str, name: str, data: list[Any]) -> httpx.Response:
        body = {"data": data, "fn_index": self.events[name]["id"], "session_hash": self.session}
        return self.http.post(f"{self.address}gradio_api/{where}", json=body)
