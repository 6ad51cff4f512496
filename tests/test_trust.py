"""Limits, faults, files: what is too much is refused before any work, what breaks is told, what is left is deleted."""

from __future__ import annotations

import ast
import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app import gate, gpu, messages, seals
from app.checks import check_frames, check_question
from app.clips import Choice, open_clip
from app.faults import told
from app.gate import HEADERS, Gate
from app.job import Job
from app.media import open_picture
from app.patience import OutOfTime, within
from app.settings import Settings
from app.tidy import sweep, used_bytes
from duet_core import opening
from duet_core.devices import choose_target
from duet_core.errors import DuetError, ModelTooLarge
from duet_core.memory import is_out_of_memory
from tests import pictures
from tests.hostile.files import CLIPS

ROOT = Path(__file__).parent.parent
BASE = Settings()
SENT = "a question about zebras"


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(DuetError) as error:
        work()
    return str(error.value)


def picture(tmp_path: Path, size: tuple[int, int] = (640, 480)) -> str:
    path = tmp_path / "picture.png"
    pictures.half_and_half(size=size).save(path)
    return str(path)


def clip(settings: Settings, name: str = "h264.mp4") -> str:
    return refused(lambda: open_clip(str(CLIPS / name), Choice(), settings))


def heavy(tmp_path: Path, name: str) -> str:
    (tmp_path / name).write_bytes(bytes(1_500_000))
    return str(tmp_path / name)


LIMITS = {
    "picture_mb": (lambda s, f: refused(lambda: open_picture(heavy(f, "a.png"), s)), 1, "MB and the limit is 1 MB"),
    "picture_mp": (lambda s, f: refused(lambda: open_picture(picture(f, (1200, 900)), s)), 1, "limit is 1 megapixels"),
    "picture_longest": (lambda s, f: refused(lambda: open_picture(picture(f), s)), 600, "no side above 600"),
    "picture_shortest": (lambda s, f: refused(lambda: open_picture(picture(f), s)), 500, "needs at least 500"),
    "clip_mb": (
        lambda s, f: refused(lambda: open_clip(heavy(f, "a.mp4"), Choice(), s)), 1, "1.5 MB and the limit is 1 MB",
    ),
    "clip_seconds": (lambda s, f: clip(s), 1, "the limit is 1"),
    "clip_longest": (lambda s, f: clip(s), 100, "the limit is 100 x"),
    "clip_shortest": (lambda s, f: clip(s), 50, "x 50"),
    "clip_frames": (lambda s, f: refused(lambda: check_frames(9, s)), 8, "is 9 and must be a whole number from 4 to 8"),
    "clip_deadline": (lambda s, f: clip(replace(s, clip_deadline=0.01)), 1, "within 0.01 seconds"),
    "question_chars": (lambda s, f: refused(lambda: check_question("a" * 11, s)), 10, "11 characters and the limit is"),
    "run_seconds": (lambda s, f: refused(lambda: list(within(slowly(), s.run_seconds / 100))), 1, "one request may"),
    "body_kb": (lambda s, f: door(s).post("/gradio_api/queue/join", content=bytes(3000)).text, 2, "0.002 MB allowed"),
    "uploads_mb": (lambda s, f: uploading(s, f, 3_000_000).text, 2, "place for uploads is full"),
}  # fmt: skip
ELSEWHERE = {  # field: the test that holds it
    "queue": "test_load.py", "visitor_runs": "test_load.py", "new_tokens": "test_app_handlers.py",
    "repeats": "test_gpu.py", "held_models": "test_gpu.py", "keep_minutes": "test_load.py",
    "sessions": "test_load.py",
}  # fmt: skip


def slowly() -> Iterator[int]:
    for number in range(100):
        yield number
        time.sleep(0.01)


