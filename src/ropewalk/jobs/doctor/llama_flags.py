"""llama.cpp's command line over what a GGUF or a config says, as common/arg.cpp and llama-context.cpp take it."""

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from ropewalk.engines import gguf
from ropewalk.engines.commands import Command, length_option, number_option
from ropewalk.engines.gguf_file import FREQS, LONG, SHORT
from ropewalk.engines.keys import FLAGS, LENGTH, Keys, mscale
from ropewalk.engines.quirks import plain
from ropewalk.errors import BadConfig

ARCHITECTURE = "general.architecture"
KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "bool": "true".__eq__}
PYTHON, PYTHON_CONTEXT = "llama_cpp.server", 2048  # it caps no slot, and n_ctx is 2048 where it is not given
NUMBERED = {"-1": None, "0": "none", "1": "linear", "2": "yarn"}  # llama_rope_scaling_type, as llama-cpp-python takes it
BETAS = {"yarn-beta-fast": "beta_fast", "yarn-beta-slow": "beta_slow"}


def with_overrides(metadata: Mapping[str, Any], command: Command) -> dict[str, Any]:
    """--override-kv KEY=TYPE:VALUE, by commas: the file's metadata as the loader finds it."""
    new = dict(metadata)
    for item in filter(None, (command.options.get("override-kv") or "").split(",")):
        found = re.fullmatch(r"([^=]+)=(int|float|bool|str):(.*)", item)
        if not found:
            raise BadConfig(
                f"--override-kv is {item!r}; it must be KEY=TYPE:VALUE, with int, float, bool or str for the type."
            )
        key, kind, text = found.groups()
        if re.fullmatch(r"[\w-]+\.(rope\..+|context_length)", key) and not key.startswith(f"{metadata.get(ARCHITECTURE)}."):
            raise BadConfig(
                f"--override-kv {key}: this GGUF is {metadata.get(ARCHITECTURE)}, and nobody reads that key of it.\n"
                f"  Its keys begin with {metadata.get(ARCHITECTURE)}."
            )
        try:
            new[key] = KINDS[kind](text)
        except ValueError:
            raise BadConfig(f"--override-kv {key}: {text!r} is no {kind}.") from None
    return new


