"""The public endpoints, from the outside: gradio_client, and requests made by hand."""

from __future__ import annotations

import ast
import base64
import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from app.api import Api
from app.gallery import FOLDER, load_gallery
from duet_core.trace import Trace
from tests import pictures
from tests.served import served

__all__ = ["served"]
CLIPS = Path(__file__).parent / "clips"
SNAPSHOT = Path(__file__).parent / "snapshots" / "endpoints.json"
PICTURE = str(FOLDER / "example-1.png")


@pytest.fixture(scope="module")
def client(served) -> Client:
    return Client(served, verbose=False)


def test_the_public_endpoints_are_those_of_the_snapshot(client):
    """A change here breaks somebody's script: delete the file, run this test, and look at what it writes anew."""
    now = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(now) == ["/ask", "/ask_clip", "/compare", "/sweep"]
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(now, indent=1) + "\n")
        pytest.fail(f"{SNAPSHOT.name} is new: look at it and commit it.")
    assert now == json.loads(SNAPSHOT.read_text())


def test_every_endpoint_tells_what_it_takes_and_returns(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name, endpoint in named.items():
        words = inspect.getdoc(getattr(Api, name.strip("/")))
        assert endpoint["description"].split(".")[0] == words.split(".")[0]
        for parameter in endpoint["parameters"]:
            assert f"{parameter['parameter_name']}: " in words


def mcp_session(served: str, use: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """Open an MCP session with the page and use it."""

    async def run() -> Any:
        async with (
            streamable_http_client(f"{served}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await use(session)

    return anyio.run(run)


def test_the_endpoints_are_the_tools_of_an_mcp_server(served):
    tools = mcp_session(served, lambda session: session.list_tools()).tools
    by_name = {tool.name.rsplit("_api_", 1)[-1]: tool for tool in tools}
    assert sorted(by_name) == ["ask", "ask_clip", "compare", "sweep"]
    schema = by_name["ask"].inputSchema
    assert set(schema["properties"]) == {"picture", "question", "reduction", "method", "model"}
    assert "fewer" in by_name["ask"].description
    assert "percentage of visual tokens" in schema["properties"]["reduction"]["description"]


def test_an_mcp_client_asks_and_gets_what_the_api_gives(served, client):
    asked = {"question": "What is in the middle?", "reduction": 78, "method": "duet", "model": "duet-mini"}
    url = f"data:image/png;base64,{base64.b64encode(Path(PICTURE).read_bytes()).decode()}"

    async def ask(session: ClientSession) -> Any:
        names = [tool.name for tool in (await session.list_tools()).tools]
        name = next(name for name in names if name.endswith("ask"))
        good = await session.call_tool(name, {"picture": url, **asked})
        bad = await session.call_tool(name, {"picture": url, **asked, "method": "magic"})
        return good, bad

    good, bad = mcp_session(served, ask)
    said = ast.literal_eval(good.content[0].text)  # Gradio writes the object in Python's notation there
    alone = client.predict(picture=handle_file(PICTURE), **asked, api_name="/ask")
    assert not good.isError and said["trace"] == alone["trace"] and said["reduced"] == alone["reduced"]
    assert bad.isError and "no method 'magic'" in bad.content[0].text


def test_compare_and_sweep_answer_an_mcp_client_as_they_answer_the_api(served, client):
    url = f"data:image/png;base64,{base64.b64encode(Path(PICTURE).read_bytes()).decode()}"
    asked = {"question": "What is in the middle?", "model": "duet-mini"}

    async def ask(session: ClientSession) -> Any:
        names = {tool.name.rsplit("_", 1)[-1]: tool.name for tool in (await session.list_tools()).tools}
        compared = await session.call_tool(
            names["compare"], {"picture": url, **asked, "reduction": 78, "methods": ["duet"]}
        )
        return compared, await session.call_tool(names["sweep"], {"picture": url, **asked, "method": "duet"})

    compared, swept = (ast.literal_eval(said.content[0].text) for said in mcp_session(served, ask))
    rows = client.predict(picture=handle_file(PICTURE), **asked, reduction=78, methods=["duet"], api_name="/compare")
    points = client.predict(picture=handle_file(PICTURE), **asked, method="duet", api_name="/sweep")
    for key in ("method", "full", "reduced", "agree", "note", "tokens", "trace"):
        assert [row[key] for row in compared["rows"]] == [row[key] for row in rows["rows"]]
    for key in ("kept_percent", "method", "answer", "same", "note", "tokens"):
        assert [point[key] for point in swept["points"]] == [point[key] for point in points["points"]]
    assert swept["smallest"]["kept_percent"] == points["smallest"]["kept_percent"]
    assert swept["came_back"] == points["came_back"]


def test_ask_answers_with_one_json_object(client):
    question = load_gallery().examples[0].duel.question
    said = client.predict(
        picture=handle_file(PICTURE), question=question, reduction=78, method="duet", model="duet-mini", api_name="/ask"
    )
    assert set(said) == {"full", "reduced", "agree", "tokens", "cost", "trace"}
    assert said["full"]
    assert said["agree"] == (said["full"] == said["reduced"])
    trace = Trace.from_json(said["trace"])
    assert said["tokens"] == {
        "full": 576, "entering": trace.entering, "average": round(trace.average_tokens, 2), "final": trace.final,
    }  # fmt: skip
    assert abs(trace.average_tokens - 0.22 * 576) <= 1
    assert said["cost"]["reduced"]["prefill_flops"] < said["cost"]["full"]["prefill_flops"]


def test_ask_has_defaults(client):
    said = client.predict(picture=handle_file(PICTURE), question="What is in the middle?", api_name="/ask")
    assert abs(said["tokens"]["average"] - 0.33 * 576) <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question": ""}, "no question yet"),
        ({"question": "a" * 5000}, "5,000 characters and the limit is 500"),
        ({"reduction": 96}, "from 0 to 95"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"model": "no-such-model"}, "no model 'no-such-model'"),
        ({"model": "/etc"}, "no model '/etc'"),
        ({"picture": None}, "no picture yet"),
    ],
)
def test_errors_of_the_api_are_our_sentences(client, change, words):
    given = {"picture": handle_file(PICTURE), "question": "What is in the middle?"} | change
    with pytest.raises(AppError, match=words):
        client.predict(**given, api_name="/ask")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (pictures.text_named_png, "not a PNG, JPEG or WebP"),
        (pictures.truncated_jpeg, "cut off or damaged"),
        (pictures.bomb, "13,000 x 13,000"),
    ],
)
def test_bad_pictures_are_refused_by_the_api(client, tmp_path, write, words):
    path = write(tmp_path / "picture.jpg" if "jpeg" in write.__name__ else tmp_path / "picture.png")
    with pytest.raises(AppError, match=words):
        client.predict(picture=handle_file(str(path)), question="What is this?", api_name="/ask")


