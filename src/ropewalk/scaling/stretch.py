"""Stretch: one rotary embedding, a method of the registry and a factor; static, or a scale that grows with a length."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadOption, UnknownName
from ropewalk.scaling.method import Option, Scaled, check_factor, get_method
from ropewalk.scaling.rope import Rope, is_number
from ropewalk.scaling.schedule import REQUEST, Dynamic, Schedule

DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True)
class Stretch:
    """One rotary embedding, stretched.

    rope: as trained.
    method, options: a method of the registry and those of its options that differ from the defaults, sorted by name.
    factor: s = L' / L.
    dynamic: choose s = max(1, l / L) from a length l instead, never above `factor`; which length, it says. None: static.
    """

    rope: Rope
    method: str = "none"
    factor: float = 1.0
    options: tuple[tuple[str, Option], ...] = ()
    dynamic: Dynamic | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if self.dynamic and self.method == "longrope" and "scales" not in dict(self.options):
            raise BadOption(
                "longrope cannot be dynamic: its lists were searched for one factor, and say nothing of others.\n"
                "  Its own short_factor already leaves the original window alone. yarn or linear can be dynamic."
            )
        object.__setattr__(self, "factor", float(self.factor))  # equal stretches must also be written alike
        self.scaled()  # a stretch that cannot be computed must not exist

    def scale_at(self, length: int | None) -> float:
        """The scale for a request of `length` tokens, on its grid where requests have one; None means the whole factor."""
        if not self.dynamic or length is None:
            return self.factor
        if self.dynamic.semantics == REQUEST:
            return self.schedule.scale_of(length - 1)
        return min(max(1.0, length / self.rope.original_length), self.factor)

    @property
    def schedule(self) -> Schedule:
        """The scale by position of a dynamic stretch."""
        return Schedule(self.rope.original_length, self.factor, (self.dynamic.grid or 0) if self.dynamic else 0)

    def scaled_by(self, scale: float) -> Scaled:
        """Frequencies and attention factor at one scale, 1 to `factor`."""
        return get_method(self.method)(self.rope, scale, **dict(self.options))

    def scaled(self, length: int | None = None) -> Scaled:
        """Frequencies and attention factor for a request of `length` tokens (static stretches: for any)."""
        return self.scaled_by(self.scale_at(length))

    @property
    def target_length(self) -> int:
        return round(self.rope.original_length * self.factor)

    @property
    def name(self) -> str:
        """How the method is written on the command line, so that reading it gives it back."""
        if not self.dynamic:
            return self.method
        return (DYNAMIC if self.method == "ntk" else f"{DYNAMIC}-{self.method}") + self.dynamic.suffix


def pairs(stretch: Stretch) -> dict[str, Any]:
    """How many pairs are kept, ramped between, and slowed by the whole factor; and by how much each is slowed."""
    slowed = [
        theta / new if new else float("inf")
        for theta, new in zip(stretch.rope.inv_freq, stretch.scaled().inv_freq, strict=True)
    ]
    kept = sum(abs(s - 1) < 1e-9 for s in slowed)
    stretched = sum(s >= stretch.factor * (1 - 1e-9) for s in slowed) if stretch.factor > 1 else 0
    return {"kept": kept, "ramped": len(slowed) - kept - stretched, "stretched": stretched, "slowed_by": slowed}


def normal_options(method: str, options: Mapping[str, Option]) -> tuple[tuple[str, Option], ...]:
    """Options as a plan holds them: only those that differ from the defaults, lists as tuples, sorted by name."""
    defaults = get_method(method).defaults
    for name in options:
        if name not in defaults:
            raise UnknownName(f"option of {method}", name, defaults)
    normal = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    for name, value in normal.items():
        check_type(name, value, defaults[name])
    return tuple(sorted((name, _as_float(value)) for name, value in normal.items() if value != defaults[name]))


def _as_float(value: Option) -> Option:
    """Numbers as floats, so that 16 and 16.0 give one plan and one fingerprint."""
    if isinstance(value, tuple):
        return tuple(float(item) for item in value)
    return float(value) if is_number(value) else value  # type: ignore[arg-type]


def check_type(name: str, value: Option, default: Option) -> None:
    """An option must be of its default's kind: a number, a yes/no, a word; None and lists are checked by the method."""
    if isinstance(default, bool):
        right, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, float):
        right, kind = is_number(value), "a finite number"
    elif isinstance(default, str):
        right, kind = isinstance(value, str), "a word"
    else:
        numbers = isinstance(value, tuple) and all(is_number(item) for item in value)
        right, kind = value is None or is_number(value) or numbers, "a finite number or a list of them"
    if not right:
        raise BadOption(f"{name} is {value!r}; it must be {kind}.")
