"""Reading config.json of transformers: see engines/transformers/write.py, which writes it.

Everything transformers 5.23.0 and 4.57 read is read here the way they read it; what they ignore is a warning.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import class_of, is_native, text_fields
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.has_rope import check_has_rope
from ropewalk.engines.transformers.ignored import ignored_keys
from ropewalk.engines.transformers.layers import FULL, read_layers
from ropewalk.engines.transformers.own_code import own_words, refused_type
from ropewalk.engines.transformers.rope_dicts import (
    base_keys,
    by_layer_type,
    flat_v5_is_ignored,
    is_nested,
    rope_dict,
    rope_parts,
)
from ropewalk.engines.transformers.scaling import read_scaling, rope_type_of, temperature_ratio
from ropewalk.engines.transformers.widths import read_rotary_dim
from ropewalk.errors import BadConfig
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS, ModelSpec


def read(config: Mapping[str, Any], *, original_length: int | None = None) -> ModelSpec:
    """What a config.json says about the rotary embedding of its text model.

    original_length: overrides whatever the config says or implies.
    Raises NoRope where nothing rotates, BadConfig for values that make no sense or contradict each other.
    """
    if not isinstance(config, Mapping):
        raise BadConfig(f"a config must be a JSON object with keys, not {type(config).__name__}.")
    fields = text_fields(config)
    kind = fields.text("model_type") or ""
    check_has_rope(fields, kind)
    warnings = [f"{fields.where('model_type')}."] if "model_type" in fields.origin else []
    longest = _read_max_length(fields, original_length)
    ropes, scaling, temperatures = [], [], []
    if flat_v5_is_ignored(fields, kind):
        warnings.append(
            f"rope_parameters is flat, but {kind} has one per layer type: transformers 5.23 ignores it and rotates plainly. "
            'Put it under "full_attention".'
        )
    parts = rope_parts(fields, kind)
    for layer_type, part in parts.items():
        rope = _read_rope(fields, part, layer_type, kind, longest, original_length, warnings)
        ropes.append((layer_type, rope))
        if wrong := refused_type(kind, rope_type_of(part)):
            warnings.append(f"{part.where('rope_type')} is {wrong}.")
        current = read_scaling(fields, part, rope, longest, warnings, nested=by_layer_type(fields, kind))
        if current.method != "none":
            scaling.append((layer_type, current))
        if ratio := temperature_ratio(part):
            temperatures.append((layer_type, ratio))
    if fields.number("rotary_scaling_factor"):
        warnings.append("rotary_scaling_factor stretches in Nomic's own code and in vLLM, and is not read here.")
    warnings += [words for words in (own_words(fields, kind, is_native(kind)),) if words]
    ignored = tuple(dict.fromkeys(ignored_keys(config, fields, parts, rope_dict(fields))))
    warnings += [one.said for one in ignored]
    cache, unrotated = read_layers(fields, kind)
    return ModelSpec(
        kind, tuple(ropes), tuple(scaling), longest, cache, unrotated, tuple(fields.readings), tuple(dict.fromkeys(warnings)),
        ignored, tuple(temperatures),
    )  # fmt: skip


def _read_max_length(fields: Fields, given: int | None) -> int:
    """given: the original length by the person's word, which is all there is where nothing states a window."""
    for key in ("max_position_embeddings", "n_positions", "seq_length"):
        if fields.states(key) and (stated := fields.whole(key)):
            wide = _stretched_window(fields, stated)
            fields.note("max_length", *wide) if wide else fields.note("max_length", stated, fields.where(key))
            return wide[0] if wide else stated
    default = fields.whole("max_position_embeddings") if "max_position_embeddings" in fields else None
    if default and given is None:
        fields.note("max_length", default, fields.where("max_position_embeddings"))
        return default
    if given is not None:
        fields.note("max_length", given, "the original length given by you: the config states no window")
        return given
    for key in known.WINDOWS:
        if stated := fields.whole(key):
            fields.note("max_length", stated, fields.where(key))
            return stated
    raise BadConfig(
        "max_position_embeddings is missing: the config does not say how far the model reads.\n"
        "  Give original_length (--original-length), or write max_position_embeddings into the config."
    )


def _stretched_window(fields: Fields, stated: int) -> tuple[int, str] | None:
    """The window that a linear factor makes of max_position_embeddings, where another key says that it does (Vicuna 16k)."""
    part = rope_dict(fields)
    factor = part.number("factor") if not is_nested(fields) and rope_type_of(part) == "linear" else None
    if not factor or factor <= 1 or part.whole("original_max_position_embeddings"):
        return None
    return next((
        (round(stated * factor), f"{fields.where(key)}, which is {stated} x {factor:g}")
        for key in known.OTHER_WINDOWS if fields.config.get(key) == stated * factor
    ), None)  # fmt: skip


def _read_rope(
    fields: Fields,
    part: Fields,
    layer_type: str,
    kind: str,
    longest: int,
    override: int | None,
    warnings: list[str],
) -> Rope:
    theta = _read_theta(fields, part, layer_type, kind)
    return Rope(
        read_rotary_dim(fields, part, layer_type, kind),
        theta,
        _read_original_length(fields, part, layer_type, kind, theta, longest, override, warnings),
    )


