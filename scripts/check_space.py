"""Checks this repository against the rules of a Hugging Face Space, one line per rule; exits with 1 if one is broken.

    python scripts/check_space.py [--online]

`--online` also asks the package index whether requirements.txt can be resolved without our pins, as a Space does it;
nothing but metadata is fetched.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
KEYS = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license")
PYTHONS = ("3.12.12", "3.10.13")  # what ZeroGPU has
LARGEST = 10 * 1024**2
LONGEST_DESCRIPTION = 60
OWN = {"app", "duet_core"}
HOSTS = {"127.0.0.1", "0.0.0.0", "localhost", "::1"}  # noqa: S104  to be found, not bound
# Folders of a person, on any system; the image's own home is no machine's. And the folders that this checkout lies in.
PERSONAL = r"/(?:home/(?!user\b)|Users/|root/)\w|\b[A-Z]:\\\\?Users\\"
SYSTEM = {"/", "/tmp", "/var", "/usr", "/opt", "/srv", "/home", "/usr/src", "/var/tmp"}  # noqa: S108

Problems = Iterator[str]


# The header of README.md


def header(root: Path) -> dict:
    """Return the YAML header of README.md, empty if there is none that can be read."""
    found = re.match(r"---\n(.*?\n)---\n", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    try:
        values = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        values = None
    return values if isinstance(values, dict) else {}


def header_is_whole(root: Path) -> Problems:
    """README.md has a header with every key that a Gradio Space needs."""
    values = header(root)
    for key in KEYS:
        if not isinstance(values.get(key), str) or not values[key].strip():
            yield f"README's {key} is {values.get(key)!r}; it must be text: write it into the header, in quotes."


def header_values_are_allowed(root: Path) -> Problems:
    """The header's sdk, colours, description and app_file are ones that a Space accepts."""
    values = header(root)
    if values.get("sdk") != "gradio":
        yield f"README's sdk is {values.get('sdk')!r}; ZeroGPU takes one alone: write gradio."
    for key in ("colorFrom", "colorTo"):
        if values.get(key) not in COLOURS:
            yield f"README's {key} is {values.get(key)!r}; a Space knows others: {', '.join(sorted(COLOURS))}."
    if len(text := str(values.get("short_description", ""))) > LONGEST_DESCRIPTION:
        yield f"README's short_description has {len(text)} characters; {LONGEST_DESCRIPTION} are allowed: shorten it."
    if not (root / str(values.get("app_file"))).is_file():
        yield f"README's app_file is {values.get('app_file')!r}, which is no file: name the one that serves the page."


def gradio_is_the_tested_one(root: Path) -> Problems:
    """sdk_version is the gradio that constraints.txt pins, and requirements.txt allows it."""
    version = str(header(root).get("sdk_version"))
    pinned = next((str(need.specifier) for need in needs(root, "constraints.txt") if need.name == "gradio"), None)
    if pinned != f"=={version}":
        yield f"README's sdk_version is {version}, constraints.txt has gradio{pinned}: make them one."
    if not any(need.name == "gradio" and version in need.specifier for need in needs(root)):
        yield f"README's sdk_version is {version}, which requirements.txt does not allow: change either."


def python_is_allowed(root: Path) -> Problems:
    """python_version is one that ZeroGPU has and every requirement, as installed here, allows."""
    version = str(header(root).get("python_version"))
    if version not in PYTHONS:
        yield f"README's python_version is {version}, which ZeroGPU does not have: take {' or '.join(PYTHONS)}."
    for need in needs(root):
        allowed = pythons_of(need.name)
        if version not in SpecifierSet(allowed):
            yield f"README's python_version is {version}, but {need.name} needs {allowed}: change either."


def pythons_of(name: str) -> str:
    """Return which Pythons an installed distribution runs on, empty for all or where it is not installed."""
    try:
        return distribution(name).metadata["Requires-Python"] or ""
    except PackageNotFoundError:
        return ""


# The requirements


