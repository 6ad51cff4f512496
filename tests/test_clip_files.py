"""Clips from files: every common kind is read alike, every bad one refused in one sentence, nothing is left over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.webm import write_webm
from duet_core.clips import Clip, ClipLimits, choose_frames, parse_times, process, read_clip, seconds_of
from duet_core.errors import ClipError, PictureError
from duet_core.scenes import write_clips
from duet_core.scenes.actors import FRAMES
from duet_core.scenes.clip import make_clip
from duet_core.scenes.files import save

CLIPS = Path(__file__).parent / "clips"
SMALLEST = CLIPS / "smallest.mp4"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Give a test its own folder for temporary files, and see that it leaves nothing there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def refusal(path: Path, **limits) -> str:
    """Return the sentence that refuses a clip, and check that it is one and names no path."""
    with pytest.raises(ClipError) as refused:
        read_clip(path, ClipLimits(**limits))
    said = str(refused.value)
    assert said.endswith(".") and "\n" not in said and ". " not in said
    assert str(path.parent) not in said and "/" not in said
    return said


def worker(monkeypatch, folder: Path, script: str) -> None:
    """Put another script in the decoder's place."""
    path = folder / "worker.py"
    path.write_text(script)
    monkeypatch.setattr(process, "_WORKER", path)


def greys(clip: Clip) -> list[int]:
    """Return the number that the upper half of each frame shows."""
    return [round((np.asarray(frame)[2:40].mean() - 20) / 10) for frame in clip.frames]


def clip_of(pictures: list[Image.Image], times: list[float], duration: float) -> Clip:
    return Clip(tuple(pictures), tuple(times), duration, pictures[0].size)


KINDS = "h264.mp4 h264.mov vp8.webm vp9.webm mpeg4.avi theora.ogv".split()


@pytest.mark.parametrize("name", KINDS)
def test_common_kinds_give_the_same_frames_in_order(name):
    clip = read_clip(CLIPS / name)
    assert greys(clip) == list(range(20))
    assert clip.times == pytest.approx([i / 10 for i in range(20)], abs=0.002)
    assert clip.duration == pytest.approx(2, abs=0.01)
    assert clip.size == (160, 120) and {(f.size, f.mode) for f in clip.frames} == {((160, 120), "RGB")}
    red, blue = clip.frames[0].getpixel((20, 100)), clip.frames[0].getpixel((140, 100))
    assert np.abs(np.array([red, blue]) - [(255, 0, 0), (0, 0, 255)]).max() < 12


def test_a_gif_gives_its_exact_colours():
    clip = read_clip(CLIPS / "moving.gif")
    assert [frame.getpixel((5, 5))[0] for frame in clip.frames] == [20 + 10 * i for i in range(20)]
    assert clip.frames[0].getpixel((5, 55)) == (255, 0, 0) and clip.duration == pytest.approx(2)


def test_a_phone_clip_comes_out_upright():
    clip = read_clip(CLIPS / "rotated.mp4")
    assert clip.size == clip.frames[0].size == (120, 160)
    assert greys(clip) == list(range(20))
    assert clip.frames[0].getpixel((10, 150))[0] > 240 and clip.frames[0].getpixel((110, 150))[2] > 240


def test_a_rate_that_varies_keeps_its_times():
    clip = read_clip(CLIPS / "varying.mp4")
    wanted = [i / 10 for i in range(10)] + [0.9 + 0.5 * i for i in range(1, 11)]
    assert greys(clip) == list(range(20)) and clip.times == pytest.approx(wanted, abs=0.01)
    few = read_clip(CLIPS / "varying.mp4", ClipLimits(candidates=6))
    assert len(few.frames) <= 6 and few.times[0] == 0 and few.times[-1] > 5
    assert max(b - a for a, b in pairwise(few.times)) < 2


def test_a_trimmed_clip_is_not_taken_for_a_damaged_one():
    clip = read_clip(CLIPS / "trimmed.mp4")
    assert greys(clip)[-1] == 19 and greys(clip)[0] >= 9 and clip.duration < 1.1


