"""The stages of a run on a backbone: what enters the language model, the prefill, one token after the other, the cost.

B batch, I pictures, n1 visual tokens of one picture after stage 1, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from duet_core import decoder
from duet_core.backbones import Backbone, Eye
from duet_core.boundary import Tokens
from duet_core.cost import Cost, kv_bytes, prefill_flops
from duet_core.crops import Group, choose, entry_order, fates_of, left_of, whole_fates
from duet_core.grid import Grid
from duet_core.layout import Places, Request, count_pictures, lay_out, place, sources
from duet_core.looking import look_of
from duet_core.methods import Look, Method, Selection, build_method
from duet_core.painting import Painted, assembled, choose_beside, holding, whole_painted
from duet_core.plan import Plan
from duet_core.recorder import Sample, everything, record_all
from duet_core.runs import Entered, Run
from duet_core.sharing import SharedStart
from duet_core.tiling import grid_of
from duet_core.timing import Stopwatch
from duet_core.vision import Seen, reels_of


def deal_out(eye: Eye, seen: Seen, requests: Sequence[Request]) -> list[Sample]:
    """Give each prompt of a batch the pictures that it has room for, in their order."""
    samples, first, placeholders = [], 0, _placeholders(eye, seen)
    for request in requests:
        pictures = range(first, first + count_pictures(request.ids, eye.token, placeholders[first:]))
        full = sum(placeholders[pictures.start : pictures.stop])
        samples.append(Sample(pictures, _grid(eye, seen, pictures), full))
        first = pictures.stop
    return samples


def _placeholders(eye: Eye, seen: Seen) -> tuple[int, ...]:
    """Return how many visual tokens each picture has in the untouched model."""
    if seen.tilings:
        return tuple(tiling.tokens for tiling in seen.tilings)
    return (eye.tokens(seen.rows_cols),) * len(seen.features)


def _grid(eye: Eye, seen: Seen, pictures: range) -> Grid:
    """Return how the patches of bare inputs lie: a pixel for a patch where nothing tells how large the original was."""
    if seen.tilings:
        return grid_of(seen.tilings[pictures.start : pictures.stop])
    side = seen.rows_cols[1], seen.rows_cols[0]
    return Grid(len(pictures), *seen.rows_cols, side, (0, 0, *side), homes=eye.homes(len(pictures) * eye.span))


def admit(
    backbone: Backbone,
    eye: Eye,
    seen: Seen,
    plan: Plan,
    watch: Stopwatch,
    requests: Sequence[Request],
    samples: Sequence[Sample],
) -> Entered:
    """Run stage 1 and the projector on the pictures of all samples; `requests` are what is asked about them.

    Gradients flow to what enters, never to what a method chooses by.
    """
    plan.check(len(backbone.layers))
    method, look = build_method(plan), look_of(backbone, eye, seen, requests, samples)
    brushes = [sample.brush for sample in samples]
    painted = Painted.of(brushes, look, method) if any(brushes) else None
    with watch.span("select"):
        look = replace(look, shares=method.share_out(look))
    if seen.tilings:
        return _enter_crops(backbone, eye, seen, _crops_chosen(method, look, painted), watch, painted)
    with watch.span("select"):
        selection = _selected(method, look, painted, eye.keeps_cls)
        selection = selection.in_place() if eye.in_place else selection
    with watch.span("encode"):
        visual = backbone.project(selection.tokens)  # (I, n1, D)
    parts, full = (1,) * len(visual), _placeholders(eye, seen)
    blocks, places = selection.real(visual), selection.real(selection.places)  # (n, D), (n,) each
    labels = () if selection.labels is None else selection.real(selection.labels)
    forced = () if painted is None else tuple(painted.forced(*own, look.extra) for own in enumerate(places))
    return Entered(eye, seen.rows_cols, blocks, full, parts, selection.fates, places, labels, seen.reels, forced)


enter = torch.inference_mode()(admit)  # the same, for those who only ask


def _selected(method: Method, look: Look, painted: Painted | None, keeps_cls: bool) -> Selection:
    """Run stage 1 on whole pictures."""
    if painted is None:
        return method.after_vision(look) or everything(look, keeps_cls)
    return assembled(choose_beside(method.plan, look, painted, keeps_cls), look)


def _crops_chosen(method: Method, look: Look, painted: Painted | None) -> Callable[[], list[Group]]:
    """Return what runs stage 1 on every crop."""
    if painted is None or method.plan.dominant is None:
        return partial(choose, method.after_vision, look, look.seen.tilings)
    return partial(choose_beside, method.plan, look, painted, keeps_cls=False)


def _enter_crops(
    backbone: Backbone,
    eye: Eye,
    seen: Seen,
    choose_groups: Callable[[], list[Group]],
    watch: Stopwatch,
    painted: Painted | None,
) -> Entered:
    """Run stage 1 on every crop and put what is left in order, or lay all patches out as the untouched model does."""
    tilings = seen.tilings
    full, parts = _placeholders(eye, seen), tuple(tiling.crops for tiling in tilings)
    with watch.span("select"):
        groups = choose_groups()
        left = left_of(groups) if groups else None
        order, counts = entry_order(left, tilings, seen.extra) if left else (None, [])
    with watch.span("encode"):
        if left is None or order is None:
            patches = backbone.project(seen.features[:, seen.extra :]).split(parts)  # (C, P, D) each
            whole = [tiling.tokens_of(own, backbone.line_end) for tiling, own in zip(tilings, patches, strict=True)]
            laid = Entered(eye, seen.rows_cols, tuple(whole), full, parts, partial(whole_fates, tilings))
            return laid if painted is None else whole_painted(laid, tilings, painted)
        visual = backbone.project(left.tokens[order].unsqueeze(0)).squeeze(0)  # (S, D)
    fates = partial(fates_of, groups, order, counts, seen.extra, tilings)
    labels = () if left.labels is None else left.labels[order].split(counts)
    at = left.crop[order], left.place[order]
    forced = () if painted is None else painted.forced(*at, seen.extra).split(counts)
    return Entered(eye, seen.rows_cols, visual.split(counts), full, parts, fates, labels=labels, forced=forced)


def sequences(
    backbone: Backbone, entered: Entered, requests: Sequence[Request], samples: Sequence[Sample], plan: Plan
) -> tuple[Tokens, list[Places]]:
    """Return the prompts with what entered in them, as the language model takes them, and where everything went."""
    pairs = [(request.ids, own.pictures) for request, own in zip(requests, samples, strict=True)]
    where = [place(ids, entered.eye.token, entered.full(own), entered.counts(own)) for ids, own in pairs]
    blocks = [torch.cat(entered.of(own)) for _, own in pairs]  # (n, D) each
    positions = _positions(backbone, entered, requests, samples, where)
    if positions is None and build_method(plan).positions == "original":
        positions = [torch.arange(own.length, device=backbone.device)[None] for own in where]
    tokens = lay_out(requests, blocks, backbone.embed, where, plan.queries, positions)
    if entered.labels:
        labels = (torch.cat(entered.labels[own.start : own.stop]) for _, own in pairs)
        tokens.labels = [own.to(tokens.hidden.device) for own in labels]
    if entered.forced:
        tokens.forced = [torch.cat(entered.forced[own.start : own.stop]).to(tokens.hidden.device) for _, own in pairs]
    if entered.places:  # pictures in crops are no grid
        tokens.shapes = [(own.grid.frames, own.grid.rows, own.grid.cols) for own in samples]
    return tokens, where


@torch.inference_mode()
def prefill(
    backbone: Backbone,
    entered: Entered,
    requests: Sequence[Request],
    samples: Sequence[Sample],
    plan: Plan,
    watch: Stopwatch,
) -> Run:
    """Run the language model over the prompts with stage 2; several samples may look at the same pictures."""
    method = build_method(plan)
    with watch.span("prefill"):
        tokens, _ = sequences(backbone, entered, requests, samples, plan)
    together = len(samples) > 1 and all(own.pictures == samples[0].pictures for own in samples)
    stack = SharedStart(backbone) if together else backbone
    by_word = any(sample.spoken for sample in samples)
    choose_layer = partial(holding, method.at_layer) if entered.forced else method.at_layer
    state = decoder.prefill(stack, tokens, choose_layer, watch, method.trims, by_word)
    return Run(state.logits, record_all(plan.method, list(samples), entered, state), state, watch)


def _positions(
    backbone: Backbone,
    entered: Entered,
    requests: Sequence[Request],
    samples: Sequence[Sample],
    where: Sequence[Places],
) -> list[Tensor] | None:
    """Return each sample's positions [3, T] for a family whose tokens keep theirs, else None."""
    kept = []
    for request, sample, places in zip(requests, samples, where, strict=True):
        reels = reels_of(entered.reels, sample.pictures)
        whole = backbone.positions(torch.tensor(request.ids), entered.rows_cols, reels)  # (3, prompt)
        if whole is None:
            return None
        seats = entered.places[sample.pictures.start : sample.pictures.stop]
        kept.append(whole.to(seats[0].device)[:, sources(places, seats)])
    return kept


