"""Clips from files: read safely in a process of their own, and the frames of them that the model looks at."""

from __future__ import annotations

from duet_core.clips.choose import FEWEST, MOST, FrameRule, choose_frames, parse_times, seconds_of
from duet_core.clips.clip import Clip, ClipLimits
from duet_core.clips.container import NAMES, is_clip
from duet_core.clips.reader import read_clip

__all__ = [
    "FEWEST",
    "MOST",
    "NAMES",
    "Clip",
    "ClipLimits",
    "FrameRule",
    "choose_frames",
    "is_clip",
    "parse_times",
    "read_clip",
    "seconds_of",
]
