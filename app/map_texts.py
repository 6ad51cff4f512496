"""What the interactive map says beside fates and figures; words in braces are filled in by the browser."""

from __future__ import annotations

LIVE = {
    "sentence": (
        "At {reduction} % stage 1 keeps {dominant} dominant patches, merges {merged} more into {anchor} contextual"
        " tokens and drops {dropped} before the language model."
    ),
    "everything": "At {reduction} % stage 1 passes on all patches.",
    "later": "Of the last run, not of the slider: ",
    "joins": "which anchor it joins is worked out when you ask",
    "note": "Stage 1 follows the slider; press Ask for the answer, the groups and the later steps.",
}
STILL = (
    "The picture follows the slider only where DUET's own stage 1 scored all patches and DUET is chosen: press Ask to"
    " see this setting."
)
MISSING = {
    "stage1": "This run has no stage-1 scores.",
    "stage2": "This run has no stage-2 scores.",
    "word": "Not recorded in this run; Ask records it where the words of the question decide.",
}
TOOLS = {
    "look": "Look at patches: click one, or walk with the arrow keys.",
    "keep": "Paint patches that must stay (key K on a patch).",
    "drop": "Paint patches that must go (key D on a patch).",
    "clear": "Take back all that is painted.",
    "painted": "Painted: {keep} to keep, {drop} to drop; they count at the next Ask.",
}
OTHER_PICTURE = (
    "The patches were painted on another picture or clip: press Clear beside the brush, or ask about that one again."
)
NOT_PAINTED = "What was painted cannot be read: press Clear beside the brush and paint anew."
TIMED_WITHOUT = " Timed without the brush: painted patches take the places of others, so the counts are the same."


def forced(keep: int, drop: int) -> str:
    """Say how many patches a brush forced, as "12 patches protected, 1 patch forced out"; nothing without any."""
    counts = ((keep, "protected"), (drop, "forced out"))
    return ", ".join(f"{count} {'patch' if count == 1 else 'patches'} {how}" for count, how in counts if count)
