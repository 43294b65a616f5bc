"""Files and functions that the documentation names in running text are there."""

import importlib
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

import pytest

import ropewalk

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md"))]
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
FLOORS = "src tests runs docs scaling engines models measure jobs cli api checkpoints plugins".split()
FILE = re.compile(rf"(?:python )?((?:{'|'.join(FLOORS)})/[\w/.-]+)")
NAME = re.compile(r"(?:ropewalk\.)?(?:[a-z_]+\.)*([a-z_]+)\.([A-Za-z_]+)(?:\(.*\))?")
NOT_OURS = {"rope.scaling", "rope.freq_base", "plan.report", "log.jsonl", "train.sh"}  # keys of GGUF, files of a run

MODULES = defaultdict(list)
for found in pkgutil.walk_packages(ropewalk.__path__, "ropewalk."):
    MODULES[found.name.rpartition(".")[2]].append(found.name)


def spans(page):
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    for code in spans(page):
        if (named := FILE.match(code)) and "NAME" not in code:
            assert any((ROOT / base / named[1]).exists() for base in ("", "src/ropewalk", "docs")), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_that_a_page_names_are_there(page):
    for code in spans(page):
        named = NAME.fullmatch(code)
        if (
            named
            and named[1] in MODULES
            and not code.endswith((".py", ".json", ".md", ".html"))
            and not code.startswith(tuple(NOT_OURS))
        ):
            assert any(hasattr(importlib.import_module(name), named[2]) for name in MODULES[named[1]]), code
