"""Finding and reading a checkpoint's config.json on disk; no torch, no network."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from ropewalk.errors import BadConfig

BUNDLED = "ropewalk-tiny"
CONFIG = "config.json"
ADAPTER = "adapter_config.json"
LARGEST_CONFIG = 32 * 2**20  # bytes; the largest published config.json files are under 1 MiB
# Where transformers 5.23 and the code of published checkpoints (InternVL, DeepSeek-VL, Qwen-Omni, ColPali) keep it.
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "vlm_config")
SETTINGS = frozenset(".yaml .yml .ini .toml .sh .bash .bat .ps1 .service .cfg .conf .env".split())
Config = TypeVar("Config", bound=Mapping[str, Any])
GGUF_MAGIC = b"GGUF"
HUB_GGUF = re.compile(
    r"[\w.-]+/[\w.-]+:[\w.+-]+(/[\w.+-]+)*"
)  # owner/name:file.gguf, or owner/name:Q4_K_M as llama.cpp has it


def is_gguf(model: str | Path) -> bool:
    """By its name, or by its first four bytes: Ollama's files have no ending."""
    path = Path(model).expanduser()
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) == GGUF_MAGIC
    except OSError:
        return False


def is_hub_gguf(model: str | Path) -> bool:
    """Whether it is written as a file of a hub's repository."""
    return HUB_GGUF.fullmatch(str(model)) is not None


def bundled_model() -> Path:
    """The folder of the model that comes with Ropewalk."""
    return Path(__file__).parents[2] / "models" / BUNDLED


def local_checkpoint(model: str | Path) -> Path | None:
    """The folder (or config.json file) that `model` names on this machine; None if it can only be a hub id.

    The name of the bundled model stands for its folder, unless a folder of that name is at hand.
    """
    path = Path(model).expanduser()
    if path.exists():
        return path
    if str(model) == BUNDLED:
        return bundled_model()
    if is_hub_gguf(model):
        return None
    looks_like_a_path = path.is_absolute() or str(model).startswith((".", "~")) or str(model).endswith((".json", ".gguf"))
    if looks_like_a_path or str(model).count("/") != 1:
        raise BadConfig(
            f"{model}: no such folder or file.\n"
            f"  Give a checkpoint's folder, its {CONFIG}, a hub id such as Qwen/Qwen3-8B, or {BUNDLED}."
        )
    return None


def read_config(path: Path) -> dict[str, Any]:
    """config.json as a dict; `path` is the file or the folder that holds it."""
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        raise BadConfig(no_config(path))
    if is_gguf(file):
        raise BadConfig(f"{file} is a GGUF, and a config.json is needed here.")
    try:
        if file.stat().st_size > LARGEST_CONFIG:
            raise BadConfig(f"{file} is {file.stat().st_size:,} bytes; no config is that large. Is it a weights file?")
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if file.suffix.lower() in SETTINGS:
            raise BadConfig(
                f"{file} is no {CONFIG}, and settings of programs are not read.\n"
                '  Of a server, give doctor the command line in quotes, "vllm serve ...", or a script as "$(cat FILE)";\n'
                f"  of a trainer, the folder of its model, with the stretch in its {CONFIG} (`ropewalk extend`)."
            ) from None
        hint = "" if file.suffix == ".json" else f"\n  A {CONFIG} of transformers is read here, or its folder."
        raise BadConfig(f"{file} is not valid JSON: {error}{hint}") from None
    except OSError as error:
        raise BadConfig(f"{file} cannot be read: {error.strerror}.") from None
    if not isinstance(config, dict):
        raise BadConfig(f"{file} holds a {type(config).__name__}; a config is a JSON object with keys.")
    return config


def no_config(path: Path) -> str:
    """Why a folder without config.json is no checkpoint, and the way out where it is known what it is."""
    if (path / ADAPTER).is_file():
        try:
            base = json.loads((path / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
        except (OSError, ValueError, KeyError, TypeError):
            base = "the model that it was trained on"
        return (
            f"{path} has no {CONFIG} but {ADAPTER}: it is an adapter for {base}.\n"
            "  Name that model for its window and rotation. To write, train or verify, merge it into a folder of its own:\n"
            f"  python -c \"from peft import AutoPeftModelForCausalLM as A; A.from_pretrained('{path}').merge_and_unload()"
            f".save_pretrained('merged')\""
        )
    if ggufs := sorted(file.name for file in path.glob("*.gguf")):
        return f"{path} has no {CONFIG} but {ggufs[0]}: name that file. `ropewalk doctor` and `ropewalk export` read a GGUF."
    if (path / "params.json").is_file():
        return (
            f"{path} has no {CONFIG} but params.json: it is in Mistral's or Llama's own format.\n"
            "  Take the folder of the same model that transformers reads (its name often ends in -hf), or convert it."
        )
    return f"{path} has no {CONFIG}: it is not a transformers checkpoint."


def text_path(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys under which a config holds its language model; none where it is one."""
    for key in TEXT_PARTS:
        inner = config.get(key)
        if isinstance(inner, Mapping):
            return (key, *text_path(inner))
    return ()


def text_of(config: Config) -> Config:
    """The part of a config that describes the language model, itself and not a copy: what is under `text_path`, or all."""
    found: Any = config
    for key in text_path(config):
        found = found[key]
    return cast("Config", found)


def inside(config: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """`keys` as they stand in a config whose language model is where this one's is: {"text_config": keys}."""
    found = dict(keys)
    for name in reversed(text_path(config)):
        found = {name: found}
    return found
