"""Writing the config of a model whose own code decides, in the few words that this code reads."""

import math
from typing import Any

from ropewalk.engines.transformers.own_code import OWN_CODE, SCALING, WINDOW, OwnCode
from ropewalk.errors import CannotExpress
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.methods.yarn import mscale
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.schedule import REQUEST, Dynamic
from ropewalk.scaling.stretch import Stretch


def write_own(plan: ScalingPlan, target: dict[str, Any], kind: str) -> None:
    """Change `target`, the language model's config, so that its own code computes the plan. CannotExpress where none can."""
    ((_, stretch),) = plan.stretches
    own = OWN_CODE[kind]
    if turned_on := [key for key in ("use_dynamic_ntk", "use_logn_attn") if target.get(key)]:
        raise CannotExpress(
            f"{kind}'s own code stretches by itself ({' and '.join(turned_on)}), whatever a config says ({own.source}).\n"
            "  Set those to false in the config to let a plan do it, or leave the stretching to its code."
        )
    scaling = _scaling(stretch, own)
    if scaling is None and (theta := _base(stretch)) is None:
        raise CannotExpress(_refusal(stretch, kind, own))
    if scaling is None:
        _set_base(target, theta or stretch.rope.rope_theta, kind, own)
    for key in SCALING:
        target.pop(key, None)
    if own.types:
        target["rope_scaling"] = scaling
    length = stretch.rope.original_length if stretch.dynamic else plan.target_length
    target["seq_length" if kind == "chatglm" else WINDOW] = length


def _base(stretch: Stretch) -> float | None:
    """The base that says it all, or None."""
    if not stretch.is_one_table:
        return None
    if stretch.method == "ntk":
        return stretched_theta(stretch.rope, stretch.factor)
    if stretch.method == "rope_theta":
        return float(dict(stretch.options)["rope_theta"])  # type: ignore[arg-type]
    return stretch.rope.rope_theta if stretch.method == "none" else None


def _set_base(target: dict[str, Any], theta: float, kind: str, own: OwnCode) -> None:
    key, unit = own.base
    if not key:
        raise CannotExpress(f"{kind}'s base is fixed in its own code ({own.source}): no config can change it.")
    target[key] = theta / unit


def _scaling(stretch: Stretch, own: OwnCode) -> dict[str, Any] | None:
    """The rope_scaling that its code takes, with these keys and no others: InternLM2's config counts them."""
    if stretch.near:
        return None
    if stretch.dynamic:
        fits = stretch.method == "ntk" and stretch.dynamic == Dynamic(REQUEST) and "dynamic" in own.types
        return {own.word: "dynamic", "factor": 1.0} if fits else None
    if stretch.method == "linear" and "linear" in own.types:
        return {own.word: "linear", "factor": stretch.factor}
    if "yarn" in own.types and stretch.method in ("yarn", "ntk_by_parts"):
        return _yarn(stretch, own)
    if "longrope" in own.types and stretch.method in ("longrope", "yarn", "ntk_by_parts", "llama3"):
        return _lists(stretch, own)
    return None


def _yarn(stretch: Stretch, own: OwnCode) -> dict[str, Any] | None:
    """DeepSeek's keys: m is m(s, mscale) / m(s, mscale_all_dim), the softmax has the latter squared; the ramp is rounded."""
    given = dict(stretch.options)
    if (
        stretch.factor == 1
        or given.get("ramp", "index") != "index"
        or not given.get("truncate", True)
        or given.get("beta_growth")
    ):
        return None
    words = deepseek_words(stretch)
    if words["mscale"] < 1e-9:  # 0 is read as not given
        return None
    return {
        own.word: "yarn",
        "factor": stretch.factor,
        "original_max_position_embeddings": stretch.rope.original_length,
        "beta_fast": given.get("beta_fast", 32.0),
        "beta_slow": given.get("beta_slow", 1.0),
        **words,
    }


def deepseek_words(stretch: Stretch) -> dict[str, float]:
    """m as m(s, mscale) / m(s, mscale_all_dim), m(s, x) = 0.1 x ln s + 1: modeling_deepseek.py, _set_cos_sin_cache."""
    softmax = float(dict(stretch.options).get("softmax_mscale", 0.0))  # type: ignore[arg-type]
    m = stretch.scaled().attention_factor * mscale(stretch.factor, softmax)
    slope = (m - 1) / (mscale(stretch.factor) - 1)
    return {"mscale": softmax if math.isclose(slope, softmax, rel_tol=1e-9) else slope, "mscale_all_dim": softmax}


def _lists(stretch: Stretch, own: OwnCode) -> dict[str, Any] | None:
    """Factors per pair; the code computes m from the two lengths, and reads none."""
    rope, scaled, given = stretch.rope, stretch.scaled(), dict(stretch.options)
    formula = math.sqrt(1 + math.log(stretch.factor) / math.log(rope.original_length)) if stretch.factor > 1 else 1.0
    if not math.isclose(scaled.attention_factor, formula, rel_tol=1e-9):
        return None
    long = [theta / new for theta, new in zip(rope.inv_freq, scaled.inv_freq, strict=True)]
    short = given.get("short_factor") or ([1.0] * len(long) if stretch.method == "longrope" else long)
    return {
        own.word: "longrope",
        "factor": stretch.factor,
        "long_factor": long,
        "short_factor": list(short),  # type: ignore[arg-type]
        "original_max_position_embeddings": rope.original_length,
    }


def _refusal(stretch: Stretch, kind: str, own: OwnCode) -> str:
    takes = f"takes rope_scaling of type {', '.join(sorted(own.types))}" if own.types else "reads no rope_scaling"
    lists = ", longrope with its own attention factor alone" if "longrope" in own.types else ""
    names = [name for name in ("linear", "yarn") if name in own.types] + (["ntk"] if own.base[0] else [])
    ways = [f"method {name} (--method {name})" for name in names]
    return (
        f"{kind}'s own code decides, and cannot be told {stretch.name}: it {takes}{lists} ({own.source}).\n"
        f"  {' or '.join(ways) + ' can be written for it' if ways else 'No config changes its rotation'}."
    )
