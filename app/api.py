"""The public endpoints: their docstrings are the API page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import gpu, messages
from app.asking import log_unforeseen, make_job
from app.clips import Choice, SafeClip, open_clip
from app.film import Subject
from app.media import SafePicture, open_picture
from app.play import Play
from app.settings import Settings
from duet_core.scenes.actors import FRAMES


@dataclass(frozen=True, slots=True)
class Api:
    """What this deployment answers to programs."""

    settings: Settings

    def ask(self, picture: str | None, question: str, reduction: float, method: str, model: str) -> dict[str, Any]:
        """Ask one question about one picture with all visual tokens and with fewer.

        Args:
            picture: the picture (PNG, JPEG or WebP).
            question: the question, at most 500 characters.
            reduction: percentage of visual tokens to save on average over the layers, 0 to 95.
            method: duet, random, uniform or none.
            model: a model of the menu, or a hub name where this deployment allows it.

        Returns:
            full and reduced (the two answers), agree, tokens {full, entering, average, final}, cost, trace.
        """
        return self._answer(lambda: open_picture(picture, self.settings), question, reduction, method, model)

    def ask_clip(
        self, clip: str | None, question: str, reduction: float, method: str, model: str, frames: float
    ) -> dict[str, Any]:
        """Ask one question about one clip with all visual tokens and with fewer.

        Args:
            clip: the clip (MP4, MOV, WebM, AVI, Ogg, GIF or WebP), at most a minute long.
            question: the question, at most 500 characters.
            reduction: percentage of visual tokens to save on average over the layers, 0 to 95.
            method: duet, random, uniform or none.
            model: a model of the menu, or a hub name where this deployment allows it.
            frames: how many frames to look at, evenly spread, 4 to 32.

        Returns:
            full and reduced (the two answers), agree, tokens {full, entering, average, final}, cost, trace (the patches
            of one frame after the other).
        """

        def read() -> Subject:
            return open_clip(clip, Choice.of(frames, "uniform", ""), self.settings)

        return self._answer(read, question, reduction, method, model)

    def _answer(self, read: Callable[[], Subject], *asked: Any) -> dict[str, Any]:
        """Run one request; every error leaves as one of our sentences."""
        try:
            job = make_job(self.settings, read(), *asked, measure=False)
            play = Play(job, None)
            for event in gpu.run(job, self.settings):
                play.take(event)
        except Exception as error:
            log_unforeseen(error)
            raise gr.Error(messages.sentence(error), print_exception=False) from error
        return play.to_json()


def add_api(settings: Settings) -> None:
    """Add the endpoints to the page that is being built, on components of their own.

    Those of the page have limits that would answer in other words.
    """
    api = Api(settings)
    shared: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1}
    picture = SafePicture(label="picture", type="filepath", image_mode=None, visible=False)
    clip = SafeClip(label="clip", visible=False)
    frames = gr.Number(FRAMES, label="frames", visible=False)
    for answer, name, inputs in (
        (api.ask, "ask", [picture, *_asked(settings)]),
        (api.ask_clip, "ask_clip", [clip, *_asked(settings), frames]),
    ):
        gr.Button(visible=False).click(answer, inputs, gr.JSON(visible=False), api_name=name, **shared)


def _asked(settings: Settings) -> list[Any]:
    """The inputs that both endpoints have."""
    return [
        gr.Textbox(label="question", visible=False),
        gr.Number(67, label="reduction in percent", visible=False),
        gr.Textbox("duet", label="method", visible=False),
        gr.Textbox(settings.models[0], label="model", visible=False),
    ]
