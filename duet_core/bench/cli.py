"""python -m duet_core bench accuracy | speed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from duet_core.bench.accuracy import accuracy_table, contestants, measure_accuracy, rows_to_json, scene_questions
from duet_core.bench.speed import measure_speed, speed_table
from duet_core.engine import Model, open_model


def main(argv: list[str]) -> int:
    """Run one benchmark, print its table and write its rows."""
    parser = argparse.ArgumentParser("duet_core bench", description=main.__doc__)
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("--model", default="duet-mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene")
    parser.add_argument("--n", type=int, default=200, help="questions (accuracy) or runs (speed)")
    parser.add_argument("--budgets", default="full,192,128,64", help="comma-separated: full or average visual tokens")
    parser.add_argument("--methods", default="duet,random,uniform", help="comma-separated")
    parser.add_argument("--style", help="sprite style of the scenes (default: the training styles)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    model = open_model(options.model, options.device, options.dtype)
    run = _accuracy if options.what == "accuracy" else _speed
    table, rows = run(model, options)
    print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _accuracy(model: Model, options: argparse.Namespace) -> tuple[str, object]:
    field = contestants(model, options.methods.split(","), options.budgets.split(","))
    rows = measure_accuracy(model, field, scene_questions(options.seed, options.n, options.style))
    return accuracy_table(rows), rows_to_json(rows)


def _speed(model: Model, options: argparse.Namespace) -> tuple[str, object]:
    budgets = [float(budget) for budget in options.budgets.split(",") if budget != "full"]
    report = measure_speed(model, budgets, options.n, options.seed)
    return speed_table(report, threads=torch.get_num_threads()), report
