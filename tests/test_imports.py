"""Imports run downwards only, and the public surface is what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import duet_core

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "duet_core": {"gradio", "app"},
    "duet_core/methods": {"duet_core.backbones", "duet_core.engine"},
    "duet_core/backbones": {"duet_core.methods", "duet_core.engine"},
    "duet_core/merging.py": {"duet_core.pruning"},
    "duet_core/pruning.py": {"duet_core.merging"},
    "duet_core/scenes": {"torch", "transformers", "duet_core.engine"},
    "duet_core/clips": {"torch", "transformers", "duet_core.engine"},
    "duet_core/clips/decode.py": {"duet_core"},
    "app/render.py": {"torch"},
    "app/patchmap.py": {"torch"},
    "app/webm.py": {"torch", "duet_core", "app"},
}


PLOTS = {"duet_core/bench/plots.py", "duet_core/train/plots.py"}
PROCESSES_WITH_CV2 = {"duet_core/clips/decode.py", "app/webm.py"}


def imported(path: Path, only_at_the_top: bool = False) -> set[str]:
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if only_at_the_top else ast.walk(tree):
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


def test_only_plots_need_matplotlib_and_only_when_one_is_drawn():
    for path in sorted((ROOT / "duet_core").rglob("*.py")):
        if path.relative_to(ROOT).as_posix() not in PLOTS:
            plotting = {name for name in imported(path) if name.partition(".")[0] == "matplotlib"}
            assert not plotting, f"{path.relative_to(ROOT)} imports matplotlib"
            assert not any(".plots" in name for name in imported(path, only_at_the_top=True)), path.relative_to(ROOT)


def test_nothing_heavy_in_the_page_outside_the_gpu_module():
    for path in sorted((ROOT / "app").glob("*.py")):
        if path.name != "gpu.py":
            assert not {"torch", "transformers"} & imported(path), path.name


def test_opencv_is_imported_in_two_processes_of_their_own_and_nowhere_else():
    for path in [*ROOT.glob("*.py"), *(ROOT / "duet_core").rglob("*.py"), *(ROOT / "app").rglob("*.py")]:
        place = path.relative_to(ROOT).as_posix()
        names = imported(path, only_at_the_top=place in PROCESSES_WITH_CV2)
        assert not {name for name in names if name.partition(".")[0] == "cv2"}, place


def test_no_import_is_relative():
    for path in [*ROOT.glob("*.py"), *(ROOT / "duet_core").rglob("*.py"), *(ROOT / "app").rglob("*.py")]:
        relative = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
        assert not relative, path


def test_public_names():
    assert all(hasattr(duet_core, name) for name in duet_core.__all__)
    assert duet_core.__all__ == sorted(duet_core.__all__)
