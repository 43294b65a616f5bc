"""What a config says once an override is laid over it, and what an engine finds: replaced, merged, or where nobody looks.

vLLM sets an attribute of the outer config, and merges dicts inside text_config (0.32.0, config/model.py,
_apply_dict_overrides); SGLang merges rope dicts of the outer config, and sets attributes of text_config (0.5.23,
utils/hf_transformers/config.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.engines.keys import LENGTH, Keys
from ropewalk.engines.transformers.checkpoint import TEXT_PARTS, text_of
from ropewalk.engines.transformers.has_rope import V4_KEYS
from ropewalk.errors import BadConfig
from ropewalk.scaling.method import same
from ropewalk.scaling.spec import is_local

ROPE_DICTS = ("rope_scaling", "rope_parameters")
ROPE_KEYS = (*ROPE_DICTS, "rope_theta")
KEPT: tuple[str, ...] = (
    "rope_theta",
    "partial_rotary_factor",
    "mrope_section",
    "mrope_interleaved",
)  # of the model, not of its stretch
WINDOWS = frozenset(
    "max_model_len context_length max_length max_context_length".split()
)  # of programs; a config has other names
INSIDE_A_DICT = frozenset(
    "rope_type factor beta_fast beta_slow attention_factor low_freq_factor high_freq_factor long_factor short_factor".split()
)
STRETCHED = ("yarn", "linear", "llama3", "longrope", "su")
MISPLACED = ("rope_parameters", "rope_scaling", "rope_theta", "max_position_embeddings")


@dataclass(frozen=True, slots=True)
class Overridden:
    """config: as the person meant it.  read: what is read instead, where it is not that.

    outside: the keys that stand above the language model's part, and that part's name, where they are why.
    lost: what stood in a dict that was replaced, and is not said again inside it: rope_theta, partial_rotary_factor.
    """

    config: Mapping[str, Any]
    read: Mapping[str, Any] | None = None
    outside: tuple[str, str] = ("", "")
    lost: Mapping[str, Any] | None = None


def overridden(config: Mapping[str, Any], overrides: Mapping[str, Any], engine: str = "", within: str = "") -> Overridden:
    """The config under --hf-overrides or --json-model-override-args.

    within: the name of the part that this is, of an outer config.
    """
    part = part_of(config)
    _check_names(config, overrides)
    absent = [key for key in TEXT_PARTS if key in overrides and not isinstance(config.get(key), Mapping)]
    if absent:
        raise BadConfig(
            f"the override has {absent[0]}, and this config has none: its language model is "
            f"{f'in {part}' if part else 'at the top'}.\n  Put the keys there."
        )
    if part is None:
        new, lost = laid_over(config, overrides)
        alone = overrides.get("rope_theta") and not any(overrides.get(key) for key in ROPE_DICTS) and not within
        if alone:
            return Overridden(_with_theta(config, overrides), {**new, "rope_theta": config.get("rope_theta")})
        sets = engine == ("sglang" if within else "vllm")
        return Overridden(new, lost=lost if sets else {})
    inside = overrides.get(part)
    inner = overridden(config[part], inside if isinstance(inside, Mapping) else {}, engine, part)
    new = {**config, **{key: value for key, value in overrides.items() if key != part}, part: inner.config}
    named = [key for key in MISPLACED if overrides.get(key)]
    if not named:
        return Overridden(new, {**new, part: inner.read} if inner.read else None, inner.outside, inner.lost)
    return Overridden(_moved(new, part, named), new, (" and ".join(named), part), inner.lost)


def _check_names(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """BadConfig for keys of a rope dict that stand above it, which are set under their own name and that nobody reads."""
    if strange := next((key for key in overrides if key in WINDOWS and key not in config), None):
        raise BadConfig(
            f"the override sets {strange!r}, which no config has and nobody reads.\n"
            "  The window of a config is max_position_embeddings."
        )
    for key in overrides:
        root, dot, _ = key.partition(".")
        dotted = dot and root in (*ROPE_DICTS, *TEXT_PARTS)
        loose = key in INSIDE_A_DICT or (key.startswith("rope") and key not in (*ROPE_DICTS, *V4_KEYS, "rope_ratio"))
        if dotted or (loose and key not in config):
            raise BadConfig(
                f"the override sets {key!r}, a key of that very name, which nobody reads.\n"
                '  Write it inside a dict, with the rest of the stretch: {"rope_parameters": {"rope_type": "yarn", ...}}.'
            )


def pasted_outside(config: Mapping[str, Any]) -> Overridden:
    """A config with a rope dict above the part of its language model: nobody reads it there."""
    part, named = part_of(config), [key for key in MISPLACED if config.get(key)]
    if part is None or not any(isinstance(config.get(key), Mapping) for key in ROPE_DICTS):
        return Overridden(config)
    return Overridden(_moved(config, part, named), config, (" and ".join(named), part))


def part_of(config: Mapping[str, Any]) -> str | None:
    """The key under which a config holds its language model, or what holds that; None where it is one itself."""
    text = text_of(config)
    if text is config:
        return None
    return next((key for key, value in config.items() if isinstance(value, Mapping) and text_of(value) is text), None)


def _moved(config: Mapping[str, Any], part: str, named: Sequence[str]) -> dict[str, Any]:
    """The config with the named keys inside the part, as their writer meant them."""
    above = {key: config[key] for key in named}
    if isinstance(new := above.get("rope_parameters"), Mapping):  # the two spellings, or one of them
        above.pop("rope_scaling", None)
        above["rope_parameters"] = {**new, **({"rope_theta": above.pop("rope_theta")} if "rope_theta" in above else {})}
    inner, deeper = config[part], part_of(config[part])
    meant = _moved({**inner, **above}, deeper, list(above)) if deeper else laid_over(inner, above)[0]
    return {**{key: value for key, value in config.items() if key not in named}, part: meant}


def laid_over(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config as the person meant it, what stood in a dict that the override replaced and does not repeat)."""
    new = {**config, **overrides}
    rope = overrides.get("rope_parameters") or overrides.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return new, {}
    if any(isinstance(value, Mapping) for value in rope.values()):  # one dict per layer type: said in full
        return {key: value for key, value in new.items() if key not in ROPE_KEYS} | {"rope_parameters": dict(rope)}, {}
    old = _rope_dict(config)
    kept: dict[str, Any] = {key: old[key] for key in KEPT if key in old}
    if not {"rope_type", "type"} & rope.keys():  # only a part of it, as of --hf-overrides.rope_parameters.factor
        kept = {**old}
    said = {key: value for key, value in kept.items() if key != "rope_theta"} | dict(rope)
    theta = rope.get("rope_theta") or overrides.get("rope_theta") or old.get("rope_theta") or config.get("rope_theta")
    new = {key: value for key, value in new.items() if key not in ROPE_KEYS}
    if LENGTH in said and new.get(LENGTH) != said[LENGTH]:
        new.pop(LENGTH, None)
    new["rope_scaling"] = {key: value for key, value in said.items() if key != "rope_theta"}
    if theta:
        new["rope_theta"] = theta
    lost = {key: old[key] for key in ("partial_rotary_factor",) if key in old and key not in rope and key not in overrides}
    if "rope_theta" not in rope and theta and not _theta_first(overrides):
        lost["rope_theta"] = theta
    return new, lost


