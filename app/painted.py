"""What a visitor painted on the map, as the browser sends it: read, and refused where it belongs to another picture."""

from __future__ import annotations

import json

from app import map_texts as texts
from app.film import Subject, key_of
from duet_core import Brush
from duet_core.errors import PlanError


def read_brush(text: str | None, subject: Subject) -> Brush | None:
    """Return the brush of a request about a picture or clip, None where nothing is painted.

    `text`: JSON with `keep` and `drop`, patch numbers, and `key`, the fingerprint of what they were painted on. Raises
    a PlanError for any other text, and where the key is not that of the subject.
    """
    if not text:
        return None
    try:
        sent = json.loads(text)
        key, rest = sent["key"], {name: sent[name] for name in ("keep", "drop")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PlanError(texts.NOT_PAINTED) from error
    if key != key_of(subject):
        raise PlanError(texts.OTHER_PICTURE)
    return Brush.from_json(rest) or None


def in_words(brush: Brush | None) -> str:
    """Say what a brush did to a run; nothing without one."""
    return texts.forced(len(brush.keep), len(brush.drop)) if brush else ""
