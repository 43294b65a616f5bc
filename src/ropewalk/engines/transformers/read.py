"""Reading config.json of transformers: see engines/transformers/write.py, which writes it.

Everything transformers 5.23.0 and 4.57 read is read here the way they read it; what they ignore is a warning.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import ClassDefaults, class_of, is_native, text_fields
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.has_rope import check_has_rope
from ropewalk.engines.transformers.ignored import ignored_keys
from ropewalk.engines.transformers.layers import FULL, SLIDING, head_dim, read_layers, rotating_layers
from ropewalk.engines.transformers.own_code import own_words, refused_type
from ropewalk.engines.transformers.scaling import ROPE_KEYS, read_scaling, rope_type_of, temperature_ratio
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
    if _flat_v5_is_ignored(fields, kind):
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
        current = read_scaling(fields, part, rope, longest, warnings, nested=_by_layer_type(fields, kind))
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
    factor = part.number("factor") if not _nested(part) and rope_type_of(part) == "linear" else None
    if not factor or factor <= 1 or part.whole("original_max_position_embeddings"):
        return None
    return next((
        (round(stated * factor), f"{fields.where(key)}, which is {stated} x {factor:g}")
        for key in known.OTHER_WINDOWS if fields.config.get(key) == stated * factor
    ), None)  # fmt: skip


def rope_dict(fields: Fields) -> Fields:
    """The v5 or the v4 dict; where both are written they must say the same."""
    new, old = fields.part("rope_parameters"), fields.part("rope_scaling")
    row = class_of(fields.text("model_type") or "")
    if row and row.nested and not row.states_theta and _nested(old):
        raise BadConfig(
            f"{old.path.rstrip('.')} has a dict per layer type, which {row.name} reads in rope_parameters alone: transformers "
            "5.23 puts rope_scaling into the full-attention layers' dict, whatever it holds.\n  Call it rope_parameters."
        )
    if new.config and old.config:
        for layer_type, ours, theirs in _spelt_twice(new, old):
            _check_same(fields, layer_type, ours, theirs)
    return new if new.config else old


def _spelt_twice(new: Fields, old: Fields) -> Iterator[tuple[str, Fields, Fields]]:
    """What both dicts speak of; a flat one beside one per layer type is of the full-attention layers, if there are any."""
    if not _nested(new):
        yield ALL_LAYERS, new, old
        return
    for name in new.config:
        ours = new.part(name)
        theirs = old.part(name) if _nested(old) else old if name == FULL or FULL not in new.config else None
        if theirs is not None and theirs.config:
            yield name, ours, theirs


def _check_same(fields: Fields, layer_type: str, new: Fields, old: Fields) -> None:
    """transformers 5.23 takes the old dict, whole; what it leaves out of these two comes from beside it, or from the class."""
    ours, theirs = _meaning(new), _meaning(old)
    for key in OF_THE_MODEL & (ours.keys() ^ theirs.keys()):
        lacking, other = (theirs, ours) if key in ours else (ours, theirs)
        lacking[key] = _beside(fields, layer_type, key) or other[key]
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            if (key in new and key in old) or key not in OF_THE_MODEL:
                raise BadConfig(
                    f"{new.where(key)} is {ours.get(key)!r} but {old.where(key)} is {theirs.get(key)!r}: two spellings that "
                    "disagree.\n  Engines differ in which they read. Remove the wrong one."
                )
            stated, silent = (new, old) if key in new else (old, new)
            raise BadConfig(
                f"{stated.where(key)} is {stated.number(key):g}, and {silent.path.rstrip('.')} beside it leaves that out. "
                "Engines differ in which of the two they read; transformers 5.23 reads rope_scaling.\n"
                f"  Remove one of the two, or write {key} beside them."
            )


OF_THE_MODEL = frozenset({"rope_theta", "partial_rotary_factor"})  # which transformers 4 has beside rope_scaling


def _beside(fields: Fields, layer_type: str, key: str) -> float | None:
    kind = fields.text("model_type") or ""
    row = class_of(kind)
    names = _base_keys(layer_type, kind) if key == "rope_theta" else SHARES
    stated = next((value for name in names if (value := fields.number(name))), None)
    if stated or row is None:
        return stated
    return row.theta_of(layer_type) if key == "rope_theta" else row.partial


def _meaning(part: Fields) -> dict[str, Any]:
    """The keys that say something, with the type under one name."""
    stated = {key: value for key, value in part.config.items() if value is not None and key not in ("type", "rope_type")}
    return {**stated, "rope_type": rope_type_of(part)}


def _flat_v5_is_ignored(fields: Fields, kind: str) -> bool:
    part = fields.part("rope_parameters")
    return kind in known.PER_LAYER_TYPE and bool(part.config) and not _nested(part) and "rope_scaling" not in fields


def old_type_is_ignored(fields: Fields, part: Fields, kind: str) -> bool:
    """Classes with one dict per layer type put rope_scaling over one that has a rope_type already: `type` changes nothing."""
    named = "type" in part and "rope_type" not in part and part.text("type") != "default"
    return kind in known.PER_LAYER_TYPE and named and not _nested(part) and "rope_parameters" not in fields.config


def _nested(part: Fields) -> bool:
    return any(isinstance(value, Mapping) and key not in ROPE_KEYS for key, value in part.config.items())


def is_nested(fields: Fields) -> bool:
    """One dict per layer type, as transformers 5 writes models whose layers rotate differently."""
    return _nested(rope_dict(fields))


def _by_layer_type(fields: Fields, kind: str) -> bool:
    """Whether transformers 5 has one dict per layer type, also where a flat one was written."""
    return is_nested(fields) or kind in known.PER_LAYER_TYPE


def rope_parts(fields: Fields, kind: str) -> dict[str, Fields]:
    """The rotary settings of each layer type that rotates."""
    part = rope_dict(fields)
    if _nested(part):
        return {
            name: part.part(name)
            for name, value in part.config.items()
            if isinstance(value, Mapping) and name not in ROPE_KEYS
        }
    if _flat_v5_is_ignored(fields, kind):
        return {name: Fields({}, "(plain) ", fields.readings) for name in (FULL, SLIDING)}
    row = class_of(kind)
    if old_type_is_ignored(fields, part, kind):
        kept = {key: value for key, value in part.config.items() if key == "rope_theta"}
        part = Fields(kept, part.path if kept else "(plain) ", fields.readings)
    if kind in known.SCALED_EVERYWHERE:
        return {FULL: part, SLIDING: part}
    if kind not in known.PER_LAYER_TYPE and row and row.nested:
        names = ", ".join(row.rope or ())
        raise BadConfig(
            f"{part.path.rstrip('.')} is flat, but {kind} has one dict per layer type ({names}).\n"
            "  Put it under the layer type that it is meant for."
        )
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
        _read_original_length(fields, part, layer_type, kind, theta, longest, override, warnings),
    )


def _read_theta(fields: Fields, part: Fields, layer_type: str, kind: str) -> float:
    name, row = f"{layer_type}.rope_theta", class_of(kind)
    inside, outside_keys = part.number("rope_theta"), _base_keys(layer_type, kind)
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


def _base_keys(layer_type: str, kind: str) -> tuple[str, ...]:
    """The keys beside the rope dict that set the base of a layer type."""
    row = class_of(kind)
    own = row.base_of(layer_type) if row else None
    return own if own is not None else ("rope_theta", "global_rope_theta", "rotary_emb_base", "rope_embedding_base")


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


def _read_rotary_dim(fields: Fields, part: Fields, layer_type: str, kind: str) -> int:
    name, row = f"{layer_type}.rotary_dim", class_of(kind)
    head = head_dim(fields, layer_type)
    if mla := fields.whole("qk_rope_head_dim"):  # 0 where heads are plain: use_mla false, in DeepSeek-VL2's language model
        _check_share_of_latent(fields, part, head, mla)
        fields.note(name, mla, fields.where("qk_rope_head_dim"))
        return mla
    if rope_type_of(part) == "proportional":
        fields.note(name, head, "head_dim (proportional RoPE spans the whole head)")
        return head
    read = WIDTHS if row is None else row.widths
    share = part.number("partial_rotary_factor") if INSIDE in read else None
    source = part.where("partial_rotary_factor")
    if share is None:
        share = fields.first(f"{layer_type}.partial", *(key for key in SHARES if key in read))
        source = "partial rotation"
    if "rotary_dim" in read and (absolute := fields.whole("rotary_dim")) is not None:
        if share is not None and int(head * share) != absolute:
            raise BadConfig(
                f"{fields.where('rotary_dim')} is {absolute} but {source} is {share:g} of {head}.\n"
                "  Engines differ in which they read. Remove the wrong one."
            )
        fields.note(name, absolute, fields.where("rotary_dim"))
        return absolute
    if share is None:  # null is what transformers keeps: no share of the head, but all of it
        null = any(key in fields.config for key in SHARES if key in read)
        share, source = 1.0 if null else known.DEFAULT_PARTIAL.get(kind, 1.0), f"default of {kind}"
    if not 0 < share <= 1:
        raise BadConfig(f"{source} is {share:g}; the rotated share of a head must be above 0 and at most 1.")
    rotated = int(head * share)
    if row is not None:
        _check_widths(fields, part, row, head, rotated)
    said = fields.where("head_dim") if "head_dim" in fields.origin else "head_dim"
    fields.note(name, rotated, said if share == 1 else f"head_dim {head} x {share:g} ({source})")
    return rotated


SHARES = ("partial_rotary_factor", "rotary_pct", "rope_pct")
INSIDE = "rope_parameters.partial_rotary_factor"
WIDTHS = (*SHARES, INSIDE, "rotary_dim")


def _check_share_of_latent(fields: Fields, part: Fields, head: int, rotated: int) -> None:
    """Latent attention rotates all of qk_rope_head_dim, which may also be stated as a share of the head (DeepSeek-V4)."""
    if rope_type_of(part) == "proportional":
        return
    for where, key in ((part, "partial_rotary_factor"), (fields, "partial_rotary_factor")):
        share = where.number(key) if where.states(key) else None
        own = known.DEFAULT_PARTIAL.get(fields.text("model_type") or "", 1.0)
        if share is not None and int(head * share) != rotated and (share != own or "head_dim" in fields):
            raise BadConfig(
                f"{where.where(key)} is {share:g}, beside qk_rope_head_dim {rotated}: latent attention rotates all of that, "
                "and engines differ in what they make of a share.\n  Take it out."
            )


def _check_widths(fields: Fields, part: Fields, row: ClassDefaults, head: int, rotated: int) -> None:
    """A width that this class does not read, while other engines do; one that says the same harms nothing."""
    for key in WIDTHS:
        where = part if key == INSIDE else fields
        name = key.rpartition(".")[2]
        if key in row.widths or not where.states(name):
            continue
        value = where.number(name) or 0.0
        width = int(value) if name == "rotary_dim" else int(head * value)
        if width != rotated:
            instead = f" It reads {' and '.join(row.widths)}." if row.widths else ""
            raise BadConfig(
                f"{where.where(name)} is {value:g}, which {row.name} of transformers 5.23 does not read: {rotated} of {head} "
                f"channels rotate there, where other engines rotate {width}.\n"
                f"  Take it out, or write what the weights were trained with where every engine reads it.{instead}"
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
    if rope_type_of(part) in RAMPED and _by_layer_type(fields, kind):
        outside = None  # which transformers 5.23 reads beside a flat dict alone
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
