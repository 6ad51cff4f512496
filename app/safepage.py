"""The page as Gradio runs it: our queue, our sentences for every error, and no work for what stays as it is."""

from __future__ import annotations

from copy import copy
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.exceptions import InvalidPathError

from app import messages
from app.fairness import FairQueue
from app.faults import told
from app.settings import Settings


class SafePage(gr.Blocks):
    """A page whose every refusal and fault is one of our sentences: Gradio's own reach a caller without any text."""

    def queue_fairly(self, settings: Settings) -> None:
        """Take our queue in place of Gradio's own."""
        self.queue(api_open=False, default_concurrency_limit=1)  # nobody runs what waits in it past it
        self._queue = FairQueue(
            settings, live_updates=True, concurrency_count=self.max_threads, update_intervals=1, blocks=self,
            default_concurrency_limit=1,
        )  # fmt: skip

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run one event, or raise an error with one of our sentences; no other error leaves a handler."""
        try:
            return await super().process_api(*args, **kwargs)
        except gr.Error as error:
            error.print_exception = False  # its text may quote what was sent, which no log may hold
            raise
        except Exception as error:
            raise gr.Error(told(error), print_exception=False) from error

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Turn posted values into arguments, or raise an error with one of our sentences."""
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except InvalidPathError as error:
            raise gr.Error(messages.NOT_UPLOADED, print_exception=False) from error
        except Exception as error:
            raise gr.Error(messages.UNREADABLE, print_exception=False) from error

    async def postprocess_data(self, block_fn: BlockFunction, predictions: Any, state: Any) -> list[Any]:
        """Bring an event's values into the page's form; Gradio builds what is left as it is anew, and a run waits."""
        outputs = block_fn.outputs
        if len(outputs) == 1 or not isinstance(predictions, list | tuple) or len(predictions) != len(outputs):
            return await super().postprocess_data(block_fn, predictions, state)
        done: list[Any] = [None if block.stateful else gr.skip() for block in outputs]
        if new := [at for at, value in enumerate(predictions) if not _is_skip(value)]:
            narrow, values = copy(block_fn), [predictions[at] for at in new]
            narrow.outputs = [outputs[at] for at in new]
            given = values if len(new) > 1 else values[0]  # a list of one would be taken for the one value
            for at, value in zip(new, await super().postprocess_data(narrow, given, state), strict=True):
                done[at] = value
        return done


def _is_skip(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()
