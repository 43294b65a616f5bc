"""What transformers' config classes fill in for keys that a config.json leaves out.

A config may be saved as its difference from the class (Gemma 3's `text_config`), so an absent key means the class's value.
runs/tools/class_defaults.py made the table from the classes themselves, and a test holds it against the installed version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ropewalk.engines.transformers.checkpoint import TEXT_PARTS, text_path
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.own_code import OWN_CODE, as_usual
from ropewalk.errors import BadConfig, NoRope
from ropewalk.scaling.spec import Provenance

BASES = ("rope_theta", "rope_parameters")
LATENT = ("kv_lora_rank", "qk_rope_head_dim")  # keys of latent attention
# Keys of a language model that no wrapper has for itself.
OF_TEXT = (*BASES, "rope_scaling", "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "head_dim")


@dataclass(frozen=True, slots=True)
class ClassDefaults:
    """One config class.

    fields: values of absent keys.  alias: {the usual name of a key: its name in this class}.
    theta: the base of a rope dict that states none, by layer type where there are several.  partial: rotated share, likewise.
    rope: the rope dict of a config that has none, where it says more than theta and partial.
    base: keys beside the dict that set its base, where it is not rope_theta alone; by layer type where there are several.
    unread: sizes that its rotation does not look at.  since: the version that brought it, where it is not the table's.
    states_head: a scaled rotation is built only where the config states head_dim.
    states_theta: of dicts by layer type, one that leaves out its base does not get the class's own.
    widths: keys besides head_dim that say how much of a head rotates, and those of latent attention where it has them.
    """

    name: str
    fields: Mapping[str, Any]
    theta: float | Mapping[str, float]
    alias: Mapping[str, str] = field(default_factory=dict)
    partial: float = 1.0
    rope: Mapping[str, Any] | None = None
    base: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    unread: tuple[str, ...] = ()
    since: str = ""
    states_head: bool = False
    states_theta: bool = False
    widths: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """Where a value came from, for people."""
        return f"default of {self.name} in transformers {self.since or _table()['transformers'].rpartition('.')[0]}"

    def theta_of(self, layer_type: str) -> float:
        """The base of a layer type whose dict states none; 0 where this class has no such layer type."""
        return self.theta.get(layer_type, 0.0) if isinstance(self.theta, Mapping) else self.theta

    def base_of(self, layer_type: str) -> tuple[str, ...] | None:
        """The keys beside the rope dict that set the base of a layer type; None where this class says nothing unusual."""
        found = self.base.get(layer_type) if isinstance(self.base, Mapping) else self.base or None
        return None if found is None else tuple(found)

    @property
    def nested(self) -> bool:
        """One rotary table per layer type."""
        return isinstance(self.theta, Mapping)


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found


@cache
def classes() -> Mapping[str, ClassDefaults]:
    """By model_type: every text model of transformers that rotates."""
    return {kind: ClassDefaults(row["class"], **{k: v for k, v in row.items() if k != "class"}) for kind, row in _rows()}


def _rows() -> list[tuple[str, dict[str, Any]]]:
    return list(_table()["classes"].items())


def wrappers() -> Mapping[str, Mapping[str, Any]]:
    """By model_type: models that hold a text model.

    part: the key it is under.  kind: its model_type unless it says.  fixed: whatever it says.
    flat: its keys may stand at the top.  empty: what an absent part holds; always: and a part that leaves them out.
    """
    found: Mapping[str, Mapping[str, Any]] = _table()["wrappers"]
    return found


def class_of(kind: str) -> ClassDefaults | None:
    """The class that reads a model of this type; of a wrapper, the one of its text model."""
    return classes().get(kind) or classes().get(wrappers().get(kind, {}).get("kind", ""))


@cache
def is_native(kind: str) -> bool:
    """Whether transformers has this model_type at all."""
    return kind in classes() or kind in wrappers() or kind in _table()["others"].split()


def completed(text: Mapping[str, Any], kind: str, path: str = "", readings: list[Provenance] | None = None) -> Fields:
    """The keys of a text model as its class has them: absent ones filled in, each remembering that it was."""
    if kind in OWN_CODE:
        usual, places = as_usual(text, kind, path)
        return Fields(usual, path, readings, places)
    row = class_of(kind)
    if row is None:
        return Fields(text, path, readings)
    unread = {*row.unread, *(key for key in LATENT if key not in row.widths)}  # HunYuan's configs carry both
    merged = {key: value for key, value in text.items() if key not in unread}
    origin: dict[str, str] = {}
    for key, own in row.alias.items():
        if merged.get(key) is None and merged.get(own) is not None:
            merged[key], origin[key] = merged[own], f"{path}{own}"
    inner = text.get("attn_config")  # DBRX's: other engines read its base, transformers 5 does not
    if isinstance(inner, Mapping) and inner.get("rope_theta") and not {*BASES} & {k for k in text if text[k] is not None}:
        merged["rope_theta"], origin["rope_theta"] = inner["rope_theta"], f"{path}attn_config.rope_theta"
    for key, value in row.fields.items():
        if key not in merged and key not in unread:
            merged[key], origin[key] = value, row.said
    if row.rope is not None and not text.get("rope_scaling") and text.get("rope_parameters") is None:
        merged["rope_parameters"], origin["rope_parameters"] = row.rope, row.said
    return Fields(merged, path, readings, origin)


def text_fields(config: Mapping[str, Any]) -> Fields:
    """The language model's keys of a config, completed; "model_type" is the one that decides.

    A wrapper of transformers knows of which type its part is, whether or not the part says so.
    """
    _check_parts(config)
    _check_top(config)
    config = opened(config)
    kind, part, where = _word(config), config, text_path(config)
    outer = kind
    for key in where:
        part = part[key]
        outer, kind = kind, _kind_of_part(kind, _word(part) or _architecture(part))
    path = "".join(f"{key}." for key in where)
    fields = completed({**part, "model_type": kind} if where else part, kind, path)
    if where and (stated := _word(part)) != kind and not _fixed(outer) and stated:
        said = f"{path}model_type is {stated!r}, which transformers 5.23 does not have; read as {kind}, the default of {outer}"
        return Fields(fields.config, path, fields.readings, {**fields.origin, "model_type": said})
    return fields


def opened(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with the part that its class would make for it, where that holds the language model and is left out."""
    wrapper = wrappers().get(_word(config))
    if wrapper is None or wrapper.get("flat") or (text_path(config) and wrapper["part"] not in config):
        return config
    part = config.get(wrapper["part"])
    made = wrapper.get("empty", {}) if part is None or wrapper.get("always") else {}
    inner = {"model_type": wrapper["kind"], **made, **(part or {})}
    filled = opened(inner)
    return config if filled is inner and part is not None and not made else {**config, wrapper["part"]: filled}


