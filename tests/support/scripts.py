"""The scripts of runs/ as modules."""

import importlib.util
import sys
from pathlib import Path

RUNS = Path(__file__).parents[2] / "runs"


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(RUNS))
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), RUNS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module
