"""PIO-FVLM, now TRIO (2602.04657): keep what moves the model's own output, and no two tokens that are much alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.decoder import run_layer
from duet_core.methods.base import About, Look, Method, Selection
from duet_core.methods.choosing import cosines, ranks, spread_out, wanted
from duet_core.methods.settings import AtLeastOne, Cosine
from duet_core.methods.trio_front import front
from duet_core.plan import Plan, Size
from duet_core.schedules import before_and_inside

_LAYER, _RATIO = 16, 1 / 3  # of 32 layers; 96 tokens become 32, as published


@dataclass(frozen=True, slots=True)
class Trio(Method):
    """The encoder chooses what enters; half-way through, the gradient of a loss local to one layer ranks it.

    Loss: mean cross-entropy of the layer's output, read by the model's head, against its own best tokens, at the last
    token of the prompt and the last guiding word of the question. Then non-maximum suppression by cosine. The published
    code leaves this part empty. Our reading: the norm of the gradient as salience (`times_state`: |<gradient, state>|
    instead), which token stands for the question, and the suppression's threshold, found by `steps` bisections from
    `threshold` so that just enough tokens survive it.
    """

    title: ClassVar[str] = "TRIO (PIO-FVLM)"
    about: ClassVar[About] = About(
        "PIO-FVLM / TRIO (2602.04657)",
        "both",
        ("CLS attention of the encoder", "a gradient through one layer", "states"),
        confidence="figure, README and surrounding code; the core is our reading",
        interpretation=True,
    )
    times_state: bool = False
    threshold: Cosine = 0.9
    steps: AtLeastOne = 6

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return how many enter, of which a third stays from half the depth on."""
        return before_and_inside("trio", target, size, _LAYER, _RATIO)

    def after_vision(self, look: Look) -> Selection | None:
        """Let the patches in that CLS attends to, here and there and overall."""
        return None if self.plan.dominant is None else front(look, self.plan.dominant + self.plan.contextual)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep the tokens that matter most to what the next layer says, none like another."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        states = boundary.now.states()
        scores = [self._salience(boundary, sample, own) for sample, own in enumerate(states)]
        parts = zip(scores, states, counts, strict=True)
        return Stay([suppress(own, cosines(x), count, self.threshold, self.steps) for own, x, count in parts], scores)

    def _salience(self, boundary: Boundary, sample: int, states: Tensor) -> Tensor:
        read_at = read_places(boundary.now.queries[sample], boundary.now.lengths[sample])

        def loss(made: Tensor) -> Tensor:
            return certainty_loss(boundary.stack.logits(made[read_at.clone()]))  # autograd takes no inference tensor

        slope = boundary.gradient(sample, loss, run_layer).float()  # (n, D)
        return (slope * states.float()).sum(-1).abs() if self.times_state else slope.norm(dim=-1)


def certainty_loss(logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [R, V] against the tokens they favour."""
    return F.cross_entropy(logits.float(), logits.detach().argmax(-1))


def read_places(queries: Tensor, length: int) -> Tensor:
    """Return [2] int64: the last of the query places before the prompt's last one (or that one again), and that one."""
    end = torch.full_like(queries[:1], length - 1)
    asked = queries.masked_fill(queries == end, -1).amax(0, keepdim=True)
    return torch.cat([torch.where(asked < 0, end, asked), end])


def suppress(scores: Tensor, alike: Tensor, count: int, threshold: Cosine, steps: AtLeastOne) -> Tensor:
    """Return ascending tokens [count] int64: greedily by scores [n], none more alike [n, n] to one before than tau.

    Bisection finds the smallest tau that enough tokens survive.
    """
    rank, taken = ranks(scores), torch.zeros_like(scores, dtype=torch.bool)
    low, high, tau = scores.new_tensor(-1.0), scores.new_tensor(1.0), scores.new_tensor(threshold)
    for _ in range(steps):
        _, free = spread_out(rank, alike > tau, count, ~taken, taken)
        low, high = torch.where(free.all(), low, tau), torch.where(free.all(), tau, high)
        tau = (low + high) / 2
    return spread_out(rank, alike > high, count, ~taken, taken)[0].sort().values
