"""What visitors take along: the bundle opened file by file, its command run again, and links made and read."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shlex
import subprocess
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image

from app import bundle, messages, recipes
from app.bundle import Original
from app.gallery import load_gallery
from app.handlers import Desk
from app.keep import Keep
from app.lastrun import LastRun, given_of
from app.settings import Settings
from app.share import query_of, restore
from duet_core.__main__ import main
from duet_core.errors import DuetError
from duet_core.shell import read_plan
from duet_core.trace import Trace

GALLERY, SETTINGS = load_gallery(), Settings()
DESK = Desk(SETTINGS, GALLERY)
FIRST = GALLERY.examples[0]
EXACT = {"custom": True, "dominant": 54, "contextual": 11, "layers": "4, 6", "keep": "0.5, 0"}


def run_of(**changes) -> LastRun:
    run = DESK.recorded_run(FIRST)
    return replace(run, given=replace(run.given, **changes))


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("bundle")
    path = bundle.write(folder, run_of(), Original("picture.png", FIRST.subject), "https://lens.example/")
    return zipfile.ZipFile(path)


def test_a_run_that_was_forgotten_is_told_so_and_not_taken_for_another():
    [(file, note)] = Keep(DESK).export(None, gr.Request())
    assert not file["visible"] and messages.RUN_FORGOTTEN in note
    run = Keep(DESK).opened(gr.Request(query_params={}))[-1]
    assert (run.example, run.recorded) == (run_of().example, True)


def test_the_bundle_holds_every_file(opened):
    assert opened.testzip() is None
    names = set(opened.namelist())
    assert names >= {"trace.json", "stats.csv", "report.html", "command.sh", "api.py", "api.sh", "picture.png"}
    readme = opened.read("README.txt").decode()
    assert all(name.split("/")[0] in readme for name in names - {"README.txt"})


def test_its_trace_is_the_runs_and_its_picture_the_examples(opened):
    assert json.loads(opened.read("trace.json")) == FIRST.duel.trace.to_json()
    picture = Image.open(io.BytesIO(opened.read("picture.png")))
    assert np.array_equal(np.asarray(picture), np.asarray(FIRST.subject))


def test_its_maps_are_one_picture_per_step(opened):
    maps = sorted(name for name in opened.namelist() if name.startswith("maps/"))
    assert maps == ["maps/0-all.png", "maps/1-stage-1.png", "maps/2-layer-4.png", "maps/3-layer-6.png"]
    drawn = [Image.open(io.BytesIO(opened.read(name))) for name in maps]
    assert {picture.width for picture in drawn} == {760}
    assert len({picture.tobytes() for picture in drawn}) == len(maps)


def test_its_figures_are_those_of_the_page(opened):
    rows = {row["figure"]: row for row in csv.DictReader(io.StringIO(opened.read("stats.csv").decode()))}
    full, reduced = FIRST.duel.speeds
    assert float(rows["first_token_ms"]["reduced"]) == reduced.first_token_ms.median
    assert float(rows["first_token_ms"]["all_tokens_high"]) == full.first_token_ms.high
    assert int(rows["kv_bytes"]["all_tokens"]) == full.kv_bytes
    assert float(rows["tokens_average"]["reduced"]) == FIRST.duel.trace.average_tokens


class Links(HTMLParser):
    """Collects whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in {"src", "href", "srcset", "poster", "data"}]
        assert tag not in {"script", "link", "iframe", "object"}


def test_its_report_needs_nothing_from_elsewhere(opened):
    text = opened.read("report.html").decode()
    links = Links()
    links.feed(text)
    assert len(links.found) == 4 and all(link.startswith("data:image/png;base64,") for link in links.found)
    assert "url(" not in text and "@import" not in text
    assert FIRST.duel.question in text and "default-src 'none'" in text


def test_what_was_typed_stays_text_in_the_report_and_in_the_scripts():
    hostile = "<script>x</script> '; rm -rf ~ #\" $(id) `id`"
    run = run_of(question=hostile)
    files = dict(bundle.contents(run, Original("picture.png", FIRST.subject), recipes.LOCAL))
    assert "<script>" not in files["report.html"]
    assert shlex.split(files["command.sh"], comments=False)[-1] == hostile
    calls = [node for node in ast.walk(ast.parse(files["api.py"])) if isinstance(node, ast.keyword)]
    assert ast.literal_eval(next(call.value for call in calls if call.arg == "question")) == hostile
    said = subprocess.run(["sh", "-n"], input=files["api.sh"], text=True, capture_output=True, check=False)
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("changes", [{}, EXACT], ids=["slider", "exact"])
def test_its_command_repeats_the_run(mini, tmp_path, monkeypatch, changes):
    run = run_of(**changes)
    plan = read_plan(
        json.dumps({"method": "duet", "dominant": 54, "contextual": 11, "layers": [4, 6], "keep": [0.5, 0]})
    )
    plan = plan if changes else mini.plan("duet", reduction=FIRST.reduction / 100)
    trace = mini.ask(FIRST.subject, run.question, plan, max_new_tokens=8).trace
    path = bundle.write(tmp_path, replace(run, trace=trace), Original("picture.png", FIRST.subject), recipes.LOCAL)
    with zipfile.ZipFile(path) as files:
        files.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = shlex.split((tmp_path / "command.sh").read_text(), comments=True)
    assert words[:3] == ["python", "-m", "duet_core"]
    assert main([*words[3:4], "--device", "cpu", *words[4:]]) == 0
    again = json.loads((tmp_path / "answer.json").read_text())["trace"]
    assert again == json.loads((tmp_path / "trace.json").read_text())
    assert Trace.from_json(again).entering == (65 if changes else FIRST.duel.trace.entering)


