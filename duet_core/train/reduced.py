"""One training step's forward pass: the engine's own pieces with gradients, and the loss at the answers' places.

B samples, one picture each; N encoder tokens, n1 visual tokens after stage 1, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet_core import decoder
from duet_core.backbones import Backbone
from duet_core.boundary import Boundary, Stay, Tokens
from duet_core.errors import ModelError
from duet_core.layout import Places, Request, lay_out, place
from duet_core.methods import Look, Method, build_method
from duet_core.plan import Plan
from duet_core.recorder import everything
from duet_core.timing import Stopwatch
from duet_core.train.conversations import IGNORED, Example
from duet_core.vision import Evidence, Seen


class ReducedLesson(nn.Module):
    """A checkpoint that learns answers while a method drops visual tokens, just as it will when it is asked.

    Nothing of the model may be touched outside `forward`: there, and only there, FSDP has its weights at hand.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        self.backbone, self.eye, self.placeholders = backbone, backbone.eye(clip=False), backbone.size().tokens

    def forward(
        self, pixels: Tensor, examples: Sequence[Example], plan: Plan, count: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, summed over this batch's labels and divided by `count`, and figures about it.

        `pixels` [B, 3, h, w]. Raises a ModelError when the loss is no number any more.
        """
        method = build_method(plan)
        tokens, where = self._lay_out(*self._visual(pixels, method), examples, method)
        watch = Stopwatch(self.backbone.device)
        passed = decoder.run_layers(self.backbone, tokens, partial(self._choose, method), watch)
        hidden, truth = _at_labels(passed.tokens, examples, where)  # (labels, D), (labels,)
        logits = self.backbone.logits(hidden).float()  # (labels, V)
        loss = F.cross_entropy(logits, truth, reduction="sum") / count
        if not torch.isfinite(loss):
            raise ModelError(f"The loss has become {loss.item()}; start again with a smaller learning rate.")
        right = (logits.argmax(-1) == truth).float().mean()
        average = torch.tensor(passed.visual_counts, dtype=torch.float).mean()
        return loss, {"right": right, "visual_tokens": average}

    def _visual(self, pixels: Tensor, method: Method) -> tuple[Tensor, tuple[int, int]]:
        """Return the projected tokens [B, n1, D] that enter, and the rows and columns of patches that were seen.

        Gradients reach the encoder only where it is trained.
        """
        backbone, eye = self.backbone, self.eye
        with torch.set_grad_enabled(torch.is_grad_enabled() and _is_trained(eye.tower)):
            seen = backbone.see(eye, {"pixel_values": pixels})  # (B, N, D)
            single = tuple(range(number, number + 1) for number in range(len(pixels)))
            look = Look(seen, partial(_evidence, backbone, seen), backbone.project, single)
            selection = method.after_vision(look) or everything(look, eye.keeps_cls)
        return backbone.project(selection.tokens).to(backbone.dtype), seen.rows_cols  # (B, n1, D)

    def _lay_out(
        self, visual: Tensor, rows_cols: tuple[int, int], examples: Sequence[Example], method: Method
    ) -> tuple[Tokens, list[Places]]:
        """Return the sequences as the method will find them when it is asked: on its grid, with its positions."""
        sizes, rule = ([self.placeholders], [visual.shape[1]]), method.plan.queries
        where = [place(example.ids, self.eye.token, *sizes) for example in examples]
        requests = [Request(example.ids, example.queries(rule)) for example in examples]
        stays = method.positions == "original"
        positions = [torch.arange(own.length, device=visual.device)[None] for own in where] if stays else None
        tokens = lay_out(requests, list(visual), self.backbone.embed, where, rule, positions)
        tokens.shapes = [(1, *rows_cols)] * len(examples)
        return tokens, where

    def _choose(self, method: Method, boundary: Boundary) -> Stay | None:
        """Ask the method; it scores with the weights of the next layer, which FSDP2 may have to gather first."""
        gather = getattr(self.backbone.layers[boundary.layer], "unshard", None)
        if gather is not None:
            gather()
        return method.at_layer(boundary)


def _is_trained(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


@torch.no_grad()
def _evidence(backbone: Backbone, seen: Seen) -> Evidence:
    return backbone.evidence(seen)


def _at_labels(tokens: Tokens, examples: Sequence[Example], where: Sequence[Places]) -> tuple[Tensor, Tensor]:
    """Return hidden states [labels, D] and tokens to say [labels] of all samples; text is never dropped."""
    rows, truth = [], []
    for hidden, at, example, places in zip(tokens.hidden, tokens.text, examples, where, strict=True):
        labels = torch.tensor([example.labels[old] for old in places.moved], device=hidden.device)  # as `at` is ordered
        wanted = labels != IGNORED
        rows.append(hidden[at[wanted]])
        truth.append(labels[wanted])
    return torch.cat(rows), torch.cat(truth)
