"""Names and what they stand for, where a folder is the list: each of its files adds what it holds."""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Generic, TypeVar

from ropewalk.errors import UnknownName

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """kind: what an error calls one entry.  package: whose modules are imported at the first question.

    spelling: the registered name of a name as people write it.
    of: the entry of a module, for modules that do not add themselves.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        *,
        spelling: Callable[[str], str] = lambda name: name,
        of: Callable[[str, ModuleType], Entry] | None = None,
    ):
        self.kind, self.package, self.spelling, self.of = kind, package, spelling, of
        self.entries: dict[str, Entry] = {}
        self._complete = False

    def add(self, name: str, entry: Entry) -> Entry:
        self.entries[name] = entry
        return entry

    def known(self) -> dict[str, Entry]:
        """Every entry by name, in name order."""
        self._discover()
        return dict(sorted(self.entries.items()))

    def get(self, name: str) -> Entry:
        self._discover()
        found = self.spelling(name)
        if found not in self.entries:
            raise UnknownName(self.kind, name, self.entries)
        return self.entries[found]

    def _discover(self) -> None:
        if self._complete:
            return
        for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            found = importlib.import_module(f"{self.package}.{module.name}")
            if self.of:
                self.add(module.name, self.of(module.name, found))
        self._complete = True