def post(served: str, subject: object, endpoint: str = "ask", *more: object) -> str:
    """Post a request by hand, as no client of ours would, and return all that the server says to it."""
    given = {"data": [subject, "What is in the middle?", 67, "duet", "duet-mini", *more]}
    begun = httpx.post(f"{served}gradio_api/call/{endpoint}", json=given)
    event = begun.json().get("event_id")
    if not event:
        return begun.text
    return httpx.get(f"{served}gradio_api/call/{endpoint}/{event}", timeout=60).text


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_path_outside_the_upload_folder_is_refused(served, tmp_path, meta):
    secret = pictures.see_through(tmp_path / "secret.png")
    said = post(served, {"path": str(secret), **meta})
    assert "event: error" in said
    assert "not uploaded here" in said
    assert str(secret.parent) not in said


def test_a_picture_of_the_page_itself_cannot_be_named_by_path(served):
    assert "not uploaded here" in post(served, {"path": PICTURE})


@pytest.mark.parametrize("picture", ["picture.png", 7, {"url": "http://127.0.0.1:9/x.png"}, {"path": ""}])
def test_nonsense_instead_of_a_picture_gives_no_answer_and_no_inside_view(served, picture):
    said = post(served, picture)
    assert "event: error" in said
    assert any(sentence in said for sentence in ("not uploaded here", "wrong kind"))
    assert "Traceback" not in said
    assert "site-packages" not in said


def test_ask_clip_answers_with_one_json_object(client):
    clip = handle_file(str(CLIPS / "h264.mp4"))
    said = client.predict(clip=clip, question="What moves?", reduction=93, frames=4, api_name="/ask_clip")
    trace = Trace.from_json(said["trace"])
    assert (trace.grid.frames, said["tokens"]["full"]) == (4, 4 * 576)
    assert abs(said["tokens"]["average"] - 0.07 * 4 * 576) <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [({"frames": 3}, "from 4 to 32"), ({"clip": None}, "no clip yet"), ({"question": " "}, "no question yet")],
)
def test_errors_about_clips_are_our_sentences(client, change, words):
    given = {"clip": handle_file(str(CLIPS / "h264.mp4")), "question": "What moves?"} | change
    with pytest.raises(AppError, match=words):
        client.predict(**given, api_name="/ask_clip")


