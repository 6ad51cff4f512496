"""The Scorecard: what is asked is checked, the exam is the bench's own, and every figure says whose it is."""

from __future__ import annotations

import json
import pickle
import xml.etree.ElementTree as ET

import pytest

from app import gpu, messages, scorecard
from app.duration import MOST as MOST_SECONDS
from app.duration import gpu_seconds
from app.gallery import load_gallery
from app.handlers import Desk
from app.invigilator import invigilate
from app.score_desk import BUDGETS, PARTS, ScoreDesk, check_sitting
from app.settings import Settings
from app.sitting import MOST, Scored, Sitting, Turn
from app.stored import PAPER, stored
from duet_core.bench.accuracy import contestants, take_exam
from duet_core.bench.exams import GROUP_SEEDS
from duet_core.bench.report import as_json, make_rows, read_rows
from duet_core.errors import DuetError
from duet_core.scenes import FIRST_TRAINING_SEED

DESK = Desk(Settings(), load_gallery())
ASKED = {"methods": ["duet"], "budgets": ["89%"], "subject": "Pictures", "n": 20, "model": "duet-mini", "desk": DESK}


def sitting(**more) -> Sitting:
    asked = {"subject": "pictures", "methods": ("duet",), "budgets": ("89%",), "n": 6, "seed": 123_456}
    return Sitting("duet-mini", **{**asked, **more})


@pytest.fixture(scope="module")
def taken(mini) -> list[Turn | Scored]:
    return list(invigilate(mini, sitting()))


def test_the_live_exam_is_that_of_the_bench(mini, taken):
    job = sitting()
    field = contestants(mini, job.methods, ("full", *job.budgets))
    rows = make_rows(take_exam(mini, field, job.exam, job.exam.items(job.seed, job.n)))
    assert [(row.method, row.budget) for row in rows] == [("none", "full"), ("duet", "89%")]
    last = taken[-1]
    assert isinstance(last, Scored) and list(last.rows) == rows and last.questions == 6 and not last.timed_out


def test_each_turn_is_told_and_every_scene_is_counted(taken):
    turns = [event for event in taken if isinstance(event, Turn)]
    assert [turn.done for turn in turns] == sorted({turn.done for turn in turns}) and turns[-1].done == 12
    assert {turn.total for turn in turns} == {12}
    scenes = [event.rows[0].scenes for event in taken if isinstance(event, Scored)]
    assert scenes == list(range(1, len(scenes) + 1))


def test_an_exam_out_of_time_counts_what_is_there(mini):
    events = list(invigilate(mini, sitting(n=200, seconds=0.0)))
    (only,) = [event for event in events if isinstance(event, Scored)]
    assert only.timed_out and 5 <= only.questions < 200


def test_an_exam_crosses_to_another_process_and_keeps_to_the_time_of_a_visitor(taken):
    assert pickle.loads(pickle.dumps(sitting())) == sitting()
    assert pickle.loads(pickle.dumps(taken[-1])) == taken[-1]
    assert sitting().seconds < gpu_seconds(sitting(), Settings()) <= MOST_SECONDS


def test_scenes_are_fresh_and_never_those_of_training_or_bench():
    seeds = {check_sitting(**ASKED).seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(4 * GROUP_SEEDS <= seed <= FIRST_TRAINING_SEED - GROUP_SEEDS for seed in seeds)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": []}, "at least one"),
        ({"methods": ["none"]}, "at least one"),
        ({"methods": ["magic"]}, "no method 'magic'"),
        ({"budgets": []}, "no reduction"),
        ({"budgets": ["1e9%"]}, "no reduction"),
        ({"subject": "Photos"}, "no exam called 'Photos'"),
        ({"n": MOST + 1}, f"from 10 to {MOST}"),
        ({"n": float("nan")}, f"from 10 to {MOST}"),
        ({"n": "many"}, f"from 10 to {MOST}"),
        ({"model": "/etc"}, "no model '/etc'"),
    ],
)
def test_what_cannot_be_examined_is_said_in_a_sentence(change, words):
    with pytest.raises(DuetError, match=words):
        check_sitting(**ASKED | change)


def test_the_tab_shows_plot_table_and_command_and_ends_idle(taken, monkeypatch):
    monkeypatch.setattr(gpu, "run_exam", lambda job, settings: iter(taken))
    shown = list(ScoreDesk(DESK).run_on_page(["duet"], ["89%"], "Pictures", 20, "duet-mini"))
    assert all(len(outputs) == 4 + PARTS for outputs in shown)
    run, stop, notice, status, plot, note, table = shown[-1]
    assert run["interactive"] and not stop["interactive"] and not notice and messages.EXAM_OVER in status
    assert ET.fromstring(plot).get("aria-label").startswith("all tokens")
    assert "bench accuracy --model duet-mini" in note and "too narrow" in note
    assert table.count("<tr>") == 3 and "DUET" in table


def test_a_report_is_read_as_it_was_written(taken):
    rows = list(taken[-1].rows)
    assert read_rows(json.loads(json.dumps(as_json(rows, [], "command", {})))) == rows


def test_the_stored_run_stands_beside_and_says_that_it_is_stored():
    run = stored("pictures")
    card = scorecard.stored_card(run, "pictures")
    assert run and {row.exam for row in run.rows} == {"pictures"} and run.rows[0].budget == "full"
    assert "not measured now" in card and run.command.split(" --json")[0] in card


def test_where_no_run_is_stored_the_page_says_so():
    assert messages.no_stored_run("clips") in scorecard.stored_card(None, "clips")


def test_the_papers_figures_are_labelled_as_theirs():
    card = scorecard.paper_card()
    assert "not ours" in card and "nothing here was measured by this page" in card
    for figure in ("more than 99 %", "99.7 %", "more than 97 %", "97.6 %", "more than 100 %", "53.1 %", "93.4 %"):
        assert figure in card
    assert len(PAPER) == 4 and set(BUDGETS) >= {"67%", "89%", "53%", "93%"}
