"""The rack of methods: who is dropped. One file a method, one line a method here; the trained ones apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from duet_core.errors import PlanError
from duet_core.learnt import has_learnt
from duet_core.methods.adsc import Adsc
from duet_core.methods.apet import ApET
from duet_core.methods.base import About, Fates, Look, Method, Selection, keep_patches, kept_fates, merged_fates
from duet_core.methods.cdpruner import CDPruner
from duet_core.methods.d2pruner import D2Pruner
from duet_core.methods.dart import Dart
from duet_core.methods.divprune import DivPrune
from duet_core.methods.duet import Duet
from duet_core.methods.fastv import FastV
from duet_core.methods.fitprune import FitPrune
from duet_core.methods.hired import HiRED
from duet_core.methods.metok import METok
from duet_core.methods.none import Everything
from duet_core.methods.pooling import Pooling
from duet_core.methods.prumerge import PruMerge
from duet_core.methods.pyramiddrop import PyramidDrop
from duet_core.methods.quecc import BlockPooling
from duet_core.methods.quecc_trained import TrainedQueCC
from duet_core.methods.random import Random
from duet_core.methods.settings import check_settings
from duet_core.methods.smaller import Smaller
from duet_core.methods.sparsevlm import SparseVLM
from duet_core.methods.sparsevlm_plus import SparseVLMPlus
from duet_core.methods.stateful import Stateful
from duet_core.methods.tokencarve import TokenCarve
from duet_core.methods.tome import ToMe
from duet_core.methods.trio import Trio
from duet_core.methods.uniform import Uniform
from duet_core.methods.v2drop import V2Drop
from duet_core.methods.visionzip import VisionZip
from duet_core.methods.vispruner import VisPruner
from duet_core.methods.vq_attn import TrainedVQAttn
from duet_core.methods.vqtoken import VQToken
from duet_core.plan import Plan

METHODS: dict[str, type[Method]] = {
    "none": Everything,
    "duet": Duet,
    "random": Random,
    "uniform": Uniform,
    "visionzip": VisionZip,
    "fastv": FastV,
    "divprune": DivPrune,
    "vispruner": VisPruner,
    "hired": HiRED,
    "prumerge": PruMerge,
    "cdpruner": CDPruner,
    "tome": ToMe,
    "apet": ApET,
    "vqtoken": VQToken,
    "quecc": BlockPooling,
    "metok": METok,
    "pooling": Pooling,
    "smaller": Smaller,
    "sparsevlm": SparseVLM,
    "sparsevlm+": SparseVLMPlus,
    "tokencarve": TokenCarve,
    "v2drop": V2Drop,
    "d2pruner": D2Pruner,
    "trio": Trio,
    "adsc": Adsc,
    "pyramiddrop": PyramidDrop,
    "dart": Dart,
    "fitprune": FitPrune,
    "stateful": Stateful,
}

TRAINED: dict[str, type[Method]] = {"quecc-trained": TrainedQueCC, "vq-attn": TrainedVQAttn}
"""Methods that run on a model only with weights that they learnt on it (`duet_core.learnt`)."""

__all__ = [
    "METHODS",
    "TRAINED",
    "About",
    "Fates",
    "Look",
    "Method",
    "Selection",
    "build_method",
    "find_method",
    "keep_patches",
    "kept_fates",
    "merged_fates",
    "offered",
]


def offered(models: Iterable[Path]) -> list[str]:
    """Return the names of all methods, of the trained ones those that learnt on one of the models in these folders."""
    folders = list(models)
    return [*METHODS, *(name for name in TRAINED if any(has_learnt(name, folder) for folder in folders))]


def find_method(name: str) -> type[Method]:
    """Return the method of this name; a PlanError lists the names there are."""
    known = METHODS | TRAINED
    if name not in known:
        raise PlanError(f"There is no method {name!r}; choose one of {', '.join(known)}.")
    return known[name]


def build_method(plan: Plan) -> Method:
    """Return the plan's method with its settings; a PlanError names one that it lacks, or that may not be so."""
    chosen, settings = find_method(plan.method), dict(plan.settings)
    check_settings(plan.method, chosen, settings)
    return chosen(plan, **settings)
