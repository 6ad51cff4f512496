"""Sends one hostile input to a running page by hand, as no client of ours would, and keeps all that it said."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

API = "gradio_api/"
PLEASE = "What is in the middle?"


@dataclass
class Visit:
    """One visitor's means. `folder`: holds `secret.png`, `secret.mp4` and `secret.txt`, which nobody may read."""

    address: str
    folder: Path
    http: httpx.Client

    def raw(self, method: str, path: str, **more: Any) -> str:
        """Return the status and the text that an address answers with."""
        try:
            with self.http.stream(method, self.address + path, **more) as said:
                if "event-stream" in said.headers.get("content-type", ""):
                    return f"{said.status_code} (a stream)"
                return f"{said.status_code} {said.read().decode(errors='replace')}"
        except httpx.TransportError:
            return "400 (the line was cut)"

    def upload(self, content: bytes, name: str) -> dict[str, Any]:
        """Upload a file and return how a request names it; a refusal raises."""
        said = self.http.post(f"{self.address}{API}upload", files={"files": (name, content)})
        if said.status_code != 200:
            raise RefusedUpload(f"{said.status_code} {said.text}")
        return {"path": said.json()[0], "meta": {"_type": "gradio.FileData"}}

    def call(self, endpoint: str, data: object) -> str:
        """Ask an endpoint through the queue, and return all that the server says to it."""
        body = data if isinstance(data, bytes) else json.dumps({"data": data}).encode()
        begun = self.http.post(
            f"{self.address}{API}call/{endpoint}", content=body, headers={"Content-Type": "application/json"}
        )
        event = begun.json().get("event_id") if begun.status_code == 200 else None
        if not event:
            return f"{begun.status_code} {begun.text}"
        return f"200 {self.http.get(f'{self.address}{API}call/{endpoint}/{event}').text}"

    def ask(self, picture: object, *, endpoint: str = "ask", **change: Any) -> str:
        """Ask about what was uploaded, with one value or another changed."""
        given = {"question": PLEASE, "reduction": 67, "method": "duet", "model": "duet-mini"} | change
        return self.call(endpoint, [picture, *given.values()])

    def event(self, name: str, data: list[Any], query: str = "", **more: Any) -> str:
        """Trigger an event of the page that is no endpoint, the way the page does."""
        page = self.http.get(f"{self.address}config").json()
        fn = next(one for one in page["dependencies"] if one["api_name"] == name)
        body = {"data": data, "fn_index": fn["id"], "session_hash": secrets.token_hex(6), **more}
        if not fn["queue"]:
            return self.raw("POST", f"{API}run/predict{query}", json=body)
        headers = more.get("headers")
        begun = self.http.post(f"{self.address}{API}queue/join{query}", json=body, headers=headers)
        if begun.status_code != 200:
            return f"{begun.status_code} {begun.text}"
        return self._followed(body["session_hash"])

    def _followed(self, session: str) -> str:
        said = ""
        with self.http.stream("GET", f"{self.address}{API}queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                said += line
                if '"process_completed"' in line or '"unexpected_error"' in line:
                    break
        return f"200 {said}"


class RefusedUpload(Exception):  # noqa: N818
    """The page would not take a file."""


def plant(folder: Path, picture: Path, clip: Path) -> Path:
    """Write the files that nobody may read into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "secret.png").write_bytes(picture.read_bytes())
    (folder / "secret.mp4").write_bytes(clip.read_bytes())
    (folder / "secret.txt").write_text(f"The key is {os.urandom(4).hex()}-canary.\n")
    return folder
