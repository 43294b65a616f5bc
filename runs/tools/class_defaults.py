"""What transformers' config classes fill in for a key that a config.json leaves out, as the table that `read` uses.

    python runs/tools/class_defaults.py          writes src/ropewalk/engines/transformers/class_defaults.json
    python runs/tools/class_defaults.py --add    adds what only this (newer) version has, with its number
    python runs/tools/class_defaults.py --check  says whether the installed transformers still fills in the same

Written at 5.23.0, added to at 5.24.0. 5.17.0 and 5.24.0 say the same of every rotation that they and 5.23.0 have.

Nothing of a class is written by hand: each is built from no keys, and from one, and what comes out is the table.
"""

import argparse
import copy
import dataclasses
import importlib
import inspect
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

TABLE = Path(__file__).parents[2] / "src/ropewalk/engines/transformers/class_defaults.json"
# What `read` and `read_shape` look at, in the names that most classes use.
KEYS = (
    "hidden_size num_attention_heads num_key_value_heads head_dim num_hidden_layers intermediate_size vocab_size "
    "tie_word_embeddings max_position_embeddings original_max_position_embeddings partial_rotary_factor rotary_pct rotary_dim "
    "qk_rope_head_dim kv_lora_rank sliding_window attention_chunk_size use_sliding_window"
).split()
NOT_TEXT = (
    "vision audio video image _dit talker depth_decoder timesfm loftr dinov sam3 mlcd transcribe diarization asr_encoder"
).split()
ODD = 12_345.0  # a base that no class has
PLAIN = {"rope_type": "default", "rope_theta": 1e4}
# Keys that say how much of a head rotates, with two values of each.
SHARES, SIZES = (0.5, 0.25), (32, 48)
WIDTHS = {"rotary_dim": SIZES, "partial_rotary_factor": SHARES, "rotary_pct": SHARES, "qk_rope_head_dim": SIZES}
LATENT = ("qk_rope_head_dim", "kv_lora_rank")
BASES = ("rope_theta", "rotary_emb_base", "global_rope_theta", "local_rope_theta", "rope_local_base_freq")
PARTS = ("text_config", "decoder", "thinker_config", "vlm_config")


def rotary_modules(kind: str) -> list[type[torch.nn.Module]]:
    """The classes that make cos and sin from a config of this type; of its vision or sound tower none."""
    home = CONFIG_MAPPING[kind].__module__.replace("configuration_", "modeling_")
    try:
        found = vars(importlib.import_module(home)).items()
    except ImportError:  # a config class alone, for the model of another type
        model = getattr(transformers, str(MODEL_MAPPING_NAMES.get(kind)), None)
        if model is None:
            return []
        home = model.__module__
        found = vars(importlib.import_module(home)).items()
    return [
        c
        for name, c in found
        if inspect.isclass(c) and c.__module__ == home and name.endswith("RotaryEmbedding")
        and not any(word in name for word in ("Vision", "Audio", "Video", "Image", "Encoder", "DiT", "SaProt"))
        and "config" in inspect.signature(c.__init__).parameters
    ]  # fmt: skip


def kinds() -> Iterator[str]:
    """Model types of text models that rotate."""
    for kind in CONFIG_MAPPING:
        cls = CONFIG_MAPPING[kind]
        if any(word in kind for word in NOT_TEXT) or not is_one(kind, getattr(cls, "sub_configs_defaults", None) or {}):
            continue
        with_defaults = built(kind)
        if getattr(with_defaults, "rope_parameters", None) is not None and rotary_modules(kind):
            yield kind


def is_one(kind: str, parts: Mapping[str, Any]) -> bool:
    """Whether it is a language model itself: one without parts, or whose parts are towers beside it."""
    generates = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return not parts or (generates and not any(name in parts for name in (*PARTS, "global_config")))


def built(kind: str, **keys: Any) -> Any:
    try:
        return CONFIG_MAPPING[kind](**keys)
    except Exception:  # a class that cannot be built from this has no default to show
        return None


def entry(kind: str) -> dict[str, Any]:
    """One class: its name, what it fills in, other names of its keys, and its rope_parameters."""
    cls = CONFIG_MAPPING[kind]
    names = dict(cls.attribute_map)
    raw = {f.name: default_of(f) for f in dataclasses.fields(cls)}
    fields = {key: raw[names.get(key, key)] for key in KEYS if raw.get(names.get(key, key)) is not None}
    found: dict[str, Any] = {"class": cls.__name__, "fields": fields}
    if wide := global_head_dim(kind):
        fields["global_head_dim"] = wide
    unread = ["head_dim"] * ("head_dim" in raw and not moves(kind, "head_dim"))
    if unread := unread + ["rope_scaling"] * ("rope_scaling" in raw and not scales(kind)):
        found["unread"] = unread
    widths = {*(key for key in WIDTHS if moves(kind, key)), *(key for key in LATENT if key in raw)}
    if widths := sorted(widths) + ["rope_parameters.partial_rotary_factor"] * moves_inside(kind):
        found["widths"] = widths
    if "head_dim" not in fields and needs_head(kind):
        found["states_head"] = True
    if alias := {key: real for key, real in names.items() if key in KEYS}:
        found["alias"] = alias
    return found | rope(kind)


