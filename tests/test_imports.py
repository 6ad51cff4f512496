"""Imports run downwards only, and the public surface is what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import duet_core

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "duet_core": {"gradio", "matplotlib", "cv2", "app"},
    "duet_core/methods": {"duet_core.backbones", "duet_core.engine"},
    "duet_core/backbones": {"duet_core.methods", "duet_core.engine"},
    "duet_core/merging.py": {"duet_core.pruning"},
    "duet_core/pruning.py": {"duet_core.merging"},
    "duet_core/scenes": {"torch", "transformers", "duet_core.engine"},
    "app/render.py": {"torch"},
    "app/patchmap.py": {"torch"},
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_run_downwards(place):
    files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            banned = [bad for bad in FORBIDDEN[place] if name == bad or name.startswith(bad + ".")]
            assert not banned, f"{path.relative_to(ROOT)} imports {name}"


def test_nothing_heavy_in_the_page_outside_the_gpu_module():
    for path in sorted((ROOT / "app").glob("*.py")):
        if path.name != "gpu.py":
            assert not {"torch", "transformers"} & imported(path), path.name


def test_no_import_is_relative():
    for path in [*ROOT.glob("*.py"), *(ROOT / "duet_core").rglob("*.py"), *(ROOT / "app").rglob("*.py")]:
        relative = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
        assert not relative, path


def test_public_names():
    assert all(hasattr(duet_core, name) for name in duet_core.__all__)
    assert duet_core.__all__ == sorted(duet_core.__all__)
