"""From what a person typed to a folder on this machine: a path, the bundled model, or a hub id."""

import atexit
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ropewalk.engines.transformers.checkpoint import CONFIG, local_checkpoint
from ropewalk.errors import BadConfig, MissingPart, extra_parts

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
    except MissingPart:
        raise
    except Exception as error:  # the hub's errors have many roots (HTTP, offline, gated, names); all end here for a person
        raise BadConfig(
            f"{model} is not a folder here and could not be fetched from the hub: {type(error).__name__}.\n"
            "  Check the name and the network; a gated model needs `hf auth login`, or HF_TOKEN, first."
        ) from None


def _fetched(model: str, weights: bool) -> Path:
    if not weights and find_spec("huggingface_hub") is None:
        return _config_alone(model)
    with extra_parts():
        import huggingface_hub

    logging: Any = huggingface_hub.logging
    logging.set_verbosity_error()  # its retries are not ours to narrate
    if not weights:
        return Path(huggingface_hub.hf_hub_download(model, CONFIG)).parent
    return Path(huggingface_hub.snapshot_download(model, allow_patterns=list(WANTED)))


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
