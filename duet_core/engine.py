"""Encode once, answer many: picture -> tokens -> stage 1 -> prompt -> prefill with stage 2 -> decode -> answer + trace.

Shapes in this file: B batch, I pictures (all of the batch's), N encoder tokens of one picture, n1 visual tokens of one
picture after stage 1, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from duet_core import decoder
from duet_core.backbones import Llava, wrap
from duet_core.checkpoint import choose_device, choose_dtype, load_model, load_processor, locate
from duet_core.cost import Cost, kv_bytes, prefill_flops
from duet_core.errors import ModelError
from duet_core.grid import Grid
from duet_core.layout import Request, count_pictures, lay_out, place
from duet_core.methods import Look, find_method
from duet_core.pictures import pixels_of, seen_box
from duet_core.plan import Plan, Size, target_budget
from duet_core.prompt import build_prompt
from duet_core.recorder import Sample, everything, record_all
from duet_core.timing import Stopwatch
from duet_core.trace import Trace
from duet_core.vision import Seen

Picture = Image.Image | Sequence[Image.Image]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture (or the frames of a clip) after the vision encoder: ask it as many questions as you like."""

    seen: Seen
    grid: Grid
    encode_ms: float


@dataclass(frozen=True, slots=True)
class Run:
    """The state after a prefill: `logits` [B, V] at each sample's last prompt token, and one trace per sample."""

    logits: Tensor
    traces: tuple[Trace, ...]
    state: decoder.Prefilled
    watch: Stopwatch

    @property
    def trace(self) -> Trace:
        """The trace of the first (often the only) sample."""
        return self.traces[0]


