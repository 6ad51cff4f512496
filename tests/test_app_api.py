"""The public endpoints, from the outside: gradio_client, and requests made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.gallery import FOLDER, load_gallery
from duet_core.trace import Trace
from tests import pictures
from tests.served import served

__all__ = ["served"]
CLIPS = Path(__file__).parent / "clips"
PICTURE = str(FOLDER / "example-1.png")


@pytest.fixture(scope="module")
def client(served) -> Client:
    return Client(served, verbose=False)


def test_only_four_endpoints_are_public(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(named) == ["/ask", "/ask_clip", "/compare", "/sweep"]
    names = {end: [entry["parameter_name"] for entry in named[end]["parameters"]] for end in ("/compare", "/sweep")}
    assert names["/compare"] == ["picture", "question", "reduction", "methods", "model"]
    assert names["/sweep"] == ["picture", "question", "method", "model"]
    clip = [entry["parameter_name"] for entry in named["/ask_clip"]["parameters"]]
    assert clip == ["clip", "question", "reduction", "method", "model", "frames"]
    parameters = {entry["parameter_name"]: entry for entry in named["/ask"]["parameters"]}
    assert list(parameters) == ["picture", "question", "reduction", "method", "model"]
    assert [parameters[name]["parameter_default"] for name in ("reduction", "method", "model")] == [
        67,
        "duet",
        "duet-mini",
    ]


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
