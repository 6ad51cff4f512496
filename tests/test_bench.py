"""The accuracy bench: how answers are marked, its rows, tables and plot, and refusals of bad options."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from duet_core import DuetError, PlanError
from duet_core.bench.accuracy import ALL_FAMILIES, LONGEST_ANSWER, Asked, contestants, read_budget, take_exam
from duet_core.bench.cli import main
from duet_core.bench.exams import Exam
from duet_core.bench.options import read_options
from duet_core.bench.report import make_pairs, make_rows
from duet_core.bench.tables import accuracy_tables
from duet_core.checkpoint import bundled_folders
from duet_core.methods import find_method, offered
from duet_core.scenes import judge
from duet_core.scenes.clip import make_clip
from duet_core.scenes.question import UNKNOWN

# Marks


def test_marks_are_what_asking_one_by_one_gives(mini):
    exam, field = Exam("pictures"), contestants(mini, ["duet"], ["full", "64"])
    items = list(exam.items(8, 14))
    sheets = take_exam(mini, field, exam, items)
    for sheet, one in zip(sheets, field, strict=True):
        for number, item in enumerate(items):
            for column, family in enumerate(ALL_FAMILIES):
                own = [question for question in item.questions if question.family == family]
                answers = [mini.ask(item.picture, question.text, one.plan, LONGEST_ANSWER).text for question in own]
                right = [judge(question, answer) for question, answer in zip(own, answers, strict=True)]
                assert sheet.right[number, column] == sum(right)
                assert sheet.asked.total[number, column] == len(own)
                assert sheet.refused[number, column] == sum(answer == UNKNOWN for answer in answers)


def test_items_of_one_photograph_are_one_unit():
    rows = [("b", 0, np.array([1, 0])), ("a", 0, np.array([2, 2])), ("b", 1, np.array([3, 5]))]
    asked = Asked.of(rows)
    assert asked.by_unit(asked.total).tolist() == [[2, 2], [4, 5]]


@pytest.mark.parametrize("budget", ["53%", "93.4%", "192", "64"])
@pytest.mark.parametrize("frames", [1, 8])
def test_budgets_hold_for_pictures_and_clips(mini, budget, frames):
    """The Video-LLaVA reading: the same plan for each frame in stage 1, one block in stage 2."""
    clip = make_clip(2).frames[:frames]
    (one,) = contestants(mini, ["duet"], [budget])
    trace = mini.ask(list(clip), "What happens in the clip?", one.plan, 1).trace
    target = read_budget(budget)
    per_frame = target["budget"] if "budget" in target else 576 * (1 - target["reduction"])
    assert trace.full == 576 * frames
    assert abs(trace.average_tokens - per_frame * frames) <= frames


def test_contestants_run_all_tokens_once_and_repeat_nothing(mini):
    field = contestants(mini, ["duet", "random", "duet"], ["full", "64", "64", "full", "50%"])
    assert [(one.method, one.budget) for one in field] == [
        ("none", "full"), ("duet", "64"), ("random", "64"), ("duet", "50%"), ("random", "50%"),
    ]  # fmt: skip
    for wrong in ("much", "5x%", "%", ""):
        with pytest.raises(PlanError, match="cannot be read"):
            read_budget(wrong)


# Reports


@pytest.fixture(scope="module")
def sheets(mini):
    exams = Exam("pictures"), Exam("outside")
    field = contestants(mini, ["duet", "random"], ["full", "64"])
    own = {exam: take_exam(mini, field, exam, exam.items(60, 10, 2)) for exam in exams}
    other = {exam: [replace(sheet, model="other") for sheet in taken] for exam, taken in own.items()}
    return [sheet for exam in exams for sheet in (*own[exam], *other[exam])]


def test_rows_say_what_the_sheets_hold(sheets):
    rows = make_rows(sheets)
    assert len(rows) == len(sheets)
    for row, sheet in zip(rows, sheets, strict=True):
        assert row.overall.total == sum(mark.total for mark in row.families.values()) == 20
        assert row.overall.right == sum(mark.right for mark in row.families.values()) == sheet.right.sum()
        assert [mark.total for mark in row.groups] == [10, 10]
        assert sum(mark.right for mark in row.groups) == row.overall.right
        assert row.scenes == len(sheet.asked.total)
        assert (row.false_refusals is None) == (row.exam == "outside")
        assert row.full_tokens == 576 and (row.tokens == 576) == (row.budget == "full")
    full = next(row for row in rows if row.budget == "full")
    assert full.kept.value == full.kept.low == full.kept.high == 1 and full.difference.value == 0


def test_pairs_compare_like_with_like(sheets):
    pairs = make_pairs(sheets)
    within = [pair for pair in pairs if pair.model == pair.other_model]
    between = [pair for pair in pairs if pair.model != pair.other_model]
    assert len(within) == 2 * 2 and {(pair.method, pair.other_method) for pair in within} == {("duet", "random")}
    assert len(between) == 2 * 3 and all(pair.method == pair.other_method for pair in between)
    assert {(pair.model, pair.other_model) for pair in between} == {("other", sheets[0].model)}
    assert all(pair.difference.low == pair.difference.high == 0 for pair in between), "the same answers"


def test_the_tables_have_a_line_per_row(sheets):
    rows, text = make_rows(sheets), accuracy_tables(make_rows(sheets), make_pairs(sheets))
    assert text.count("### ") == 2 and text.count("| random | 64 |") == 4
    for head in ("| model | method |", "by group", "false refusals", "too narrow", "existence"):
        assert head in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == len(rows) + 2 * 2
    assert all(a.count("|") == b.count("|") for a, b in pairwise(table[: len(rows) // 2 + 2]))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_plot_is_a_picture(sheets, suffix, tmp_path):
    from duet_core.bench.plots import draw_accuracy

    path = tmp_path / f"accuracy{suffix}"
    draw_accuracy(make_rows(sheets), path)
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.width > picture.height > 300
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    else:
        assert path.read_text().startswith("<?xml")


# The command


def test_one_run_writes_table_rows_and_plot(mini, photos, tmp_path, capsys):
    files = {name: tmp_path / f"out.{name}" for name in ("json", "md", "svg")}
    arguments = ["accuracy", "--exam", "pictures,foreign,photos", "--photos", str(photos), "--wording", "held-out"]
    arguments += ["--n", "6", "--groups", "2", "--seed", "9", "--budgets", "full,89%", "--methods", "duet,uniform"]
    arguments += ["--json", str(files["json"]), "--table", str(files["md"]), "--plot", str(files["svg"])]
    assert main(arguments) == 0
    report = json.loads(files["json"].read_text())
    assert report["command"].endswith("out.svg") and report["torch_threads"] >= 1 and "T" in report["date"]
    assert [(row["exam"], row["method"], row["budget"]) for row in report["rows"]] == [
        (exam, *who)
        for exam in ("pictures", "foreign", "photos")
        for who in (("none", "full"), ("duet", "89%"), ("uniform", "89%"))
    ]
    for row in report["rows"]:
        assert row["overall"]["total"] == 12 and row["wording"] == "held-out" and row["model"] == "duet-mini"
        assert row["overall"]["accuracy"]["low"] <= row["overall"]["accuracy"]["value"]
    assert len(report["pairs"]) == 3 and not any(math.isnan(row["tokens"]) for row in report["rows"])
    assert capsys.readouterr().out == files["md"].read_text() and files["svg"].stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sleep"], "invalid choice: 'sleep'"),
        (["accuracy", "--exam", "films"], "no exam 'films'; choose among pictures, clips"),
        (["accuracy", "--exam", ","], "no exam ','"),
        (["accuracy", "--wording", "loud"], "no wording 'loud'"),
        (["accuracy", "--style", "cubist"], "no style 'cubist'"),
        (["accuracy", "--exam", "photos"], "--photos FOLDER"),
        (["accuracy", "--exam", "photos", "--photos", "no-such-folder"], "no folder no-such-folder"),
        (["accuracy", "--exam", "photos", "--photos", "duet_core/bench"], "holds no picture"),
        (["accuracy", "--budgets", "full,5x%"], "'5x%' cannot be read"),
        (["accuracy", "--budgets", "100%"], "reduction is 1.0"),
        (["accuracy", "--budgets=-3%"], "reduction is -0.03"),
        (["accuracy", "--budgets", "577"], "between 1 and 576"),
        (["accuracy", "--budgets", "nan"], "between 1 and 576"),
        (["accuracy", "--budgets", ","], "No budget"),
        (["accuracy", "--methods", "magic"], "no method 'magic'"),
        (["accuracy", "--methods", "none"], "--budgets full"),
        (["accuracy", "--n", "0"], "--n is 0"),
        (["accuracy", "--n", "some"], "invalid int value: 'some'"),
        (["accuracy", "--groups", "101"], "--groups is 101"),
        (["accuracy", "--seed", "-1"], "--seed is -1"),
        (["accuracy", "--seed", "995000"], "training uses the scenes beyond"),
        (["accuracy", "--plot", "plot.pdf"], ".png or .svg"),
        (["accuracy", "--json", "no-such-folder/rows.json"], "cannot be written"),
        (["accuracy", "--model", "no-such-model"], "There is no model"),
        (["speed", "--model", "duet-mini", "--model", "other"], "takes one model"),
    ],
)
def test_a_bad_option_is_one_sentence(arguments, sentence):
    with pytest.raises(DuetError) as caught:
        main(arguments)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_options_have_defaults_for_each_bench():
    assert [read_options([what], None).n for what in ("accuracy", "speed", "training")] == [200, 15, 5]
    assert read_options(["accuracy"], None).model == ["duet-mini"]
    assert read_options(["accuracy", "--model", "a", "--model", "b", "--model", "a"], None).model == ["a", "b"]


def test_training_is_measured_too(tmp_path, capsys):
    path = tmp_path / "training.json"
    assert main(["training", "--n", "1", "--batch", "1", "--budgets", "full,89%", "--json", str(path)]) == 0
    assert "| full |" in capsys.readouterr().out
    assert [row["budget"] for row in json.loads(path.read_text())["budgets"]] == ["full", pytest.approx(63.36)]


def test_all_methods_are_asked_for_by_one_word_and_each_where_it_applies(mini):
    everyone = read_options(["accuracy", "--methods", "all"], None).methods
    assert everyone == [name for name in offered(bundled_folders()) if name != "none"]
    assert read_options(["accuracy"], None).methods == ["duet", "random", "uniform"]
    assert read_options(["speed"], None).methods == ["duet"]
    for frames, budget in ((None, "64"), (8, "53%")):
        asked = [one.method for one in contestants(mini, everyone, [budget], frames=frames)]
        assert asked == [name for name in everyone if find_method(name).about.applies(frames is not None)]
    assert "metok" not in [one.method for one in contestants(mini, everyone, ["64"])]
