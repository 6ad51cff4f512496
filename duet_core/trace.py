"""What became of every patch in one run: plain numpy, JSON both ways, versioned."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from duet_core.errors import TraceError
from duet_core.grid import Grid

SCHEMA = 1
SURVIVED = -1
BEFORE_MODEL = 0


class Fate(IntEnum):
    """What stage 1 made of a patch: every patch has exactly one of these."""

    DOMINANT = 0  # enters the language model unchanged, as a token of its own
    ANCHOR = 1  # the centre of a contextual token
    MERGED = 2  # averaged into an anchor's contextual token
    DROPPED = 3  # gone before the language model
    BORDER = 4  # padding around a crop's part of the picture: the untouched model leaves it out, too


@dataclass(frozen=True, slots=True)
class Drop:
    """One pruning step inside the language model.

    `layer`: the layer before which it happened (0-based). `scores` [P] float32: the stage-2 score of the token that
    each patch belonged to, NaN for patches without a token at that point (or for methods without scores). `joined` [P]
    int32: where tokens were merged in this step, the patch at whose place the token stands that each patch's own was
    merged into, -1 for none.
    `by_word` [W, P] float32: the same for each of the trace's words on its own, in their order, before the scores are
    averaged: the attention of the word's tokens, in their mean; a repeated word has a row each time. `by_end` [P]
    float32: that of the prompt's last token, which always guides beside the words, so that `scores` are the mean over
    all tokens of the words and this one. Both are None unless they were asked for, the words' attention decided, and
    anything was left to rank: a layer that drops every token needs no scores.
    """

    layer: int
    scores: np.ndarray
    joined: np.ndarray | None = None
    by_word: np.ndarray | None = None
    by_end: np.ndarray | None = None

    def to_json(self) -> dict[str, object]:
        """Return the step as plain JSON values; what was not recorded is left out."""
        plain: dict[str, object] = {"layer": self.layer, "scores": _rounded(self.scores)}
        if self.joined is not None:
            plain["joined"] = self.joined.tolist()
        if self.by_word is not None:
            plain["by_word"] = [_rounded(row) for row in self.by_word]
        return plain if self.by_end is None else plain | {"by_end": _rounded(self.by_end)}

    @classmethod
    def from_json(cls, data: dict) -> Drop:
        """Read what `to_json` wrote."""
        rows = [None if data.get(name) is None else np.array(data[name], np.float32) for name in ("by_word", "by_end")]
        joined = np.array(data["joined"], np.int32) if "joined" in data else None
        return cls(data["layer"], np.array(data["scores"], np.float32), joined, *rows)


@dataclass(frozen=True, slots=True)
class Trace:
    """The fate of every patch of one sample, P = grid.patches.

    `full`: visual tokens of the untouched model. `tokens_per_layer`: visual tokens that each layer of the language
    model saw. `fate` [P] uint8 (`Fate`). `joined` [P] int32: the patch whose token a patch became part of (itself for
    dominant patches and anchors, its anchor for merged ones, -1 for dropped ones). `died_at` [P] int32: the layer
    before which the patch's token was dropped, `BEFORE_MODEL` for stage 1, `SURVIVED` if it never was.
    `stage1_scores` [P] float32, NaN for methods without scores. `words`: the question words whose tokens guided
    stage 2 (empty if none did).
    """

    method: str
    grid: Grid
    full: int
    tokens_per_layer: tuple[int, ...]
    fate: np.ndarray
    joined: np.ndarray
    died_at: np.ndarray
    stage1_scores: np.ndarray
    drops: tuple[Drop, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def entering(self) -> int:
        """Visual tokens that entered the language model."""
        return self.tokens_per_layer[0]

    @property
    def average_tokens(self) -> float:
        """Visual tokens per layer, averaged over the layers: the budget that the slider sets."""
        return sum(self.tokens_per_layer) / len(self.tokens_per_layer)

    @property
    def final(self) -> int:
        """Visual tokens that the last layer saw."""
        return self.tokens_per_layer[-1]

    @property
    def reduction(self) -> float:
        """Share of visual tokens saved, averaged over the layers."""
        return 1.0 - self.average_tokens / self.full

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps a viewer walks through: all patches, stage 1, then each pruning layer."""
        return ("all", "stage 1", *(f"layer {drop.layer}" for drop in self.drops))

    @property
    def tokens_by_frame(self) -> np.ndarray:
        """Tokens that stand for patches of each frame in each layer, [frames, layers] int64; CLS stands for none."""
        own = np.isin(self.fate, (Fate.DOMINANT, Fate.ANCHOR)).reshape(self.grid.frames, -1)  # (F, P)
        died = self.died_at.reshape(self.grid.frames, -1)
        layers = np.arange(len(self.tokens_per_layer))[:, None, None]
        return (own & ((died == SURVIVED) | (died > layers))).sum(-1).T  # (F, L)

    def labels(self, step: int) -> list[str]:
        """Return each patch's fate as of a step (an index into `steps`).

        One of `dominant`, `anchor`, `merged`, `dropped-before`, `merged-at-N`, `dropped-at-N`, `border` per patch, in
        patch order. What was merged shares the fate of the token that it became part of, so that it may be dropped
        later. At step 0 nothing has happened yet and every patch but the borders reads `dominant`.
        """
        if step == 0:
            return ["border" if fate == Fate.BORDER else "dominant" for fate in self.fate.tolist()]
        names = {
            Fate.DOMINANT: "dominant",
            Fate.ANCHOR: "anchor",
            Fate.MERGED: "merged",
            Fate.DROPPED: "dropped-before",
            Fate.BORDER: "border",
        }
        labels = [names[Fate(fate)] for fate in self.fate.tolist()]
        home = self.joined
        for drop in self.drops[: step - 1]:
            home, gone, merged = self._after(drop, home)
            for patch in np.flatnonzero(gone).tolist():
                labels[patch] = f"dropped-at-{drop.layer}"
            for patch in np.flatnonzero(merged).tolist():
                labels[patch] = labels[patch] if labels[patch].startswith("merged-at") else f"merged-at-{drop.layer}"
        return labels

    def homes(self, step: int) -> np.ndarray:
        """Return of each patch [P] the patch at whose place the token stands that it is part of as of a step, or -1."""
        home = self.joined
        for drop in self.drops[: max(0, step - 1)]:
            home, _, _ = self._after(drop, home)
        return home

    def _after(self, drop: Drop, home: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the homes [P] after a step from those before it, and which patches were dropped or merged in it."""
        ended = (home >= 0) & (self.died_at[home] == drop.layer)
        into = np.full_like(home, -1) if drop.joined is None else drop.joined[home]
        merged, gone = ended & (into >= 0), ended & (into < 0)
        return np.where(ended, into, home), gone, merged

    def to_json(self) -> dict[str, object]:
        """Return the trace as plain JSON values; scores keep five significant digits, NaN becomes null."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "grid": self.grid.to_json(),
            "full": self.full,
            "entering": self.entering,
            "average_tokens": self.average_tokens,
            "final": self.final,
            "tokens_per_layer": list(self.tokens_per_layer),
            "fate": self.fate.tolist(),
            "joined": self.joined.tolist(),
            "died_at": self.died_at.tolist(),
            "stage1_scores": _rounded(self.stage1_scores),
            "drops": [drop.to_json() for drop in self.drops],
            "words": list(self.words),
        }

    @classmethod
    def from_json(cls, data: dict) -> Trace:
        """Read what `to_json` wrote; a TraceError names a schema that this version does not know."""
        if data.get("schema") != SCHEMA:
            found = data.get("schema")
            raise TraceError(f"This trace has schema {found!r}, this version reads {SCHEMA}: record it anew.")
        return cls(
            method=data["method"],
            grid=Grid.from_json(data["grid"]),
            full=data["full"],
            tokens_per_layer=tuple(data["tokens_per_layer"]),
            fate=np.array(data["fate"], np.uint8),
            joined=np.array(data["joined"], np.int32),
            died_at=np.array(data["died_at"], np.int32),
            stage1_scores=np.array(data["stage1_scores"], np.float32),
            drops=tuple(Drop.from_json(drop) for drop in data["drops"]),
            words=tuple(data["words"]),
        )


def _rounded(scores: np.ndarray) -> list[float | None]:
    """Return floats with five significant digits and None for NaN, so that the JSON is small and valid."""
    return [None if np.isnan(s) else float(f"{s:.5g}") for s in scores]
