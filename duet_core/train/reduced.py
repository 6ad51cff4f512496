"""One training step's forward pass: the engine's own pieces with gradients, and the loss at the answers' places.

B samples, one picture each; D width, V vocabulary. Pictures of one shape with one plan are encoded together; the
language model's layers take all samples in one pass, as processes that share those layers must run them equally often.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet_core import decoder, running
from duet_core.backbones import Backbone
from duet_core.backbones.base import Pixels
from duet_core.boundary import Boundary, Stay, Tokens
from duet_core.errors import ModelError
from duet_core.layout import Places, Request
from duet_core.methods import build_method
from duet_core.plan import Plan, Queries
from duet_core.timing import Stopwatch
from duet_core.train.conversations import IGNORED, Example
from duet_core.train.groups import Group, alike, choose, joined, line_up


class ReducedLesson(nn.Module):
    """A checkpoint that learns answers while a method drops visual tokens, just as it will when it is asked.

    Nothing of the model may be touched outside `forward`: there, and only there, FSDP has its weights at hand.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        self.backbone, self.eye = backbone, backbone.eye(clip=False)

    def forward(
        self, pixels: Sequence[Pixels], examples: Sequence[Example], plans: Sequence[Plan], count: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, summed over this batch's labels and divided by `count`, and figures about it.

        `pixels`: of each sample, what the image processor made of its picture; pictures and plans may differ. Raises a
        ModelError when the loss is no number any more.
        """
        kinds, watch = alike(map(self._kind, pixels, plans)), Stopwatch(self.backbone.device)
        parts = [
            self._enter([pixels[row] for row in kind], [examples[row] for row in kind], plans[kind[0]], watch)
            for kind in kinds
        ]
        methods = [build_method(plans[kind[0]]) for kind in kinds]
        groups = line_up(methods, [tokens for tokens, _ in parts])
        tokens = joined([group.first for group in groups])
        passed = decoder.run_layers(self.backbone, tokens, partial(self._choose, groups), watch)
        asked = [examples[row] for kind in kinds for row in kind]
        hidden, truth = _at_labels(passed.tokens, asked, [own for _, where in parts for own in where])  # (labels, D)
        average = torch.tensor(passed.visual_counts, dtype=torch.float).mean()
        loss, right = self._loss(hidden, truth)
        return loss / count, {"right": right, "visual_tokens": average}

    def _kind(self, pixels: Pixels, plan: Plan) -> Hashable:
        """Return what pictures have in common that can be encoded, and stay, together."""
        shape = self.backbone.tilings_of(self.eye, pixels) or self.backbone.rows_cols_of(pixels)
        return plan, shape, pixels["pixel_values"].shape

    def _enter(
        self, pixels: Sequence[Pixels], examples: Sequence[Example], plan: Plan, watch: Stopwatch
    ) -> tuple[Tokens, list[Places]]:
        """Return the sequences of alike samples; gradients reach the encoder only where it is trained."""
        backbone, eye = self.backbone, self.eye
        together = {name: torch.cat([own[name] for own in pixels]) for name in pixels[0]}
        with torch.set_grad_enabled(torch.is_grad_enabled() and _is_trained(eye.tower)):
            seen = backbone.see(eye, together)
        words: Queries = "salient" if plan.queries == "salient" else "all_text"  # what a question is to stage 1
        asked, guides = ([Request(own.ids, own.queries(rule)) for own in examples] for rule in (words, plan.queries))
        samples = running.deal_out(eye, seen, guides)
        entered = running.admit(backbone, eye, seen, plan, watch, asked, samples)
        return running.sequences(backbone, entered, guides, samples, plan)

    def _choose(self, groups: Sequence[Group], boundary: Boundary) -> Stay | None:
        """Ask the methods; they score with the weights of the next layer, which FSDP2 may have to gather first."""
        gather = getattr(self.backbone.layers[boundary.layer], "unshard", None)
        if gather is not None:
            gather()
        return choose(groups, boundary)

    def _loss(self, hidden: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss of hidden states [labels, D], and the share of tokens that came out right."""
        logits = self.backbone.logits(hidden).float()  # (labels, V)
        loss = F.cross_entropy(logits, truth, reduction="sum")
        if not torch.isfinite(loss):
            raise ModelError(f"The loss has become {loss.item()}; start again with a smaller learning rate.")
        return loss, (logits.argmax(-1) == truth).float().mean()


def _is_trained(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _at_labels(tokens: Tokens, examples: Sequence[Example], where: Sequence[Places]) -> tuple[Tensor, Tensor]:
    """Return hidden states [labels, D] and tokens to say [labels] of all samples; text is never dropped."""
    rows, truth = [], []
    for hidden, at, example, places in zip(tokens.hidden, tokens.text, examples, where, strict=True):
        labels = torch.tensor([example.labels[old] for old in places.moved], device=hidden.device)  # as `at` is ordered
        wanted = labels != IGNORED
        rows.append(hidden[at[wanted]])
        truth.append(labels[wanted])
    return torch.cat(rows), torch.cat(truth)
