"""A tiny hybrid of state-space and attention layers that answers questions about clips told in words.

It shows what a state keeps of tokens that were dropped (Stateful Token Reduction, 2603.00198). Nothing here is part of
the models that the app opens.
"""

from __future__ import annotations

from duet_core.hybrid.model import FOLDER, Shape, TokenModel, load_model, save_model

__all__ = ["FOLDER", "Shape", "TokenModel", "load_model", "save_model"]
