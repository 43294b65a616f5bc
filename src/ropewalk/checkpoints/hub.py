"""From what a person typed to a folder on this machine: a path, the bundled model, or a hub id."""

import atexit
import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.gguf_names import SPLIT, listed, models_among
from ropewalk.engines.transformers.checkpoint import CONFIG, local_checkpoint
from ropewalk.errors import BadConfig, BadOption, MissingPart, extra_parts

# Weights as safetensors and everything small; never pickles, never somebody's code.
WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md")

TIMEOUT = 30.0  # seconds without a word from the hub


def checkpoint(model: str | Path, *, weights: bool = True) -> Path:
    """The checkpoint's folder, fetched from the hub if it is not here.

    weights: False fetches config.json alone, and may give a config file's own path. True takes a config.json's folder.
    """
    local = local_checkpoint(model)
    if local is not None:
        return _folder(local) if weights else local
    try:
        return _fetched(str(model), weights)
    except (MissingPart, BadOption):
        raise
    except Exception as error:  # the hub's errors have many roots (HTTP, offline, gated, names); all end here for a person
        raise _unreachable(str(model), error) from None


def _unreachable(model: str, error: Exception) -> BadConfig:
    return BadConfig(
        f"{model} is not a folder here and could not be fetched from the hub: {type(error).__name__}.\n"
        "  Check the name and the network; a gated model needs `hf auth login`, or HF_TOKEN, first."
    )


def _fetched(model: str, weights: bool) -> Path:
    if not weights and find_spec("huggingface_hub") is None:
        return _config_alone(model)
    with extra_parts():
        import huggingface_hub

    logging: Any = huggingface_hub.logging
    logging.set_verbosity_error()  # its retries are not ours to narrate
    if not weights:
        try:
            return Path(huggingface_hub.hf_hub_download(model, CONFIG)).parent
        except huggingface_hub.errors.EntryNotFoundError:
            check_no_gguf(model)
            raise
    folder = Path(huggingface_hub.snapshot_download(model, allow_patterns=list(WANTED)))
    if not any(folder.glob("*.safetensors")):
        check_no_gguf(model)
    return folder


def fetched_gguf(model: str) -> Path:
    """The file on this machine of `owner/name:file.gguf`; of one in parts the first. `owner/name:Q4_K_M` finds the file of
    that quantisation, as llama.cpp does.

    Raises BadOption, with the names that are there, where none or several are meant.
    """
    repository, _, wanted = model.partition(":")
    with extra_parts():
        import huggingface_hub
    try:
        there = [name for name in huggingface_hub.list_repo_files(repository) if name.lower().endswith(".gguf")]
        parts = _meant(model, wanted, there)
        found = [Path(huggingface_hub.hf_hub_download(repository, name)) for name in parts]
    except BadOption:
        raise
    except Exception as error:  # as in `checkpoint`
        raise _unreachable(model, error) from None
    return found[0]


def _meant(model: str, wanted: str, there: list[str]) -> list[str]:
    """The names of the one model that is meant: in several files, where it is in parts."""
    firsts = models_among(there)
    found = [name for name in there if name == wanted] or [
        name for name in firsts if re.search(rf"(?:^|[-._/]){re.escape(wanted)}(?=[-._/])", name, re.IGNORECASE)
    ]
    if len(found) != 1:
        many = (
            "names several of its GGUFs" if found else "is not among its GGUFs" if there else "is not there: it holds no GGUF"
        )
        raise BadOption(f"{model}: {wanted!r} {many}.\n{listed(found or firsts, model.partition(':')[0] + ':')}".rstrip())
    split = SPLIT.fullmatch(found[0])
    return [n for n in there if (s := SPLIT.fullmatch(n)) and s["stem"] == split["stem"]] if split else found


def check_no_gguf(model: str) -> None:
    """BadOption where a hub's repository holds GGUFs and nothing that transformers reads: which of them is meant?"""
    with extra_parts():
        import huggingface_hub
    names = huggingface_hub.list_repo_files(model)
    ggufs = models_among([name for name in names if name.lower().endswith(".gguf")])
    if ggufs and not any(name.endswith(".safetensors") for name in names):
        many = "a GGUF" if len(ggufs) == 1 else f"{len(ggufs)} GGUFs"
        raise BadOption(f"{model} is a repository of {many}: name one of them, as in\n{listed(ggufs, f'{model}:')}")


def _config_alone(model: str) -> Path:
    """Its config.json in a folder that lives as long as this process: the base install has no library of the hub."""
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, asked: Request, *rest: Any) -> Request | None:
            new = super().redirect_request(asked, *rest)
            if new and (new.type, new.host) != (asked.type, asked.host):
                new.remove_header("Authorization")  # it is the hub's, not theirs where the hub's files lie
            return new

    endpoint, key = os.environ.get("HF_ENDPOINT") or "https://huggingface.co", os.environ.get("HF_TOKEN")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ConnectionError("HF_HUB_OFFLINE is set")
    address = f"{endpoint.rstrip('/')}/{model}/resolve/main/{CONFIG}"
    request = Request(address, headers={"Authorization": f"Bearer {key}"} if key else {})
    with build_opener(Redirects).open(request, timeout=TIMEOUT) as answer:
        config = answer.read()
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / CONFIG).write_bytes(config)
    return folder


def _folder(path: Path) -> Path:
    if not path.is_file():
        return path
    if path.name != CONFIG:
        raise BadConfig(f"{path} is a file. Name the folder that holds {CONFIG} and the weights.")
    return path.parent
