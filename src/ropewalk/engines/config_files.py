"""Writing config.json so that an engine which reads it computes the plan: the first carrier that the engine reads right.

Every carrier is one that transformers reads right too, so one file can serve several engines.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ropewalk.engines.engine import Engine, Loss, Rotation, Written, rotation
from ropewalk.engines.keys import layers_of, mscale
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers import write as transformers
from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.errors import CannotExpress
from ropewalk.scaling.method import difference, same
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.stretch import Stretch

Carrier = tuple[str, dict[str, Any]]


def carriers(plan: ScalingPlan, config: Mapping[str, Any]) -> Iterator[Carrier]:
    """(name, config) for every way a config.json can say the plan, the best known first. CannotExpress where none can."""
    base = transformers.write(plan, config)
    yield "its own keys", base
    for name, change in (("mscale", _with_mscale), ("attn_factor", _with_multiplier)):
        new = _each_dict(base, plan, change)
        if new != base:
            yield name, new
    with contextlib.suppress(CannotExpress):  # pairs that stop altogether have no factor
        yield "longrope lists", transformers.write(plan, config, as_lists=True)


def write_config(
    engines: Sequence[Engine], plan: ScalingPlan, config: Mapping[str, Any], versions: Mapping[str, str]
) -> Carrier:
    """The first carrier that every named engine computes as planned; CannotExpress with the least wrong one's error."""
    if not plan.is_one_table:
        raise CannotExpress(
            f"{plan.name} is never written into a config: one table of frequencies for every length and distance is all that\n"
            "  a config can say, and no two engines agree what `dynamic` means.\n"
            "  Write a ladder of static factors (`ropewalk export` does), or attach the plan to a live model."
        )
    attempts = []
    for name, new in carriers(plan, config):
        found = {engine.name: rotations(engine, new, versions.get(engine.name, "")) for engine in engines}
        wrong = [engine for engine in engines if not planned(plan, found[engine.name])]
        if not wrong:
            return name, new
        attempts.append((_error(plan, [found[engine.name] for engine in wrong]), name, wrong, found))
    (frequency, logits), name, wrong, found = min(
        attempts, key=lambda a: (math.isinf(a[0][0]), abs(math.log(a[0][1])), a[0][0])
    )
    raise CannotExpress(_refusal(plan, wrong, name, found, frequency, logits))


def written(engine: Engine, plan: ScalingPlan, config: Mapping[str, Any], version: str) -> Written:
    """The `write` of an engine that reads config.json."""
    carrier, new = write_config([engine], plan, config, {engine.name: version})
    return Written({"config.json": new}, engine.commands(plan, new, "DIR"), carrier)


def losses(engine: Engine, plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> tuple[Loss, ...]:
    """What an engine loses of a plan that is written under its own keys; CannotExpress where no config says the plan."""
    found = rotations(engine, transformers.write(plan, config), version)
    return tuple(loss for name, _ in plan.stretches for loss in found[name].losses)


def rotation_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a written config says of its rotation and its window, in the words that are needed and no others."""
    text = text_of(config)
    usual = ("rope_parameters", "max_position_embeddings")
    own = ("rope_scaling", "rope_theta", "rope_ratio", "rotary_emb_base", "seq_length", "max_position_embeddings")
    others = [key for key in known.OTHER_WINDOWS if text.get(key) == text.get("max_position_embeddings")]
    return {key: text[key] for key in (*(usual if "rope_parameters" in text else own), *others) if key in text}


def rotations(engine: Engine, config: Mapping[str, Any], version: str = "") -> dict[str, Rotation]:
    return {keys.layer_type: rotation(engine, keys, version) for keys in layers_of(config)}


def planned(plan: ScalingPlan, found: Mapping[str, Rotation]) -> bool:
    """Whether every stretched layer type rotates as planned."""
    return all(name in found and same(stretch.scaled(), found[name].scaled) for name, stretch in plan.stretches)


def _error(plan: ScalingPlan, wrong: Sequence[Mapping[str, Rotation]]) -> tuple[float, float]:
    """The largest (frequency ratio, logits ratio away from 1) of engines that compute something else."""
    sizes = [
        difference(stretch.scaled(), scaled) if (scaled := found[name].scaled) else (math.inf, 1.0)
        for found in wrong
        for name, stretch in plan.stretches
        if name in found
    ] or [(math.inf, 1.0)]
    return max(size[0] for size in sizes), max((size[1] for size in sizes), key=lambda ratio: abs(math.log(ratio)))


def _refusal(
    plan: ScalingPlan,
    wrong: list[Engine],
    name: str,
    found: Mapping[str, Mapping[str, Rotation]],
    frequency: float,
    logits: float,
) -> str:
    reasons = [loss.said for engine in wrong for one in found[engine.name].values() for loss in one.losses]
    bound = "it does not run" if math.isinf(frequency) else f"a frequency x{frequency:.4g} off, logits x{logits:.4g}"
    return (
        f"no config.json makes {', '.join(engine.title for engine in wrong)} compute {plan.name}.\n"
        f"  The nearest is written with {name}, and leaves {bound}: {'; '.join(dict.fromkeys(reasons)) or 'no row says why'}."
    )


def _each_dict(
    config: dict[str, Any], plan: ScalingPlan, change: Callable[[Stretch, dict[str, Any], bool], None]
) -> dict[str, Any]:
    """A copy with the rope dicts of the plan's layer types changed in every spelling."""
    new = copy.deepcopy(config)
    text = text_of(new)
    mla = bool(text.get("qk_rope_head_dim"))
    for key in ("rope_parameters", "rope_scaling"):
        part = text.get(key)
        for name, stretch in plan.stretches:
            inner = part.get(name, part) if isinstance(part, dict) else None
            if isinstance(inner, dict) and inner.get("rope_type") == "yarn":
                change(stretch, inner, mla)
    return new


def _with_mscale(stretch: Stretch, part: dict[str, Any], mla: bool) -> None:
    """m(s, x) / m(s, 1) = m, solved for x. Models that scale their softmax by mscale_all_dim too must not be given it."""
    s, m = stretch.factor, stretch.scaled().attention_factor
    slope = (m * mscale(s) - 1) / (0.1 * math.log(s)) if s > 1 else 0.0
    if not mla and slope > 0 and not math.isclose(m, mscale(s), rel_tol=1e-12):
        part |= {"mscale": 1.0 if math.isclose(slope, 1.0, rel_tol=1e-12) else slope, "mscale_all_dim": 1.0}


def _with_multiplier(stretch: Stretch, part: dict[str, Any], mla: bool) -> None:
    """attn_factor beside attention_factor: the engine that overlooks one multiplies m(s) by the other."""
    m = stretch.scaled().attention_factor
    if not math.isclose(m, mscale(stretch.factor), rel_tol=1e-12):
        part["attn_factor"] = m / mscale(stretch.factor)
