"""What a method's settings may be: pydantic reads it off their annotations, before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from reprlib import repr
from typing import Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from duet_core.errors import PlanError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def check_settings(method: str, chosen: Any, settings: Mapping[str, Any]) -> None:
    """Raise a PlanError for a setting that the method `chosen` does not have, or that may not have its value."""
    rules = _rules(chosen)
    for name, value in settings.items():
        if name not in rules:
            choice = f"choose among {', '.join(rules)}" if rules else "it has none"
            raise PlanError(f"The method {method} has no setting {name!r}; {choice}.")
        try:
            rules[name].validate_python(value)
        except ValidationError as error:
            wrong = error.errors()[0]["msg"]
            raise PlanError(
                f"The setting {name} of {method} cannot be {repr(value)}: {wrong[0].lower()}{wrong[1:]}; give another."
            ) from None


@cache
def _rules(chosen: Any) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(chosen, include_extras=True)
    names = [field.name for field in fields(chosen) if field.name != "plan"]
    return {name: TypeAdapter(hints[name], config=_STRICT) for name in names}
