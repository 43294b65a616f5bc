"""What is looked at: a folder, a config.json, a params.json, a GGUF or a pasted command line, read into written keys."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.adapters import base_place
from ropewalk.checkpoints.gguf_places import find_gguf, parts_of
from ropewalk.engines import gguf, mistral
from ropewalk.engines.commands import Command, is_set, json_option, length_option, number_option, parse_command
from ropewalk.engines.engine import get_engine
from ropewalk.engines.gguf_file import FACTORS, read_header
from ropewalk.engines.keys import FLAGS, GGUF, Keys, layers_of
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.checkpoint import (
    CONFIG,
    is_gguf,
    is_hub_gguf,
    local_checkpoint,
    read_config,
    text_of,
)
from ropewalk.errors import BadConfig, first_line
from ropewalk.jobs.doctor.llama_flags import converted, layers_under, reached, with_flags, with_overrides
from ropewalk.jobs.doctor.ollama_files import find_model, is_modelfile, of_hub, read_modelfile
from ropewalk.jobs.doctor.overrides import ROPE_DICTS, Overridden, claimed, overridden, part_of, pasted_outside
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.spec import is_local

Find = Callable[[str], Path]
LARGEST = 2**20  # bytes of a file of YAML
OLD_FLAGS = ("rope-scaling", "rope-theta")  # of vLLM, both gone with pull request 28006
DEFAULT = ("transformers", "vllm", "sglang", "llama_cpp", "mlx_lm")


@dataclass(frozen=True, slots=True)
class Target:
    """title: for people.  engines: who reads it, unless a person names others.  layers: what is written, by layer type.

    version: of its engine, as a command line says it.
    """

    title: str
    engines: tuple[str, ...]
    layers: tuple[Keys, ...]
    version: str = ""


def resolve(target: str, find: Find, base: Path | None = None, progress: Progress = SILENT) -> Target:
    """Read a target.

    find: the folder or file of a model's name; only called for names that are not on this machine as they stand.
    base: the config that a command line serves, where its own model is not at hand.
    progress: told where the header of a hub's GGUF is fetched.
    """
    path = Path(target).expanduser()
    if not path.exists() and len(target.split()) > 1:  # no hub id has a blank
        return _of_line(target, find, base, progress)
    if is_deployment(path):
        from ropewalk.jobs.doctor.deployments import command_lines  # yaml is not part of the base install

        return _of_line(command_lines(path, progress.note), find, base, progress)
    if is_modelfile(path):
        return _of_modelfile(target, path, find, progress)
    found = find_gguf(target, weights=False, progress=progress)
    return _of_file(target, found or base_place(local_checkpoint(target) or find(target)))


def is_deployment(path: Path) -> bool:
    """Whether a YAML file has containers, as Compose and Kubernetes write them."""
    if path.suffix.lower() not in (".yml", ".yaml") or not path.is_file() or path.stat().st_size > LARGEST:
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return re.search(r"""(^|[\s{,])["']?(services|containers)["']?\s*:""", text) is not None


def _of_line(text: str, find: Find, base: Path | None, progress: Progress) -> Target:
    command = parse_command(text)
    found = _of_command(command, find, base, progress)
    first = f" (the first of {command.of} commands here)" if command.of > 1 else ""
    return dataclasses.replace(found, title=found.title + first)


def _of_file(title: str, path: Path) -> Target:
    if is_gguf(path):
        return Target(title, ("llama_cpp",), gguf.layers_of(_header(path)))
    params = path if path.name == "params.json" else path / "params.json"
    if path.name == "params.json" or (path.is_dir() and params.is_file() and not (path / CONFIG).is_file()):
        read = get_engine("mistral").read
        return Target(title, ("mistral",), read(read_config(params)) if read else ())
    layers = of_config(title, read_config(path)).layers
    return Target(title, DEFAULT, _beside_params(layers, path) if _takes_params(path) else layers)


def _takes_params(path: Path, form: str = "auto") -> bool:
    """Whether vLLM reads a folder's params.json and not its config.json.  form: --config-format."""
    there = path.is_dir() and (path / "params.json").is_file()
    return there and (form == "mistral" or (form == "auto" and any(path.glob("consolidated*.safetensors"))))


def _beside_params(layers: tuple[Keys, ...], path: Path) -> tuple[Keys, ...]:
    params = read_config(path / "params.json")
    return tuple(keys.knowing(params=dataclasses.replace(_of_params(keys, params), beside=keys.beside)) for keys in layers)


def _header(path: Path) -> dict[str, Any]:
    """The keys of the first part, and the rope factors of whichever has them."""
    first, *others = map(read_header, parts_of(path))
    return first | {name: part[name] for part in others for name in FACTORS if name in part}


def of_config(title: str, config: Mapping[str, Any]) -> Target:
    """A config as it stands, of a live model for one."""
    return Target(title, DEFAULT, _layers_of(pasted_outside(config), {}))


def _of_params(keys: Keys, params: Mapping[str, Any]) -> Keys:
    """What vLLM makes of params.json beside a config.json: the latter fills in what the former does not say."""
    (own,) = mistral.read({"max_position_embeddings": keys.longest, **params})
    if params.get("yarn"):
        return dataclasses.replace(own, model={**keys.model, **own.model})
    theta = params.get("rope_theta", keys.rope.rope_theta)
    return dataclasses.replace(keys.with_theta(float(theta)), model={**keys.model, **own.model})


def _layers(config: Mapping[str, Any]) -> tuple[Keys, ...]:
    """Layers of a config; a base that is null is a finding about who reads it, not a config that cannot be read."""
    text = text_of(config)
    if not isinstance(text, Mapping) or not _null_theta(text):
        return layers_of(config)
    theta = known.DEFAULT_THETA.get(str(text.get("model_type")), 10_000.0)
    new = {**text, "rope_theta": theta}
    if isinstance(part := new.get("rope_parameters"), dict):
        new["rope_parameters"] = {**part, "rope_theta": theta}
    return tuple(keys.knowing(null_theta=True) for keys in layers_of(new))


def _null_theta(text: Mapping[str, Any]) -> bool:
    part = text.get("rope_parameters")
    inside = isinstance(part, Mapping) and "rope_theta" in part and part["rope_theta"] is None
    stated = text.get("rope_theta") is not None or (isinstance(part, Mapping) and part.get("rope_theta") is not None)
    return (inside or ("rope_theta" in text and text["rope_theta"] is None)) and not stated


def _of_modelfile(title: str, path: Path, find: Find, progress: Progress) -> Target:
    """Ollama hands llama.cpp no rope flags: what its GGUF says counts, and num_ctx up to the window that it states."""
    file = read_modelfile(path)
    found = find_model(file.source, path.parent)
    if found is None:
        raise BadConfig(
            f"{path} is FROM {file.source}, which is no file beside it and not among Ollama's models here.\n"
            "  `ollama pull` fetches it; or look at the GGUF behind it."
        )
    gguf_file = find_gguf(found, weights=False, progress=progress)
    if gguf_file is None:
        layers = layers_of(read_config(local_checkpoint(found) or find(found)))
    else:
        layers = gguf.layers_of(_header(gguf_file))
    if file.rotates:
        layers = tuple(dataclasses.replace(keys, text=FLAGS) for keys in layers)
    asked, window = file.context, layers[0].longest
    said = "" if asked is None else f", num_ctx {asked:,}"
    capped = f", which Ollama cuts to {window:,}" if asked and asked > window else ""
    return Target(f"{title} (FROM {file.source}{said}{capped})", ("ollama",), layers)


def _of_command(command: Command, find: Find, base: Path | None, progress: Progress) -> Target:
    command = _located(command, base)
    if command.engine == "ollama" and is_modelfile(Path(command.model)):
        return _of_modelfile(command.model, Path(command.model), find, progress)
    name = (command.options.get("hf-config-path") if command.engine == "vllm" else None) or command.model
    path = base or _served(name, progress) or find(name)
    if is_gguf(path):
        if command.engine not in ("llama_cpp", "ollama"):
            raise BadConfig(
                f"{path.name} is a GGUF, and what {get_engine(command.engine).title} makes of one was not looked at."
            )
        header = _header(path)
        metadata = with_overrides(header, command)
        layers = layers_under(metadata, command) if command.engine == "llama_cpp" else gguf.layers_of(metadata)
        layers = tuple(keys if is_local(keys.layer_type) else keys.knowing(**reached(keys, header)) for keys in layers)
    elif command.engine == "llama_cpp":
        _check_overrides(command)
        layers = tuple(converted(keys, command) for keys in layers_of(read_config(path)))
    else:
        found = _of_config(command, read_config(path))
        if command.engine == "vllm" and _takes_params(path, command.options.get("config-format") or "auto"):
            if "hf-overrides" in command.options:
                raise BadConfig(
                    f"vLLM takes {path.name}/params.json before config.json, and what --hf-overrides does to that was not "
                    "looked at.\n  Give --config-format hf --load-format safetensors, or take params.json and consolidated* "
                    "away."
                )
            return dataclasses.replace(found, layers=_beside_params(found.layers, path))
        return found
    if command.engine == "llama_cpp":
        _check_one_table(layers, command)
        layers = tuple(with_flags(keys, command) for keys in layers)
    return Target(command.model, (command.engine,), layers)


def _served(model: str, progress: Progress) -> Path | None:
    try:
        return find_gguf(model, weights=False, progress=progress) or local_checkpoint(model)
    except BadConfig as error:
        hint = "If the command runs on another machine, or in a container, give its config.json or GGUF as config (--config)."
        if is_hub_gguf(model):
            hint = "Give the file, or the config.json of the model, as config (--config)."
        raise BadConfig(f"{first_line(error)}\n  {hint}") from None


def _located(command: Command, base: Path | None) -> Command:
    """With its model as it is found here. BadConfig for what cannot be here."""
    if base is not None:
        return command
    if "://" in command.model:
        raise BadConfig(
            f"{command.model} is a GGUF that llama.cpp downloads itself, and it is not looked for.\n"
            "  Give the file, or the config.json of the model, as config (--config)."
        )
    if command.model == command.options.get("hf-repo"):
        return dataclasses.replace(command, model=_of_hub(command))
    if command.engine != "ollama" or is_gguf(command.model):
        return command
    named = command.options.get("file") or command.model  # ollama create NAME -f Modelfile
    found = find_model(named)
    if found is None or not (is_gguf(found) or is_hub_gguf(found) or is_modelfile(Path(found))):
        raise BadConfig(
            f"Ollama serves names of its own library, and {named} is no GGUF.\n"
            "  Give the GGUF behind it as config (--config):\n"
            "  `ollama show --modelfile NAME` prints its path, which can also be read as `ropewalk doctor PATH --for ollama`."
        )
    return dataclasses.replace(command, model=found)


def _of_hub(command: Command) -> str:
    """The file that llama.cpp would download, by its name: -hf owner/name:QUANT, or -hf owner/name -hff FILE."""
    file = command.options.get("hf-file")
    return f"{command.model.partition(':')[0]}:{file}" if file else of_hub(command.model)


def _of_config(command: Command, config: Mapping[str, Any]) -> Target:
    name = {"sglang": "json-model-override-args"}.get(command.engine, "hf-overrides")
    overrides, old = json_option(command, name), json_option(command, "rope-scaling")
    theta = number_option(command, "rope-theta")
    flags = ({"rope_scaling": old} if old else {}) | ({"rope_theta": theta} if theta is not None else {})
    found = overridden(config, overrides | flags, command.engine)
    lost = found.lost or {} if overrides else {}
    marks: dict[str, Any] = {
        "old_flag": " and ".join(f"--{name}" for name in OLD_FLAGS if name in command.options),
        "lost_share": lost.get("partial_rotary_factor"),
        "new_words": bool(overrides.get("rope_parameters")) and not overrides.get("rope_scaling"),
        "asked": length_option(command, "max-model-len", "context-length", "max-seq-len", "max-seq-length"),
        "environment": tuple(name for name in command.environment if is_set(command, name)),
    }  # fmt: skip
    written = {keys.layer_type: keys for keys in _layers(config)}
    replaces = any(overrides.get(name) for name in ROPE_DICTS) and "rope_theta" not in overrides and not part_of(config)
    layers = tuple(
        keys.knowing(own=own if replaces else None, **claimed(keys, own))
        for keys in _layers_of(found, marks)
        for own in [written.get(keys.layer_type)]
    )
    if "rope_theta" in lost:
        layers = tuple(dataclasses.replace(keys, lost_theta=True) for keys in layers)
    return Target(command.model, (command.engine,), layers, command.version)


def _layers_of(found: Overridden, marks: Mapping[str, Any]) -> tuple[Keys, ...]:
    """Keys as meant; what is read instead hangs at each of them, where it is something else."""
    meant = tuple(keys.knowing(**marks) for keys in _layers(found.config))
    if found.read is None:
        return meant
    read = {keys.layer_type: keys.knowing(**marks) for keys in _layers(found.read)}
    first = next(iter(read.values()))
    names, part = found.outside
    if not names:
        return tuple(keys.knowing(theta_beside=read.get(keys.layer_type, first)) for keys in meant)
    what = f"{names} outside {part}, where this config keeps its language model"
    return tuple(keys.knowing(outside=(what, read.get(keys.layer_type, first))) for keys in meant)


def _check_overrides(command: Command) -> None:
    """BadConfig for --override-kv of what a config.json has no keys for."""
    if found := re.search(r"[\w.-]+\.(rope\.[\w.]+|context_length)=", command.options.get("override-kv") or ""):
        raise BadConfig(
            f"--override-kv {found.group().rstrip('=')} changes a key of a GGUF, and a config.json is looked at.\n"
            "  Give the GGUF, or leave that option out."
        )


def _check_one_table(layers: tuple[Keys, ...], command: Command) -> None:
    flags = [name for name in command.options if name.startswith(("rope-", "yarn-"))]
    if flags and len(layers) != 1 and layers[0].text != GGUF:
        raise BadConfig(f"{command.model} has {len(layers)} rotary layer types: llama.cpp's flags cannot be read against it.")