@pytest.mark.parametrize("name", ["h264.mp4", "vp8.webm", "moving.gif"])
@pytest.mark.parametrize("count", [1, 4, 7, 19])
def test_no_more_candidates_than_asked_for_and_spread_to_the_end(name, count):
    clip = read_clip(CLIPS / name, ClipLimits(candidates=count))
    assert 1 <= len(clip.frames) <= count and clip.times[0] == 0
    if count > 1:
        assert clip.times[-1] >= 1.9 - 2 / (count - 1)
        assert max(b - a for a, b in pairwise(clip.times)) <= 3.1 / (count - 1) + 0.1


def test_frames_are_scaled_down_to_the_longest_side():
    clip = read_clip(CLIPS / "h264.mp4", ClipLimits(longest_side_px=80))
    assert clip.frames[0].size == (80, 60) and clip.size == (160, 120) and greys(clip)[0] >= 0


def test_1080p_fits_the_memory_that_the_worker_allows_itself(tmp_path):
    path = tmp_path / "film.webm"
    path.write_bytes(write_webm([np.full((1080, 1920, 3), i * 40, np.uint8) for i in range(4)], 4))
    clip = read_clip(path)
    assert clip.size == (1920, 1080) and clip.frames[0].size == (720, 405) and len(clip.frames) == 4


def test_our_own_drawn_clips_are_read(tmp_path):
    write_clips(tmp_path / "drawn", [3])
    path = tmp_path / "drawn" / "clip-3.webp"
    clip = read_clip(path)
    with Image.open(path) as stored:
        assert len(clip.frames) == stored.n_frames <= FRAMES  # Pillow stores a picture once while nothing moves
        assert clip.duration == pytest.approx(FRAMES / 2)
        assert all((2 * second).is_integer() for second in clip.times)
        for i, frame in enumerate(clip.frames):
            stored.seek(i)
            assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(frame))


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_each_picture_of_an_animation_lasts_as_long_as_it_says(tmp_path, ending):
    first, *others = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
    path = tmp_path / f"moving.{ending}"
    first.save(path, save_all=True, append_images=others, duration=[200, 1000, 400])
    clip = read_clip(path)
    assert clip.times == pytest.approx((0, 0.2, 1.2)) and clip.duration == pytest.approx(1.6)


SENTENCES = {
    "cut.mp4": "cut off or damaged",
    "cut-index.mp4": "cut off or damaged",
    "cut.webm": "cut off or damaged",
    "cut.ogv": "cut off or damaged",
    "no-frames.mp4": "Not one frame",
    "ten-minutes.mp4": "lasts at least 600 seconds and the limit is 60",
    "four-k.mp4": "3,840 x 2,160 pixels and the limit is 1,920 x 1,080",
}


@pytest.mark.parametrize("name", ["av1.mp4", "av1.webm"])
def test_av1_is_named_unless_this_opencv_can_decode_it(name):
    try:
        assert greys(read_clip(CLIPS / name)) == list(range(20))  # the wheels of 4.14 do, those of 4.13 and 5.0 do not
    except ClipError as error:
        assert str(error).startswith("This clip is compressed as AV1") and "export it as H.264" in str(error)


@pytest.mark.parametrize("name", SENTENCES)
def test_bad_clips_are_refused_with_their_cause(name):
    with pytest.raises(PictureError, match=SENTENCES[name]):
        read_clip(CLIPS / name)
    refusal(CLIPS / name)


@pytest.mark.parametrize("name", ["moving.gif", "h264.mp4", "mpeg4.avi", "vp8.webm", "theora.ogv"])
def test_limits_hold_for_every_reader(name):
    assert "lasts at least" in refusal(CLIPS / name, seconds=1.0)
    assert "pixels and the limit is 70 x 1,080" in refusal(CLIPS / name, longest=70)
    assert "and the limit is 1,920 x 50" in refusal(CLIPS / name, shortest=50)


def test_a_portrait_clip_has_the_same_limits_as_a_landscape_one():
    assert read_clip(CLIPS / "rotated.mp4", ClipLimits(longest=160, shortest=120)).size == (120, 160)
    assert "120 x 160 pixels" in refusal(CLIPS / "rotated.mp4", longest=159, shortest=120)


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi"])
def test_noise_where_the_index_promises_frames_is_damage(tmp_path, name):
    data = bytearray((CLIPS / name).read_bytes())
    half = data.index(b"mdat" if name.endswith("mp4") else b"movi") + 1300
    data[half:-99] = bytes(len(data) - 99 - half)
    path = tmp_path / name
    path.write_bytes(data)
    assert "cut off or damaged" in refusal(path)


