"""python -m duet_core bench accuracy | speed | growth | training | state | calibrate."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from itertools import groupby

import torch

from duet_core.bench.accuracy import FULL, Sheet, contestants, read_budget, take_exam
from duet_core.bench.calibrate import measure_prior
from duet_core.bench.exams import Exam, Item
from duet_core.bench.growth import FRAMES, WHOLE, clips, growth_table, measure_growth, pictures
from duet_core.bench.options import read_exams, read_options
from duet_core.bench.peaks import Opened, can_measure, peak_bytes
from duet_core.bench.race import measure_speed
from duet_core.bench.report import Pair, Row, as_json, make_pairs, make_rows
from duet_core.bench.speed_report import machine, speed_table
from duet_core.bench.standing import field_table
from duet_core.bench.tables import accuracy_tables
from duet_core.engine import Model, open_model
from duet_core.memory import release
from duet_core.plan import Plan, target_budget

_MANY = 4  # methods, beyond which they are set side by side, too


def main(argv: list[str]) -> int:
    """Run one benchmark, print its table and write its figures."""
    options = read_options(argv, main.__doc__)
    options.command = shlex.join(["python", "-m", "duet_core", "bench", *argv])
    benches = {
        "accuracy": _accuracy,
        "speed": _speed,
        "growth": _growth,
        "training": _training,
        "state": _state,
        "calibrate": _calibrate,
    }
    table, report = benches[options.what](options)
    print(table)
    if options.table:
        options.table.write_text(table + "\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _accuracy(options: argparse.Namespace) -> tuple[str, object]:
    exams = read_exams(options)
    sheets = [sheet for name in options.model for sheet in _sheets(name, exams, options)]
    sheets.sort(key=lambda sheet: exams.index(sheet.exam))  # models side by side in each exam
    about = {name: getattr(options, name) for name in ("seed", "n", "groups", "style", "device", "dtype")}
    return _reported(sheets, make_pairs(sheets), options, about)


def _reported(
    sheets: list[Sheet], pairs: list[Pair], options: argparse.Namespace, about: dict[str, object]
) -> tuple[str, object]:
    """Draw a plot where asked for; returns the table and the whole report."""
    rows = make_rows(sheets)
    table = accuracy_tables(rows, pairs)
    if len(options.methods) > _MANY:
        table += "\n\n" + "\n\n".join(_fields(rows, pairs))
    _plot(rows, options)
    return table, as_json(rows, pairs, options.command, about)


def _fields(rows: list[Row], pairs: list[Pair]) -> Iterator[str]:
    """Yield a heading and the methods side by side for each exam and model."""
    for (exam, wording, model), own in groupby(rows, lambda row: (row.exam, row.wording, row.model)):
        among = [pair for pair in pairs if (pair.exam, pair.wording) == (exam, wording)]
        yield f"### The field on {exam}, {wording} wording, {model}"
        yield field_table(list(own), [pair for pair in among if pair.model == pair.other_model == model])


def _sheets(name: str, exams: list[Exam], options: argparse.Namespace) -> list[Sheet]:
    """Let one model take all exams."""
    model = open_model(name, options.device, options.dtype)
    sheets = []
    for exam in exams:
        field = contestants(model, options.methods, options.budgets, options.stages, exam.frames)
        sheets += take_exam(model, field, exam, exam.items(options.seed, options.n, options.groups))
    return sheets


def _plot(rows: list[Row], options: argparse.Namespace) -> None:
    if options.plot:
        from duet_core.bench.plots import draw_accuracy  # here, because only a plot needs matplotlib

        draw_accuracy(rows, options.plot)


def _speed(options: argparse.Namespace) -> tuple[str, object]:
    (exam,), opened = read_exams(options), Opened(options.model[0], options.device, options.dtype)
    item = next(exam.items(options.seed, 1))
    plans, peaks = _plans_and_peaks(opened, exam, item, options)
    report = measure_speed(_opened(opened), item.picture, _question(exam), plans, options.n)
    for row, peak in zip(report["budgets"], peaks, strict=True):
        row["peak_bytes"] = peak
    report |= {"command": options.command, "machine": machine()}
    if options.plot:
        from duet_core.bench.plots import draw_speed  # here, because only a plot needs matplotlib

        draw_speed(report, options.plot)
    return speed_table(report), report


def _plans_and_peaks(
    opened: Opened, exam: Exam, item: Item, options: argparse.Namespace
) -> tuple[dict[str, Plan], list[int | None]]:
    """Return the plans by name and their peaks, which are taken while this process holds no model."""
    field = contestants(_opened(opened), options.methods, [FULL, *options.budgets], frames=exam.frames)
    several = len(options.methods) > 1
    plans = {f"{one.method} {one.budget}" if several and one.budget != FULL else one.budget: one.plan for one in field}
    release()
    asked = opened, item.picture, _question(exam)
    return plans, [peak_bytes(*asked, plan) if can_measure() else None for plan in plans.values()]


def _question(exam: Exam) -> str:
    """Return the question whose answer is longest, so that there is something to decode."""
    return WHOLE["side" if exam.frames is None else "frames"]


def _growth(options: argparse.Namespace) -> tuple[str, object]:
    opened = Opened(options.model[0], options.device, options.dtype)
    subjects = pictures(options.seed, options.sides) if options.sides else clips(options.seed, options.frames or FRAMES)
    rows = measure_growth(_opened(opened), opened, subjects, options.budgets, options.n)
    if options.plot:
        from duet_core.bench.plots import draw_growth  # here, because only a plot needs matplotlib

        draw_growth(rows, options.plot)
    report = {"command": options.command, "machine": machine(), "rows": rows}
    return growth_table(rows, threads=torch.get_num_threads()), report


def _opened(opened: Opened) -> Model:
    return open_model(opened.name, opened.device, opened.dtype)


def _training(options: argparse.Namespace) -> tuple[str, object]:
    from duet_core.bench.training import measure_training, training_table  # here, as training's imports are slow

    model = open_model(options.model[0], options.device, options.dtype)
    report = measure_training(model, _token_budgets(model, options), options.batch, options.n, options.seed)
    return training_table(report), report


def _state(options: argparse.Namespace) -> tuple[str, object]:
    from duet_core.bench.state import BY_TEXT, READING, measure_state  # here, as only this bench needs the hybrid

    sheets = measure_state(options.model[0], options.budgets, options.n, options.seed)
    return _reported(sheets, make_pairs(sheets, BY_TEXT), options, {"n": options.n, "seed": options.seed, **READING})


def _calibrate(options: argparse.Namespace) -> tuple[str, object]:
    model = open_model(options.model[0], options.device, options.dtype)
    report = measure_prior(model, options.n, options.seed)
    options.out.write_text(json.dumps(report) + "\n")
    return f"A prior of {len(report['prior'])} patches, the mean of {options.n} pictures, is in {options.out}.", report


def _token_budgets(model: Model, options: argparse.Namespace) -> list[float]:
    """Return the budgets beside `full` in visual tokens."""
    budgets = (read_budget(budget) for budget in options.budgets if budget != FULL)
    return [round(target_budget(model.size, **budget), 2) for budget in budgets]
