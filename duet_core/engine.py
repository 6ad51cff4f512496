"""Encode once, answer many: picture -> tokens -> stage 1 -> prompt -> prefill with stage 2 -> decode -> answer + trace.

Shapes in this file: B batch, I pictures (all of the batch's), N encoder tokens of one picture, n1 visual tokens of one
picture after stage 1, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from duet_core import running
from duet_core.backbones import Backbone, Eye, wrap
from duet_core.batch import BATCH_BYTES, holds_clips, in_batches, requests_of
from duet_core.brush import Brush
from duet_core.cost import Cost, kv_bytes
from duet_core.devices import choose_target
from duet_core.errors import ModelError
from duet_core.film import Film
from duet_core.grid import Grid
from duet_core.layout import Request
from duet_core.learnt import find_learnt, has_learnt
from duet_core.methods import TRAINED, build_method, find_method
from duet_core.opening import Opening, load_weights, prepare
from duet_core.pictures import pixels_of, seen_box
from duet_core.plan import Plan, Size, target_budget
from duet_core.processors import load_processor
from duet_core.prompt import Shown, build_prompt
from duet_core.recorder import Sample
from duet_core.runs import Answer, Encoded, Entered, Generated, Picture, Run
from duet_core.speech import Speech
from duet_core.tiles import tiles_in
from duet_core.timing import Stopwatch
from duet_core.trace import Trace


@dataclass(frozen=True, slots=True)
class Model:
    """An opened checkpoint. It keeps no state of any run, so runs with different plans may interleave."""

    name: str
    backbone: Backbone
    processor: Any | None

    @property
    def size(self) -> Size:
        """Visual tokens of one picture and language-model layers: what a plan for a picture depends on.

        A PlanError where pictures differ in their tokens: there `Encoded.size` tells.
        """
        return self.backbone.size()

    @property
    def layers(self) -> int:
        """Layers of the language model."""
        return len(self.backbone.layers)

    def offers(self, method: str) -> bool:
        """Whether a method can run here: one that is trained needs weights that it learnt on this very model."""
        return method not in TRAINED or has_learnt(method, self.backbone.folder)

    def plan(
        self,
        method: str = "duet",
        *,
        reduction: float | None = None,
        budget: float | None = None,
        frames: int | None = None,
        encoded: Encoded | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Return the plan of a method for a reduction in [0, 1) or a budget of average visual tokens per layer.

        For a clip of so many `frames` the budget is that of all its frames together; without them, of one picture. A
        model whose pictures differ in their tokens needs the `encoded` one, which serves any model. The average lands
        within one token of the target, or as close as the method can come. `settings`: further numbers of the method,
        by the names of its fields. Raises a PlanError for a value, method or setting that does not exist, and for a
        trained method without weights for this model.
        """
        chosen, own = find_method(method), dict(settings or {})
        if method == "none" and reduction is None and budget is None:
            return Plan(method="none")
        size = self.backbone.size(frames) if encoded is None else encoded.size
        plan = chosen.schedule(target_budget(size, reduction, budget), size)
        plan = replace(plan, settings=tuple(own.items()))
        build_method(plan)
        if method in TRAINED:
            find_learnt(method, self.backbone.folder, own.get("weights"))
        return plan

    @torch.inference_mode()
    def encode(self, picture: Picture) -> Encoded:
        """Run the vision encoder on a PIL picture, or on frames of one size: a list, or a `Film` with their times."""
        film, eye, pixels = self._look_at(picture)
        watch, tiles = Stopwatch(self.backbone.device), tiles_in(pixels)
        with watch.span("encode"):
            seen = self.backbone.see(eye, self.backbone.prepared(eye, pixels))
        frames, size = len(film.frames), film.frames[0].size
        boxes = seen.tilings[0].boxes if seen.tilings else tiles.boxes(size) if tiles else ()
        box = seen_box(self._require_processor().image_processor, size)
        grid = Grid(len(boxes) or eye.pictures(frames), *seen.rows_cols, size, box, boxes, eye.homes(frames))
        return Encoded(eye, seen, grid, self.layers, watch.totals()["encode"], tiles)

    def ask(
        self,
        picture: Picture | Encoded,
        question: str,
        plan: Plan,
        max_new_tokens: int = 64,
        *,
        brush: Brush | None = None,
        by_word: bool = False,
    ) -> Answer:
        """Answer one question about a picture under a plan.

        `brush`: patches to keep or drop whatever the method thinks of them; a PlanError where that cannot be.
        `by_word`: whether the trace's drops also tell the scores of each salient word (`Drop.by_word`).
        """
        events = list(self.stream(picture, question, plan, max_new_tokens, brush=brush, by_word=by_word))
        trace = next(event for event in events if isinstance(event, Trace))
        cost = next(event for event in events if isinstance(event, Cost))
        return Answer("".join(event for event in events if isinstance(event, str)).strip(), trace, cost)

    def stream(
        self,
        picture: Picture | Encoded,
        question: str,
        plan: Plan,
        max_new_tokens: int = 64,
        *,
        brush: Brush | None = None,
        by_word: bool = False,
    ) -> Iterator[Trace | str | Cost]:
        """Yield the trace, then pieces of the answer as they come, then the cost; closing it stops the run.

        The arguments are those of `ask`.
        """
        encoded = picture if isinstance(picture, Encoded) else self.encode(picture)
        asked, watch = self._asked(question, encoded, plan, brush, by_word), Stopwatch(self.backbone.device)
        request, sample = asked
        entered = self._enter(encoded, plan, watch, asked)
        run = running.prefill(self.backbone, entered, [request], [sample], plan, watch)
        yield run.trace
        speech = Speech(self._require_processor().tokenizer)
        for step in running.decode(self.backbone, run, max_new_tokens):
            yield speech.hear(step)
        yield running.cost_of(self.backbone, encoded.encode_ms, run, len(speech.ids))

    def ask_all(
        self,
        picture: Picture | Encoded,
        questions: Sequence[str],
        plan: Plan,
        max_new_tokens: int = 64,
        *,
        brush: Brush | None = None,
    ) -> list[str]:
        """Answer many questions about one picture in batches; the texts are those that `ask` gives one by one.

        The picture is encoded and stage 1 is run once for all of them, or for each where a method's stage 1 asks.
        """
        encoded = picture if isinstance(picture, Encoded) else self.encode(picture)
        if find_method(plan.method).asks and len(questions) > 1:
            alone = (self.ask_all(encoded, [one], plan, max_new_tokens, brush=brush) for one in questions)
            return [text for texts in alone for text in texts]
        asked = [self._asked(question, encoded, plan, brush) for question in questions]
        watch = Stopwatch(self.backbone.device)
        if not asked:
            return []
        entered = self._enter(encoded, plan, watch, asked[0])
        saved = encoded.size.total - sum(len(block) for block in entered.blocks)
        most = BATCH_BYTES // kv_bytes(self.backbone.layer_shape, [1] * self.layers)
        texts: list[str] = []
        for batch in in_batches([len(request.ids) - saved for request, _ in asked], most):
            requests, samples = zip(*(asked[number] for number in batch), strict=True)
            run = running.prefill(self.backbone, entered, requests, samples, plan, watch)
            texts += [self._text(ids) for ids in running.finish(self.backbone, run, max_new_tokens)]
        return texts

    def inputs(self, picture: Picture, question: str) -> dict[str, Tensor]:
        """Return what the checkpoint's own processor would for a picture, or for a clip's frames.

        `input_ids` [1, T], and `pixel_values` [I, 3, h, w] or, where the model knows videos, `pixel_values_videos`
        [1, F, 3, h, w], or tiles [1, I, 3, h, w]; patches and how they lie for families that keep a picture's shape.
        """
        film, eye, pixels = self._look_at(picture)
        shown, tiles = self.backbone.prepared(eye, pixels), tiles_in(pixels)
        tilings = self.backbone.tilings_of(eye, shown)
        tokens = tilings[0].tokens if tilings else eye.tokens(self.backbone.rows_cols_of(shown))
        many = (len(tilings) or eye.pictures(len(film.frames))) * (tiles.count if tiles else 1)
        prompt = build_prompt(self._require_processor(), question, Shown.of(eye, many, tokens, tiles))
        ids = torch.tensor([prompt.ids], device=self.backbone.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **shown}

    def prefill(self, inputs: Mapping[str, Any], plan: Plan, query_positions: Sequence | None = None) -> Run:
        """Run a prompt through encoder and language model.

        `inputs`: `input_ids` [B, T] and `pixel_values` [I, 3, h, w] or `pixel_values_videos` [B, F, 3, h, w] as the
        processor returns them (with what else it says about them), and an `attention_mask` [B, T] if samples are
        padded (on either side).
        `query_positions`: places in `input_ids` that replace the plan's query rule, one list for all samples or one
        per sample.
        """
        requests = requests_of(inputs, query_positions)
        eye, watch = self.backbone.eye(holds_clips(inputs)), Stopwatch(self.backbone.device)
        with torch.inference_mode(), watch.span("encode"):
            seen = self.backbone.see(eye, inputs)
        samples = running.deal_out(eye, seen, requests)
        entered = running.enter(self.backbone, eye, seen, plan, watch, requests, samples)
        return running.prefill(self.backbone, entered, requests, samples, plan, watch)

    def generate(
        self, inputs: Mapping[str, Any], plan: Plan, max_new_tokens: int = 64, query_positions: Sequence | None = None
    ) -> Generated:
        """Continue a prompt greedily (`inputs` as for `prefill`); a sample ends at its end token."""
        run = self.prefill(inputs, plan, query_positions)
        return Generated(running.finish(self.backbone, run, max_new_tokens), run)

    # The pieces of a run

    def _look_at(self, picture: Picture) -> tuple[Film, Eye, dict[str, Tensor]]:
        """Return the frames, a picture's only one included, the eye that sees them, and their pixels."""
        processor, clip = self._require_processor().image_processor, not isinstance(picture, Image.Image)
        film = Film.of(picture)
        return film, self.backbone.eye(clip), pixels_of(processor, film, clip)

    def _asked(
        self, question: str, encoded: Encoded, plan: Plan, brush: Brush | None = None, by_word: bool = False
    ) -> tuple[Request, Sample]:
        """Return the prompt of a question about one encoded picture or clip, and the sample it makes."""
        pictures, tokens = encoded.size.frames, encoded.size.tokens
        shown = Shown.of(encoded.eye, pictures, tokens, encoded.tiles)
        prompt = build_prompt(self._require_processor(), question, shown)
        guided = plan.queries == "salient"
        request = Request(prompt.ids, prompt.guides if guided else None, question.strip())
        words = prompt.words if guided and plan.layers else ()
        spoken = prompt.rows() if by_word and words else ()
        return request, Sample(range(pictures), encoded.grid, tokens * pictures, words, spoken, brush)

    def _enter(self, encoded: Encoded, plan: Plan, watch: Stopwatch, asked: tuple[Request, Sample]) -> Entered:
        request, sample = asked
        return running.enter(self.backbone, encoded.eye, encoded.seen, plan, watch, [request], [sample])

    def _text(self, ids: list[int]) -> str:
        speech = Speech(self._require_processor().tokenizer)
        for token in ids:
            speech.hear([token])
        return speech.said.strip()

    def _require_processor(self) -> Any:
        if self.processor is None:
            raise ModelError(f"The checkpoint {self.name} has no processor; add one to its folder to ask questions.")
        return self.processor


def open_model(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    *,
    quantize: str | None = None,
    attention: str = "auto",
) -> Model:
    """Open a bundled model, a folder with a Hugging Face checkpoint, or a hub repository.

    `device`: auto, cpu, cuda, cuda:N, mps. `dtype`: auto, float32, bfloat16, float16. `quantize`: 4bit or 8bit, on
    CUDA. `attention`: auto (which is sdpa), sdpa, flash_attention_2, eager. Raises ModelNotFound, ModelUnreachable,
    ModelTooLarge or ModelError, each one sentence with the next step, and before anything large is read if it can.
    """
    opening = prepare(name, choose_target(device, dtype, quantize, attention))
    opening.check_memory()
    return read_model(name, opening.fetched())


def read_model(name: str, opening: Opening) -> Model:
    """Read the weights and the processor of a checkpoint whose files are all here; `open_model` in one step."""
    return Model(name, wrap(load_weights(opening)), load_processor(str(opening.place)))
