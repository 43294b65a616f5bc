"""Lengths and times as people write them: 128k tokens (k = 1024, as in the names of models), 5m of time."""

import math
import re

from ropewalk.errors import BadLength, BadOption
from ropewalk.scaling.rope import is_whole

THOUSANDS = {"k": 2**10, "m": 2**20}
LONGEST = 2**40  # tokens
TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def as_length(value: int | str) -> int:
    """131072, "131072" or "128k" -> 131072 tokens. Raises BadLength for what is none."""
    if isinstance(value, str):
        return _length(value)
    if not is_whole(value) or not 1 <= value < LONGEST:
        raise BadLength(f"{value!r} is not a length: it must be a whole number of tokens, or a text such as '128k'.")
    return int(value)


def _length(text: str) -> int:
    unit = THOUSANDS.get(text[-1:].lower())
    try:
        value = float(text[:-1] if unit else text) * (unit or 1)
        if value.is_integer() and 1 <= value < LONGEST:
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise BadLength(f"{text!r} is not a length. Write tokens: 131072, 128k (= 131072) or 1m (= 1048576).")


def as_seconds(value: float | str) -> float:
    """300, "5m" -> 300.0. Raises BadOption for what is no time."""
    if isinstance(value, str):
        if not (found := TIME.fullmatch(value)):
            raise BadOption(f"{value!r} is not a time. Write 90s, 5m or 1h.")
        return float(found[1]) * SECONDS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadOption(f"{value!r} is not a time: it must be seconds, or a text such as '5m'.")
    return float(value)


def human_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