def needs(root: Path, file: str = "requirements.txt") -> list[Requirement]:
    """Return the requirements of a file, comments left out."""
    lines = (line.partition("#")[0].strip() for line in (root / file).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def torch_is_left_to_the_space(root: Path) -> Problems:
    """requirements.txt neither pins torch nor names torchvision, so that the Space's own build stays."""
    for need in needs(root):
        if need.name == "torchvision":
            yield "requirements.txt names torchvision, which ties torch to one build: leave it out."
        if need.name == "torch" and any(part.operator in {"==", "===", "~=", "<", "<="} for part in need.specifier):
            yield f"requirements.txt limits torch to {need.specifier}; a Space brings its own: give a lower bound."


def imports_are_required(root: Path) -> Problems:
    """What app.py, app/ and duet_core/ import is required; what is not, they import in a try or a function alone."""
    homes = packages_distributions()
    required = {canonicalize_name(need.name) for need in needs(root)}
    for path in sources(root):
        for name, optional in imports(ast.parse(path.read_text(encoding="utf-8"))):
            named = required & {canonicalize_name(home) for home in homes.get(name, [name])}
            if name not in OWN | sys.stdlib_module_names and not named and not optional:
                yield f"{path.relative_to(root)} imports {name}, which requirements.txt does not name: add it there."


def sources(root: Path) -> list[Path]:
    """Return the Python files that a Space runs."""
    return [root / "app.py", *sorted((root / "app").rglob("*.py")), *sorted((root / "duet_core").rglob("*.py"))]


def imports(tree: ast.AST, optional: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the top name of each import, and whether the module loads without it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], optional
        lazy = isinstance(node, ast.Try | ast.FunctionDef | ast.AsyncFunctionDef) or is_typing(node)
        yield from imports(node, optional or lazy)


def is_typing(node: ast.AST) -> bool:
    """Tell whether this is an `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def requirements_resolve(root: Path) -> Problems:
    """The package index can resolve requirements.txt for the Space's Python, without our pins."""
    words = "-m pip install --dry-run --ignore-installed --only-binary=:all: --quiet -r requirements.txt".split()
    words += ["--python-version", str(header(root).get("python_version")), "--target"]
    pinless = os.environ | {"PIP_CONSTRAINT": os.devnull}
    with TemporaryDirectory() as empty:
        command = [sys.executable, *words, empty]
        done = subprocess.run(command, cwd=root, env=pinless, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        yield f"pip cannot resolve requirements.txt: {' '.join(errors or ['no reason given'])}"


# The files


def git(root: Path, *words: str, given: str | None = None) -> str:
    """Return what a git command says."""
    return subprocess.run(["git", *words], cwd=root, input=given, capture_output=True, text=True, check=True).stdout


def sizes(root: Path) -> dict[str, int]:
    """Return the bytes of each tracked file as it would be pushed: of one in LFS, of its pointer."""
    names = [line.split("\t", 1) for line in git(root, "ls-files", "-s", "-z").split("\0") if line]
    objects = "".join(f"{about.split()[1]}\n" for about, _ in names)
    counts = git(root, "cat-file", "--batch-check=%(objectsize)", given=objects).split()
    return {name: int(count) for (_, name), count in zip(names, counts, strict=True)}


def files_are_small(root: Path) -> Problems:
    """No tracked file has more than 10 MiB, unless it is in LFS."""
    for name, count in sizes(root).items():
        if count > LARGEST:
            yield f"{name} has {count} bytes; a Space takes {LARGEST}: split it, or put it into LFS."


def no_machine_is_named(root: Path) -> Problems:
    """No tracked text names a folder of somebody's machine."""
    places = {str(place) for place in (root, *root.parents, Path.home())} - SYSTEM
    pattern = re.compile("|".join([PERSONAL, *(rf"(?<![\w.~/*-]){re.escape(place)}/\w" for place in sorted(places))]))
    for name in sizes(root):
        data = (root / name).read_bytes() if (root / name).is_file() else b"\0"
        found = None if b"\0" in data else pattern.search(data.decode(errors="replace"))
        if found:
            yield f"{name} names {found[0]!r}, a folder of one machine: name it relative to the repository."


def hosts_come_from_outside(root: Path) -> Problems:
    """The page sets neither host nor port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT do."""
    for path in [root / "app.py", *sorted((root / "app").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            fixed = isinstance(node, ast.keyword) and node.arg in {"server_name", "server_port"}
            if fixed or (isinstance(node, ast.Constant) and node.value in HOSTS):
                yield f"{path.relative_to(root)} says {ast.unparse(node)}: leave host and port to the environment."


RULES: list[Callable[[Path], Problems]] = [
    header_is_whole, header_values_are_allowed, gradio_is_the_tested_one, python_is_allowed, torch_is_left_to_the_space,
    imports_are_required, files_are_small, no_machine_is_named, hosts_come_from_outside,
]  # fmt: skip


def main(words: list[str]) -> int:
    """Print each rule with what breaks it, and the size of all; return the exit status."""
    broken = 0
    for rule in [*RULES, requirements_resolve] if "--online" in words else RULES:
        problems = list(rule(ROOT))
        broken += bool(problems)
        print("BROKEN" if problems else "ok    ", rule.__doc__, *problems)
    counts = sizes(ROOT).values()
    print(f"{len(counts)} tracked files, {sum(counts) / 1024**2:.1f} MiB, the largest {max(counts) / 1024**2:.1f} MiB.")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
