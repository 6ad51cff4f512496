"""The opened models: the least recently used one gives way, and its memory is free before another one is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from app.settings import Settings
from duet_core.devices import choose_target
from duet_core.engine import Model, read_model
from duet_core.errors import DownloadStopped
from duet_core.memory import footprint, release
from duet_core.opening import Opening, prepare

_STEPS = 200  # a download is reported as often as this, however large it is


@dataclass(frozen=True, slots=True)
class Downloading:
    """So many bytes of so many are here."""

    done: int
    total: int


class Shelf:
    """Holds opened models. One is opened at a time; who waits for another model waits for it, too."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Model | None:
        """Return a model if it is open."""
        return self._models.get(name)

    def take(self, name: str, settings: Settings) -> Generator[Downloading, None, Model]:
        """Return the opened model of this name; yield how far its download is, if it needs one."""
        with self._lock:
            if name not in self._models:
                self._models[name] = yield from self._open(name, settings)
            self._models.move_to_end(name)
            return self._models[name]

    def _open(self, name: str, settings: Settings) -> Generator[Downloading, None, Model]:
        """Open one more model. What can be known before is checked before another one gives way."""
        target = choose_target(settings.device, settings.dtype, settings.quantize or None, settings.attention)
        opening = prepare(name, target)
        opening.check_memory(spare=self._spare(opening.target.device.type))
        opening = yield from downloaded(opening)
        self._make_room(opening, settings.held_models)
        opening.check_memory()
        return read_model(name, opening)

    def _spare(self, device: str) -> int:
        """Return the bytes that the open models could give back on a kind of device."""
        there = (model.backbone for model in self._models.values() if model.backbone.device.type == device)
        return sum(footprint(backbone.model) for backbone in there)

    def _make_room(self, opening: Opening, most: int) -> None:
        """Close the least recently used models until there is a place and memory for another one."""
        while self._models and (len(self._models) >= most or not opening.fits()):
            self._models.popitem(last=False)
            release()


def downloaded(opening: Opening) -> Generator[Downloading, None, Opening]:
    """Bring a model's files here and yield how far it is; whoever closes this ends the download."""
    if opening.base is None:
        return opening
    news: SimpleQueue[Any] = SimpleQueue()
    left = threading.Event()
    threading.Thread(target=_download, args=(opening, news, left), daemon=True).start()
    try:
        while isinstance(event := news.get(), Downloading):
            yield event
    finally:
        left.set()
    if isinstance(event, Exception):
        raise event
    return event


def _download(opening: Opening, news: SimpleQueue[Any], left: threading.Event) -> None:
    """Put what happens into the queue: progress, then the fetched opening or the error."""
    reached = -1

    def report(done: int, total: int) -> None:
        nonlocal reached
        if left.is_set():
            raise DownloadStopped(f"The download of {opening.base} was stopped; ask again to go on with it.")
        if done * _STEPS // max(total, 1) != reached:
            reached = done * _STEPS // max(total, 1)
            news.put(Downloading(done, total))

    try:
        news.put(opening.fetched(report))
    except Exception as error:
        news.put(error)
