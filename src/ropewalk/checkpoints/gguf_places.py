"""Which GGUF a name stands for: a file, one in several parts, a folder that holds one, or a file of a hub."""

from pathlib import Path

from ropewalk.checkpoints.gguf_names import MOST_PARTS, SPLIT, listed, models_among
from ropewalk.checkpoints.hub import fetched_gguf
from ropewalk.checkpoints.weights import PICKLES
from ropewalk.engines.transformers.checkpoint import is_gguf, is_hub_gguf
from ropewalk.errors import BadConfig, BadOption
from ropewalk.progress import SILENT, Progress


def find_gguf(model: str | Path, *, weights: bool = True, progress: Progress = SILENT) -> Path | None:
    """The file, or the first of its parts; None where `model` names no GGUF. One of a hub is fetched.

    weights: False fetches of a hub's file the header alone (`hub.fetched_gguf`).

    Raises BadOption for a folder with several models, and BadConfig where a part is missing.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        found = only_gguf(path)
        return found and parts_of(found)[0]
    if path.exists():
        return parts_of(path)[0] if is_gguf(path) else None
    return fetched_gguf(str(model), weights=weights, progress=progress) if is_hub_gguf(model) else None


def only_gguf(folder: Path) -> Path | None:
    """The GGUF of a folder that has no other weights; None where it has, or holds none."""
    if any(next(folder.glob(pattern), None) for pattern in ("*.safetensors", *PICKLES)):
        return None
    names = models_among(sorted(path.name for path in folder.glob("*.gguf")))
    if len(names) > 1:
        raise BadOption(f"{folder} holds {len(names)} models: name one of them.\n{listed(names)}")
    return folder / names[0] if names else None


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` is, or is a part of. BadConfig where one is missing."""
    split = SPLIT.fullmatch(path.name)
    if not split:
        return (path,)
    count = int(split["count"])
    if not 0 < int(split["number"]) <= count <= MOST_PARTS:
        raise BadConfig(f"{path} is called a part of {count}, which cannot be.")
    parts = [path.with_name(f"{split['stem']}-{number:05d}-of-{count:05d}{path.suffix}") for number in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise BadConfig(
            f"{path} is one of {count} parts, and {len(missing)} of them are not beside it, such as {missing[0]}.\n"
            "  Is the download complete? All parts lie in one folder."
        )
    return tuple(parts)
