"""From what a person typed to a folder on this machine: a path, the bundled model, or a hub id."""

from pathlib import Path
from typing import Any

from ropewalk.engines.transformers.checkpoint import CONFIG, local_checkpoint
from ropewalk.errors import BadConfig

# Weights as safetensors and everything small; never pickles, never somebody's code.
WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md")


def checkpoint(model: str | Path, *, weights: bool = True) -> Path:
    """The checkpoint's folder, fetched from the hub if it is not here.

    weights: False fetches config.json alone, and may give a config file's own path. True takes a config.json's folder.
    """
    local = local_checkpoint(model)
    if local is not None:
        return _folder(local) if weights else local
    import huggingface_hub

    logging: Any = huggingface_hub.logging
    logging.set_verbosity_error()  # its retries are not ours to narrate
    try:
        if not weights:
            return Path(huggingface_hub.hf_hub_download(str(model), CONFIG)).parent
        return Path(huggingface_hub.snapshot_download(str(model), allow_patterns=list(WANTED)))
    except Exception as error:  # the hub's errors have many roots (HTTP, offline, gated, names); all end here for a person
        raise BadConfig(
            f"{model} is not a folder here and could not be fetched from the hub: {type(error).__name__}.\n"
            "  Check the name and the network; a gated model needs `hf auth login` first."
        ) from None


def _folder(path: Path) -> Path:
    if not path.is_file():
        return path
    if path.name != CONFIG:
        raise BadConfig(f"{path} is a file. Name the folder that holds {CONFIG} and the weights.")
    return path.parent
