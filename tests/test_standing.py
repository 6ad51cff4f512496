"""Many methods in one table: best first, budgets that were missed told, DUET's rank true whatever it is."""

from __future__ import annotations

import json

from duet_core.__main__ import main
from duet_core.bench.bootstrap import Interval
from duet_core.bench.report import Mark, Pair, Row
from duet_core.bench.standing import field_table, standing


def row(method: str, budget: str, right: int, tokens: float) -> Row:
    mark = Mark(right, 100, Interval(right / 100, right / 100 - 0.02, right / 100 + 0.02))
    return Row("m", "pictures", "canonical", method, budget, tokens, 576, 10, mark, {}, (mark,), None, None, None)


def pair(other: str, low: float, high: float) -> Pair:
    lead = Interval((low + high) / 2, low, high)
    return Pair("pictures", "canonical", "64", "m", "duet", "m", other, lead, None)


ROWS = [
    row("none", "full", 97, 576.0),
    row("random", "64", 80, 64.0),
    row("duet", "64", 90, 63.8),
    row("fastv", "64", 95, 72.0),
    row("visionzip", "64", 92, 64.0),
]
PAIRS = [pair("random", 0.05, 0.15), pair("fastv", -0.09, -0.01), pair("visionzip", -0.05, 0.01)]


def test_the_best_come_first_and_a_missed_budget_is_told():
    lines = field_table(ROWS, PAIRS).splitlines()
    assert lines[2] == "| All tokens | 97.0 (95.0 to 99.0) |"
    titles = [line.split(" | ")[0].removeprefix("| ").removesuffix(" [interpretation]") for line in lines[3:7]]
    assert titles == ["FastV", "VisionZip", "DUET", "Random"]
    assert lines[3].endswith("at 72 tokens |") and "tokens" not in lines[5]


def test_the_rank_says_who_is_ahead_and_which_of_it_is_sure():
    said = standing("64", ROWS, PAIRS)
    assert "DUET is 3 of 4, behind FastV" in said and "VisionZip" in said.split(";")[0]
    assert said.split(";")[1].startswith(" of these, ahead beyond the interval: FastV")
    assert said.endswith(" 1 of those behind it are so beyond the interval.")
    best = [*ROWS[:1], row("duet", "64", 99, 64.0), *ROWS[1:2]]
    assert standing("64", best, []) == "- At 64: DUET is 1 of 2. 0 of those behind it are so beyond the interval."


def test_the_bench_sets_many_methods_side_by_side(capsys, tmp_path):
    methods, out = "duet,random,uniform,visionzip,pooling", tmp_path / "field.json"
    assert main(["bench", "accuracy", "--methods", methods, "--budgets", "64", "--n", "6", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "### The field on pictures, canonical wording, duet-mini" in printed and "- At 64: DUET is " in printed
    assert {one["method"] for one in json.loads(out.read_text())["rows"]} == set(methods.split(","))