@pytest.mark.parametrize("name", ["moving.gif", "mpeg4.avi"])
def test_half_a_file_is_refused(tmp_path, name):
    data = (CLIPS / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    assert "cut off or damaged" in refusal(path)


def test_files_that_are_gone_or_heavy_are_refused(tmp_path):
    assert "no such clip" in refusal(tmp_path / "gone.mp4")
    assert "no such clip" in refusal(tmp_path)
    heavy = tmp_path / "heavy.mp4"
    heavy.write_bytes(bytes(1_500_000))
    assert "has 1.5 MB and the limit is 1 MB" in refusal(heavy, megabytes=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("this is no clip\n" * 20, "not a clip that can be read here"),
        ("", "not a clip that can be read here"),
        ("ffconcat version 1.0\nfile neighbour.mp4\n", "a list that names other files"),
        ("#EXTM3U\n#EXTINF:2,\nneighbour.mp4\n#EXT-X-ENDLIST\n", "a list that names other files"),
        ("\ufeff#EXTM3U\n{folder}/neighbour.mp4\n", "a list that names other files"),
    ],
)
def test_text_never_reaches_a_decoder(tmp_path, monkeypatch, text, words):
    shutil.copy(SMALLEST, tmp_path / "neighbour.mp4")
    path = tmp_path / "posing.mp4"
    path.write_text(text.format(folder=tmp_path))
    monkeypatch.setattr(process, "_start", lambda *_: pytest.fail("a decoder was started"))
    assert words in refusal(path)


def test_a_playlist_that_slipped_through_opens_nothing(tmp_path):
    shutil.copy(SMALLEST, tmp_path / "neighbour.mp4")
    path = tmp_path / "clip.mp4"
    path.write_text("ffconcat version 1.0\nfile neighbour.mp4\n")
    with pytest.raises(ClipError, match="Not one frame"):
        process.decode(path, ClipLimits(), lambda share: None)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "avif"])
def test_pictures_are_told_from_clips(tmp_path, ending):
    path = tmp_path / f"still.{ending}"
    Image.new("RGB", (64, 48), "teal").save(path)
    path = path.rename(tmp_path / "still.mp4")
    assert "a single picture" in refusal(path)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"GIF89a", b"RIFF"]))
@settings(max_examples=150)
def test_no_header_makes_the_checks_before_the_decoder_fail(tail, start):
    from duet_core.clips.container import check_whole, suffix_of

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        path.write_bytes(start + tail)
        try:
            check_whole(path, suffix_of(path))
        except ClipError as error:
            assert str(error).endswith(".")


def test_a_decoder_that_takes_too_long_is_ended():
    begin = time.monotonic()
    assert "within 0.01 seconds" in refusal(SMALLEST, deadline_s=0.01)
    assert time.monotonic() - begin < 2


def test_a_decoder_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    note = tmp_path / "child"
    script = f"import os,time\nif not os.fork():\n open({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    worker(monkeypatch, tmp_path, script)
    begin = time.monotonic()
    assert "within 1 seconds" in refusal(SMALLEST, deadline_s=1)
    assert time.monotonic() - begin < 5
    child = int(note.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "script",
    [
        "import os; os.kill(os.getpid(), 11)",
        "raise MemoryError",
        "print('nonsense')",
        "print('[1]')",
        "print('x' * 5000)",
        """print('{"progress": "x"}')""",
        """print('{"time": 0, "size": [100000, 100000]}')""",
        """print('{"time": 0, "size": [true, "1"]}')""",
        """print('{"time": 0, "size": [4, 4]}', flush=True)""",
        """print('{"duration": 1, "size": [4, 4]}')""",
        """print('{"duration": NaN, "size": [4, 4]}')""",
        """print('{"refused": "large"}')""",
        """print('{"refused": "long", "seconds": "x"}')""",
    ],
)
def test_a_decoder_that_breaks_or_lies_means_a_damaged_clip(tmp_path, monkeypatch, script):
    worker(monkeypatch, tmp_path, script)
    assert "cut off or damaged" in refusal(SMALLEST)


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    worker(monkeypatch, tmp_path, """print('{"refused": "no reader"}')""")
    assert "opencv-python-headless is missing" in refusal(SMALLEST)


