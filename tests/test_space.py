"""This repository keeps a Space's rules, and each rule is seen to be broken where it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import check_space as space  # noqa: E402

HEADER = """---
title: A page
emoji: 🔎
colorFrom: blue
colorTo: yellow
sdk: gradio
sdk_version: "6.31.0"
python_version: "3.12.12"
app_file: app.py
short_description: What it does
license: apache-2.0
---
"""
SOUND = {
    "README.md": HEADER,
    "requirements.txt": "torch>=2.8  # a Space picks its own\ngradio>=6.31,<7\npillow>=11\n",
    "constraints.txt": "gradio==6.31.0\n",
    "app.py": "import json\nimport torch\nfrom PIL import Image\nimport gradio.blocks\nfrom app import page\n",
    "app/page.py": "try:\n    import peft\nexcept ImportError:\n    peft = None\n\ndef f():\n    import peft.tuners\n",
    "duet_core/__init__.py": "",
}


@pytest.fixture
def repository(tmp_path):
    """Return a function that writes a sound repository with some files changed."""

    def write(**changed: str) -> Path:
        for name, text in (SOUND | changed).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        for words in (["init", "-q"], ["add", "."]):
            subprocess.run(["git", *words], cwd=tmp_path, check=True)
        return tmp_path

    return write


def broken(root: Path) -> dict[str, list[str]]:
    return {rule.__name__: problems for rule in space.RULES if (problems := list(rule(root)))}


def test_this_repository_keeps_every_rule():
    done = subprocess.run([sys.executable, "scripts/check_space.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(space.RULES) + 1 and "MiB" in done.stdout


def test_a_sound_repository_breaks_no_rule(repository):
    assert broken(repository()) == {}


BREAKS = [
    ("header_is_whole", "README.md", HEADER.replace("license: apache-2.0\n", "")),
    ("header_is_whole", "README.md", HEADER.replace('"6.31.0"', "6.3")),
    ("header_is_whole", "README.md", "# No header\n"),
    ("header_is_whole", "README.md", HEADER.replace("A page", "'A page")),
    ("header_values_are_allowed", "README.md", HEADER.replace("blue", "brown")),
    ("header_values_are_allowed", "README.md", HEADER.replace("sdk: gradio", "sdk: docker")),
    ("header_values_are_allowed", "README.md", HEADER.replace("What it does", "x" * 61)),
    ("header_values_are_allowed", "README.md", HEADER.replace("app.py", "serve.py")),
    ("gradio_is_the_tested_one", "README.md", HEADER.replace("6.31.0", "6.32.0")),
    ("gradio_is_the_tested_one", "requirements.txt", "torch\npillow\ngradio>=6.32\n"),
    ("python_is_allowed", "README.md", HEADER.replace("3.12.12", "3.13.1")),
    ("torch_is_left_to_the_space", "requirements.txt", "torch==2.13.0\ngradio>=6.31\npillow\n"),
    ("torch_is_left_to_the_space", "requirements.txt", "torch\ntorchvision\ngradio>=6.31\npillow\n"),
    ("imports_are_required", "app/page.py", "import peft\n"),
    ("imports_are_required", "app/page.py", "if True:\n    from peft.tuners import lora\n"),
    ("files_are_small", "weights.bin", "x" * (10 * 1024**2 + 1)),
    ("no_machine_is_named", "notes.md", "See /ho" + "me/somebody/notes."),
    ("no_machine_is_named", "notes.md", "See C:" + "\\Users\\somebody."),
    ("hosts_come_from_outside", "app/page.py", "page.launch(server_name=host)\n"),
    ("hosts_come_from_outside", "app/page.py", "HOST = '0.0.0.0'\n"),
]


@pytest.mark.parametrize(("rule", "file", "text"), BREAKS)
def test_what_breaks_a_rule_is_told_in_a_sentence(repository, rule, file, text):
    problems = broken(repository(**{file: text}))
    assert rule in problems and all(problem.endswith(".") and ": " in problem for problem in problems[rule])


def test_a_requirement_that_a_python_is_too_old_for_is_named(repository):
    root = repository(
        **{"README.md": HEADER.replace("3.12.12", "3.10.13"), "requirements.txt": "gradio>=6.31\nnumpy\n"}
    )
    assert any("numpy" in problem for problem in space.python_is_allowed(root))


def test_the_folder_it_lies_in_is_no_name_for_a_file(repository):
    root = repository()
    (root / "app.py").write_text(f"PLACE = '{root}/app.py'\n")
    assert "no_machine_is_named" in broken(root)


@pytest.mark.parametrize(("answer", "problems"), [(0, 0), (1, 1)])
def test_the_index_is_asked_without_our_pins(repository, monkeypatch, answer, problems):
    asked = []

    def run(command, **more):
        asked.append((command, more["env"]["PIP_CONSTRAINT"]))
        return subprocess.CompletedProcess(command, answer, "", "ERROR: No matching distribution found for torch\n")

    root = repository()
    monkeypatch.setattr(space.subprocess, "run", run)
    assert len(list(space.requirements_resolve(root))) == problems
    [(command, constraint)] = asked
    assert {"--dry-run", "3.12.12"} < set(command) and constraint == space.os.devnull
