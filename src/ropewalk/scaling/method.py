"""A scaling method is one pure function in one file of `methods/`; that folder is the registry.

A method takes the trained rotary embedding and a factor, and returns the frequencies to use instead. Its keyword-only
arguments are its options; names, defaults and help come from the function, and nothing else lists them.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.registry import Registry
from ropewalk.scaling.rope import Rope, is_number

Option = float | int | bool | str | tuple[float, ...] | None

LARGEST_FACTOR = 1e9
SAME = 1e-6  # relative: closer than this is the rounding of engines, of float32 keys and of decimals in commands


@dataclass(frozen=True, slots=True)
class Scaled:
    """What a method answers.

    inv_freq: rotary_dim / 2 frequencies in radians per token, float64, fastest first.
    attention_factor: m, multiplies cos and sin of every pair, so attention logits by m^2.
    group: positions count in whole groups of so many tokens, or of a number for each pair: the angle at p is
        theta' group floor(p / group).
    softmax_factor: multiplies the softmax scale, so the logits of channels that do not rotate too. 1 but for latent attention.
    """

    inv_freq: tuple[float, ...]
    attention_factor: float = 1.0
    group: int | tuple[int, ...] = 1
    softmax_factor: float = 1.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(theta) and theta >= 0 for theta in self.inv_freq):
            raise BadOption("the options lead to a frequency that is negative or not finite.")
        for name in ("attention_factor", "softmax_factor"):
            if not is_number(value := getattr(self, name)) or value <= 0:
                raise BadOption(f"{name} is {value!r}; it must be a finite number above 0.")


@dataclass(frozen=True, slots=True)
class Method:
    """A registered method: call it with (rope, factor, **options).

    needs_near: a rule for far distances alone, which says nothing of near ones (`near.py`).
    """

    name: str
    function: Callable[..., Scaled]
    source: str
    defaults: Mapping[str, Option]
    required: frozenset[str]
    needs_near: bool = False

    @property
    def summary(self) -> str:
        """The rule in one line: the first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def __call__(self, rope: Rope, factor: float, **options: Option) -> Scaled:
        check_factor(factor)
        for name in options:
            if name not in self.defaults:
                raise UnknownName(f"option of {self.name}", name, self.defaults)
        for name in self.required:
            if options.get(name) is None:
                raise BadOption(f"{self.name} needs the option {name!r}; it has no default.")
        return self.function(rope, factor, **options)


_METHODS: Registry[Method] = Registry("scaling method", "ropewalk.scaling.methods")


def method(name: str, *, source: str, needs_near: bool = False) -> Callable[[Callable[..., Scaled]], Callable[..., Scaled]]:
    """Register a method under `name`; `source` says where the rule was published."""

    def register(function: Callable[..., Scaled]) -> Callable[..., Scaled]:
        options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        required = frozenset(p.name for p in options if p.default is p.empty)
        defaults = {p.name: None if p.default is p.empty else p.default for p in options}
        _METHODS.add(name, Method(name, function, source, defaults, required, needs_near))
        return function

    return register


def methods() -> Mapping[str, Method]:
    """Every registered method that can stand alone, by name, in name order."""
    return {name: known for name, known in far_methods().items() if not known.needs_near}


def far_methods() -> Mapping[str, Method]:
    """Every registered method, by name: each can turn what lies beyond the near distances."""
    return _METHODS.known()


def get_method(name: str) -> Method:
    return _METHODS.get(name)


def difference(wanted: Scaled, found: Scaled) -> tuple[float, float]:
    """(largest ratio of a frequency either way, ratio of attention logits: of those channels where it is further from 1)."""
    sharper, softmax = found.attention_factor / wanted.attention_factor, found.softmax_factor / wanted.softmax_factor
    logits = sharper * sharper * softmax  # which overflows to infinity where ** 2 would raise
    if _ratio(softmax, 1.0) > _ratio(logits, 1.0):  # the two undo each other where channels rotate, and there alone
        logits = softmax
    if len(wanted.inv_freq) != len(found.inv_freq):
        return math.inf, logits
    return max(_ratio(a, b) for a, b in zip(wanted.inv_freq, found.inv_freq, strict=True)), logits


def _ratio(a: float, b: float) -> float:
    if a == b:
        return 1.0
    return max(a / b, b / a) if a and b else math.inf


def same(wanted: Scaled, found: Scaled | None, tolerance: float = SAME) -> bool:
    """tolerance: relative, of every frequency and of the logits."""
    if found is None:
        return False
    frequency, logits = difference(wanted, found)
    return frequency < 1 + tolerance and abs(logits - 1) < tolerance


def check_factor(factor: float) -> None:
    if not is_number(factor) or not 1 <= factor <= LARGEST_FACTOR:
        raise BadLength(
            f"factor is {factor!r}; it must be a number of 1 or more, {LARGEST_FACTOR:,.0f} at most.\n"
            "  Ropewalk only stretches windows: factor = target length / original length."
        )


def check_positive(**values: float) -> None:
    for name, value in values.items():
        if not is_number(value) or value <= 0:
            raise BadOption(f"{name} is {value!r}; it must be a finite number above 0.")
