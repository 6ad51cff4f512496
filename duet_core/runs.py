"""What a run hands on: the encoded picture, what enters the language model, the state after a prefill, the answer.

Shapes: B batch, I pictures, n1 visual tokens of one picture after stage 1, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from duet_core.backbones import Eye
from duet_core.cost import Cost
from duet_core.decoder import Prefilled
from duet_core.film import Film
from duet_core.grid import Grid
from duet_core.methods import Fates
from duet_core.plan import Size
from duet_core.tiles import Tiles
from duet_core.timing import Stopwatch
from duet_core.trace import Trace
from duet_core.vision import Reel, Seen

Picture = Image.Image | Sequence[Image.Image] | Film
"""A picture, or the frames of a clip, with their times or without."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture (or the frames of a clip) after the vision encoder: ask it as many questions as you like.

    `eye` saw it; `layers`: those of the language model that will read it; `tiles`: how it is cut, for a family that
    knows tiles, each of which is a frame of the grid.
    """

    eye: Eye
    seen: Seen
    grid: Grid
    layers: int
    encode_ms: float
    tiles: Tiles | None = None

    @property
    def size(self) -> Size:
        """What a plan for it depends on."""
        if self.seen.tilings:
            return self.seen.tilings[0].size(self.layers, self.seen.extra)
        return Size(self.eye.tokens(self.seen.rows_cols), self.layers, self.grid.frames)


@dataclass(frozen=True, slots=True)
class Entered:
    """What a method let in: it depends on the pictures, not on the question.

    `blocks`: of each picture, the tokens that enter [n, D], projected. `placeholders`: its tokens in the untouched
    model. `parts`: its rows in the fates, one for each crop where it is cut up. `fates()` numbers tokens and patches
    through each picture, and works them out when the run is over. `places`: of each picture that is not cut up, the
    encoder token at whose place each of them stands [n]. `labels` [n]: what the method noted of each of a picture's
    tokens, if it did. `reels`: as the encoder's `Seen` has them. `forced` [n] bool: which of a picture's tokens a brush
    keeps, if there is one.
    """

    eye: Eye
    rows_cols: tuple[int, int]
    blocks: tuple[Tensor, ...]
    placeholders: tuple[int, ...]
    parts: tuple[int, ...]
    fates: Callable[[], Fates]
    places: tuple[Tensor, ...] = ()
    labels: tuple[Tensor, ...] = ()
    reels: tuple[Reel, ...] = ()
    forced: tuple[Tensor, ...] = ()

    def of(self, pictures: range) -> tuple[Tensor, ...]:
        """Return the tokens [n, D] of each of some pictures."""
        return self.blocks[pictures.start : pictures.stop]

    def counts(self, pictures: range) -> list[int]:
        """Return how many tokens of each of some pictures enter."""
        return [len(block) for block in self.of(pictures)]

    def full(self, pictures: range) -> tuple[int, ...]:
        """Return how many placeholders each of some pictures has in the prompt."""
        return self.placeholders[pictures.start : pictures.stop]


@dataclass(frozen=True, slots=True)
class Run:
    """The state after a prefill: `logits` [B, V] at each sample's last prompt token, and one trace per sample."""

    logits: Tensor
    traces: tuple[Trace, ...]
    state: Prefilled
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
