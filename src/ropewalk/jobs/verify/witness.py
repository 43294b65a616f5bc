"""A witness is an engine that can be run: one file of `engines/`; that folder is the registry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ropewalk.engines.engine import get_engine
from ropewalk.registry import Registry


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


_WITNESSES: Registry[Witness] = Registry(
    "engine that can be run as a witness",
    "ropewalk.jobs.verify.engines",
    spelling=lambda name: get_engine(name).name,
    of=Witness.of,
)


def witnesses() -> Mapping[str, Witness]:
    """Every witness by name; the quickest first."""
    return dict(sorted(_WITNESSES.known().items(), key=lambda item: (item[1].seconds, item[0])))


def get_witness(name: str) -> Witness:
    """By any name that `get_engine` knows; UnknownName for engines that no file here can run, too."""
    return _WITNESSES.get(name)


def chosen(names: Iterable[str]) -> list[Witness]:
    """The named ones, each once; all of them where none is named."""
    return list(dict.fromkeys(get_witness(name) for name in names)) or list(witnesses().values())