def test_the_decoder_sees_no_proxy_no_token_and_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("HF_TOKEN", "secret")
    note = tmp_path / "note"
    worker(
        monkeypatch, tmp_path, f"import os\nopen({str(note)!r},'w').write(f'{{os.listdir()}} {{sorted(os.environ)}}')"
    )
    refusal(SMALLEST)
    seen = note.read_text()
    assert "['clip.mp4']" in seen and "PROXY" not in seen.upper() and "TOKEN" not in seen


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_the_decoder_cannot_take_the_memory_of_the_machine_nor_write_a_file(tmp_path):
    tries = "import decode; decode._limit_resources(9); bytes(1_500_000_000); bytes(2_500_000_000)"
    ran = subprocess.run([sys.executable, "-c", tries], cwd=process._WORKER.parent, capture_output=True, text=True)
    assert ran.stderr.strip().endswith("MemoryError") and ran.stderr.count("Error") == 1
    writes = f"import decode; decode._limit_resources(9); decode.Path({str(tmp_path / 'note')!r}).write_text('x')"
    assert subprocess.run([sys.executable, "-c", writes], cwd=process._WORKER.parent, capture_output=True).returncode
    assert not (tmp_path / "note").read_bytes()


def test_progress_ascends_to_one():
    for name in ("h264.mp4", "moving.gif", "vp8.webm"):
        told: list[float] = []
        read_clip(CLIPS / name, on_progress=told.append)
        assert told == sorted(told) and told[-1] == 1 and min(told) > 0 and len(told) > 3


def test_an_error_in_the_progress_stops_the_reading():
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_clip(CLIPS / "h264.mp4", on_progress=stop)
    assert not psutil.Process().children()


def test_fifty_clips_leave_nothing_in_memory():
    this = psutil.Process()
    for i in range(50):
        read_clip(SMALLEST)
        if i == 9:
            before = this.memory_info().rss
    assert this.memory_info().rss - before < 20_000_000
    assert not this.children()
    assert "cv2" not in sys.modules


@st.composite
def clips(draw, most: int = 40) -> Clip:
    """Draw a clip of tiny grey frames with uneven times."""
    steps = draw(st.lists(st.floats(0.01, 3), min_size=1, max_size=most))
    times = [0.0, *np.cumsum(steps[:-1]).tolist()]
    shades = draw(st.lists(st.integers(0, 255), min_size=len(steps), max_size=len(steps)))
    return clip_of([Image.new("RGB", (4, 3), (s, s, s)) for s in shades], times, times[-1] + steps[-1])


@given(clips(), st.integers(4, 32), st.sampled_from(["uniform", "change"]))
def test_chosen_frames_are_distinct_ascending_and_begin_with_the_first(clip, count, rule):
    chosen = choose_frames(clip, count, rule)
    enough = count <= len(clip.frames)
    assert list(chosen) == sorted(set(chosen) if enough or rule == "change" else chosen)
    assert len(chosen) == (count if enough or rule == "uniform" else len(clip.frames))
    assert chosen[0] == 0 and chosen[-1] < len(clip.frames)
    assert chosen == choose_frames(clip, count, rule)
    if rule == "uniform" and enough:
        assert chosen[-1] == len(clip.frames) - 1
    seconds = seconds_of(clip, chosen)
    assert all(a < b for a, b in pairwise((*seconds, clip.duration)))
    assert all(clip.times[k] <= second for k, second in zip(chosen, seconds, strict=True))


@given(clips(), st.integers(4, 32), st.sampled_from([0.5, 2.0, 4.0]))
def test_the_spread_does_not_depend_on_the_pace_nor_the_change_on_the_times(clip, count, pace):
    slower = Clip(clip.frames, tuple(t * pace for t in clip.times), clip.duration * pace, clip.size)
    assert choose_frames(slower, count) == choose_frames(clip, count)
    assert choose_frames(slower, count, "change") == choose_frames(clip, count, "change")


@given(clips(), st.integers(4, 31))
def test_one_more_frame_of_change_keeps_the_others(clip, count):
    assert set(choose_frames(clip, count, "change")) <= set(choose_frames(clip, count + 1, "change"))


@given(clips(), st.data())
def test_times_give_the_nearest_frames(clip, data):
    times = data.draw(st.lists(st.floats(0, clip.duration), min_size=1, max_size=32))
    chosen = choose_frames(clip, 8, "times", times)
    assert list(chosen) == sorted(set(chosen)) and len(chosen) <= len(times)
    for second in times:
        gaps = [abs(second - shown) for shown in clip.times]
        assert min(gaps) == min(gaps[i] for i in chosen)


