"""Uploads: awkward but good pictures work, bad ones are refused in one sentence."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from app import messages
from app.media import SafePicture, open_picture
from app.settings import Settings
from duet_core.errors import PictureError
from tests import pictures

SETTINGS = Settings()


def colours(picture: Image.Image) -> tuple[list[int], list[int]]:
    """Return the mean colours of the left and the right half."""
    pixels = np.asarray(picture, float)
    half = pixels.shape[1] // 2
    return [round(value) for value in pixels[:, : half - 4].mean((0, 1))], [
        round(value) for value in pixels[:, half + 4 :].mean((0, 1))
    ]


def close(found: list[int], wanted: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 12


@pytest.mark.parametrize(
    ("write", "name", "left", "right"),
    [
        (pictures.rotated_by_exif, "turned.jpg", (255, 0, 0), (0, 0, 255)),
        (pictures.sixteen_bits, "deep.png", (0, 0, 0), (255, 255, 255)),
        (pictures.see_through, "clear.png", (255, 0, 0), (255, 255, 255)),
        (pictures.palette_see_through, "palette.png", (255, 0, 0), (255, 255, 255)),
    ],
)
def test_awkward_pictures_come_out_upright_rgb(tmp_path, write, name, left, right):
    picture = open_picture(str(write(tmp_path / name)), SETTINGS)
    assert picture.mode == "RGB"
    assert picture.size == (64, 48)
    found = colours(picture)
    assert close(found[0], left), found
    assert close(found[1], right), found


def test_cmyk_keeps_which_half_is_which(tmp_path):
    left, right = colours(open_picture(str(pictures.cmyk(tmp_path / "ink.jpg")), SETTINGS))
    assert left[0] > left[2] + 100
    assert right[2] > right[0] + 100


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGB", "RGBA"])
def test_every_png_mode_works(tmp_path, mode):
    path = tmp_path / "picture.png"
    pictures.half_and_half(mode).save(path)
    assert open_picture(str(path), SETTINGS).mode == "RGB"


def test_webp_works_and_large_pictures_come_down_to_the_working_size(tmp_path):
    path = tmp_path / "wide.webp"
    pictures.half_and_half(size=(4000, 1000)).save(path)
    assert open_picture(str(path), SETTINGS).size == (2048, 512)


@pytest.mark.parametrize(
    ("write", "name", "words"),
    [
        (pictures.text_named_png, "fake.png", "not a PNG, JPEG or WebP"),
        (pictures.truncated_jpeg, "half.jpg", "cut off or damaged"),
        (pictures.bomb, "bomb.png", "13,000 x 13,000"),
        (lambda path: pictures.bomb(path, 20_000), "huge.png", "more than the 24 megapixels"),
    ],
)
def test_bad_pictures_are_refused_in_one_sentence(tmp_path, write, name, words):
    with pytest.raises(PictureError, match=words) as refused:
        open_picture(str(write(tmp_path / name)), SETTINGS)
    said = str(refused.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert str(tmp_path) not in said


def test_a_single_pixel_says_why_not(tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    with pytest.raises(PictureError, match="1 x 1 pixels and each side needs at least 16"):
        open_picture(str(path), SETTINGS)


def test_a_gif_a_heavy_file_and_no_picture_are_refused(tmp_path):
    gif = tmp_path / "moving.gif"
    pictures.half_and_half("P").save(gif)
    with pytest.raises(PictureError, match="PNG, JPEG or WebP"):
        open_picture(str(gif), SETTINGS)
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(bytes(2_000_000))
    with pytest.raises(PictureError, match="2 MB and the limit is 1 MB"):
        open_picture(str(heavy), Settings(picture_mb=1))
    with pytest.raises(PictureError, match="no picture yet"):
        open_picture(None, SETTINGS)
    with pytest.raises(PictureError, match="deleted after half an hour"):
        open_picture(str(tmp_path / "gone.png"), SETTINGS)


def test_only_uploaded_files_pass(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    inside = tmp_path / "uploads" / "abc" / "picture.png"
    inside.parent.mkdir(parents=True)
    pictures.half_and_half().save(inside)
    component = SafePicture(type="filepath", image_mode=None, render=False)
    assert component.preprocess(ImageData(path=str(inside))) == str(inside)
    assert component.preprocess(None) is None
    outside = pictures.see_through(tmp_path / "secret.png")
    for path in (str(outside), str(inside.parent / ".." / ".." / ".." / "secret.png"), "", tempfile.gettempdir()):
        with pytest.raises(gr.Error) as refused:
            component.preprocess(ImageData(path=path))
        assert refused.value.message == messages.NOT_UPLOADED


def test_a_link_out_of_the_upload_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    link = tmp_path / "uploads" / "link.png"
    link.symlink_to(pictures.see_through(Path(tmp_path / "secret.png")))
    with pytest.raises(gr.Error):
        SafePicture(type="filepath", image_mode=None, render=False).preprocess(ImageData(path=str(link)))
