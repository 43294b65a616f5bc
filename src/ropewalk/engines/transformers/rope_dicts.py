"""Reading config.json of transformers: which dicts speak of the rotation, of which layers, and whether two of them agree."""

from collections.abc import Iterator, Mapping
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import class_of
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.layers import FULL, SLIDING, rotating_layers
from ropewalk.engines.transformers.scaling import ROPE_KEYS, rope_type_of
from ropewalk.errors import BadConfig
from ropewalk.scaling.spec import ALL_LAYERS

SHARES = ("partial_rotary_factor", "rotary_pct", "rope_pct")  # keys beside the dict of how much of a head rotates


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
    names = base_keys(layer_type, kind) if key == "rope_theta" else SHARES
    stated = next((value for name in names if (value := fields.number(name))), None)
    if stated or row is None:
        return stated
    return row.theta_of(layer_type) if key == "rope_theta" else row.partial


def base_keys(layer_type: str, kind: str) -> tuple[str, ...]:
    """The keys beside the rope dict that set the base of a layer type."""
    row = class_of(kind)
    own = row.base_of(layer_type) if row else None
    return own if own is not None else ("rope_theta", "global_rope_theta", "rotary_emb_base", "rope_embedding_base")


def _meaning(part: Fields) -> dict[str, Any]:
    """The keys that say something, with the type under one name."""
    stated = {key: value for key, value in part.config.items() if value is not None and key not in ("type", "rope_type")}
    return {**stated, "rope_type": rope_type_of(part)}


def flat_v5_is_ignored(fields: Fields, kind: str) -> bool:
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


def by_layer_type(fields: Fields, kind: str) -> bool:
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
    row = class_of(kind)
    if part.config and row and row.nested and (kind not in known.PER_LAYER_TYPE or row.states_theta):
        raise BadConfig(
            f"{part.path.rstrip('.')} is flat, but {kind} has one dict per layer type ({', '.join(row.rope or ())}).\n"
            "  Put it under the layer type that it is meant for."
        )
    if flat_v5_is_ignored(fields, kind):
        return {name: Fields({}, "(plain) ", fields.readings) for name in (FULL, SLIDING)}
    if old_type_is_ignored(fields, part, kind):
        kept = {key: value for key, value in part.config.items() if key == "rope_theta"}
        part = Fields(kept, part.path if kept else "(plain) ", fields.readings)
    if kind in known.SCALED_EVERYWHERE:
        return {FULL: part, SLIDING: part}
    if kind in known.PER_LAYER_TYPE:
        # Flat spellings of such models: the scaling belongs to the full-attention layers alone (v4 Gemma 3, OLMo 3).
        return {FULL: part, SLIDING: Fields({}, "(plain) ", fields.readings)}
    return {rotating_layers(fields, kind): part}
