"""What crosses to a ZeroGPU Space's process survives it, and the time asked for there follows the work."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app import given as given_values
from app import gpu, handlers, zerogpu
from app.duration import LEAST, MOST, gpu_seconds
from app.film import Film, frames_of
from app.gallery import load_gallery
from app.handlers import Desk
from app.job import PAGE_TOKENS
from app.settings import Settings
from app.shelf import Downloading
from duet_core import errors
from duet_core.plan import Plan
from tests.app_fixtures import small_trace

ROOT = Path(__file__).parent.parent
SETTINGS = Settings()
PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def film(frames: int) -> Film:
    return Film((PICTURE,) * frames, tuple(float(second) for second in range(frames)))


def job(frames: int = 0, **more) -> gpu.Job:
    subject = film(frames) if frames else PICTURE
    return gpu.Job(
        **{"model": "duet-mini", "subject": subject, "question": "Why?", "method": "duet", "reduction": 0.78} | more
    )


def crossed(thing):
    return pickle.loads(pickle.dumps(thing))


# What crosses


@pytest.mark.parametrize("frames", [0, 3])
def test_a_job_crosses_whole(frames):
    sent = job(frames, exact=Plan(layers=(2, 4), keep=(0.5, 0)))
    came = crossed(sent)
    assert came == sent and crossed(SETTINGS) == SETTINGS
    assert all(picture.tobytes() == PICTURE.tobytes() for picture in frames_of(came.subject))


def test_every_event_of_a_run_crosses_whole():
    events = [Downloading(1, 2), *gpu.run(replace(job(), new_tokens=4), replace(SETTINGS, repeats=1))]
    assert {type(event) for event in events} == set(gpu.Event.__args__)
    for event, came in zip(events, map(crossed, events), strict=True):
        assert type(came) is type(event)
        if isinstance(event, gpu.Answered | gpu.Traced):
            assert came.trace.to_json() == event.trace.to_json()
            assert getattr(came, "cost", None) == getattr(event, "cost", None)
        else:
            assert came == event
        assert b"torch" not in pickle.dumps(event)


def test_a_trace_crosses_as_numpy():
    assert crossed(small_trace()).to_json() == small_trace().to_json()


@pytest.mark.parametrize("name", sorted(name for name, kind in vars(errors).items() if isinstance(kind, type)))
def test_our_errors_cross_with_their_sentence(name):
    came = crossed(getattr(errors, name)("This is wrong."))
    assert type(came).__name__ == name and str(came) == "This is wrong."


# What a Space does, by a stand-in for its package: only what is yielded comes back, and of an error the class's name


def lend(asked: list[int]):
    def decorator(duration):
        def lending(run):
            def lent(*args, **more):
                asked.append(duration(*args, **more))
                try:
                    for event in run(*crossed(args), **crossed(more)):
                        yield crossed(event)
                except Exception as error:
                    raise RuntimeError(type(error).__name__) from None

            assert inspect.isgeneratorfunction(run)
            return lent

        return lending

    return SimpleNamespace(GPU=decorator)


def test_a_run_and_its_errors_come_back_from_a_space(monkeypatch):
    asked, closed = [], []

    def run(job, settings):
        try:
            yield gpu.Phase("encoding")
            raise errors.PlanError("This plan is wrong.")
        finally:
            closed.append(job.question)

    assert zerogpu.on_device(run) is run
    monkeypatch.setattr(zerogpu, "spaces", lend(asked))
    events = zerogpu.on_device(run)(job(), SETTINGS)
    assert next(events) == gpu.Phase("encoding")
    with pytest.raises(errors.PlanError, match=r"This plan is wrong\."):
        next(events)
    stopped = zerogpu.on_device(run)(job(), SETTINGS)
    next(stopped)
    stopped.close()
    assert closed == ["Why?"] * 2 and asked == [gpu_seconds(job(), SETTINGS)] * 2


@pytest.mark.parametrize("lent", ["true", "1", ""])
def test_a_space_loads_weights_in_its_main_thread(monkeypatch, lent):
    monkeypatch.setitem(sys.modules, "spaces", lend([]))
    monkeypatch.setenv("SPACES_ZERO_GPU", lent)
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "")
    module = runpy.run_path(str(ROOT / "app" / "zerogpu.py"))
    assert module["ON_ZERO_GPU"] == bool(lent) == bool(os.environ["HF_DEACTIVATE_ASYNC_LOAD"])


def test_a_space_opens_its_model_before_it_serves(monkeypatch):
    opened = []
    monkeypatch.setattr(gpu, "ON_ZERO_GPU", True)
    monkeypatch.setattr(gpu, "opened", lambda name, settings: opened.append(name))
    gpu.warm_up(SETTINGS)
    assert opened == ["duet-mini"]


# The time asked for


def test_it_takes_what_the_run_takes():
    taken = [list(inspect.signature(function).parameters) for function in (gpu_seconds, gpu.run)]
    assert taken[0] == taken[1]


def test_a_picture_asks_for_little_and_a_clip_for_more():
    assert 8 <= gpu_seconds(job(), SETTINGS) <= 15 < gpu_seconds(job(8), SETTINGS) <= 25
    assert gpu_seconds(job(measure=False), SETTINGS) <= 8
    assert gpu_seconds(job(model="somebody/else"), SETTINGS) > gpu_seconds(job(), SETTINGS)
    assert gpu_seconds(job(exact=Plan()), SETTINGS) == gpu_seconds(job(reduction=0.0), SETTINGS)


JOBS = st.fixed_dictionaries(
    {
        "frames": st.integers(0, 32),
        "reduction": st.floats(0, 0.95),
        "new_tokens": st.integers(1, 10_000),
        "measure": st.booleans(),
        "model": st.sampled_from(["duet-mini", "somebody/else"]),
    }
)


@given(JOBS, st.integers(1, 50), st.data())
def test_it_stays_in_bounds_and_never_falls_when_more_is_asked(less, repeats, data):
    more = less | {
        "frames": data.draw(st.integers(less["frames"], 32)),
        "reduction": data.draw(st.floats(0, less["reduction"])),
        "new_tokens": data.draw(st.integers(less["new_tokens"], 10_000)),
        "measure": data.draw(st.sampled_from([less["measure"], True])),
    }
    seconds = [gpu_seconds(job(**asked), replace(SETTINGS, repeats=repeats)) for asked in (less, more)]
    assert LEAST <= seconds[0] <= seconds[1] <= MOST and all(type(second) is int for second in seconds)
    assert gpu_seconds(job(**less), replace(SETTINGS, repeats=repeats + 1)) >= seconds[0]


# The main process


def test_importing_the_page_makes_no_tensor_and_starts_no_device():
    names = ["app", *(f"app.{path.stem}" for path in sorted((ROOT / "app").glob("*.py")) if path.stem != "__init__")]
    script = (
        "import gc, importlib, sys, torch, transformers\n"
        "before = {id(t) for t in gc.get_objects() if isinstance(t, torch.Tensor)}\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "made = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and id(t) not in before]\n"
        "print(len(made), torch.cuda.is_initialized())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]


def test_what_asking_takes_of_a_quota_is_said_before(monkeypatch):
    """As many seconds as the run will ask the Space for; where nobody counts them, nothing is said."""
    desk = Desk(SETTINGS, load_gallery())
    assert "GPU time" not in desk.slider("duet", "duet-mini", given_values.PICTURE, 8)
    monkeypatch.setattr(handlers, "ON_ZERO_GPU", True)
    line = json.loads(desk.slider("duet", "duet-mini", given_values.PICTURE, 8))[89][0]
    seconds = gpu_seconds(replace(job(), reduction=0.89, new_tokens=PAGE_TOKENS), SETTINGS)
    assert f"about {seconds} s of your GPU time" in line