def door(settings: Settings) -> TestClient:
    """Return a client of the gate with nothing but an echo behind it."""

    async def echo(request: Request) -> JSONResponse:
        body = await request.body()
        if body == b"break":
            raise KeyError(SENT)
        if body == b"full":
            raise OSError(errno.ENOSPC, "no space", "/srv/secret")
        return JSONResponse(len(body))

    route = Route("/{path:path}", echo, methods=["GET", "POST"])
    return TestClient(Starlette(routes=[route], middleware=[Middleware(Gate, settings=settings)]))


def uploading(settings: Settings, folder: Path, held: int):
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    (folder / "uploads").mkdir()
    (folder / "uploads" / "held").write_bytes(bytes(held))
    return door(settings).post("/gradio_api/upload", content=b"small")


@pytest.fixture(autouse=True)
def uploads_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "own"))


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_the_settings_is_enforced_with_its_sentence(tmp_path, name):
    act, value, words = LIMITS[name]
    said = act(replace(BASE, **{name: value}), tmp_path)
    assert words in said and str(tmp_path) not in said


def test_every_limit_has_its_test():
    counts = {field.name for field in fields(Settings) if type(field.default) is int}
    assert counts == set(LIMITS) | set(ELSEWHERE)
    assert all((ROOT / "tests" / file).is_file() for file in ELSEWHERE.values())


def test_a_body_that_does_not_tell_its_length_is_cut_off(tmp_path):
    parts = (bytes(1000) for _ in range(600))
    said = door(BASE).post("/gradio_api/call/ask", content=parts)
    assert said.status_code == 413 and "0.512 MB allowed" in said.text


def test_a_full_disk_is_told_before_and_in_the_middle_of_an_upload(monkeypatch, tmp_path):
    assert door(BASE).post("/gradio_api/upload", content=b"full").json() == {"detail": messages.DISK_FULL}
    monkeypatch.setattr(gate.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    said = door(BASE).post("/gradio_api/upload", content=b"small")
    assert (said.status_code, said.json()["detail"]) == (507, messages.DISK_FULL)


@pytest.mark.parametrize("path", ["", "config", "gradio_api/queue/data", "assets/x.js"])
def test_every_answer_bears_the_headers(path):
    said = door(BASE).get("/" + path)
    assert said.status_code == 200 and {name: said.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["monitoring", "gradio_api/component_server", "gradio_api/proxy=x", ".git/config"])
def test_what_the_page_does_not_need_is_closed(path):
    said = door(BASE).get("/" + path)
    assert (said.status_code, said.json()["detail"]) == (404, messages.NO_SUCH_PAGE)
    assert {name: said.headers[name] for name in HEADERS} == HEADERS


def test_what_nobody_foresaw_is_told_without_what_was_sent(caplog):
    said = door(BASE).post("/gradio_api/run/x", content=b"break")
    assert (said.status_code, said.json()["detail"]) == (500, messages.FAILED)
    assert "KeyError" in caplog.text and "zebras" not in caplog.text


# Faults


def no_memory() -> RuntimeError:
    """Return what torch itself says when there is none."""
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), no_memory()])
def test_no_memory_has_a_sentence_of_its_own(error):
    assert is_out_of_memory(error) and told(error) == messages.OUT_OF_MEMORY


def test_other_faults_do_not_pass_for_it(caplog):
    assert not is_out_of_memory(ValueError("out of memory")) and told(ValueError("zebras")) == messages.FAILED
    assert told(OSError(errno.ENOSPC, "/srv/secret")) == messages.DISK_FULL
    assert "zebras" not in caplog.text and "secret" not in caplog.text and caplog.records[0].levelno == logging.ERROR


def test_a_run_without_memory_ends_and_the_next_one_works(mini, monkeypatch):
    monkeypatch.setattr(gpu._shelf, "_models", {"duet-mini": mini})
    monkeypatch.setattr(gpu._shelf, "take", taking(mini))
    job = Job("duet-mini", pictures.half_and_half(), "What is this?", "duet", 0.78, new_tokens=2, measure=False)
    with monkeypatch.context() as once:
        once.setattr(type(mini), "encode", lambda *_: torch.empty(2**60))
        with pytest.raises(RuntimeError) as error:
            list(gpu.run(job, BASE))
    assert told(error.value) == messages.OUT_OF_MEMORY and not gpu._running.locked()
    assert list(gpu.run(job, BASE))