def _check_parts(config: Mapping[str, Any]) -> None:
    for key in TEXT_PARTS:
        Fields(config).part(key)  # raises for what is no object


def _check_top(config: Mapping[str, Any]) -> None:
    """Where transformers looks elsewhere: BadConfig for a wrapper whose language model stands at the top, without its part.

    NoRope for an encoder and a decoder: both rotate, and a plan for one of them would leave the other as it was.
    """
    kind = _word(config)
    wrapper = wrappers().get(kind, {"part": ""})
    both = all(isinstance(config.get(key), Mapping) for key in ("encoder", "decoder"))
    if wrapper["part"] == "decoder" or (both and not text_path(config)):
        raise NoRope(
            f"{kind or 'this model'} is an encoder beside a decoder: a plan is for one language model, and none is made for "
            "two."
        )
    found = [key for key in OF_TEXT if config.get(key) is not None]
    if not wrapper["part"] or wrapper.get("flat") or text_path(config) or config.get(wrapper["part"]) is not None or not found:
        return
    raise BadConfig(
        f"{', '.join(found[:3])}: this {kind} config has them at the top, where transformers 5.23 reads none of it. The "
        f"language model is in {wrapper['part']}.\n"
        f"  Where another program reads the top, as LLaVA's own does, copy the config with model_type {wrapper['kind']} and "
        f"look at that.\n  Else move them into {wrapper['part']}."
    )


def _word(config: Mapping[str, Any]) -> str:
    return Fields(config).text("model_type") or ""


def _architecture(part: Mapping[str, Any]) -> str:
    """The model_type of a part that names its class alone (DeepSeek-VL2's and DeepSeek-OCR's)."""
    names = part.get("architectures")
    name = str(names[0]).removesuffix("ForCausalLM") if isinstance(names, list) and names else ""
    return next((kind for kind, row in classes().items() if row.name == f"{name}Config"), "")


def _kind_of_part(outer: str, stated: str) -> str:
    wrapper = wrappers().get(outer)
    unknown = not stated or not (is_native(stated) or stated in OWN_CODE)
    return wrapper["kind"] if wrapper and (wrapper["fixed"] or unknown) else stated


def _fixed(outer: str) -> bool:
    return bool(wrappers().get(outer, {}).get("fixed"))
