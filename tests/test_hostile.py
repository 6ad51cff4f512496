"""Every row of the table of hostile inputs, sent to a running page: a sentence, no inside view, no hang, nothing read.

`DUET_HOSTILE_TABLE=FILE` also writes what each of them got, as Markdown.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.gallery import FOLDER
from tests.hostile.cases import CASES, MARK, Case
from tests.hostile.files import CLIPS
from tests.hostile.spies import Spy
from tests.hostile.visit import Visit, plant
from tests.served import ROOT, Server, server

__all__ = ["server"]
pytestmark = pytest.mark.alone
DEADLINE = 45.0  # seconds; the longest thing that may happen is a clip's deadline of 20, on a busy machine
INSIDE = ("Traceback", "site-packages", str(ROOT), "/usr/lib", 'File \\"', "canary.", "root:x:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("secrets"), FOLDER / "example-1.png", CLIPS / "h264.mp4")


@pytest.fixture(scope="module")
def visit(server: Server, folder) -> Iterator[Visit]:
    with httpx.Client(timeout=60) as http:
        yield Visit(server.address, folder, http)


@pytest.fixture(scope="module")
def spy(folder) -> Spy:
    return Spy(folder)


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, float, str]]]:
    rows: list[tuple[str, float, str]] = []
    yield rows
    if os.environ.get("DUET_HOSTILE_TABLE"):
        lines = [f"| {name} | {seconds:.1f} s | {said} |" for name, seconds, said in rows]
        head = ["| sent | after | said |", "|---|---|---|"]
        Path(os.environ["DUET_HOSTILE_TABLE"]).write_text("\n".join([*head, *lines]) + "\n")


def test_the_table_is_long_enough_and_names_each_row_once():
    assert len(CASES) >= 60 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:60])
def test_what_is_hostile_gets_a_sentence_and_nothing_else(visit, folder, spy, table, case: Case):
    begin = time.monotonic()
    said = case.send(visit)
    seconds = time.monotonic() - begin
    table.append((case.name[:70].replace("|", "/"), seconds, gist(said)))
    assert seconds < DEADLINE
    assert not [part for part in (*INSIDE, *([] if case.echoes else [str(folder)])) if part in said], said[:2000]
    assert not case.words or any(word in said for word in case.words), said[:2000]
    assert spy.seen() == []


def gist(said: str) -> str:
    """Return the status and the first sentence of ours in what was said."""
    found = re.search(r'"(?:error|detail)": ?"([^"]+)', said) or re.search(r"data: \"?([^\"{\[][^\"]{5,200})", said)
    words = found[1] if found else "an answer" if said.startswith("200") else said[3:120]
    return f"{said[:3]}: {words[:160]}".replace("|", "/").replace("\n", " ").strip()


def test_after_all_that_the_page_answers_and_the_log_holds_nothing_of_it(server: Server, visit):
    said = visit.ask(visit.upload((FOLDER / "example-1.png").read_bytes(), "x.png"))
    assert "event: complete" in said
    log = server.log.read_text()
    assert MARK not in log and "Traceback (most recent" not in log
    assert not re.search(rf"127\.0\.0\.1:(?!{httpx.URL(server.address).port})\d+", log)


def test_no_file_lies_beside_the_uploads(server: Server):
    assert not Path("/tmp/climbed.png").exists()
    assert all(path.is_relative_to(server.uploads) for path in server.uploads.rglob("*"))