def taking(model) -> Callable:
    def take(name: str, settings: Settings) -> Iterator:
        yield from ()
        return model

    return take


def test_a_model_for_which_there_is_no_memory_says_so(monkeypatch):
    def load(*_: object, **__: object) -> None:
        raise no_memory()

    monkeypatch.setattr(opening.AutoModelForImageTextToText, "from_pretrained", load)
    found = opening.prepare("duet-mini", choose_target("cpu", "float32", None, "auto"))
    with pytest.raises(ModelTooLarge, match="memory got full while duet-mini was opened"):
        opening.load_weights(found)


def test_a_run_that_is_out_of_time_is_closed():
    closed = []

    def run() -> Iterator[int]:
        try:
            yield from slowly()
        finally:
            closed.append(True)

    with pytest.raises(OutOfTime):
        list(within(run(), 0.02))
    assert closed == [True]
    assert list(within(iter_of(3), 60)) == [0, 1, 2]


def iter_of(many: int) -> Iterator[int]:
    yield from range(many)


# Files


def test_a_sweep_takes_what_is_old_and_spares_the_page_and_the_new(tmp_path):
    old, new, own = (tmp_path / name / "file.png" for name in ("old", "new", "own"))
    for path in (old, own):
        path.parent.mkdir()
        path.write_bytes(b"12345")
    time.sleep(0.3)
    new.parent.mkdir()
    new.write_bytes(b"123")
    (tmp_path / "link").symlink_to(ROOT / "README.md")
    sweep(tmp_path, 0.15, {own})
    assert not old.exists() and new.exists() and own.exists() and used_bytes(tmp_path) >= 8
    time.sleep(0.2)
    sweep(tmp_path, 0.15, {own})
    assert not old.parent.exists() and not (tmp_path / "link").is_symlink() and (ROOT / "README.md").exists()
    sweep(tmp_path / "nowhere", 0)


def test_what_ships_is_what_was_sealed():
    """After a change of models, examples or sprites: `make seal`."""
    assert seals.broken() == []


def test_a_changed_a_missing_and_an_added_file_are_named(tmp_path):
    (tmp_path / "models").mkdir()
    for name in ("a", "b"):
        (tmp_path / "models" / name).write_text(name)
    seals.seal(tmp_path)
    seals.check_seals(tmp_path)
    (tmp_path / "models" / "a").write_text("A")
    (tmp_path / "models" / "b").rename(tmp_path / "models" / "c")
    assert seals.broken(tmp_path) == ["models/a", "models/b", "models/c"]
    with pytest.raises(SystemExit, match="3 of the files that ship with DUET Lens are missing or changed"):
        seals.check_seals(tmp_path)


# Code that nobody wants


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield every call of the project as (file, dotted name, node)."""
    for path in [ROOT / "app.py", *(ROOT / "app").rglob("*.py"), *(ROOT / "duet_core").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(ROOT)), ast.unparse(node.func), node


def test_no_weights_are_read_by_pickle_and_no_code_comes_with_a_checkpoint():
    banned = {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "eval", "exec", "os.system"}
    for file, name, node in calls():
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert name not in banned or "train/" in file, (file, name)
        assert given.get("trust_remote_code", "False") == "False", file
        assert given.get("shell", "False") == "False", file
        assert name != "np.load" or given.get("allow_pickle", "False") == "False", file


def test_whatever_a_visitor_may_open_is_opened_without_its_own_code():
    for file in ("duet_core/opening.py", "duet_core/processors.py"):
        text = (ROOT / file).read_text()
        opens = [node for where, name, node in calls() if where == file and name.endswith(".from_pretrained")]
        assert opens and all(any(word.arg in {None, "trust_remote_code"} for word in node.keywords) for node in opens)
        assert '"trust_remote_code": False' in text or "trust_remote_code=False" in text
    assert '"use_safetensors": True' in (ROOT / "duet_core/opening.py").read_text()