def pairs(config: Any) -> tuple[int, ...] | None:
    """Pairs in each table of the rotary module that is built from a config; None where none is."""
    try:
        module = rotary_modules(config.model_type)[0](config=config)
        return tuple(int(b.numel()) for name, b in module.named_buffers() if name.endswith("inv_freq"))
    except Exception:
        return None


def moves(kind: str, key: str) -> bool:
    """Whether a stated size reaches the rotary module. MLA's own key goes before head_dim, and `read` knows it."""
    if key == "head_dim" and built(kind, qk_rope_head_dim=48) and "qk_rope_head_dim" in vars(built(kind)):
        return True
    flat = not is_nested(built(kind).rope_parameters or {})
    # The plain rotation: a scaled one may read what this attention cannot use.
    beside = {"rope_parameters": PLAIN} if flat and key != "head_dim" else {}
    return differs(built(kind, **{key: size}, **copy.deepcopy(beside)) for size in WIDTHS.get(key, SIZES))


def moves_inside(kind: str) -> bool:
    """Whether partial_rotary_factor does, written into the rope dict, or into that of each layer type."""
    plain = built(kind).rope_parameters or {}

    def sharing(share: float) -> dict[str, Any]:
        more = {"partial_rotary_factor": share}
        if is_nested(plain):
            return {name: part and {**part, **more} for name, part in plain.items()}
        return {**PLAIN, **more}

    return differs(built(kind, rope_parameters=sharing(share)) for share in SHARES)


def fills(kind: str) -> bool:
    """Whether the dict of a layer type that leaves out rope_theta gets the base that it has where there is no dict."""
    plain = built(kind).rope_parameters or {}
    bare = built(kind, rope_parameters={name: part and {"rope_type": "default"} for name, part in plain.items()})
    now = (bare.rope_parameters or {}) if bare is not None else {}
    return all(part is None or (now.get(name) or {}).get("rope_theta") == part["rope_theta"] for name, part in plain.items())


def differs(configs: Iterable[Any]) -> bool:
    """Whether their rotary modules do; where none is built nothing is known, and the key counts as read."""
    return len({pairs(config) for config in configs} - {None}) != 1


def scales(kind: str) -> bool:
    """Whether rope_scaling reaches the rotary embedding, in a class that has it as a key of its own."""
    config = built(kind, rope_scaling={"rope_type": "linear", "factor": 2.0})
    return config is None or (config.rope_parameters or {}).get("factor") == 2.0


def needs_head(kind: str) -> bool:
    """Whether yarn cannot be built without a head_dim in the config: transformers multiplies the class's None."""
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096, "rope_theta": 1e4}
    without, stated = built(kind, rope_parameters=dict(yarn)), built(kind, rope_parameters=dict(yarn), head_dim=64)
    return without is not None and pairs(without) is None and pairs(stated) is not None


def default_of(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def global_head_dim(kind: str) -> int | None:
    """Head size of the full-attention layers, where a class gives them one of their own (Gemma 4)."""
    config = built(kind)
    types = getattr(config, "layer_types", None) or ()
    if not getattr(config, "is_heterogeneous", False) or "full_attention" not in types:
        return None
    own = getattr(config.per_layer_config[types.index("full_attention")], "head_dim", None)
    return own if own != getattr(config.per_layer_config[0], "head_dim", None) else None


def rope(kind: str) -> dict[str, Any]:
    """theta: of a dict that states none.  rope: the dict of a config without one, but for bases that a key beside it sets."""
    plain = built(kind).rope_parameters or {}
    plain = dict(sorted(plain.items(), key=lambda item: item[0] != "full_attention"))  # the order of every other config
    nested = is_nested(plain)
    moved = [built(kind, **{key: ODD}) for key in BASES]
    others = [config.rope_parameters or {} for config in moved if config is not None]

    def kept(part: Mapping[str, Any], of: list[Mapping[str, Any]]) -> dict[str, Any]:
        pinned = all(other.get("rope_theta") == part.get("rope_theta") for other in of)
        return {key: value for key, value in part.items() if key != "rope_theta" or pinned}

    tried = {key: config.rope_parameters or {} for key, config in zip(BASES, moved, strict=True) if config is not None}

    def base_keys(part: Mapping[str, Any], layer: str = "") -> list[str]:
        """Keys beside the dict that set its base."""
        return [
            key for key, other in tried.items()
            if (other[layer] if layer else other).get("rope_theta") != part.get("rope_theta")
        ]  # fmt: skip

    if nested:
        parts = {name: kept(part, [o[name] for o in others]) if part else None for name, part in plain.items()}
        bases = {name: base_keys(part, name) for name, part in plain.items() if part}
        theta = {name: part["rope_theta"] for name, part in plain.items() if part}
        return {"theta": theta, "rope": parts, "base": bases} | ({} if fills(kind) else {"states_theta": True})
    stretched = built(kind, rope_parameters={"rope_type": "linear", "factor": 2.0})
    theta = (stretched.rope_parameters if stretched is not None else plain).get("rope_theta") or plain.get("rope_theta")
    own, partial = kept(plain, others), plain.get("partial_rotary_factor")
    keys = base_keys(plain)
    found = (
        {"theta": theta}
        | ({"base": keys} if keys and "rope_theta" not in keys else {})
        | ({"partial": partial} if partial not in (None, 1.0) else {})
    )
    says_more = set(own) - {"rope_type", "type", "partial_rotary_factor"} or own.get("rope_type", "default") != "default"
    return found | ({"rope": own} if says_more else {})


def is_nested(part: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Mapping) for value in part.values())


