"""DUET Lens's engine: visual token reduction for vision-language models, with a trace of every patch."""

from __future__ import annotations

from duet_core.brush import Brush
from duet_core.cost import Cost
from duet_core.engine import Answer, Encoded, Generated, Model, Run, open_model
from duet_core.errors import (
    DuetError,
    ModelError,
    ModelNotFound,
    ModelTooLarge,
    ModelUnreachable,
    PictureError,
    PlanError,
    QuestionError,
    TraceError,
)
from duet_core.film import Film
from duet_core.plan import Plan
from duet_core.trace import Trace

__all__ = [
    "Answer",
    "Brush",
    "Cost",
    "DuetError",
    "Encoded",
    "Film",
    "Generated",
    "Model",
    "ModelError",
    "ModelNotFound",
    "ModelTooLarge",
    "ModelUnreachable",
    "PictureError",
    "Plan",
    "PlanError",
    "QuestionError",
    "Run",
    "Trace",
    "TraceError",
    "open_model",
]
