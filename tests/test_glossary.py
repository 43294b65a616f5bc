"""Every name that a flag takes has a row in the glossary, and every code name in the glossary is one that the source knows."""

import re
from pathlib import Path

import pytest

from ropewalk.jobs.fit.family import families
from ropewalk.measure.protocols import KINDS
from ropewalk.measure.task import by_rung, tasks
from ropewalk.scaling.method import far_methods
from ropewalk.scaling.names import PRESETS
from ropewalk.scaling.schedule import SEMANTICS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
CODE = re.compile(r"`([^`]+)`")
EXPLAINED = {name for name, _, meaning, *_ in ROWS for name in CODE.findall(f"{name} {meaning}")}
EXPLAINED |= {f"{name[:-1]}{i}" for name in EXPLAINED if name.endswith("_1") for i in (2, 3)}  # "niah_single_1 to 3"


NAMES = [*far_methods(), *PRESETS, *SEMANTICS, *KINDS, *families(), "gradient", "cma", "far", "answers"]


@pytest.mark.parametrize("name", [*NAMES, *dict.fromkeys(by_rung(name)[0] for name in tasks())])
def test_every_name_that_a_flag_takes_is_explained(name):
    assert name in EXPLAINED


def test_no_name_is_explained_twice():
    names = [name for name, *_ in ROWS if name != "name"]
    assert len(names) == len(set(names))
    assert len(names) >= 45


def test_no_name_is_of_the_past():
    """A code name that occurs nowhere in the source is one that was renamed."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "ropewalk").rglob("*.py"))
    for name, *_ in ROWS:
        for code in CODE.findall(name):
            assert code in source, code
