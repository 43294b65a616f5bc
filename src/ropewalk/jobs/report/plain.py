"""Results as JSON values: dataclasses become objects, and what is not known becomes null."""

from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from ropewalk.jobs.evaluate.statistics import Interval


def plain(value: Any) -> Any:
    """JSON has no infinity: the end of an interval from one document is null."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    return value


def kind(interval: Interval, level: float) -> str:
    """Of a loss, where lower is better: does the whole interval lie on one side of `level`?"""
    return "worse" if interval.low > level else "better" if interval.high < level else ""
