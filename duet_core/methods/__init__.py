"""The rack of methods: who is dropped. One file a method, one line a method here."""

from __future__ import annotations

from duet_core.errors import PlanError
from duet_core.methods.base import Fates, Look, Method, Selection, kept_fates
from duet_core.methods.duet import Duet
from duet_core.methods.none import Everything
from duet_core.methods.random import Random
from duet_core.methods.uniform import Uniform

METHODS: dict[str, type[Method]] = {
    "none": Everything,
    "duet": Duet,
    "random": Random,
    "uniform": Uniform,
}

__all__ = ["METHODS", "Fates", "Look", "Method", "Selection", "find_method", "kept_fates"]


def find_method(name: str) -> type[Method]:
    """Return the method of this name; a PlanError lists the names there are."""
    if name not in METHODS:
        raise PlanError(f"There is no method {name!r}; choose one of {', '.join(METHODS)}.")
    return METHODS[name]