@torch.inference_mode()
def next_tokens(backbone: Backbone, run: Run, tokens: Tensor, step: int) -> Tensor:
    """Return the greedy tokens [B] after `tokens` [B], the `step`-th ones after the prompt."""
    embedded = backbone.embed(tokens).unsqueeze(1)  # (B, 1, D)
    return decoder.decode(backbone, run.state, embedded, step).argmax(dim=-1)  # (B,)


def decode(backbone: Backbone, run: Run, max_new_tokens: int) -> Iterator[list[int]]:
    """Yield one greedy token per sample until every sample has ended."""
    with run.watch.span("choose"):
        tokens = run.logits.argmax(dim=-1)  # (B,)
        chosen = tokens.tolist()
    ends, ended = _end_tokens(backbone), [False] * len(chosen)
    for step in range(max_new_tokens):
        yield chosen
        ended = [over or token in ends for over, token in zip(ended, chosen, strict=True)]
        if all(ended) or step + 1 == max_new_tokens:
            return
        with run.watch.span("decode"):
            tokens = next_tokens(backbone, run, tokens, step)
            chosen = tokens.tolist()


def finish(backbone: Backbone, run: Run, max_new_tokens: int) -> list[list[int]]:
    """Return each sample's greedy tokens up to its end token."""
    done: list[list[int]] = [[] for _ in run.traces]
    ends = _end_tokens(backbone)
    for step in decode(backbone, run, max_new_tokens):
        for ids, token in zip(done, step, strict=True):
            if not ids or ids[-1] not in ends:
                ids.append(token)
    return done


def _end_tokens(backbone: Backbone) -> set[int]:
    ends = backbone.model.generation_config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}


def cost_of(backbone: Backbone, encode_ms: float, run: Run, new_tokens: int) -> Cost:
    """Sum up the watch of a one-sample run; the formulas get the lengths actually run."""
    spent = run.watch.totals()
    encode = encode_ms + spent["encode"]
    shape, cached = backbone.layer_shape, [counts[0] for counts in run.state.cached]
    text = run.state.lengths[0][0] - run.trace.entering
    return Cost(
        encode_ms=encode,
        select_ms=spent["select"],
        prefill_ms=spent["prefill"],
        first_token_ms=encode + spent["select"] + spent["prefill"] + spent.get("choose", 0.0),
        decode_ms=run.watch.median("decode"),
        new_tokens=new_tokens,
        text_tokens=text,
        prefill_flops=prefill_flops(shape, run.trace.tokens_per_layer, text),
        kv_bytes=kv_bytes(shape, cached),
    )
