"""The queue before the model: of a length that is bearable, one place a visitor, refusals in words."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.queueing import Event, Queue
from starlette.exceptions import HTTPException

from app import messages
from app.events import GPU
from app.settings import Settings

_GRACE = 2.0  # seconds that a run which was stopped just now may take to leave
_BUSY = 429  # too many requests


class FairQueue(Queue):
    """Gradio's queue, which refuses what is too much before it waits, with a sentence that page and API show."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(max_size=None, **options)
        self._settings = settings

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Put a request into the queue, or raise an HTTPException."""
        if body.fn_index not in self.blocks.fns:
            raise HTTPException(404, messages.NO_SUCH_PAGE)
        if self._is_run(body):
            if len(self) >= self._settings.queue:
                raise HTTPException(_BUSY, messages.queue_full(self._settings.queue))
            if not await self._has_place(body.session_hash):
                raise HTTPException(_BUSY, messages.one_at_a_time(self._settings.visitor_runs))
        return await super().push(body, request, username)

    def _is_run(self, body: Any) -> bool:
        return self.blocks.fns[body.fn_index].concurrency_id == GPU

    async def _has_place(self, visitor: str | None) -> bool:
        """Whether a visitor has no other run; one that has just been stopped may still be on its way out."""
        end = time.monotonic() + _GRACE
        while visitor and len(self._runs_of(visitor)) >= self._settings.visitor_runs:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.1)
        return True

    def _runs_of(self, visitor: str) -> list[Event]:
        return [event for event in self._events() if event.session_hash == visitor and event.concurrency_id == GPU]

    def _events(self) -> list[Event]:
        """Return what waits and what runs."""
        waiting = [event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue]
        return waiting + self._running()

    def _running(self) -> list[Event]:
        return [event for events in self.active_jobs for event in events or () if event.alive]

    def runs(self, event_id: str) -> bool:
        """Whether somebody still waits for what runs under this name."""
        return any(event._id == event_id for event in self._running())


def nobody_waits() -> bool:
    """Whether whoever asked for the run that calls this is gone; outside a queue there is always somebody."""
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = page._queue if isinstance(page, gr.Blocks) else None
    return isinstance(queue, FairQueue) and event_id is not None and not queue.runs(event_id)