def test_compare_answers_with_a_row_per_method(client):
    asked = {"picture": handle_file(PICTURE), "question": "What is in the middle?", "reduction": 78}
    rows = client.predict(**asked, methods=["duet"], api_name="/compare")["rows"]
    assert [row["method"] for row in rows] == ["none", "duet", "random", "uniform"]
    alone = client.predict(**asked, api_name="/ask")
    for key in ("full", "reduced", "agree", "tokens", "trace"):
        assert rows[1][key] == alone[key]
    assert set(alone) <= set(rows[1]) and rows[1]["title"] == "DUET"
    assert all(abs(row["tokens"]["average"] - 0.22 * 576) <= 1 for row in rows[1:])
    assert [row["method"] for row in client.predict(**asked, api_name="/compare")["rows"]][1] == "duet"


def test_sweep_answers_with_points_and_the_smallest_budget(client):
    said = client.predict(picture=handle_file(PICTURE), question="What is in the picture?", api_name="/sweep")
    kept = [point["kept_percent"] for point in said["points"]]
    assert kept[:7] == [100, 75, 50, 33, 22, 11, 5]
    first, best = said["points"][0], said["smallest"]
    assert first["method"] == "none" and best["answer"] == first["answer"]
    held = [point["same"] for point in said["points"] if point["kept_percent"] >= best["kept_percent"]]
    assert all(held) and all(5 <= percent < best["kept_percent"] for percent in said["came_back"])
    assert best["tokens"]["average"] == pytest.approx(best["kept_percent"] / 100 * 576, abs=1)


@pytest.mark.parametrize(
    ("endpoint", "change", "words"),
    [
        ("/compare", {"methods": ["magic"]}, "no method 'magic'"),
        ("/compare", {"methods": {"duet": 1}}, "must be a list of names"),
        ("/compare", {"reduction": 96}, "from 0 to 95"),
        ("/compare", {"picture": None}, "no picture yet"),
        ("/sweep", {"method": "none"}, "nothing to sweep"),
        ("/sweep", {"question": ""}, "no question yet"),
        ("/sweep", {"model": "/etc"}, "no model '/etc'"),
    ],
)
def test_errors_of_series_are_our_sentences(client, endpoint, change, words):
    given = {"picture": handle_file(PICTURE), "question": "What is in the middle?"} | change
    with pytest.raises(AppError, match=words):
        client.predict(**given, api_name=endpoint)


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_clip_outside_the_upload_folder_is_never_opened(served, meta):
    said = post(served, {"path": str(CLIPS / "h264.mp4"), **meta}, "ask_clip", 8)
    assert "event: error" in said and str(CLIPS) not in said
    assert any(sentence in said for sentence in ("not uploaded here", "wrong kind"))


def test_a_list_of_files_posing_as_a_clip_is_refused(client, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((CLIPS / "h264.mp4").read_bytes())
    lists = {"a.mp4": f"ffconcat version 1.0\nfile {secret}\n", "b.mp4": f"#EXTM3U\n#EXTINF:1,\n{secret}\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(AppError, match="a list that names other files"):
            client.predict(clip=handle_file(str(tmp_path / name)), question="What moves?", api_name="/ask_clip")


def test_after_all_that_the_page_still_answers(served, client):
    assert httpx.get(served).status_code == 200
    assert client.predict(picture=handle_file(PICTURE), question="What is in the middle?", api_name="/ask")["full"]


def test_monitoring_and_files_of_the_server_stay_closed(served):
    assert httpx.get(f"{served}monitoring/summary").status_code in {401, 403, 404}
    for path in ("/etc/passwd", str(FOLDER.parent.parent / "app.py"), str(FOLDER / "examples.json")):
        assert httpx.get(f"{served}gradio_api/file={path}").status_code in {403, 404}


def test_the_page_keeps_no_history_of_uploads(served):
    config = json.loads(httpx.get(f"{served}config").text)
    assert not config.get("run_history")
    assert config["analytics_enabled"] is False
