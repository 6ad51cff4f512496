"""python -m duet_core bench accuracy | speed | floor | training | state | calibrate."""

from __future__ import annotations

import argparse
import json
import shlex

import torch

from duet_core.bench.accuracy import FULL, Sheet, contestants, read_budget, take_exam
from duet_core.bench.calibrate import measure_prior
from duet_core.bench.exams import Exam
from duet_core.bench.floor import floor_table, measure_floor
from duet_core.bench.options import read_exams, read_options
from duet_core.bench.report import Pair, Row, as_json, make_pairs, make_rows
from duet_core.bench.speed import measure_speed, speed_table
from duet_core.bench.tables import accuracy_tables
from duet_core.engine import Model, open_model
from duet_core.plan import target_budget


def main(argv: list[str]) -> int:
    """Run one benchmark, print its table and write its figures."""
    options = read_options(argv, main.__doc__)
    options.command = shlex.join(["python", "-m", "duet_core", "bench", *argv])
    benches = {
        "accuracy": _accuracy,
        "speed": _speed,
        "floor": _floor,
        "training": _training,
        "state": _state,
        "calibrate": _calibrate,
    }
    table, report = benches[options.what](options)
    print(table)
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
    """Write table and plot where asked for; returns the table and the whole report."""
    rows = make_rows(sheets)
    table = accuracy_tables(rows, pairs)
    if options.table:
        options.table.write_text(table + "\n")
    _plot(rows, options)
    return table, as_json(rows, pairs, options.command, about)


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
    model = open_model(options.model[0], options.device, options.dtype)
    (exam,) = read_exams(options)
    field = contestants(model, options.methods, [FULL, *options.budgets], frames=exam.frames)
    item = next(exam.items(options.seed, 1))
    several = len(options.methods) > 1
    plans = {f"{one.method} {one.budget}" if several and one.budget != FULL else one.budget: one.plan for one in field}
    report = measure_speed(model, item.picture, item.questions[0].text, plans, options.n)
    return speed_table(report, threads=torch.get_num_threads()), report


def _floor(options: argparse.Namespace) -> tuple[str, object]:
    model = open_model(options.model[0], options.device, options.dtype)
    plans = {one.budget: one.plan for one in contestants(model, ["duet"], [FULL, *options.budgets])}
    report = measure_floor(model, plans, options.n, options.seed)
    return floor_table(report, threads=torch.get_num_threads()), report


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