def test_an_even_clip_is_chosen_evenly_and_changes_are_found():
    same = [Image.new("RGB", (8, 8), "navy")] * 20
    even = clip_of(same, [i / 10 for i in range(20)], 2.0)
    assert choose_frames(even, 4) == (0, 6, 13, 19)
    assert choose_frames(even, 4, "change") == (0, 1, 2, 3)
    marked = list(same)
    for index, colour in ((5, "white"), (11, "grey"), (17, "yellow")):
        marked[index] = Image.new("RGB", (8, 8), colour)
    assert choose_frames(clip_of(marked, list(even.times), 2.0), 4, "change") == (0, 5, 11, 17)


def test_a_clip_written_here_comes_back_frame_by_frame(tmp_path):
    """The encoder joins frames that are the same; what was held for long is looked at as often as it was written."""
    for seed in (3, 14, 65):
        made = make_clip(seed)
        save(tmp_path / "clip.webp", made.frames)
        clip = read_clip(tmp_path / "clip.webp")
        chosen = choose_frames(clip, 8)
        assert [clip.frames[k].tobytes() for k in chosen] == [frame.tobytes() for frame in made.frames]
        assert seconds_of(clip, chosen) == pytest.approx([k / 2 for k in range(8)])


@pytest.mark.parametrize("count", [-1, 0, 3, 33])
def test_a_count_outside_the_range_is_named(count):
    with pytest.raises(ClipError, match=f"is {count} and must be from 4 to 32"):
        choose_frames(clip_of([Image.new("RGB", (4, 4))] * 3, [0, 1, 2], 3), count)


@pytest.mark.parametrize("seconds", [-0.1, 3.1, float("nan"), float("inf")])
def test_a_time_outside_the_clip_is_named(seconds):
    clip = clip_of([Image.new("RGB", (4, 4))] * 3, [0, 1, 2], 3)
    assert choose_frames(clip, 8, "times", (3.0, 0.2, 0.3)) == (0, 2)
    with pytest.raises(ClipError, match=f"time {seconds:g} s lies outside the clip, which lasts 3 s"):
        choose_frames(clip, 8, "times", (1.0, seconds))
    with pytest.raises(ClipError, match="0 times"):
        choose_frames(clip, 8, "times")


def test_times_are_read_as_people_write_them():
    assert parse_times("0.5, 2, 1:03") == (0.5, 2.0, 63.0)
    assert parse_times(" 7;  1:00:02.5\n90") == (7.0, 3602.5, 90.0)


@pytest.mark.parametrize("text", ["", " , ", "two", "1:75", "-1", "1e3", "nan", "1::2", "5:", "\u0663"])
def test_what_is_no_time_is_quoted(text):
    with pytest.raises(ClipError, match="list of times"):
        parse_times(text)


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (161, 90)])
def test_a_film_comes_back_as_it_was_written(tmp_path, capfd, size):
    width, height = size
    shades = [(200, 40, 40), (40, 160, 60), (40, 60, 220), (230, 210, 60), (128, 128, 128)]
    path = tmp_path / "film.webm"
    path.write_bytes(write_webm([np.full((height, width, 3), shade, np.uint8) for shade in shades], 4))
    clip = read_clip(path)
    assert clip.size == (width + width % 2, height + height % 2)
    assert clip.times == pytest.approx([i / 4 for i in range(5)], abs=0.01) and clip.duration == pytest.approx(1.25)
    for frame, shade in zip(clip.frames, shades, strict=True):
        assert np.abs(np.asarray(frame, int) - shade).max() < 12
    assert capfd.readouterr() == ("", "")


def test_films_take_pictures_too_and_refuse_what_is_none():
    assert write_webm([Image.new("RGB", (32, 32), "red")] * 2, 2.5)[:4] == b"\x1a\x45\xdf\xa3"
    for frames, rate in (([np.zeros((4, 4), np.uint8)], 4), ([np.zeros((4, 4, 3), np.uint8)], 0), ([], 4)):
        with pytest.raises(ValueError, match=r"film|stack"):
            write_webm(frames, rate)
    assert not os.environ.get("OPENCV_LOG_LEVEL")
