"""Reading somebody's config: every value is checked when it is taken, and where it was found is written down."""

from collections.abc import Iterable, Mapping
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.scaling.rope import LARGEST_LENGTH, is_number, is_whole
from ropewalk.scaling.spec import Provenance


class Fields:
    """A config, or a part of one, that remembers what was read from where."""

    def __init__(
        self,
        config: Mapping[str, Any],
        path: str = "",
        readings: list[Provenance] | None = None,
        origin: Mapping[str, str] | None = None,
    ):
        """origin: of keys that are not written at `path` under their own name, where they came from."""
        self.config = config
        self.path = path
        self.readings = readings if readings is not None else []
        self.origin = origin or {}

    def __contains__(self, key: str) -> bool:
        return self.config.get(key) is not None

    def any(self, keys: Iterable[str]) -> bool:
        """Whether one of the keys says more than null and 0."""
        return any(self.config.get(key) for key in keys)

    def where(self, key: str) -> str:
        return self.origin.get(key, f"{self.path}{key}")

    def states(self, key: str) -> bool:
        """Whether the config itself says it, and not its class."""
        return key in self and key not in self.origin

    def note(self, name: str, value: object, source: str) -> None:
        self.readings.append(Provenance(name, str(value), source))

    def part(self, key: str) -> "Fields":
        """The dict under `key`, or an empty one."""
        value = self.config.get(key)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise BadConfig(f"{self.where(key)} is {value!r}; it must be an object with keys.")
        origin = dict.fromkeys(value, self.origin[key]) if key in self.origin else None
        return Fields(value, f"{self.path}{key}.", self.readings, origin)

    def number(self, key: str) -> float | None:
        value = self.config.get(key)
        if value is None:
            return None
        if not is_number(value):
            raise BadConfig(f"{self.where(key)} is {value!r}; it must be a finite number.")
        return float(value)

    def whole(self, key: str, largest: int = LARGEST_LENGTH) -> int | None:
        value = self.config.get(key)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not is_whole(value) or not 0 <= value <= largest:
            raise BadConfig(f"{self.where(key)} is {value!r}; it must be a whole number from 0 to {largest}.")
        return int(value)

    def text(self, key: str) -> str | None:
        value = self.config.get(key)
        if value is not None and not isinstance(value, str):
            raise BadConfig(f"{self.where(key)} is {value!r}; it must be a word.")
        return value

    def yes(self, key: str, default: bool = False) -> bool:
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadConfig(f"{self.where(key)} is {value!r}; it must be true or false.")
        return value

    def numbers(self, key: str) -> tuple[float, ...] | None:
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(is_number(item) for item in value):
            raise BadConfig(f"{self.where(key)} must be a list of finite numbers.")
        return tuple(float(item) for item in value)

    def words(self, key: str) -> tuple[str, ...] | None:
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise BadConfig(f"{self.where(key)} must be a list of words.")
        return tuple(value)

    def first(self, name: str, *keys: str) -> float | None:
        """The first of several spellings that is present; two that disagree are an error."""
        found = [(key, value) for key in keys if (value := self.number(key)) is not None]
        if not found:
            return None
        (key, value), *others = found
        for other, second in others:
            if second != value:
                raise BadConfig(
                    f"{self.where(key)} is {value:g} but {self.where(other)} is {second:g}, and both mean {name}.\n"
                    "  Remove the one that is wrong."
                )
        self.note(name, f"{value:.10g}", self.where(key))
        return value
