"""The building stands the right way up: imports only go down, nothing goes round in a circle, the light floors stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ropewalk

PACKAGE = Path(ropewalk.__file__).parent
# From the ground up; up to the checkpoints the standard library alone.
FLOORS = "errors progress table registry scaling engines checkpoints models plugins measure jobs api cli".split()
GROUND = set(FLOORS[: FLOORS.index("checkpoints")])
HEAVY = ("torch", "numpy", "transformers")


def floor_of(module: str) -> int | None:
    """0 for the lowest, upwards; None for the package root and other people's modules."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if parts[0] == "ropewalk" and len(parts) > 1 and parts[1] in FLOORS else None


def imported(tree: ast.AST) -> list[str]:
    """Every name that is imported anywhere in a file, in TYPE_CHECKING blocks too; relative imports start with a dot."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found += [f"{base}.{alias.name}" for alias in node.names]  # a module or a name in one
    return found


def complaints(module: str, source: str) -> list[str]:
    """What the imports of `module` break."""
    here, told = floor_of(module), []
    for name in imported(ast.parse(source)):
        there = floor_of(name)
        if name.startswith("."):
            told.append(f"{module}: relative import of {name}")
        elif name.partition(".")[0] == "ropewalk" and there is None:
            told.append(f"{module}: imports the package root ({name})")
        elif here is not None and there is not None and there > here:
            told.append(f"{module}: imports upwards, {name}")
        elif job_of(module) != job_of(name) != "report" and None not in (job_of(module), job_of(name)):
            told.append(f"{module}: imports the insides of another job, {name}")
        elif module.split(".")[1] in GROUND and there is None and name.split(".")[0] not in sys.stdlib_module_names:
            told.append(f"{module}: the ground floors are standard library only, {name}")
    return told


def job_of(module: str) -> str | None:
    """ "train" of ropewalk.jobs.train.loop. All jobs may write a report; of nothing else does a job see the insides."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["ropewalk", "jobs"] and len(parts) > 2 else None


def modules() -> dict[str, str]:
    """Every module of the package but the root, which gathers the public names of all floors."""
    files = {path.relative_to(PACKAGE.parent).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    named = {".".join(name.parts).removesuffix(".__init__"): path.read_text(encoding="utf-8") for name, path in files.items()}
    del named["ropewalk"]
    return named


def arrows(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """(importer, imported), modules of ours."""
    found = set()
    for module, source in sources.items():
        for name in imported(ast.parse(source)):
            target = name if name in sources else name.rpartition(".")[0]
            if target in sources and target != module:
                found.add((module, target))
    return found


def circles(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """One circle for each folder in which some files and folders import each other, seen as the children of that folder.

    So `a/x.py` may use `b`, and `b` may use `a/y.py` only where x and y do not go round by way of their folders.
    """
    rooms: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for importer, target in pairs:
        here, there = importer.split("."), target.split(".")
        shared = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
        if shared is not None:
            rooms.setdefault(tuple(here[:shared]), {}).setdefault(here[shared], set()).add(there[shared])
    found = []
    for room, graph in sorted(rooms.items()):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            found.append([".".join(room), *error.args[1]])
    return found


def test_nothing_goes_round():
    assert circles(arrows(modules())) == []


@pytest.mark.parametrize(
    ("sources", "circle"),
    [
        ({"r.a": "from r import b", "r.b": "import r.a"}, [["r", "a", "b", "a"]]),
        (
            {"r.a": "def f():\n    from r.b import g", "r.b": "if TYPE_CHECKING:\n    from r.a import f"},
            [["r", "a", "b", "a"]],
        ),
        ({"r.a.x": "import r.b.x", "r.b.x": "", "r.b.y": "import r.a.y", "r.a.y": ""}, [["r", "a", "b", "a"]]),  # of folders
        ({"r.a.x": "import r.a.y", "r.a.y": "from r.a.x import f", "r.b": "import r.a.x"}, [["r.a", "x", "y", "x"]]),
        ({"r.a": "import r.b", "r.b": "import r.c", "r.c": ""}, []),
        ({"r.a.x": "import r.b", "r.b": "", "r.a.y": "import r.a.x"}, []),
    ],
)
def test_the_search_for_circles_can_fail(sources, circle):
    found = circles(arrows(sources))

    assert [[room, *sorted(set(names))] for room, *names in found] == [[room, *sorted(set(names))] for room, *names in circle]


def test_imports_only_go_down():
    assert [words for module, source in modules().items() for words in complaints(module, source)] == []


def test_every_module_is_on_a_floor():
    """But the door to the roof for `python -m ropewalk`."""
    assert {name for name in modules() if floor_of(name) is None} == {"ropewalk.__main__"}


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("ropewalk.scaling.plan", "from ropewalk.cli import main", "imports upwards"),
        ("ropewalk.models.tables", "def f():\n    import ropewalk.jobs.train", "imports upwards"),
        ("ropewalk.models.load", "from ropewalk import jobs", "imports upwards"),
        ("ropewalk.scaling.plan", "if TYPE_CHECKING:\n    from ropewalk.models import load", "imports upwards"),
        ("ropewalk.scaling.plan", "from . import rope", "relative import"),
        ("ropewalk.scaling.plan", "from .rope import Rope", "relative import"),
        ("ropewalk.cli.plan", "import ropewalk", "imports the package root"),
        ("ropewalk.cli.plan", "from ropewalk import make_plan", "imports the package root"),
        ("ropewalk.scaling.plan", "import numpy", "standard library only"),
        ("ropewalk.scaling.plan", "from torch import nn", "standard library only"),
        ("ropewalk.errors", "from ropewalk.scaling.rope import Rope", "imports upwards"),
        ("ropewalk.errors", "import rich", "standard library only"),
        ("ropewalk.engines.vllm", "import yaml", "standard library only"),
        ("ropewalk.engines.vllm", "from ropewalk.checkpoints import files", "imports upwards"),
        ("ropewalk.measure.nll", "from ropewalk.jobs.evaluate.job import evaluate", "imports upwards"),
        ("ropewalk.jobs.train.job", "from ropewalk.jobs.evaluate.job import evaluate", "insides of another job"),
        ("ropewalk.jobs.train.job", "from ropewalk.jobs import fit", "insides of another job"),
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
        ("ropewalk.jobs.train", "from ropewalk.measure.texts import x\nfrom ropewalk import scaling, errors"),
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


def test_the_ground_floors_load_nothing_heavy():
    ground = [name for name in modules() if name.split(".")[1] in GROUND]

    assert loads_heavy("ropewalk", "ropewalk.errors", *ground) == LOADED_LIGHT


@pytest.mark.parametrize("heavy", ["numpy", "torch"])
def test_that_check_can_fail(heavy):
    assert loads_heavy("ropewalk", heavy) == LOADED_HEAVY