def wrappers(known: set[str]) -> dict[str, Any]:
    """Model types that hold a text model: where, of which type unless it says, and whether its keys may stand at the top."""
    found = {}
    for kind in CONFIG_MAPPING:
        parts = getattr(CONFIG_MAPPING[kind], "sub_configs_defaults", None) or {}
        name = next((name for name in PARTS if name in parts), None)
        if name is None or built(kind) is None:
            continue
        spec = parts[name]
        if spec.model_type not in known and not (
            spec.model_type in CONFIG_MAPPING and getattr(CONFIG_MAPPING[spec.model_type], "sub_configs_defaults", None)
        ):
            continue
        fixed = issubclass(spec.config_class, transformers.PretrainedConfig)
        top = built(kind, max_position_embeddings=7_777)
        try:
            flat = top.get_text_config(decoder=True).max_position_embeddings == 7_777
        except Exception:
            flat = False
        more = {
            key: value for key, value in (spec.init_kwargs or {}).items() if key in (*KEYS, "rope_theta", "rope_parameters")
        }
        found[kind] = {"part": name, "kind": spec.model_type, "fixed": fixed} | ({"flat": True} if flat else {})
        if more:
            found[kind]["empty"] = more
            named = getattr(built(kind, **{name: {"model_type": spec.model_type}}), name, None)
            if named is not None and all(
                getattr(named, key, value) == value for key, value in more.items() if "rope" not in key
            ):
                found[kind]["always"] = True  # the class puts them under a part that is given, too
    return found


def table() -> dict[str, Any]:
    classes = {kind: entry(kind) for kind in sorted(kinds())}
    around = wrappers(set(classes))
    others = sorted(kind for kind in CONFIG_MAPPING if kind not in classes and kind not in around)
    return {"transformers": transformers.__version__, "others": others, "classes": classes, "wrappers": around}


def added(old: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The stored table with what it lacks; rows that it has stay as they are."""
    since = made["transformers"].rpartition(".")[0]
    later = {"since": since} if since != old["transformers"].rpartition(".")[0] else {}
    new = {kind: {**row, **later} for kind, row in made["classes"].items() if kind not in old["classes"]}
    around = {**made["wrappers"], **old["wrappers"]}
    known = {*old["others"].split(), *made["others"]} - {*made["classes"], *around}
    return {**old, "others": sorted(known), "classes": {**old["classes"], **new}, "wrappers": around}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--add", action="store_true")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(50)
    made = json.loads(json.dumps(table()))
    old = json.loads(TABLE.read_text(encoding="utf-8")) if asked.check or asked.add else {}
    if asked.add:
        made = added(old, made)
    if asked.check:
        old["classes"] = {kind: {k: v for k, v in row.items() if k != "since"} for kind, row in old["classes"].items()}
        new = [kind for kind in made["others"] if kind not in old["others"].split()]
        wrong = [f"others {kind}" for kind in new] + [
            f"{part} {k}" for part in ("classes", "wrappers") for k in made[part] if old[part].get(k) != made[part][k]
        ]
        print("\n".join(wrong) or f"the same in transformers {made['transformers']}")
        return bool(wrong)
    lines = [
        f'"transformers": {json.dumps(made["transformers"])}',
        f'"others": {json.dumps(" ".join(made["others"]))}',
        *(
            f'"{part}": {{\n' + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in made[part].items()) + "\n}"
            for part in ("classes", "wrappers")
        ),
    ]
    TABLE.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
