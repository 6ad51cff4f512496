"""Which frames of a clip the model looks at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from duet_core.clips.clip import Clip
from duet_core.errors import ClipError

FrameRule = Literal["uniform", "change", "times"]
FEWEST, MOST = 4, 32
_SMALL = (32, 32)
_TIME = re.compile(r"(?:(?:([0-9]{1,2}):)?([0-5]?[0-9]):)?([0-9]{1,6}(?:\.[0-9]{1,6})?)")


def choose_frames(clip: Clip, count: int, rule: FrameRule = "uniform", times: Sequence[float] = ()) -> tuple[int, ...]:
    """Return ascending indices into a clip's frames.

    "uniform" spreads `count` of them evenly over time; where there are fewer, frames that are shown for long come
    several times. "change" takes the most different ones, or all if there are fewer. "times" takes those nearest to the
    given seconds, where `count` has no say. A ClipError refuses a count outside 4 to 32 and a time outside a clip.
    """
    if rule == "times":
        return _nearest(clip, times)
    if not FEWEST <= count <= MOST:
        raise ClipError(
            f"The number of frames is {count} and must be from {FEWEST} to {MOST}: move it into that range."
        )
    if rule == "uniform":
        return _spread(clip.times, count) if count <= len(clip.frames) else _held(clip, count)
    return _most_different(clip, min(count, len(clip.frames)))


def seconds_of(clip: Clip, chosen: Sequence[int]) -> tuple[float, ...]:
    """Return the second at which each chosen frame is looked at, ascending; a frame's repeats share its time."""
    ends = (*clip.times[1:], clip.duration)
    seconds: list[float] = []
    for number, many in sorted(Counter(chosen).items()):
        begin, length = clip.times[number], ends[number] - clip.times[number]
        seconds += [begin + length * repeat / many for repeat in range(many)]
    return tuple(seconds)


def parse_times(text: str) -> tuple[float, ...]:
    """Return the seconds in a text like "0.5, 2, 1:03"; a ClipError quotes what is no time."""
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not parts:
        raise ClipError("The list of times is empty: write seconds or minutes like 0.5, 2, 1:03.")
    return tuple(_seconds(part) for part in parts)


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if not found or (found[2] and float(found[3]) >= 60):
        raise ClipError(f"The list of times holds {text[:20]!r}, which is not a time: write it like 0.5, 2, 1:03.")
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def _nearest(clip: Clip, times: Sequence[float]) -> tuple[int, ...]:
    if not 1 <= len(times) <= MOST:
        raise ClipError(f"There are {len(times)} times and there must be from 1 to {MOST}: correct the list.")
    for time in times:
        if not 0 <= time <= clip.duration:
            raise ClipError(
                f"The time {time:g} s lies outside the clip, which lasts {clip.duration:g} s: choose times within it."
            )
    shown = np.array(clip.times)
    return tuple(sorted({int(np.abs(shown - time).argmin()) for time in times}))


def _held(clip: Clip, count: int) -> tuple[int, ...]:
    """Return the frame that is shown at each of `count` seconds, evenly spread from the first on."""
    seconds = np.linspace(clip.times[0], clip.duration, count, endpoint=False)
    return tuple((np.searchsorted(clip.times, seconds + 1e-6 * clip.duration, side="right") - 1).tolist())


def _spread(times: Sequence[float], count: int) -> tuple[int, ...]:
    """Return the frames nearest to evenly spread seconds, each frame once, the first and the last among them."""
    chosen: list[int] = []
    for i, second in enumerate(np.linspace(times[0], times[-1], count)):
        begin, end = chosen[-1] + 1 if chosen else 0, len(times) - count + i + 1  # leaves enough for the others
        chosen.append(begin + int(np.abs(np.array(times[begin:end]) - second).argmin()))
    return tuple(chosen)


def _most_different(clip: Clip, count: int) -> tuple[int, ...]:
    """Return the first frame and then, one by one, the frame farthest from all chosen, the earlier one of equals."""
    small = np.stack([np.asarray(frame.convert("L").resize(_SMALL), np.int32) for frame in clip.frames])  # (F, 32, 32)
    chosen = [0]
    distance = _distance(small, 0)
    while len(chosen) < count:
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, _distance(small, chosen[-1]))
    return tuple(sorted(chosen))


def _distance(small: np.ndarray, index: int) -> np.ndarray:
    """Return the mean absolute difference of every frame to one, [F] float."""
    return np.abs(small - small[index]).mean((1, 2))
