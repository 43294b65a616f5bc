"""Lengths, numbers of tokens and times, as people write them: 128k, 1.7b, 5m."""

import math
import re
from collections.abc import Mapping

from ropewalk.errors import BadLength, BadOption
from ropewalk.scaling.rope import LARGEST_LENGTH

LENGTHS = {"k": 2**10, "m": 2**20}  # as model names count
TOKENS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}  # as papers count what a model was trained on
LARGEST_BUDGET = 10**15  # tokens


def as_length(value: int | str) -> int:
    """A context length in tokens: 4096, "4096", "128k" (k = 1,024) or "1m"."""
    number = _number(value, LENGTHS) if isinstance(value, str) else value
    if type(number) in (int, float) and 1 <= number < LARGEST_LENGTH and number == int(number):
        return int(number)
    raise BadLength(f"{value!r} is not a length. Write tokens: 131072, 128k (= 131072) or 1m (= 1048576).")


def parse_tokens(text: str) -> int:
    """How many to train on: 1.7b -> 1,700,000,000."""
    number = _number(text.strip(), TOKENS)
    if 1 <= number <= LARGEST_BUDGET:
        return round(number)
    raise BadOption(f"{text!r} is not a number of tokens to train on. Write 1700000000, 1700m or 1.7b (b = 10^9).")


def as_seconds(value: float | str) -> float:
    """300 or "5m" -> 300.0, "1h30m" -> 5400.0; a text that is a bare number is refused, for it could be any of the three."""
    if isinstance(value, int | float) and type(value) is not bool and math.isfinite(value):
        return float(value)
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(f"(?:{number}h)?(?:{number}m)?(?:{number}s)?", value) if isinstance(value, str) and value else None
    if not found:
        raise BadOption(f"{value!r} is not a time. Write 90s, 5m or 1h30m.")
    return sum(float(part or 0) * seconds for part, seconds in zip(found.groups(), (3600, 60, 1), strict=True))


def spoken(seconds: float) -> str:
    """45 s, 12 min, 3 h 05 min, 2 d 4 h: no more digits than an estimate has."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def human_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _number(text: str, units: Mapping[str, int]) -> float:
    """Not a number where the text is none."""
    unit = text[-1:].lower()
    try:
        return float(text[:-1]) * units[unit] if unit in units else float(text)
    except ValueError:
        return math.nan