@dataclass(frozen=True, slots=True)
class Generated:
    """Greedy continuations: `token_ids` per sample, the end token included where one came, and the prefill's run."""

    token_ids: list[list[int]]
    run: Run


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with what became of every patch and what it took."""

    text: str
    trace: Trace
    cost: Cost


@dataclass(frozen=True, slots=True)
class Model:
    """An opened checkpoint. It keeps no state of any run, so runs with different plans may interleave."""

    name: str
    backbone: Llava
    processor: Any | None

    @property
    def size(self) -> Size:
        """Visual tokens of one picture and language-model layers: what a plan depends on."""
        return self.backbone.size

    def plan(self, method: str = "duet", *, reduction: float | None = None, budget: float | None = None) -> Plan:
        """Return the plan of a method for a reduction in [0, 1) or a budget of average visual tokens per layer.

        The average lands within one token of the target. Raises a PlanError for a value or method that does not exist.
        """
        chosen = find_method(method)
        if method == "none" and reduction is None and budget is None:
            return Plan(method="none")
        return chosen.schedule(target_budget(self.size, reduction, budget), self.size)

    @torch.inference_mode()
    def encode(self, picture: Picture) -> Encoded:
        """Run the vision encoder on a PIL picture, or on a list of frames of one size."""
        processor = self._require_processor().image_processor
        frames = [picture] if isinstance(picture, Image.Image) else list(picture or [])
        pixels = pixels_of(processor, frames)  # (I, 3, h, w)
        watch = Stopwatch(self.backbone.device)
        with watch.span("encode"):
            seen = self.backbone.see(pixels)
        rows, cols = self.backbone.rows_cols
        grid = Grid(len(frames), rows, cols, frames[0].size, seen_box(processor, frames[0].size))
        return Encoded(seen, grid, watch.totals()["encode"])

    def ask(self, picture: Picture | Encoded, question: str, plan: Plan, max_new_tokens: int = 64) -> Answer:
        """Answer one question about a picture under a plan."""
        events = list(self.stream(picture, question, plan, max_new_tokens))
        trace = next(event for event in events if isinstance(event, Trace))
        cost = next(event for event in events if isinstance(event, Cost))
        return Answer("".join(event for event in events if isinstance(event, str)).strip(), trace, cost)

    def stream(
        self, picture: Picture | Encoded, question: str, plan: Plan, max_new_tokens: int = 64
    ) -> Iterator[Trace | str | Cost]:
        """Yield the trace, then pieces of the answer as they come, then the cost; closing it stops the run."""
        encoded = picture if isinstance(picture, Encoded) else self.encode(picture)
        tokenizer = self._require_processor().tokenizer
        prompt = build_prompt(self.processor, question, encoded.grid.frames, self.size.tokens)
        by_words = plan.queries == "salient"
        request = Request(prompt.ids, [*prompt.salient, len(prompt.ids) - 1] if by_words else None)
        words = prompt.words if by_words and plan.layers else ()
        sample = self._sample(range(encoded.grid.frames), encoded.grid, words)
        run = self._prefill(encoded.seen, [request], [sample], plan, Stopwatch(self.backbone.device))
        yield run.trace
        ids: list[int] = []
        said = ""
        for step in self._decode(run, max_new_tokens):
            ids += step
            text = tokenizer.decode(ids, skip_special_tokens=True).lstrip()
            if not text.endswith("\ufffd"):  # half a character: wait for the rest of its bytes
                yield text[len(said) :]
                said = text
        yield self._cost(encoded, run, len(ids))

    def inputs(self, picture: Image.Image, question: str) -> dict[str, Tensor]:
        """Return what the checkpoint's own processor would: `input_ids` [1, T] and `pixel_values` [1, 3, h, w]."""
        processor = self._require_processor()
        prompt = build_prompt(processor, question, 1, self.size.tokens)
        pixels = pixels_of(processor.image_processor, [picture]).to(self.backbone.device, self.backbone.dtype)
        ids = torch.tensor([prompt.ids], device=self.backbone.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}

    def prefill(self, inputs: Mapping[str, Any], plan: Plan, query_positions: Sequence | None = None) -> Run:
        """Run a prompt through encoder and language model.

        `inputs`: `input_ids` [B, T] and `pixel_values` [I, 3, h, w] as the processor returns them, with an
        `attention_mask` [B, T] if samples are padded (on either side). `query_positions`: places in `input_ids` that
        replace the plan's query rule, one list for all samples or one per sample.
        """
        requests = _requests(inputs, query_positions)
        watch = Stopwatch(self.backbone.device)
        with torch.inference_mode(), watch.span("encode"):
            seen = self.backbone.see(inputs["pixel_values"])
        side = inputs["pixel_values"].shape[-1], inputs["pixel_values"].shape[-2]
        return self._prefill(seen, requests, self._samples(requests, side), plan, watch)

    def generate(
        self, inputs: Mapping[str, Any], plan: Plan, max_new_tokens: int = 64, query_positions: Sequence | None = None
    ) -> Generated:
        """Continue a prompt greedily (`inputs` as for `prefill`); a sample ends at its end token."""
        run = self.prefill(inputs, plan, query_positions)
        done: list[list[int]] = [[] for _ in run.traces]
        for step in self._decode(run, max_new_tokens):
            for ids, token in zip(done, step, strict=True):
                if not ids or ids[-1] not in self._end_tokens():
                    ids.append(token)
        return Generated(done, run)

    # The pieces of a run

    @torch.inference_mode()
    def _prefill(self, seen: Seen, requests: list[Request], samples: list[Sample], plan: Plan, watch: Stopwatch) -> Run:
        plan.check(self.size.layers)
        method = find_method(plan.method)(plan)
        extra = seen.features.shape[1] - self.backbone.rows_cols[0] * self.backbone.rows_cols[1]
        look = Look(seen.features, extra, partial(self.backbone.evidence, seen))
        with watch.span("select"):
            selection = method.after_vision(look) or everything(look, self.backbone.keeps_cls)
        with watch.span("encode"):
            visual = self.backbone.project(selection.tokens)  # (I, n1, D)
        with watch.span("prefill"):
            where = [
                place(request.ids, self.backbone.image_token, self.size.tokens, visual.shape[1]) for request in requests
            ]
            blocks = [visual[own.pictures.start : own.pictures.stop].flatten(0, 1) for own in samples]  # (n, D) each
            tokens = lay_out(requests, blocks, self.backbone.embed, where, plan.queries)
        state = decoder.prefill(self.backbone, tokens, method.at_layer, watch)
        return Run(state.logits, record_all(plan.method, samples, selection, state), state, watch)

    @torch.inference_mode()
    def _decode_step(self, run: Run, tokens: Tensor, step: int) -> Tensor:
        """Return the greedy tokens [B] after `tokens` [B]."""
        embedded = self.backbone.embed(tokens).unsqueeze(1)  # (B, 1, D)
        return decoder.decode(self.backbone, run.state, embedded, step).argmax(dim=-1)  # (B,)

    def _decode(self, run: Run, max_new_tokens: int) -> Iterator[list[int]]:
        """Yield one greedy token per sample until every sample has ended."""
        with run.watch.span("choose"):
            tokens = run.logits.argmax(dim=-1)  # (B,)
            chosen = tokens.tolist()
        ended = [False] * len(chosen)
        for step in range(max_new_tokens):
            yield chosen
            ended = [over or token in self._end_tokens() for over, token in zip(ended, chosen, strict=True)]
            if all(ended) or step + 1 == max_new_tokens:
                return
            with run.watch.span("decode"):
                tokens = self._decode_step(run, tokens, step)
                chosen = tokens.tolist()

    def _end_tokens(self) -> set[int]:
        ends = self.backbone.model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends}

    def _samples(self, requests: list[Request], side: tuple[int, int]) -> list[Sample]:
        """Deal the batch's pictures out to the samples whose prompts have room for them."""
        samples, first = [], 0
        rows, cols = self.backbone.rows_cols
        for request in requests:
            own = count_pictures(request.ids, self.backbone.image_token, self.size.tokens)
            grid = Grid(own, rows, cols, side, (0, 0, *side))
            samples.append(self._sample(range(first, first + own), grid))
            first += own
        return samples

    def _sample(self, pictures: range, grid: Grid, words: tuple[str, ...] = ()) -> Sample:
        return Sample(pictures, grid, self.size.tokens * len(pictures), words)

    def _cost(self, encoded: Encoded, run: Run, new_tokens: int) -> Cost:
        """Sum up the watch of a one-sample run; the formulas get the lengths actually run."""
        spent = run.watch.totals()
        encode = encoded.encode_ms + spent["encode"]
        shape, lengths = self.backbone.layer_shape, [counts[0] for counts in run.state.lengths]
        text = lengths[0] - run.trace.entering
        return Cost(
            encode_ms=encode,
            select_ms=spent["select"],
            prefill_ms=spent["prefill"],
            first_token_ms=encode + spent["select"] + spent["prefill"] + spent.get("choose", 0.0),
            decode_ms=run.watch.median("decode"),
            new_tokens=new_tokens,
            text_tokens=text,
            prefill_flops=prefill_flops(shape, run.trace.tokens_per_layer, text),
            kv_bytes=kv_bytes(shape, lengths),
        )

    def _require_processor(self) -> Any:
        if self.processor is None:
            raise ModelError(f"The checkpoint {self.name} has no processor; add one to its folder to ask questions.")
        return self.processor


def _requests(inputs: Mapping[str, Any], query_positions: Sequence | None) -> list[Request]:
    """Return the samples' prompts without padding; query positions move along with the ids."""
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    requests = []
    for number, (row, real) in enumerate(zip(ids, mask.bool(), strict=True)):
        first = int(real.int().argmax())
        own = _own_positions(query_positions, number)
        requests.append(Request(row[real].tolist(), None if own is None else [place - first for place in own]))
    return requests


def _own_positions(query_positions: Sequence | None, number: int) -> list[int] | None:
    if query_positions is None:
        return None
    nested = len(query_positions) > 0 and not isinstance(query_positions[0], int)
    return list(query_positions[number] if nested else query_positions)


def open_model(name: str, device: str = "auto", dtype: str = "auto") -> Model:
    """Open a bundled model, a folder with a Hugging Face checkpoint, or a hub repository.

    `device`: auto, cpu, cuda, cuda:N, mps. `dtype`: auto, float32, bfloat16, float16. Raises ModelNotFound,
    ModelUnreachable or ModelError, each one sentence with the next step.
    """
    place = locate(name)
    chosen = choose_device(device)
    model = load_model(place, chosen, choose_dtype(dtype, chosen))
    return Model(name, wrap(model), load_processor(place))
