"""The load drivers in short: a crowd, a row of requests, stops at random moments, a browser that is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

from app import messages
from tests.browser import MISSING, find_browser
from tests.load.crowd import crowd
from tests.load.soak import KEEP, left_behind, soak
from tests.load.stops import stops
from tests.load.visitor import Refused, Visitor
from tests.served import Server, serving

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def slow(tmp_path_factory) -> Iterator[Server]:
    """A page whose runs are long, since it times them until the time for that is over."""
    with serving(tmp_path_factory.mktemp("slow"), DUET_REPEATS="200") as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A page with a short queue, and files that are deleted after a minute."""
    with serving(tmp_path_factory.mktemp("short"), DUET_REPEATS="1", DUET_QUEUE="3", **KEEP) as running:
        yield running


@pytest.fixture
def visitor(slow) -> Iterator[Visitor]:
    with httpx.Client(timeout=60) as http:
        yield Visitor(slow.address, http)


def test_stops_and_closed_browsers_leave_nothing_and_free_the_worker(slow):
    report = stops(slow, 8)
    assert report["threads"][1] <= report["threads"][0] + 1 and report["children"][1] == 0
    assert report["open_files"][1] <= report["open_files"][0]
    assert report["free_after_s"]["p50"] < 2, report


def test_a_visitor_has_one_run_and_is_told_so(visitor):
    event = visitor.ask(visitor.upload())
    with visitor.listening() as news:
        next(message for message in news if message["msg"] == "process_starts")
        with pytest.raises(Refused) as refused:
            visitor.join("sweep_on_page", [None] * 19)
        assert (refused.value.status, str(refused.value)) == (429, messages.one_at_a_time(1))
        visitor.stop(event)
        again = visitor.ask(visitor.upload())  # a run that is on its way out holds no place
        visitor.stop(again)


def test_more_than_may_wait_are_refused_in_words(server):
    report = crowd(server, 8)
    assert set(report["ends"]) == {"answered", "refused"} and report["ends"]["answered"] >= 4
    assert report["sentences"] == [messages.queue_full(3)] and set(report["statuses"]) == {"200", "429"}
    assert report["light_ms"]["requests"] > 3


def test_requests_in_a_row_are_all_answered(server):
    report = soak(server, 3)
    assert report["answered"] == 3 and report["threads"][1] <= report["threads"][0] + 1


@pytest.mark.browser
def test_killing_the_browser_in_the_middle_of_a_run_frees_the_worker(slow, visitor):
    path, own = find_browser(), psutil.Process()
    assert path, MISSING
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(slow.address)
        expect(page.locator("#patchmap [role=gridcell]")).to_have_count(576, timeout=60_000)
        page.locator("#ask").click()
        expect(page.locator("#speed")).to_contain_text("Timing both", timeout=60_000)
        event = visitor.ask(visitor.upload())
        with visitor.listening() as news:
            assert next(news)["msg"] == "estimation"
            began = time.monotonic()
            for child in own.children(recursive=True):
                if "chrom" in child.name():
                    child.kill()
            next(message for message in news if message["msg"] == "process_starts")
            assert time.monotonic() - began < 2
        visitor.stop(event)


def test_a_server_that_is_restarted_in_the_middle_of_a_run_serves_the_same_upload_again(tmp_path):
    with serving(tmp_path, DUET_REPEATS="200") as first, httpx.Client(timeout=60) as http:
        one = Visitor(first.address, http)
        picture = one.upload()
        one.ask(picture)
        with one.listening() as news:
            next(message for message in news if message["msg"] == "process_generating")
            children = psutil.Process(first.process.pid).children(recursive=True)
            first.process.terminate()
            first.process.wait(5)
        assert not [child for child in children if child.is_running()]
    with serving(tmp_path) as second, httpx.Client(timeout=60) as http:
        again = Visitor(second.address, http)
        again.ask(picture)
        assert again.followed()["success"]


def test_who_was_still_while_as_many_came_as_are_remembered_is_told_that_the_run_is_forgotten(tmp_path):
    with serving(tmp_path, DUET_REPEATS="1", DUET_SESSIONS="2") as running, httpx.Client(timeout=60) as http:
        early, *later = (Visitor(running.address, http) for _ in range(3))
        early.ask(early.upload())
        assert early.followed()["success"]
        early.join("export", [None])
        assert messages.RUN_FORGOTTEN not in json.dumps(early.followed())
        for other in later:
            other.ask(other.upload())
            assert other.followed()["success"]
        early.join("export", [None])
        assert messages.RUN_FORGOTTEN in json.dumps(early.followed())


def test_uploads_are_gone_after_their_time_and_the_page_still_shows_its_own(server):
    assert len(left_behind(server)["left"]) <= 1
    with httpx.Client(timeout=60) as http:
        opened = Visitor(server.address, http).light("opened", []).json()["data"]
        shown = next(one["path"] for one in opened if isinstance(one, dict) and one.get("path"))
        assert http.get(f"{server.address}gradio_api/file={shown}").status_code == 200
