"""The bundle of a run: its trace, its maps, its figures, how to repeat it, and a report, as one zip file."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import recipes
from app.describe import step_sentence
from app.film import Subject, frames_of
from app.lastrun import LastRun
from app.render import file_of, marks_of, sheet
from app.report import report
from app.steps import step_name
from duet_core.bench.speed import PlanSpeed
from duet_core.timing import Spread

NAME = "duet-lens-run.zip"
_WIDTH = 760
_README = """What this bundle holds

trace.json    what became of every patch, as the API gives it
maps/         the picture or clip after each step (PNG)
stats.csv     tokens and measured figures; empty where nothing was measured
report.html   all of it on one page that needs nothing from elsewhere
command.sh    repeats the run in a checkout of DUET Lens, from this folder
api.py        asks the page's API again, with gradio_client
api.sh        the same with curl
{file}what was asked about

{note}"""


@dataclass(frozen=True, slots=True)
class Original:
    """What the run was about: its name in the bundle, the opened subject, and the clip's own file."""

    name: str
    subject: Subject
    file: Path | None = None


def write(folder: Path, run: LastRun, original: Original, address: str) -> Path:
    """Write the bundle into a folder and return its path."""
    path = folder / NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in contents(run, original, address):
            bundle.writestr(name, content)
    return path


def contents(run: LastRun, original: Original, address: str) -> Iterator[tuple[str, str | bytes]]:
    """Yield each file's name and content."""
    maps = list(_maps(run, original.subject))
    command = recipes.command(run.given, original.name)
    yield "trace.json", json.dumps(run.trace.to_json()) + "\n"
    yield from ((f"maps/{name}.png", content) for name, _, content in maps)
    yield "stats.csv", stats(run)
    yield "command.sh", f"#!/bin/sh\n{command}\n"
    yield "api.py", recipes.python_call(run.given, original.name, address)
    yield "api.sh", recipes.curl_call(run.given, original.name, address)
    yield "report.html", report(run, [(title, content) for _, title, content in maps], command)
    yield original.name, original.file.read_bytes() if original.file else file_of(frames_of(original.subject)[0])
    yield "README.txt", _README.format(file=original.name.ljust(14), note=recipes.beyond_api(run.given)).rstrip() + "\n"


def _maps(run: LastRun, subject: Subject) -> Iterator[tuple[str, str, bytes]]:
    """Yield each step's file name, what it shows, and its map."""
    photos, trace = frames_of(subject), run.trace
    photos = photos * (trace.grid.pictures // len(photos))
    for number in range(len(trace.steps)):
        drawn = sheet(photos, trace.grid, marks_of(trace, number), _WIDTH)
        title = f"{step_name(trace, number)}: {step_sentence(trace, number)}"
        yield f"{number}-{trace.steps[number].replace(' ', '-')}", title, file_of(drawn)


def stats(run: LastRun) -> str:
    """Return the figures as CSV: one a row, all tokens beside reduced, each with its lowest and highest run."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    sides = [f"{side}{part}" for side in ("all_tokens", "reduced") for part in ("", "_low", "_high")]
    writer.writerow(["figure", *sides])
    trace = run.trace
    for name, value in (("entering", trace.entering), ("average", trace.average_tokens), ("final", trace.final)):
        writer.writerow([f"tokens_{name}", trace.full, "", "", value, "", ""])
    for name in run.speeds[0].to_json() if run.speeds else ():
        writer.writerow([name, *(cell for speed in run.speeds or () for cell in _cells(speed, name))])
    return stream.getvalue()


def _cells(speed: PlanSpeed, name: str) -> tuple[Any, Any, Any]:
    value = getattr(speed, name)
    return (value.median, value.low, value.high) if isinstance(value, Spread) else (value, "", "")
