"""The shell door on the bundled model: ask, scenes, bench."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from duet_core.__main__ import main
from duet_core.bench.accuracy import contestants, take_exam
from duet_core.bench.exams import Exam
from duet_core.bench.report import make_rows
from duet_core.bench.speed import compare_plans
from duet_core.bench.tables import accuracy_tables
from duet_core.scenes import FAMILIES, make_scene
from duet_core.trace import Trace


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    make_scene(7).image.save(path)
    return path


def test_ask_prints_both_answers_the_counts_and_the_figures(picture, tmp_path, capsys):
    out = tmp_path / "run.json"
    question = make_scene(7).questions[0].text
    assert main(["ask", str(picture), question, "--budget", "128", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "576 in all, 205 into the language model, 128.0 on average over its layers, 0 at the end" in printed
    assert all(word in printed for word in ("all tokens", "reduced", "first token", "prefill", "KV cache", "FLOPs"))
    data = json.loads(out.read_text())
    assert Trace.from_json(data["trace"]).average_tokens == 128.0
    assert data["agree"] == (data["full"] == data["reduced"]) and data["full"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such.png", "What?"], "There is no file no-such.png"),
        ([__file__, "What?"], "is no picture that can be read"),
        (["PICTURE", " "], "The question is empty"),
        (["PICTURE", "Is <image> here?"], "reserves for itself"),
        (["PICTURE", "What?", "--budget", "9999"], "between 1 and 576"),
        (["PICTURE", "What?", "--method", "magic"], "no method 'magic'"),
        (["PICTURE", "What?", "--model", "no-such-model"], "There is no model"),
    ],
)
def test_bad_input_is_one_sentence(picture, arguments, sentence, capsys):
    assert main(["ask", *[str(picture) if a == "PICTURE" else a for a in arguments]]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    assert main(["scenes", "--clips", "--n", "1", "--seed", "7", "--out", str(folder)]) == 0
    return folder / "clip-7.webp"


def test_ask_takes_a_clip(clip, tmp_path, capsys):
    out = tmp_path / "run.json"
    assert main(["ask", str(clip), "Which way does the pig move?", "--budget", "300", "--json", str(out)]) == 0
    assert "4608 in all (8 frames), 480 into the language model, 300.0 on average" in capsys.readouterr().out
    trace = Trace.from_json(json.loads(out.read_text())["trace"])
    assert (trace.grid.frames, trace.average_tokens) == (8, 300.0)


def test_ask_takes_an_h264_clip_and_times(capsys):
    path = Path(__file__).parent / "clips" / "h264.mp4"
    assert main(["ask", str(path), "What moves?", "--at", "0, 0.5"]) == 0
    assert "1152 in all (2 frames)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("av1.mp4", (), "AV1"),
        ("h264.mp4", ("--frames", "33"), "must be from 4 to 32"),
        ("h264.mp4", ("--at", "noon"), "'noon', which is not a time"),
        ("h264.mp4", ("--at", "99"), "outside the clip"),
        ("nowhere.mp4", (), "no such clip"),
    ],
)
def test_a_clip_that_cannot_be_used_is_one_sentence(name, more, sentence, capsys):
    assert main(["ask", str(Path(__file__).parent / "clips" / name), "What moves?", *more]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_no_network_for_a_hub_name(picture, capsys, monkeypatch):
    monkeypatch.setattr("duet_core.checkpoint.HfApi", Unreachable)
    assert main(["ask", str(picture), "What?", "--model", "someone/some-model"]) == 2
    assert "the model hub cannot be reached" in capsys.readouterr().err


class Unreachable:
    """Stands for the hub on a machine without network."""

    def model_info(self, *_, **__):
        raise ConnectionError


def test_scenes_writes_pictures_and_questions(tmp_path, capsys):
    assert main(["scenes", "--seed", "7", "--n", "2", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "questions.json").read_text())
    assert [row["seed"] for row in rows] == [7, 8]
    for row in rows:
        scene = make_scene(row["seed"])
        with Image.open(tmp_path / row["picture"]) as picture:
            assert picture.tobytes() == scene.image.tobytes()
        assert [q["text"] for q in row["questions"]] == [q.text for q in scene.questions]


def test_bench_accuracy_counts_every_question_once(mini, tmp_path, capsys):
    out = tmp_path / "rows.json"
    assert main(["bench", "accuracy", "--seed", "3", "--n", "12", "--budgets", "full,64", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    who = [("none", "full"), ("duet", "64"), ("random", "64"), ("uniform", "64")]
    assert [(row["method"], row["budget"]) for row in rows] == who
    for row in rows:
        assert row["overall"]["total"] == sum(family["total"] for family in row["families"].values()) == 12
        assert all(0 <= family["right"] <= family["total"] for family in row["families"].values())
    assert capsys.readouterr().out.count("| duet |") == 1


def test_a_bad_bench_option_is_one_sentence(capsys):
    assert main(["bench", "accuracy", "--exam", "films"]) == 2
    printed = capsys.readouterr()
    assert "There is no exam 'films'" in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_bench_repeats_itself(mini):
    exam, field = Exam("pictures"), contestants(mini, ["duet"], ["64"])
    rows = [make_rows(take_exam(mini, field, exam, exam.items(5, 6))) for _ in range(2)]
    assert rows[0] == rows[1] and "| duet | 64 |" in accuracy_tables(rows[0], [])


def test_the_bundled_model_really_sees(mini):
    """A short form of the accuracy bench: far above chance on unseen seeds, the full figures are in the model card."""
    exam = Exam("pictures")
    (row,) = make_rows(take_exam(mini, contestants(mini, [], ["full"]), exam, exam.items(0, 120)))
    assert row.overall.right / row.overall.total >= 0.7
    assert set(row.families) == set(FAMILIES)


def test_compared_plans_report_their_own_numbers(mini):
    plans = [mini.plan("none"), mini.plan(budget=192)]
    speeds = compare_plans(mini, make_scene(1).image, "What is in the picture?", plans, repeats=2)
    assert [speed.plan for speed in speeds] == plans
    assert speeds[0].kv_bytes > speeds[1].kv_bytes and speeds[0].prefill_ms.runs == 2


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("ask", "scenes", "bench", "train"))
