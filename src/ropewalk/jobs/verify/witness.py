"""A witness is an engine that can be run: one file of `engines/`; that folder is the registry."""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from ropewalk.engines.engine import get_engine
from ropewalk.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Witness:
    """name: of the engine, as in `engines`.  file: what the engine's own Python loads.  The rest: see `engines`."""

    name: str
    title: str
    module: str
    packages: tuple[str, ...]
    reads: str
    get: str
    seconds: float
    file: Path

    @staticmethod
    def of(name: str, module: ModuleType) -> "Witness":
        return Witness(
            name, module.TITLE, module.MODULE, module.PACKAGES, module.READS, module.GET, module.SECONDS,
            Path(str(module.__file__)),
        )  # fmt: skip


@cache
def witnesses() -> Mapping[str, Witness]:
    """Every witness by name; the quickest first."""
    package = importlib.import_module("ropewalk.jobs.verify.engines")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    found = [Witness.of(name, importlib.import_module(f"{package.__name__}.{name}")) for name in names]
    return {witness.name: witness for witness in sorted(found, key=lambda w: (w.seconds, w.name))}


def get_witness(name: str) -> Witness:
    """By any name that `get_engine` knows; UnknownName for engines that no file here can run, too."""
    known = witnesses()
    engine = get_engine(name).name
    if engine not in known:
        raise UnknownName("engine that can be run as a witness", name, known)
    return known[engine]


def chosen(names: Iterable[str]) -> list[Witness]:
    """The named ones, each once; all of them where none is named."""
    return list(dict.fromkeys(get_witness(name) for name in names)) or list(witnesses().values())
