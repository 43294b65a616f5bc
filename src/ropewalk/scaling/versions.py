"""Versions of engines, and ranges of them: "0.31", "b10488", "< 0.32", ">= 5, < 5.23"."""

import operator
import re
from collections.abc import Callable

from ropewalk.errors import BadOption

Version = tuple[int, ...]
COMPARE: dict[str, Callable[[Version, Version], bool]] = {"<": operator.lt, ">=": operator.ge}


def parse_version(text: str) -> Version:
    """0.32.0 -> (0, 32); trailing zeros say nothing, letters in front (v0.32, b10488) are dropped, a suffix (rc1) too."""
    found = re.fullmatch(r"[vb]?(\d{1,9}(?:\.\d{1,9}){0,3})(?:[.+-]?[a-z][\w.+]*)?", text.strip(), re.ASCII)
    if not found:
        raise BadOption(f"{text!r} is not a version. Write it as the engine does: 0.32, 5.23.0 or b10488.")
    numbers = [int(part) for part in found.group(1).split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def within(version: Version, spec: str) -> bool:
    """Whether a version is in a range; the empty range holds every version."""
    for part in filter(None, (part.strip() for part in spec.split(","))):
        sign, _, bound = part.partition(" ")
        if not COMPARE[sign](version, parse_version(bound)):
            return False
    return True
