"""Every sentence that refuses a clip: one per cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duet_core.clips.clip import ClipLimits

NO_FILE = "There is no such clip: it may have been deleted since it was chosen, so choose the file again."
NOT_A_CLIP = (
    "This file is not a clip that can be read here: save it as mp4 with H.264, as WebM, MOV, AVI, Ogg, GIF or animated"
    " WebP, and choose the new file."
)
A_PICTURE = "This file is a single picture and not a clip: use it as a picture, or choose a clip."
A_PLAYLIST = "This file is a list that names other files and not a clip: choose the clip itself."
BROKEN = "This clip is cut off or damaged and cannot be read to its end: export it again and choose the new file."
EMPTY = "Not one frame of this clip could be read: export it as mp4 with H.264 and choose the new file."
AV1 = "This clip is compressed as AV1, which cannot be read here: export it as H.264 and choose the new file."
NO_READER = (
    "Clips cannot be read because the package opencv-python-headless is missing: install what requirements.txt names."
)


def file_too_large(megabytes: float, limit: int) -> str:
    """The file is too heavy to read."""
    return f"This clip has {megabytes:.1f} MB and the limit is {limit} MB: cut it shorter or save it smaller."


def too_large(width: int, height: int, limits: ClipLimits) -> str:
    """The frames have too many pixels."""
    return (
        f"This clip is {width:,} x {height:,} pixels and the limit is {limits.longest:,} x {limits.shortest:,}: scale"
        " it down and choose the new file."
    )


def too_long(seconds: float, limit: float) -> str:
    """The clip lasts too long."""
    return f"This clip lasts at least {seconds:.0f} seconds and the limit is {limit:g}: cut it shorter."


def too_slow(limit: float) -> str:
    """The decoder did not finish in time."""
    return f"This clip could not be read within {limit:g} seconds: make it shorter or scale it down."


def by_worker(why: str, facts: Mapping[str, Any], limits: ClipLimits) -> str:
    """Return the sentence for a cause that the decoding process named, with the facts it sent along."""
    if why == "large":
        return too_large(int(facts["width"]), int(facts["height"]), limits)
    if why == "long":
        return too_long(float(facts["seconds"]), limits.seconds)
    return {"av1": AV1, "empty": EMPTY, "no reader": NO_READER}.get(why, BROKEN)
