"""What is looked at: a folder, a config.json, a params.json, a GGUF or a pasted command line, read into written keys."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.scaling.checkpoint import CONFIG, local_checkpoint, read_config, text_of
from ropewalk.scaling.commands import Command, is_command, json_option, length_option, number_option, parse_command
from ropewalk.scaling.dialects import gguf, known
from ropewalk.scaling.dialects.marks import ASKED, ENVIRONMENT, NULL_THETA, OLD_FLAG
from ropewalk.scaling.engine import get_engine
from ropewalk.scaling.gguf_header import read_header
from ropewalk.scaling.keys import FLAGS, LENGTH, Keys, layers_of

Find = Callable[[str], Path]
DEFAULT = ("transformers", "vllm", "sglang", "llama_cpp", "mlx_lm")
ROPE_KEYS = ("rope_scaling", "rope_parameters", "rope_theta")


@dataclass(frozen=True, slots=True)
class Target:
    """title: for people.  engines: who reads it, unless a person names others.  layers: what is written, by layer type."""

    title: str
    engines: tuple[str, ...]
    layers: tuple[Keys, ...]


def resolve(target: str, find: Find, base: Path | None = None) -> Target:
    """Read a target.

    find: the folder or file of a model's name; only called for names that are not on this machine as they stand.
    base: the config that a command line serves, where its own model is not at hand.
    """
    path = Path(target).expanduser()
    if not path.exists() and is_command(target):
        return _of_command(parse_command(target), find, base)
    return _of_file(target, local_checkpoint(target) or find(target))


def _of_file(title: str, path: Path) -> Target:
    if path.suffix == ".gguf":
        return Target(title, ("llama_cpp",), (gguf.keys_of(read_header(path)),))
    params = path if path.name == "params.json" else path / "params.json"
    if path.name == "params.json" or (path.is_dir() and params.is_file() and not (path / CONFIG).is_file()):
        read = get_engine("mistral").read
        return Target(title, ("mistral",), read(read_config(params)) if read else ())
    return Target(title, DEFAULT, _layers(read_config(path)))


def _layers(config: Mapping[str, Any]) -> tuple[Keys, ...]:
    """Layers of a config; a base that is null is a finding about who reads it, not a config that cannot be read."""
    text = text_of(config)
    if not isinstance(text, Mapping) or not _null_theta(text):
        return layers_of(config)
    theta = known.DEFAULT_THETA.get(str(text.get("model_type")), 10_000.0)
    new = {**text, "rope_theta": theta}
    if isinstance(part := new.get("rope_parameters"), dict):
        new["rope_parameters"] = {**part, "rope_theta": theta}
    return tuple(marked(keys, **{NULL_THETA: True}) for keys in layers_of(new))


def _null_theta(text: Mapping[str, Any]) -> bool:
    part = text.get("rope_parameters")
    inside = isinstance(part, Mapping) and "rope_theta" in part and part["rope_theta"] is None
    stated = text.get("rope_theta") is not None or (isinstance(part, Mapping) and part.get("rope_theta") is not None)
    return (inside or ("rope_theta" in text and text["rope_theta"] is None)) and not stated


def marked(keys: Keys, **marks: Any) -> Keys:
    return dataclasses.replace(keys, model={**keys.model, **marks})


def _of_command(command: Command, find: Find, base: Path | None) -> Target:
    path = base or local_checkpoint(command.model) or find(command.model)
    if command.engine == "llama_cpp":
        keys = gguf.keys_of(read_header(path)) if path.suffix == ".gguf" else _only(layers_of(read_config(path)), command)
        return Target(command.model, (command.engine,), (_with_flags(keys, command),))
    config = read_config(path)
    overrides = json_option(command, {"sglang": "json-model-override-args"}.get(command.engine, "hf-overrides"))
    old = json_option(command, "rope-scaling")
    new, replaced = _overridden(config, overrides | ({"rope_scaling": old} if old else {}))
    if (theta := number_option(command, "rope-theta")) is not None:
        new["rope_theta"] = theta
    marks: dict[str, Any] = {
        OLD_FLAG: bool(old), ASKED: length_option(command, "max-model-len", "context-length", "max-seq-len"),
        ENVIRONMENT: tuple(name for name, value in command.environment.items() if value not in ("", "0")),
    }  # fmt: skip
    layers = tuple(
        dataclasses.replace(marked(keys, **marks), lost_theta=replaced and bool(overrides) and command.engine == "vllm")
        for keys in _layers(new)
    )
    return Target(command.model, (command.engine,), layers)


def _only(layers: tuple[Keys, ...], command: Command) -> Keys:
    if len(layers) != 1:
        raise BadConfig(f"{command.model} has {len(layers)} rotary layer types: llama.cpp's flags cannot be read against it.")
    return layers[0]


def _overridden(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """(config as the person meant it, whether the base was in a dict that the override replaced and does not repeat)."""
    inner = overrides.get("text_config")
    if isinstance(inner, dict) and isinstance(config.get("text_config"), dict):
        text, lost = _overridden(config["text_config"], inner)
        return {**config, **{k: v for k, v in overrides.items() if k != "text_config"}, "text_config": text}, lost
    new = {**config, **overrides}
    rope = overrides.get("rope_parameters", overrides.get("rope_scaling"))
    if not isinstance(rope, dict):
        return new, False
    theta = rope.get("rope_theta", overrides.get("rope_theta"))
    old = config.get("rope_parameters")
    base = config.get("rope_theta") or (old.get("rope_theta") if isinstance(old, dict) else None)
    new = {key: value for key, value in new.items() if key not in ROPE_KEYS}
    if LENGTH in rope and new.get(LENGTH) != rope[LENGTH]:
        new.pop(LENGTH, None)
    new["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    if theta or base:
        new["rope_theta"] = theta or base
    return new, theta is None and base is not None


def _with_flags(keys: Keys, command: Command) -> Keys:
    """llama.cpp's flags before what the GGUF says."""
    said, rope = dict(keys.said), keys.rope
    names = {"yarn-attn-factor": "attention_factor", "yarn-beta-fast": "beta_fast", "yarn-beta-slow": "beta_slow"}
    kind = command.options.get("rope-scaling")
    if kind is not None and kind not in gguf.TYPES:
        raise BadConfig(f"--rope-scaling is {kind!r}; llama.cpp knows none, linear and yarn.")
    scale, freq_scale = number_option(command, "rope-scale"), number_option(command, "rope-freq-scale")
    if freq_scale is not None and freq_scale <= 0:
        raise BadConfig(f"--rope-freq-scale is {freq_scale:g}; it must be above 0.")
    factor = scale if scale is not None else 1 / freq_scale if freq_scale else None
    if kind is not None:
        said["rope_type"] = gguf.TYPES[kind]
    if factor is not None:
        said["factor"] = factor
    untold = factor is not None and kind is None and said["rope_type"] == "default"
    if untold:
        said["rope_type"] = "yarn"
    said |= {ours: value for flag, ours in names.items() if (value := number_option(command, flag)) is not None}
    length = length_option(command, "yarn-orig-ctx")
    if length:
        said[LENGTH] = length
    theta = number_option(command, "rope-freq-base")
    rope = dataclasses.replace(rope, original_length=length or rope.original_length, rope_theta=theta or rope.rope_theta)
    text = FLAGS if {"rope-scaling", "rope-scale", "rope-freq-scale", *names} & set(command.options) else keys.text
    if LENGTH not in said and keys.states_length:
        said[LENGTH] = rope.original_length
    marks = {gguf.NO_TYPE: untold, gguf.SHIFTS: "context-shift" in command.options}
    return dataclasses.replace(marked(keys, **marks), said=said, rope=rope, text=text)
