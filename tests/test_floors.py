"""The building stands the right way up: imports only go down, and the light floors stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ropewalk

PACKAGE = Path(ropewalk.__file__).parent
FLOORS = ["scaling", "rotary", "models", "jobs", "cli"]  # from the ground up
HEAVY = ("torch", "numpy", "transformers")


def floor_of(module: str) -> int | None:
    """0 for the ground floor, upwards; None for errors, the package root and other people's modules."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if parts[0] == "ropewalk" and len(parts) > 1 and parts[1] in FLOORS else None


def imported(tree: ast.AST) -> list[str]:
    """Every module that is imported anywhere in a file, TYPE_CHECKING blocks too; relative imports start with a dot."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            # `from ropewalk import jobs` imports ropewalk.jobs
            found += [f"ropewalk.{alias.name}" for alias in node.names] if base == "ropewalk" else [base]
    return found


def complaints(module: str, source: str) -> list[str]:
    """What the imports of `module` break."""
    here, told = floor_of(module), []
    for name in imported(ast.parse(source)):
        there = floor_of(name)
        if name.startswith("."):
            told.append(f"{module}: relative import of {name}")
        elif name.partition(".")[0] == "ropewalk" and there is None and name.split(".")[1:2] != ["errors"]:
            told.append(f"{module}: imports the package root ({name})")
        elif here is not None and there is not None and there > here:
            told.append(f"{module}: imports upwards, {name}")
        elif module == "ropewalk.errors" and there is not None:
            told.append(f"{module}: errors import nothing of ours, {name}")
        elif (here == 0 or module == "ropewalk.errors") and there is None and not stands_on_the_ground(name):
            told.append(f"{module}: the ground floor is standard library only, {name}")
    return told


def stands_on_the_ground(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names or name.startswith("ropewalk.errors")


def modules() -> dict[str, str]:
    """Every module of the package but the root, which gathers the public names of all floors."""
    files = {path.relative_to(PACKAGE.parent).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    named = {".".join(name.parts).removesuffix(".__init__"): path.read_text(encoding="utf-8") for name, path in files.items()}
    del named["ropewalk"]
    return named


def test_imports_only_go_down():
    assert [words for module, source in modules().items() for words in complaints(module, source)] == []


def test_every_module_is_on_a_floor():
    """But two: errors, which all may import, and the door to the roof for `python -m ropewalk`."""
    assert {name for name in modules() if floor_of(name) is None} == {"ropewalk.errors", "ropewalk.__main__"}


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("ropewalk.scaling.plan", "from ropewalk.cli import main", "imports upwards"),
        ("ropewalk.rotary.tables", "def f():\n    import ropewalk.jobs.train", "imports upwards"),
        ("ropewalk.models.load", "from ropewalk import jobs", "imports upwards"),
        ("ropewalk.scaling.plan", "if TYPE_CHECKING:\n    from ropewalk.models import load", "imports upwards"),
        ("ropewalk.scaling.plan", "from . import rope", "relative import"),
        ("ropewalk.scaling.plan", "from .rope import Rope", "relative import"),
        ("ropewalk.cli.plan", "import ropewalk", "imports the package root"),
        ("ropewalk.cli.plan", "from ropewalk import make_plan", "imports the package root"),
        ("ropewalk.scaling.plan", "import numpy", "standard library only"),
        ("ropewalk.scaling.plan", "from torch import nn", "standard library only"),
        ("ropewalk.errors", "from ropewalk.scaling.rope import Rope", "errors import nothing of ours"),
        ("ropewalk.errors", "import rich", "standard library only"),
    ],
)
def test_the_walk_can_fail(module, source, words):
    assert [words in complaint for complaint in complaints(module, source)] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "ropewalk.cli.plan",
            "import torch\nfrom ropewalk.scaling.plan import make_plan\nfrom ropewalk.errors import BadConfig",
        ),
        ("ropewalk.jobs.train", "from ropewalk.jobs.corpus import x\nfrom ropewalk import scaling, errors"),
        ("ropewalk.scaling.plan", "import json\nfrom ropewalk.scaling.rope import Rope"),
    ],
)
def test_the_walk_can_pass(module, source):
    assert complaints(module, source) == []


LOADED_HEAVY, LOADED_LIGHT = 3, 0  # 1 would also be any other failure of the subprocess


def loads_heavy(*names: str) -> int:
    check = f"import sys; {''.join(f'import {name}; ' for name in names)}"
    check += f"sys.exit({LOADED_HEAVY} if any(h in sys.modules for h in {HEAVY!r}) else {LOADED_LIGHT})"
    return subprocess.run([sys.executable, "-c", check], env=_environment(), check=False).returncode


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


def test_the_ground_floor_loads_nothing_heavy():
    ground = [name for name in modules() if floor_of(name) == 0]

    assert loads_heavy("ropewalk", "ropewalk.errors", *ground) == LOADED_LIGHT


@pytest.mark.parametrize("heavy", ["numpy", "torch"])
def test_that_check_can_fail(heavy):
    assert loads_heavy("ropewalk", heavy) == LOADED_HEAVY