def _with_theta(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    new = {**config, **overrides}
    part = config.get("rope_parameters")
    return {**new, "rope_parameters": {**part, "rope_theta": overrides["rope_theta"]}} if isinstance(part, Mapping) else new


def _theta_first(overrides: Mapping[str, Any]) -> bool:
    """transformers 5's setter of rope_scaling takes the base that was set before it; rope_parameters has no setter."""
    names = list(overrides)
    return "rope_theta" in names and "rope_scaling" in names and names.index("rope_theta") < names.index("rope_scaling")


def _rope_dict(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat rope dict of a config, whichever its spelling."""
    for key in ("rope_parameters", "rope_scaling"):
        part = config.get(key)
        if isinstance(part, Mapping) and not any(isinstance(value, Mapping) for value in part.values()):
            return dict(part)
    return {}


def claimed(keys: Keys, own: Keys | None) -> dict[str, Any]:
    """What is known where an override claims a longer window than the config, and stretches nothing, or less far; or where
    it stands in place of the config's own stretch, from whose start it counts.  own: the config's."""
    if own is None or is_local(keys.layer_type):
        return {}
    replaced = own.rope_type in STRETCHED and not same(keys.scaled(), own.scaled())
    if keys.longest <= own.longest and not replaced:
        return {}
    if keys.rope.rope_theta != own.rope.rope_theta:
        return {"base_raised": True}
    if replaced:
        trained = min(own.rope.original_length, keys.rope.original_length)
        ends = {"default": trained, **dict.fromkeys(("yarn", "linear", "ntk"), round(trained * keys.factor))}
    else:
        ends = {"default": own.longest, "yarn": keys.target, "ntk": keys.target}
    end = ends.get(keys.rope_type)
    return {"reached": end} if end and end < max(keys.longest, keys.target) else {}
