"""Reading config.json of transformers: see `dialects/transformers.py`, which writes it.

Everything transformers 5.23.0 and 4.57 read is read here the way they read it; what they ignore is a warning.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.errors import BadConfig, NoRope
from ropewalk.scaling.dialects import known
from ropewalk.scaling.dialects.fields import Fields
from ropewalk.scaling.dialects.transformers_layers import FULL, SLIDING, head_dim, read_layers, rotating_layers
from ropewalk.scaling.dialects.transformers_scaling import ROPE_KEYS, read_scaling, rope_type_of
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS, ModelSpec

V4_KEYS = ("rope_scaling", "rope_theta", "rope_local_base_freq", "global_rope_theta", "local_rope_theta", "rotary_emb_base")


def read(config: Mapping[str, Any], *, original_length: int | None = None) -> ModelSpec:
    """What a config.json says about the rotary embedding of its text model.

    original_length: overrides whatever the config says or implies.
    Raises NoRope where nothing rotates, BadConfig for values that make no sense or contradict each other.
    """
    if not isinstance(config, Mapping):
        raise BadConfig(f"a config must be a JSON object with keys, not {type(config).__name__}.")
    fields = Fields(config)
    if "text_config" in fields:
        fields = fields.part("text_config")
    kind = fields.text("model_type") or ""
    _check_has_rope(fields, kind)
    longest = _read_max_length(fields, kind)
    warnings: list[str] = []
    ropes, scaling = [], []
    if _flat_v5_is_ignored(fields, kind):
        warnings.append(
            f"rope_parameters is flat, but {kind} has one per layer type: transformers 5.23 ignores it and rotates plainly. "
            'Put it under "full_attention".'
        )
    for layer_type, part in rope_parts(fields, kind).items():
        rope = _read_rope(fields, part, layer_type, kind, longest, original_length, warnings)
        ropes.append((layer_type, rope))
        current = read_scaling(fields, part, rope, longest, warnings)
        if current.method != "none":
            scaling.append((layer_type, current))
    cache, unrotated = read_layers(fields, kind)
    return ModelSpec(
        kind, tuple(ropes), tuple(scaling), longest, cache, unrotated, tuple(fields.readings), tuple(dict.fromkeys(warnings))
    )


def _read_max_length(fields: Fields, kind: str) -> int:
    for key in ("max_position_embeddings", "n_positions"):
        if stated := fields.whole(key):
            fields.note("max_length", stated, fields.where(key))
            return stated
    if kind in known.DEFAULT_LENGTH:
        fields.note("max_length", known.DEFAULT_LENGTH[kind], f"default of {kind} in transformers 5.23")
        return known.DEFAULT_LENGTH[kind]
    raise BadConfig("max_position_embeddings is missing: the config does not say how far the model reads.")


def _check_has_rope(fields: Fields, kind: str) -> None:
    if kind in known.WITHOUT_ROPE:
        raise NoRope(f"{kind} has no rotary embedding: it uses {known.WITHOUT_ROPE[kind]}. There is nothing to stretch.")
    if kind == "falcon" and fields.yes("alibi"):
        raise NoRope("this falcon model uses ALiBi (alibi: true), not a rotary embedding. There is nothing to stretch.")
    names = ("rope_parameters", *V4_KEYS, "rotary_dim", "rotary_pct")
    if kind not in known.DEFAULT_THETA and not any(name in fields for name in names):
        raise NoRope(
            f"no rotary embedding found: the config of {kind or 'this model'} has none of {', '.join(names)}.\n"
            "  If the model does rotate, with a base fixed in its code, add rope_theta to the config."
        )


def _rope_dict(fields: Fields) -> Fields:
    """The v5 or the v4 dict; where both are written they must say the same."""
    new, old = fields.part("rope_parameters"), fields.part("rope_scaling")
    if new.config and old.config and not _nested(new):
        ours, theirs = _meaning(new), _meaning(old)
        for key in sorted((ours.keys() | theirs.keys()) - {"rope_theta", "partial_rotary_factor"}):
            if ours.get(key) != theirs.get(key):
                raise BadConfig(
                    f"{new.where(key)} is {ours.get(key)!r} but {old.where(key)} is {theirs.get(key)!r}: two spellings that "
                    "disagree.\n  Engines differ in which they read. Remove the wrong one."
                )
    return new if new.config else old


def _meaning(part: Fields) -> dict[str, Any]:
    """The keys that say something, with the type under one name."""
    stated = {key: value for key, value in part.config.items() if value is not None and key not in ("type", "rope_type")}
    return {**stated, "rope_type": rope_type_of(part)}


def _flat_v5_is_ignored(fields: Fields, kind: str) -> bool:
    part = fields.part("rope_parameters")
    return kind in known.PER_LAYER_TYPE and bool(part.config) and not _nested(part) and "rope_scaling" not in fields


def _nested(part: Fields) -> bool:
    return any(isinstance(value, Mapping) and key not in ROPE_KEYS for key, value in part.config.items())


def is_nested(fields: Fields) -> bool:
    """One dict per layer type, as transformers 5 writes models whose layers rotate differently."""
    return _nested(_rope_dict(fields))


def rope_parts(fields: Fields, kind: str) -> dict[str, Fields]:
    """The rotary settings of each layer type that rotates."""
    part = _rope_dict(fields)
    if _nested(part):
        return {
            name: part.part(name)
            for name, value in part.config.items()
            if isinstance(value, Mapping) and name not in ROPE_KEYS
        }
    if _flat_v5_is_ignored(fields, kind):
        return {name: Fields({}, "(plain) ", fields.readings) for name in (FULL, SLIDING)}
    if kind in known.PER_LAYER_TYPE:
        # Flat spellings of such models: the scaling belongs to the full-attention layers alone (v4 Gemma 3, OLMo 3).
        return {FULL: part, SLIDING: Fields({}, "(plain) ", fields.readings)}
    return {rotating_layers(fields, kind): part}


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
        _read_rotary_dim(fields, part, layer_type, kind),
        theta,
        _read_original_length(fields, part, layer_type, theta, longest, override, warnings),
    )


def _read_theta(fields: Fields, part: Fields, layer_type: str, kind: str) -> float:
    name = f"{layer_type}.rope_theta"
    inside = part.number("rope_theta")
    if layer_type == SLIDING and kind in known.DEFAULT_LOCAL_THETA:
        outside_keys: tuple[str, ...] = ("rope_local_base_freq", "local_rope_theta")
        default = known.DEFAULT_LOCAL_THETA[kind]
    else:
        outside_keys = ("rope_theta", "global_rope_theta", "rotary_emb_base")
        default = known.DEFAULT_THETA.get(kind, 0.0)
    if inside is not None:
        part.note(name, f"{inside:.10g}", part.where("rope_theta"))
        outside = fields.number("rope_theta") if layer_type == ALL_LAYERS else None
        if outside is not None and outside != inside:
            raise BadConfig(
                f"{part.where('rope_theta')} is {inside:g} but {fields.where('rope_theta')} is {outside:g}.\n"
                "  Engines differ in which they read. Remove the wrong one."
            )
        return inside
    found = fields.first(name, *outside_keys)
    if found is not None:
        return found
    if not default or "rope_theta" in part.config or "rope_theta" in fields.config:  # a stated null is not an omission
        raise BadConfig(
            f"rope_theta is missing or null, and {kind or 'this architecture'} cannot be built without one.\n"
            "  Setting config.rope_scaling in transformers 5 drops it: write rope_theta back into the config."
        )
    fields.note(name, f"{default:.10g}", f"default of {kind} in transformers 5.23")
    return default


def _read_rotary_dim(fields: Fields, part: Fields, layer_type: str, kind: str) -> int:
    name = f"{layer_type}.rotary_dim"
    head = head_dim(fields, layer_type)
    if (mla := fields.whole("qk_rope_head_dim")) is not None:
        fields.note(name, mla, fields.where("qk_rope_head_dim"))
        return mla
    if part.text("rope_type") == "proportional":
        fields.note(name, head, "head_dim (proportional RoPE spans the whole head)")
        return head
    if (absolute := fields.whole("rotary_dim")) is not None:
        fields.note(name, absolute, fields.where("rotary_dim"))
        return absolute
    share, source = part.number("partial_rotary_factor"), part.where("partial_rotary_factor")
    if share is None:
        share, source = fields.first(f"{layer_type}.partial", "partial_rotary_factor", "rotary_pct"), "partial rotation"
    if share is None:
        share, source = known.DEFAULT_PARTIAL.get(kind, 1.0), f"default of {kind}"
    if not 0 < share <= 1:
        raise BadConfig(f"{source} is {share:g}; the rotated share of a head must be above 0 and at most 1.")
    fields.note(name, int(head * share), "head_dim" if share == 1 else f"head_dim {head} x {share:g} ({source})")
    return int(head * share)


def _read_original_length(
    fields: Fields,
    part: Fields,
    layer_type: str,
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
    if inside and outside and inside != outside:
        raise BadConfig(
            f"{part.where(key)} is {inside} but {fields.where(key)} is {outside}.\n"
            "  transformers uses the second, other engines the first. Remove the wrong one, or give original_length yourself."
        )
    if stated := inside or outside:
        fields.note(name, stated, part.where(key) if inside else fields.where(key))
        return stated
    if fact := known.published_length(fields.config, theta):
        fields.note(name, fact.original_length, fact.source)
        warnings.append(
            f"max_position_embeddings is {longest}, but the original length is {fact.original_length} ({fact.source})."
        )
        return fact.original_length
    rope_type, factor = rope_type_of(part), part.number("factor") or 1.0
    if rope_type == "linear" and factor > 1:
        length = max(round(longest / factor), 1)
        warnings.append(
            f"linear scaling by {factor:g} without an original length: taken to be {longest} / {factor:g} = {length}. "
            f"If {longest} is the length before scaling, give original_length = {longest}."
        )
        fields.note(name, length, f"max_position_embeddings / factor = {longest} / {factor:g}")
        return length
    if rope_type in ("yarn", "llama3", "longrope", "su"):
        warnings.append(
            f"{part.where(key)} is missing: {longest} is assumed, as transformers does. If that is the stretched window, "
            "the ramp is in the wrong place."
        )
    fields.note(name, longest, "max_position_embeddings (nothing says otherwise)")
    return longest