def _read_theta(fields: Fields, part: Fields, layer_type: str, kind: str) -> float:
    name, row = f"{layer_type}.rope_theta", class_of(kind)
    inside, outside_keys = part.number("rope_theta"), base_keys(layer_type, kind)
    if inside is not None:
        part.note(name, f"{inside:.10g}", part.where("rope_theta"))
        _check_base(fields, part, layer_type, kind, inside)
        return inside
    by_layer = is_nested(fields) and "rope_parameters" not in fields.origin
    if row and row.states_theta and by_layer:
        raise BadConfig(
            f"{part.where('rope_theta')} is missing: {kind} has a base for each layer type, and transformers 5.23 fills in "
            "none of them, or another.\n  Write it into the dict of the layer type."
        )
    found = fields.first(name, *outside_keys)
    if found is not None and by_layer and row and found != row.theta_of(layer_type):
        raise BadConfig(
            f"{part.where('rope_theta')} is missing, and a base of {found:g} is stated beside the dicts of the layer types: "
            "classes differ in whether they look there.\n  Write rope_theta into the dict."
        )
    if found is not None and "rope_theta" in part.config:
        raise BadConfig(
            f"{part.where('rope_theta')} is null, beside a base of {found:g}: transformers 5.23 takes the null, and stops.\n"
            "  Take it out."
        )
    if found is not None:
        return found
    default = row.theta_of(layer_type) or row.theta_of(FULL) if row else known.DEFAULT_THETA.get(kind, 0.0)
    null = "rope_theta" in part.config or any(key in fields.config for key in outside_keys)  # which is not an omission
    if not default or null:
        if not (null or part.config or is_native(kind)):
            raise BadConfig(
                f"rope_theta is missing, and {kind or 'this model'} is no model of transformers 5.23: its own code may have "
                "the base.\n  Look there, and write it into the config as rope_theta."
            )
        raise BadConfig(
            f"rope_theta is missing or null, and {kind or 'this architecture'} cannot be built without one.\n"
            "  Setting config.rope_scaling in transformers 5 drops it: write rope_theta back into the config."
        )
    fields.note(name, f"{default:.10g}", row.said if row else f"fixed in the code of {kind}")
    return default


def _check_base(fields: Fields, part: Fields, layer_type: str, kind: str, inside: float) -> None:
    outside = fields.number("rope_theta") if layer_type == ALL_LAYERS else None
    if outside is None or outside == inside:
        return
    if "rope_parameters" in fields.origin:
        raise BadConfig(
            f"rope_theta is {outside:g}, and the config has no rope_parameters: transformers 5 takes the whole "
            f"{fields.where('rope_parameters')}, {rope_type_of(part)} with base {inside:g}, and not rope_theta.\n"
            "  Write the rope_parameters that the model was trained with."
        )
    raise BadConfig(
        f"{part.where('rope_theta')} is {inside:g} but {fields.where('rope_theta')} is {outside:g}.\n"
        "  Engines differ in which they read. Remove the wrong one."
    )


RAMPED = ("yarn", "llama3", "longrope", "su")  # rope types that need the original length


def _read_original_length(
    fields: Fields,
    part: Fields,
    layer_type: str,
    kind: str,
    theta: float,
    longest: int,
    override: int | None,
    warnings: list[str],
) -> int:
    name, key = f"{layer_type}.original_length", "original_max_position_embeddings"
    if override is not None:
        fields.note(name, override, "given by you")
        return override
    inside, outside = part.whole(key), fields.whole(key)
    if rope_type_of(part) in RAMPED and by_layer_type(fields, kind):
        outside = None  # which transformers 5.23 reads beside a flat dict alone
    if inside and outside and inside != outside:
        raise BadConfig(
            f"{part.where(key)} is {inside} but {fields.where(key)} is {outside}.\n"
            "  transformers uses the second, other engines the first. Remove the wrong one, or give original_length yourself."
        )
    if inside is None and outside is None and key in part.config and rope_type_of(part) in RAMPED:
        raise BadConfig(
            f"{part.where(key)} is null, which transformers 5.23 does not take for one that is left out: it stops.\n"
            "  Take it out, or write the length that the model was trained at."
        )
    if stated := inside or outside:
        fields.note(name, stated, part.where(key) if inside else fields.where(key))
        return stated
    if fact := known.published_length(fields.config, theta):
        fields.note(name, fact.original_length, fact.source)
        warnings.append(
            f"max_position_embeddings is {longest}, but the original length is {fact.original_length} ({fact.source})."
        )
        if rope_type_of(part) in RAMPED:
            warnings.append(
                f"{part.where(key)} is missing, and transformers takes {longest} for it: write {fact.original_length} there."
            )
        return fact.original_length
    rope_type, factor = rope_type_of(part), part.number("factor") or 1.0
    unstretched = fields.states("max_position_embeddings") and fields.whole("max_position_embeddings")
    if rope_type == "linear" and factor > 1 and unstretched and longest == round(unstretched * factor):
        fields.note(name, unstretched, fields.where("max_position_embeddings"))
        return unstretched
    if rope_type == "linear" and factor > 1:
        length = max(round(longest / factor), 1)
        warnings.append(
            f"linear scaling by {factor:g} without an original length: taken to be {longest} / {factor:g} = {length}. "
            f"If {longest} is the length before scaling, give original_length = {longest}."
        )
        fields.note(name, length, f"max_position_embeddings / factor = {longest} / {factor:g}")
        return length
    if rope_type in RAMPED:
        warnings.append(
            f"{part.where(key)} is missing: {longest} is assumed, as transformers does. If that is the stretched window, "
            "the ramp is in the wrong place."
        )
    if fields.where("max_position_embeddings").startswith("default of") and longest == fields.whole("max_position_embeddings"):
        warnings.append(
            f"max_position_embeddings is missing: {longest} is the {fields.where('max_position_embeddings')}. If the "
            "model was trained at another length, give original_length (--original-length)."
        )
    fields.note(name, longest, "max_position_embeddings (nothing says otherwise)")
    return longest
