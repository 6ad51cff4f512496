"""What a visitor takes along: the bundle of the last run, and a link that restores example and settings."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from app import bundle, messages, views
from app.bundle import Original
from app.clips import FILE_TYPES
from app.events import LIGHT, PRIVATE
from app.faults import told
from app.given import CLIP, PICTURE, Given
from app.handlers import Desk, Outputs
from app.inputs import Beside, Inputs, html
from app.lastrun import LastRun, given_of
from app.plans import EXACT_FIELDS
from app.recipes import address_of
from app.screens import Screen
from app.share import Restored, query_of, restore
from duet_core.errors import DuetError

_DOWNLOAD = """async () => {
  for (let tries = 0; tries < 100; tries++) { // the page may still be drawing the link
    const link = document.querySelector('#bundle a[download]');
    if (link) return void link.click();
    await new Promise((done) => setTimeout(done, 100));
  }
}"""
_COPY = """(query) => {
  const link = location.origin + location.pathname + query;
  navigator.clipboard?.writeText(link).catch(() => {});
  return link;
}"""


def keep_row(desk: Desk, given: Inputs, last: gr.State) -> None:
    """Lay out and connect the two buttons under a result."""
    keep = Keep(desk)
    with gr.Row(elem_id="keep"):
        export = gr.Button("Export this run", size="sm", elem_id="export", min_width=140)
        copy = gr.Button("Copy link", size="sm", elem_id="copy-link", min_width=140)
    link = gr.Textbox(visible=False, interactive=True, label="Link", elem_id="link", max_lines=1, buttons=["copy"])
    file = gr.File(visible=False, interactive=False, label="Bundle", elem_id="bundle")
    note = html(elem_id="keep-note", elem_classes="maybe")
    export.click(keep.export, last, [file, note], concurrency_limit=2, show_progress="hidden", **PRIVATE).then(
        None, js=_DOWNLOAD, **PRIVATE
    )
    copy.click(keep.link, given.all, [link, note], **LIGHT).then(None, link, link, js=_COPY, **PRIVATE)


def open_links(
    page: gr.Blocks, desk: Desk, given: Inputs, beside: Beside, notice: gr.HTML, result: list[Any]
) -> None:  # fmt: skip
    """Fill in what the page's own address asks for: the first example where it asks for nothing."""
    keep = Keep(desk)
    outputs = [beside.media, beside.points, beside.tokens, beside.rows, notice, *given.all, *result]
    page.load(keep.opened, None, outputs, **LIGHT)
    beside.ask.click(lambda: "", None, notice, **LIGHT)


@dataclass(frozen=True, slots=True)
class Keep:
    """One function per event of the bundle and the link."""

    desk: Desk

    def export(self, run: LastRun | None, request: gr.Request) -> Iterator[Outputs]:
        """Write the bundle of the last run. Gradio copies the file and deletes that on time; ours goes at once."""
        if run is None:
            yield gr.update(value=None, visible=False), views.notice(messages.RUN_FORGOTTEN)
            return
        yield gr.update(value=None, visible=False), views.hint(messages.BUNDLING)
        with TemporaryDirectory() as folder:
            try:
                address = address_of(request.headers.get("referer"))
                path = bundle.write(Path(folder), run, self._original(run), address)
            except Exception as error:
                yield gr.update(value=None, visible=False), views.notice(told(error))
                return
            yield gr.update(value=str(path), visible=True), views.hint(messages.BUNDLE_READY)

    def _original(self, run: LastRun) -> Original:
        """What a run was about, as the bundle holds it."""
        subject = self.desk.subject_of(run)
        if run.given.medium != CLIP:
            return Original("picture.png", subject)
        example = self.desk.gallery.labelled(run.example) if run.example else None
        file = example.file if example else Path(run.given.clip or "")
        suffix = file.suffix.lower()
        return Original(f"clip{suffix if suffix in FILE_TYPES else '.mp4'}", subject, file)

    def link(self, *values: Any) -> Outputs:
        """Return the query of a link to what the page holds, and what the link leaves out."""
        given = Given(*values)
        example = self._example(given)
        note = messages.COPY_BY_HAND if example else f"{messages.UPLOAD_NOT_IN_LINK} {messages.COPY_BY_HAND}"
        return gr.update(value=query_of(given, example), visible=True), views.hint(note)

    def _example(self, given: Given) -> str | None:
        """The label of the example whose file is in the open tab."""
        gallery = self.desk.gallery
        if given.medium == CLIP:
            own = Path(given.clip or "/nowhere")
            same = (one for one in gallery.clips if own.is_file() and filecmp.cmp(own, one.file, shallow=False))
            example = next(same, None)
        else:
            try:
                example = gallery.find(self.desk.subject(given))
            except DuetError:
                return None
        return gallery.label(example) if example else None

    def opened(self, request: gr.Request) -> Outputs:
        """Return what the page's address asks for: tab, marks, tokens line, slider, notice, inputs, result."""
        desk, query = self.desk, {name: str(value) for name, value in request.query_params.items()}
        restored = restore(query, desk.settings, desk.gallery, desk.model_of_examples())
        if restored is None:
            given = {"picture": desk.gallery.examples[0].subject}
            inputs = tuple(given.get(field.name, gr.skip()) for field in fields(Given))
            return (*(gr.skip(),) * 5, *inputs, *self._as_laid_out().outputs)
        return self._restored(restored)

    def _as_laid_out(self) -> Screen:
        """What the page shows already: the first example's run, which is now also this visitor's."""
        return Screen(run=self.desk.recorded_run(self.desk.gallery.examples[0]))

    def _restored(self, link: Restored) -> Outputs:
        desk, given, example = self.desk, link.given, link.example
        is_clip = given.medium == CLIP
        files = {"picture": None, "clip": None}
        if example:
            files[CLIP if is_clip else PICTURE] = str(example.file) if is_clip else example.subject  # type: ignore[assignment]
        values = {field.name: getattr(given, field.name) for field in fields(Given)} | files
        asked = (given.method, given.model, given.medium, given.count)
        numbers = [values[name] for name in EXACT_FIELDS]
        rows = desk.slider(*asked)
        if given.custom:
            tokens = desk.preview_exact(*asked, *numbers)[0]
        else:
            tokens, _, *known = json.loads(rows)[round(given.reduction)]
            numbers = known or numbers
        values |= dict(zip(EXACT_FIELDS, numbers, strict=True))
        screen = desk.example_screen(example) if example else self._as_laid_out()
        head = gr.Tabs(selected=given.medium), desk.points(given.medium), tokens, rows, self._said(link)
        return (*head, *values.values(), *screen.outputs)

    def _said(self, link: Restored) -> str:
        """Say what the link could not bring, and what is to do now."""
        if link.example is None:
            said = [messages.LINK_WITHOUT_UPLOAD]
        else:
            recorded = given_of(link.example, self.desk.gallery, self.desk.model_of_examples())
            said = [] if link.given == recorded else [messages.FROM_LINK]
        return views.notice(" ".join([*link.refused, *said]))
