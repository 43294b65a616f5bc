"""What Ollama keeps: Modelfiles, and the models of its own library by the names that it serves them under.

Read at ollama fb30760: parser/parser.go and docs/modelfile.md; types/model/name.go and server/modelpath.go.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ropewalk.engines.transformers.checkpoint import is_gguf
from ropewalk.errors import BadConfig

INSTRUCTIONS = "from parameter template system adapter draft license message renderer parser requires".split()
LARGEST = 2**20  # bytes
HUBS = ("hf.co/", "huggingface.co/")
MODEL_LAYER = "application/vnd.ollama.image.model"
NAME = re.compile(r"(?:(?:(?P<host>[\w.-]+(?::\d+)?)/)?(?P<space>[\w.-]+)/)?(?P<model>[\w.-]+)(?::(?P<tag>[\w.-]+))?")


@dataclass(frozen=True, slots=True)
class Modelfile:
    """source: what FROM names, as it stands.  parameters: by lower-case name, the last of each."""

    source: str
    parameters: Mapping[str, str]
    template: str | None = None

    @property
    def rotates(self) -> bool:
        """Whether it sets a base or a scale, as Modelfiles could until 2024: `ollama create` stops at unknown parameters."""
        return any(name.startswith("rope_") for name in self.parameters)

    @property
    def context(self) -> int | None:
        """num_ctx, tokens."""
        text = self.parameters.get("num_ctx")
        if text is None:
            return None
        if not re.fullmatch(r"\d{1,10}", text):
            raise BadConfig(f"PARAMETER num_ctx is {text!r}; it must be a number of tokens.")
        return int(text)


def is_modelfile(path: Path) -> bool:
    """By its name: Modelfile, Modelfile.x or x.modelfile."""
    return path.is_file() and (path.name.lower().startswith("modelfile") or path.suffix.lower() == ".modelfile")


def read_modelfile(path: Path) -> Modelfile:
    """BadConfig where it is none, or names no model."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadConfig(f"{path} is {path.stat().st_size:,} bytes, and no Modelfile is that large.")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadConfig(f"{path} is no text in UTF-8, and a Modelfile is.") from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None
    return parse_modelfile(text, str(path))


def parse_modelfile(text: str, where: str = "this Modelfile") -> Modelfile:
    source, template, parameters = "", None, {}
    for name, value in _instructions(text, where):
        if name == "from":
            source = value
        elif name == "template":
            template = value
        elif name == "parameter":
            key, _, said = value.partition(" ")
            parameters[key.lower()] = said.strip().strip('"')
    if not source:
        raise BadConfig(f"{where} has no FROM: it names no model.")
    return Modelfile(source, parameters, template)


def _instructions(text: str, where: str) -> list[tuple[str, str]]:
    """(lower-case name, argument): the rest of a line; what stands between three quotes may have several lines."""
    found = []
    rest = text
    while rest := rest.lstrip():
        line, _, after = rest.partition("\n")
        if line.startswith("#"):
            rest = after
            continue
        name, _, argument = line.strip().partition(" ")
        if name.lower() not in INSTRUCTIONS:
            raise BadConfig(f"{where}: {name[:40]!r} is no instruction of a Modelfile. They are {', '.join(INSTRUCTIONS)}.")
        if '"""' in argument:
            _, _, open_end = rest.partition('"""')
            argument, closed, rest = open_end.partition('"""')
            if not closed:
                raise BadConfig(f'{where}: {name} opens """ and does not close it.')
        else:
            rest = after
        found.append((name.lower(), argument.strip()))
    return found


def find_model(name: str, beside: Path | None = None) -> str | None:
    """What `name` stands for here: a file, a file of a hub as owner/name:QUANT, or None.

    beside: the folder that a path is relative to.
    """
    path = Path(name).expanduser()
    if beside is not None and not path.is_absolute() and (beside / path).exists():
        path = beside / path
    if path.exists():
        return str(path)
    for hub in HUBS:
        if name.startswith(hub):
            return of_hub(name.removeprefix(hub))
    kept = in_store(name)
    return str(kept) if kept else None


def of_hub(name: str) -> str:
    """llama.cpp and Ollama take Q4_K_M where no quantisation is named."""
    return name if ":" in name else f"{name}:Q4_K_M"


def in_store(name: str) -> Path | None:
    """The GGUF of a name in Ollama's own folder; None where it is not there."""
    found = NAME.fullmatch(name)
    root = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    if not found:
        return None
    parts = (found["host"] or "registry.ollama.ai", found["space"] or "library", found["model"], found["tag"] or "latest")
    if any(part in (".", "..") for part in parts):
        return None
    try:
        layers = json.loads(root.joinpath("manifests", *parts).read_text(encoding="utf-8"))["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == MODEL_LAYER)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    blob = root / "blobs" / str(digest).replace(":", "-")
    return blob if re.fullmatch(r"sha256-[0-9a-f]{64}", blob.name) and is_gguf(blob) else None
