"""What the model menu offers: the operator's models, then those we suggest where visitors may open others."""

from __future__ import annotations

from app.settings import Settings
from duet_core.registry import suggested


def model_choices(settings: Settings) -> list[tuple[str, str]]:
    """Return (label, name) of each model; a label tells the size of what would be downloaded."""
    labels = {entry.name: entry.label for entry in suggested()}
    more = [name for name in labels if "/" in name and name not in settings.models] if settings.hub else []
    return [(labels.get(name, name), name) for name in (*settings.models, *more)]
