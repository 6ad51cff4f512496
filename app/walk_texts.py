"""What the steps of How it works say, with the numbers of a run."""

from __future__ import annotations

THIS_RUN = "The pictures are those of the run on the Ask tab. Arrow keys move, too."
OF_EXAMPLE = (
    "The run on the Ask tab does not show both of DUET's stages, so these pictures are those of the first example."
    " Arrow keys move, too."
)
PLAIN = "The picture, cut into patches."


def tokens(full: int, pictures: int) -> tuple[str, ...]:
    """The first step of How it works."""
    what = "the picture" if pictures == 1 else f"each of {pictures} frames"
    return (
        f"The vision encoder cuts {what} into square patches and turns each into a token: {full:,} in all. Here you see"
        f"{' the middle frame of' if pictures > 1 else ''} what it was given.",
        "Without DUET the language model carries every one of them through every layer, though most show little.",
    )


def dominant(kept: int) -> tuple[str, ...]:
    """The second step: dominant tokens."""
    return (
        "Inside the encoder, tokens pay attention to one another. Stage 1 ranks the patches by the attention that they"
        " get, before the question is known.",
        f"The {kept:,} highest are dominant: they go on as they are.",
    )


def merged(anchors: int, taken: int, dropped: int, entering: int, full: int) -> tuple[str, ...]:
    """The third step: contextual tokens."""
    gone = f" The other {dropped:,} are dropped here, unseen by the language model." if dropped else ""
    return (
        f"Of the patches left over, {anchors:,} become anchors. Each takes in those most like it, {taken:,} in all, and"
        f" the mean of such a group is one contextual token.{gone}",
        f"So {entering:,} of {full:,} tokens enter the language model.",
    )


def words(words: str, question: str) -> str:
    """The fourth step: salient words."""
    guides = f", here {words}," if words else ""
    return (
        f"Half way through the language model, the salient words of “{question}”{guides} rank the tokens by the"
        " attention that they pay them. What the question does not need is dropped."
    )


def end(layer: int, left: int, average: float, full: int) -> tuple[str, ...]:
    """The fifth step: the last pruning layer, and what it all comes to."""
    rest = "no visual token is left: what they showed is in the words by now" if not left else f"{left:,} are left"
    return (
        f"Before layer {layer} the same is done once more, and {rest}. Then the model answers.",
        f"Over all layers that is {average:,.0f} of {full:,} tokens on average: less attention to compute, and a"
        " smaller KV cache.",
    )