@pytest.mark.parametrize("text", ["x", "[]", '{"magic": 1}', '{"dominant": "many"}', '{"dominant": 0}'])
def test_a_plan_that_is_none_is_refused_in_a_sentence(text):
    with pytest.raises(DuetError):
        read_plan(text)


def test_the_bundle_says_what_the_api_cannot_repeat():
    assert recipes.beyond_api(run_of().given) == ""
    assert "exact numbers" in recipes.beyond_api(run_of(**EXACT).given)
    assert recipes.python_call(run_of(new_tokens=9).given, "picture.png", recipes.LOCAL).startswith("# This run has")


@pytest.mark.parametrize(
    ("referer", "address"),
    [
        ("https://lens.example/app?question=x#y", "https://lens.example/app/"),
        ("http://127.0.0.1:7861/", "http://127.0.0.1:7861/"),
        ("javascript:alert(1)", recipes.LOCAL),
        ("http://x/' && rm", recipes.LOCAL),
        (None, recipes.LOCAL),
    ],
)
def test_the_address_in_the_calls_is_the_pages_own(referer, address):
    assert recipes.address_of(referer) == address


# Links


def read(query: str):
    return restore(dict(parse_qsl(query.lstrip("?"), keep_blank_values=True)), SETTINGS, GALLERY, "duet-mini")


@pytest.mark.parametrize("example", [*GALLERY.examples, *GALLERY.clips], ids=lambda example: example.name)
def test_the_link_of_a_recorded_run_restores_exactly_that(example):
    given = given_of(example, GALLERY, "duet-mini")
    restored = read(query_of(given, GALLERY.label(example)))
    assert restored.given == given and restored.example is example and restored.refused == ()


@drawn(
    question=st.text(min_size=1, max_size=60).filter(lambda text: text.strip() == text and text.isprintable()),
    reduction=st.integers(0, 95), new_tokens=st.integers(1, 256), custom=st.booleans(),
    method=st.sampled_from(["duet", "random", "none"]),
)  # fmt: skip
def test_links_go_round(question, reduction, new_tokens, custom, method):
    changes = {"question": question, "reduction": float(reduction), "method": method, "new_tokens": new_tokens}
    given = replace(given_of(FIRST, GALLERY, "duet-mini"), **changes, **(EXACT if custom else {}))
    query = query_of(given, "picture-1")
    restored = read(query)
    assert restored.given == given and not restored.refused
    assert query_of(restored.given, "picture-1") == query


HOSTILE = {
    "reduction": ["nan", "x", "", "1e999", "-5"], "longest": ["1e9", "NaN", "-1", "inf"], "frames": ["1e400", "3", "x"],
    "method": ["<img src=x>", "magic"], "model": ["../../etc/passwd", "/etc", "a" * 9999], "choose": ["zz", "__x__"],
    "question": [" ", "a" * 600, "a" * 99999], "example": ["../x", "picture-99", "clip-0"], "dominant": ["-1e999", "x"],
    "layers": ["a,b", "9" * 150], "keep": ["1,2,3"], "queries": ["__init__"], "at": ["x" * 999],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HOSTILE.items() for value in values])
def test_hostile_values_are_clamped_or_refused_in_a_sentence(name, value):
    restored = restore({"example": "picture-2", name: value}, SETTINGS, GALLERY, "duet-mini")
    given = restored.given
    assert 0 <= given.reduction <= 95 and 1 <= given.new_tokens <= 256 and 4 <= given.count <= 32
    assert given.method == "duet" and given.model == "duet-mini" and len(given.question) <= 500 and not given.custom
    changed = given != given_of(GALLERY.examples[1], GALLERY, "duet-mini")
    assert changed or restored.refused or name in ("frames", "dominant")
    assert all(re.search(r"[.!:]", said) and len(said) < 900 for said in restored.refused)


def test_a_link_never_holds_an_upload():
    given = replace(given_of(FIRST, GALLERY, "duet-mini"), picture="/tmp/gradio/abc/secret.png")
    query = query_of(given, None)
    assert "secret" not in query and "upload=picture" in query
    restored = read(query)
    assert restored.example is None and restored.given.picture is None
    assert restore({"theme": "dark"}, SETTINGS, GALLERY, "duet-mini") is None
