"""Formats of an engine's own: writing a plan into one, and proving it by reading it back."""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.engine import Engine, rotation
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.scaling.method import difference, same
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.stretch import Stretch


def only_stretch(plan: ScalingPlan, engine: str) -> Stretch:
    """The one static stretch of a plan, for formats that hold one table."""
    if not plan.is_one_table:
        raise CannotExpress(f"{plan.name} is never written for {engine}: write a ladder of static factors instead.")
    if len(plan.stretches) != 1:
        raise CannotExpress(
            f"{engine}'s format holds one rotary table; this plan stretches {len(plan.stretches)} layer types."
        )
    return plan.stretches[0][1]


def prove(engine: Engine, plan: ScalingPlan, data: Mapping[str, Any], version: str = "", why: str = "") -> None:
    """Read what was written as the engine reads it; CannotExpress, with the size of the error, where it is not the plan.

    why: the reason, where it is a key that the format does not have.
    """
    if engine.read is None:
        raise TypeError(f"{engine.name} has no format of its own")
    (keys,) = engine.read(data)
    found, wanted = rotation(engine, keys, version), only_stretch(plan, engine.title).scaled()
    if same(wanted, found.scaled):
        return
    size = "it does not run"
    if found.scaled:
        frequency, logits = difference(wanted, found.scaled)
        size = f"a frequency x{frequency:.4g} off, logits x{logits:.4g}"
    reasons = "; ".join(dict.fromkeys(loss.said for loss in found.losses)) or why or "its format has no key for the rest"
    raise CannotExpress(f"{engine.title} cannot carry {plan.name} here: the nearest leaves {size}.\n  {reasons}.")


def needed(fields: Fields, key: str) -> float:
    value = fields.number(key)
    if value is None:
        raise BadConfig(f"{fields.where(key)} is missing.")
    return value


def needed_whole(fields: Fields, key: str) -> int:
    value = fields.whole(key)
    if value is None:
        raise BadConfig(f"{fields.where(key)} is missing.")
    return value


def options(stretch: Stretch) -> tuple[float, float, bool]:
    """(beta_fast, beta_slow, truncate) of a yarn or ntk_by_parts stretch."""
    given = dict(stretch.options)
    fast, slow = given.get("beta_fast", 32.0), given.get("beta_slow", 1.0)
    return float(fast), float(slow), bool(given.get("truncate", True))  # type: ignore[arg-type]


def is_ramped(stretch: Stretch) -> bool:
    """yarn's family with the ramp that engines have."""
    return stretch.method in ("yarn", "ntk_by_parts") and dict(stretch.options).get("ramp", "index") == "index"
