"""What transformers itself makes of a config: its config class and its rotary module, built from the same dict."""

import copy
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import transformers

sys.path.insert(0, str(Path(__file__).parents[2] / "runs" / "tools"))
import class_defaults as generator

transformers.logging.set_verbosity(50)
# Models that make no rotary module unless (5.23: modeling_granitemoehybrid.py:1056, modeling_zamba2.py:1136).
ROTATES_IF = {"granitemoehybrid": {"position_embedding_type": "rope"}, "zamba2": {"use_mem_rope": True}}
Answer = dict[str, tuple[list[float], float]]


@cache
def kinds() -> tuple[str, ...]:
    """Every text model of transformers that rotates."""
    return tuple(sorted(generator.kinds()))


def answer(kind: str, config: Mapping[str, Any]) -> Answer | None:
    """{layer type: (frequencies, attention factor)}, "all" where one table serves every layer; None where nothing is built."""
    try:
        built = generator.CONFIG_MAPPING[kind].from_dict(copy.deepcopy(dict(config)))
        if any(getattr(built, key) != needed for key, needed in ROTATES_IF.get(kind, {}).items()):
            return None
        module = generator.rotary_modules(kind)[0](config=built)
    except Exception:
        return None
    buffers = {name: buffer.double().tolist() for name, buffer in module.named_buffers() if "original" not in name}
    found = {
        name.removesuffix("inv_freq").removesuffix("_") or "all": (
            values,
            float(getattr(module, name.replace("inv_freq", "attention_scaling"), 1.0)),
        )
        for name, values in buffers.items()
        if name.endswith("inv_freq")
    }
    return found or None


def complete(kind: str) -> dict[str, Any]:
    """A config that states every key, with sizes that are not the class's own."""
    config = generator.CONFIG_MAPPING[kind](**ROTATES_IF.get(kind, {})).to_dict()
    if isinstance(config.get("hidden_size"), int):
        config["hidden_size"] *= 2
    return {key: value for key, value in config.items() if value is not None or key == "head_dim"}


def variants(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what was done, config): all keys, each key left out, none; and the old spelling."""
    full = complete(kind)
    yield "complete", full
    looked_at = [
        key for key in (*generator.KEYS, "rope_parameters", "layer_types", "kv_channels", "global_head_dim") if key in full
    ]
    for key in looked_at:
        yield f"without {key}", {k: v for k, v in full.items() if k != key}
    yield "empty", {"model_type": kind}
    bare = {k: v for k, v in full.items() if k != "rope_parameters"}
    yield "old, plain", {**bare, "rope_theta": 54_321.0}
    yield "old, linear", {**bare, "rope_theta": 54_321.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    yield "old, no base", {**bare, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    yield "null dict", {**full, "rope_parameters": None}


def wrapped() -> Mapping[str, Mapping[str, Any]]:
    return generator.wrappers(set(kinds()))


def text_of_wrapper(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The language model's config that a wrapper's class makes of its own; None where it builds none."""
    try:
        built = generator.CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(dict(config)))
        while (text := built.get_text_config(decoder=True)) is not built:
            built = text
    except Exception:
        return None
    return dict(built.to_dict())