def reached(keys: Keys, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Marks where --override-kv claims a longer window than the file, or another base, and stretches nothing."""
    own = gguf.keys_of(metadata)
    if own.rope.rope_theta != keys.rope.rope_theta:
        return {"base_raised": True}
    return {"reached": own.longest} if keys.rope_type == "default" and keys.longest > own.longest else {}


def layers_under(metadata: Mapping[str, Any], command: Command) -> tuple[Keys, ...]:
    """The keys of a GGUF, for flags to be laid over: beside flags its rope factors stand apart, since both act (ggml,
    ggml_rope_cache_init: the angle is divided by them first)."""
    if not _turns(command):
        return gguf.layers_of(metadata)
    if LONG in metadata or SHORT in metadata:
        raise BadConfig(
            "flags of the rotation act beside the long and short factors of this GGUF, and what both make was not looked at.\n"
            "  Leave the flags out."
        )
    factors = tuple(metadata.get(FREQS) or ())
    layers = gguf.layers_of({key: value for key, value in metadata.items() if key != FREQS})
    for keys in layers:
        if factors and len(factors) != keys.rope.rotary_dim // 2:
            raise BadConfig(f"{FREQS} has {len(factors)} factors for {keys.rope.rotary_dim // 2} pairs.")
    return tuple(keys if keys.layer_type.startswith("sliding") else keys.knowing(bands=factors) for keys in layers)


def converted(keys: Keys, command: Command) -> Keys:
    """The same of a config.json, whose converter writes llama3's bands as rope factors (conversion/llama.py)."""
    if not _turns(command) or keys.rope_type in ("default", "linear", "yarn"):
        return keys
    if keys.rope_type != "llama3" or gguf.architecture(keys.kind) not in gguf.ROPE_FACTORS:
        raise BadConfig(
            f"flags of the rotation act beside what the converter makes of {keys.rope_type}, which was not looked at.\n"
            "  Leave the flags out, or give the GGUF."
        )
    bands = tuple(map(operator.truediv, keys.rope.inv_freq, keys.scaled().inv_freq))
    return plain(keys).with_length(keys.longest).knowing(bands=bands)


def _turns(command: Command) -> bool:
    return any(name.startswith(("rope-", "yarn-")) for name in command.options)


def with_flags(keys: Keys, command: Command) -> Keys:
    """llama.cpp's flags before what the GGUF says. Sliding layers with a base and scale of their own do not see them."""
    program = PurePath(command.program).name
    marks: dict[str, Any] = {
        "asked": _context(command), "shifts": "context-shift" in command.options,
        "server": "server" in program and program != PYTHON,
        "unasked": program == PYTHON and "ctx-size" not in command.options,
    }  # fmt: skip
    if keys.layer_type.startswith("sliding"):
        return keys.knowing(**marks)
    said, rope = dict(keys.said), keys.rope
    kind = command.options.get("rope-scaling")
    if program == PYTHON:
        kind = NUMBERED.get(kind or "-1", kind)
    if kind is not None and kind not in NUMBERED.values():
        raise BadConfig(f"--rope-scaling is {kind!r}; llama.cpp knows none, linear and yarn.")
    if kind is not None:
        said["rope_type"] = gguf.TYPES[kind]
    if (factor := _factor(command)) is not None:
        if LENGTH not in said and said["rope_type"] == "linear" and "factor" in said:  # the window of the file is stretched
            said[LENGTH] = round(rope.original_length / said["factor"])
        said["factor"] = factor
        if kind is None and said["rope_type"] == "default":  # as `--rope-scaling` without a value: the type is linear
            said["rope_type"] = "linear"
    if said["rope_type"] in ("linear", "yarn"):
        said.setdefault("factor", 1.0)  # no scale anywhere is a scale of 1
    said |= {ours: value for flag, ours in BETAS.items() if (value := _given(command, flag)) is not None}
    said |= _magnitude(command, keys.but(**said))
    length = length_option(command, "yarn-orig-ctx")
    if length:
        said[LENGTH] = length
    theta = number_option(command, "rope-freq-base")
    if said["rope_type"] == "linear" and factor is not None:
        said.setdefault(LENGTH, rope.original_length)
    if theta and theta != rope.rope_theta:
        marks["base_raised"] = True
    trained = int(length or said.get(LENGTH) or rope.original_length)
    rope = dataclasses.replace(rope, original_length=trained, rope_theta=theta or rope.rope_theta)
    numbers = any(_given(command, name) for name in ("rope-scale", "rope-freq-scale", "rope-freq-base", *BETAS))
    if LENGTH not in said and keys.states_length:
        said[LENGTH] = rope.original_length
    if said["rope_type"] != "default":
        marks["reached"] = None
    _check_mix(command)
    new = dataclasses.replace(keys.knowing(**marks), said=said, rope=rope, text=FLAGS if kind or numbers else keys.text)
    if keys.rope_type not in ("linear", "yarn") or not (kind or factor is not None or length):
        return new
    # the file is stretched to its window from a length of its own, whatever the flags say of that
    start = min(trained, int(keys.said.get(LENGTH) or trained))
    reach = start if new.rope_type == "default" else round(start * new.factor)
    return new.knowing(reached=reach) if reach < max(new.longest, new.target) else new


def _given(command: Command, name: str) -> float | None:
    """A number; a negative one is the default of these flags, and stands for what the file says (llama-context.cpp)."""
    value = number_option(command, name)
    return None if value is None or value < 0 else value


def _magnitude(command: Command, keys: Keys) -> dict[str, float]:
    """--yarn-attn-factor N is meant as N m(s): the rotation multiplies it by 0.1 ln s + 1 (ggml, rope_yarn), and 1 was its
    default (common/arg.cpp, until 2025). Under yarn it is overwritten when the context is made; elsewhere it is m."""
    times = _given(command, "yarn-attn-factor")
    if keys.rope_type == "default" and keys.said.get("attn_factor", 1.0) != 1:
        raise BadConfig(
            "rope.scaling.attn_factor of this GGUF multiplies cos and sin beside these flags. Leave the flags out."
        )
    if times is None or times == 1:
        return {}
    if keys.rope_type != "yarn" or keys.is_latent:
        raise BadConfig(
            f"--yarn-attn-factor {times:g} multiplies cos and sin here, which no method without yarn has.\n  Leave it out."
        )
    return {"attention_factor": times * mscale(keys.factor) * float(keys.said.get("attn_factor", 1.0))}


def _factor(command: Command) -> float | None:
    """--rope-scale N and --rope-freq-scale 1/N set the same number, and the last one counts; 1/N = 0 is none."""
    given = [name for name in command.options if name in ("rope-scale", "rope-freq-scale")]
    if not given:
        return None
    value = number_option(command, given[-1]) or 0.0
    if not value and given[-1] == "rope-freq-scale":
        return None
    if not value > 0 and value == value:
        raise BadConfig(f"--{given[-1]} is {value:g}; it must be above 0.")
    factor = value if given[-1] == "rope-scale" else 1 / value
    if factor < 1:
        raise BadConfig(
            f"--{given[-1]} {value:g} is a factor of {factor:g}, which narrows the window.\n"
            f"  For {1 / factor:g} times the window it is --rope-scale {1 / factor:g}, or --rope-freq-scale {factor:g}."
        )
    return factor


def _check_mix(command: Command) -> None:
    groups = number_option(command, "grp-attn-n") or 1
    if groups > 1:
        raise BadConfig(
            f"--grp-attn-n {groups:g} is Self-Extend: far positions are read in groups, which no table of frequencies says.\n"
            "  Without it this command can be read."
        )
    mix = number_option(command, "yarn-ext-factor")
    if mix is not None and mix >= 0 and not (mix == 1 and command.options.get("rope-scaling") == "yarn"):
        raise BadConfig(
            f"--yarn-ext-factor {mix:g} mixes two rotations in a way that no method here has.\n"
            "  Leave it out: --rope-scaling yarn sets it to 1."
        )


def _context(command: Command) -> int | None:
    """Tokens of one sequence: -c is parted among the slots of --parallel, unless they share one cache."""
    asked, slots = length_option(command, "ctx-size"), number_option(command, "parallel") or 1
    if PurePath(command.program).name == PYTHON and "ctx-size" not in command.options:
        return PYTHON_CONTEXT
    if not asked or slots <= 1 or "kv-unified" in command.options:
        return asked
    return int(asked // slots)
