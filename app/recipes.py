"""How to repeat a run: the shell command, and the call of the API in Python and with curl."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict
from typing import Any

from app.clips import RULES
from app.given import CLIP, Given
from app.plans import exact_plan

LOCAL = "http://127.0.0.1:7860/"
_ADDRESS = re.compile(r"https?://[\w.\-]+(:\d+)?(/[\w.\-]+)*/?")
_STAND_IN = "@UPLOADED@"  # for what the server calls the uploaded file


def address_of(referer: str | None) -> str:
    """Return the page's own address as a browser sent it, without its query; a local one where it is none."""
    bare = (referer or "").split("?")[0].split("#")[0]
    return bare.rstrip("/") + "/" if _ADDRESS.fullmatch(bare) else LOCAL


def command(given: Given, file: str) -> str:
    """Return the shell command that asks the same again; it runs in a checkout of the project."""
    words = ["python", "-m", "duet_core", "ask", "--model", given.model, *_plan(given)]
    words += ["--max-new-tokens", str(int(given.new_tokens)), "--json", "answer.json"]
    words += _frames(given) if given.medium == CLIP else []
    words += _painted(given)
    return shlex.join([*words, "--", file, given.question.strip()])


def _plan(given: Given) -> list[str]:
    if not given.custom:
        return ["--method", given.method, "--reduction", f"{given.reduction:g}"]
    fields = asdict(exact_plan(given.method, given.exact))
    return ["--plan", json.dumps({name: fields[name] for name in fields if name not in ("seed", "settings")})]


def _frames(given: Given) -> list[str]:
    rule = RULES[given.rule]
    chosen = ["--at", given.times] if rule == "times" else ["--choose", rule]
    return ["--frames", str(int(given.count)), *chosen]


def _painted(given: Given) -> list[str]:
    painted = json.loads(given.brush) if given.brush else {}
    return [
        word
        for name in ("keep", "drop")
        if painted.get(name)
        for word in (f"--{name}", ",".join(str(int(patch)) for patch in painted[name]))
    ]


def beyond_api(given: Given) -> str:
    """Say what of this run the API cannot be asked for; nothing where it can be asked for all."""
    exact = "exact numbers" if given.custom else ""
    frames = "frames that are not evenly spread" if given.medium == CLIP and RULES[given.rule] != "uniform" else ""
    length = "another longest answer than 64 tokens" if int(given.new_tokens) != 64 else ""
    paint = "painted patches" if given.brush else ""
    missing = " and ".join(part for part in (exact, frames, length, paint) if part)
    return f"This run has {missing}, which the API does not take: only the shell command repeats it." if missing else ""


def _arguments(given: Given) -> dict[str, Any]:
    asked = {"question": given.question.strip(), "reduction": given.reduction}
    chosen = {"method": given.method, "model": given.model}
    return {**asked, **chosen, **({"frames": int(given.count)} if given.medium == CLIP else {})}


def _endpoint(given: Given) -> tuple[str, str]:
    """The endpoint, and what it calls the file."""
    return ("ask_clip", "clip") if given.medium == CLIP else ("ask", "picture")


def python_call(given: Given, file: str, address: str) -> str:
    """Return a script that asks the API with gradio_client."""
    endpoint, name = _endpoint(given)
    asked = "".join(f"    {key}={value!r},\n" for key, value in _arguments(given).items())
    return (
        f"{_note(given)}import json\n\nfrom gradio_client import Client, handle_file\n\n"
        f"answer = Client({address!r}).predict(\n    {name}=handle_file({file!r}),\n{asked}"
        f"    api_name={'/' + endpoint!r},\n)\nprint(json.dumps(answer))\n"
    )


def curl_call(given: Given, file: str, address: str) -> str:
    """Return a shell script that asks the API with curl and sed."""
    endpoint, _ = _endpoint(given)
    uploaded = {"path": _STAND_IN, "meta": {"_type": "gradio.FileData"}}
    data = json.dumps({"data": [uploaded, *_arguments(given).values()]})
    root = shlex.quote(f"{address}gradio_api")
    return (
        f"#!/bin/sh\n{_note(given)}set -eu\nroot={root}\n"
        f'file=$(curl -fsS -F files=@{shlex.quote(file)} "$root/upload" | sed \'s/^\\["//; s/"\\]$//\')\n'
        f"event=$(printf '%s' {shlex.quote(data)} | sed \"s|{_STAND_IN}|$file|\" |\n"
        f'    curl -fsS -H "Content-Type: application/json" -d @- "$root/call/{endpoint}" |\n'
        f'    sed \'s/.*"event_id": *"//; s/".*//\')\n'
        f'curl -fsSN "$root/call/{endpoint}/$event"\n'
    )


def _note(given: Given) -> str:
    note = beyond_api(given)
    return f"# {note}\n" if note else ""
