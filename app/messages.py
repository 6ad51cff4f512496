"""Every sentence a visitor can see when something is not as it should be: one per cause."""

from __future__ import annotations

from duet_core.clips import FEWEST, MOST
from duet_core.errors import DuetError

NO_PICTURE = "There is no picture yet: upload one, paste one, or take an example."
NO_QUESTION = "There is no question yet: type one, or take a suggestion."
NOT_UPLOADED = "This picture was not uploaded here: upload the file itself instead of naming a path."
NO_CLIP = "There is no clip yet: upload one, or take an example."
CLIP_NOT_UPLOADED = "This clip was not uploaded here: upload the file itself instead of naming a path."
CLIP_GONE = "This clip was deleted after half an hour, as all uploads are: upload it again."
PICTURE_GONE = "This picture was deleted after half an hour, as all uploads are: upload it again."
UNREADABLE = "The request holds a value of the wrong kind: compare it with the API page and send it again."
NOT_A_PICTURE = "This file is not a PNG, JPEG or WebP picture: save it as one of these and upload it again."
BROKEN_PICTURE = "This picture is cut off or damaged and cannot be read: export it again and upload the new file."
FAILED = "Something went wrong on our side; the page still works, so please ask again."
STOPPED = "Stopped: the answers so far stay on the page."
MEASURED_NOW = "Measured just now on the machine that serves this page."
KNOWS = (
    "duet-mini was trained on drawn scenes only: it knows some sixty things, shapes, colours, places and numbers, and"
    " is taught to say that it does not know about photos and anything else."
)
KNOWS_CLIPS = (
    "duet-mini was trained on drawn clips of eight frames: it knows what moves which way, what appears, disappears or"
    " flashes, and in which order."
)
FOR_PHOTOS = " For those, type the hub name of a LLaVA model into the model menu."
WHAT_IS_RUNNING = {
    "opening": "Opening the model ...",
    "decoding": "Reading the clip ...",
    "encoding": "Looking ...",
    "full": "Answering with all tokens ...",
    "reduced": "Answering with fewer tokens ...",
    "measuring": "Timing both, in turn ...",
}


def downloading(done: int, total: int) -> str:
    """So many bytes of a model are here."""
    return f"Downloading the model: {done / 1e9:.1f} of {total / 1e9:.1f} GB ..."


def picture_file_too_large(megabytes: float, limit: int) -> str:
    """The file is too heavy to read."""
    return f"This file has {megabytes:.0f} MB and the limit is {limit} MB: save it smaller and upload it again."


def picture_too_large(width: int, height: int, megapixels: int, longest: int) -> str:
    """The picture has too many pixels."""
    return (
        f"This picture is {width:,} x {height:,} pixels and the limit is {megapixels} megapixels with no side above"
        f" {longest:,}: scale it down and upload it again."
    )


def picture_far_too_large(megapixels: int) -> str:
    """The picture has so many pixels that its reader stops at the header."""
    return f"This picture has far more than the {megapixels} megapixels allowed: scale it down and upload it again."


def picture_too_small(width: int, height: int, shortest: int) -> str:
    """The picture has too few pixels to show anything."""
    return (
        f"This picture is {width} x {height} pixels and each side needs at least {shortest}: there would be nothing"
        " to see, so choose a larger one."
    )


def not_a_frame_count(value: object) -> str:
    """The number of frames is no number."""
    return f"The number of frames is {value!r} and must be a whole number from {FEWEST} to {MOST}: correct it."


def unknown_frame_rule(name: str, known: tuple[str, ...]) -> str:
    """There is no such way to choose frames."""
    return f"There is no way to choose frames called {name!r}: take one of {', '.join(known)}."


def question_too_long(length: int, limit: int) -> str:
    """The question has too many characters."""
    return f"This question has {length:,} characters and the limit is {limit:,}: shorten it."


def reduction_out_of_range(value: object) -> str:
    """The reduction is no percentage that a plan can have."""
    return f"The reduction is {value} and must be a percentage from 0 to 95: move it into that range."


def unknown_method(name: str, known: tuple[str, ...]) -> str:
    """There is no method of this name."""
    return f"There is no method {name!r}: choose one of {', '.join(known)}."


def unknown_model(name: str, known: tuple[str, ...], hub: bool) -> str:
    """There is no model of this name that a visitor may open."""
    hint = ", or type a hub name like owner/model" if hub else ""
    return f"There is no model {name!r} here: choose {' or '.join(known)}{hint}."


def not_numbers(name: str, text: str, example: str) -> str:
    """A field of the exact numbers holds something else."""
    return f"The {name} field holds {text!r}, which is not a list of numbers: write it like {example}."


def not_a_count(name: str, value: object, least: int) -> str:
    """A field of the exact numbers is empty or below its least value."""
    return f"The {name} field holds {value!r} and must be a whole number from {least} on: correct it."


def sentence(error: Exception) -> str:
    """Return what a visitor reads about an error: the engine's own sentence, or that the fault is ours."""
    return str(error) if isinstance(error, DuetError) else FAILED
