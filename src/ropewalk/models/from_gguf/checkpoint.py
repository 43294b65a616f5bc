"""A GGUF as a checkpoint's folder: made once, and kept."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.gguf_places import parts_of
from ropewalk.checkpoints.hub_header import check_whole, size_of
from ropewalk.engines.transformers.checkpoint import CONFIG
from ropewalk.errors import BadConfig, OutOfMemory
from ropewalk.models.from_gguf import store
from ropewalk.models.from_gguf.config import config_of
from ropewalk.models.from_gguf.opened import OpenedGGUF, open_parts
from ropewalk.models.from_gguf.tokenizer import ending_tokens, tokenizer_files
from ropewalk.models.from_gguf.weights import DTYPES, jobs_of, write_weights
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import human_bytes

WEIGHTS, GENERATION = "model.safetensors", "generation_config.json"
SMALL = 2**20  # bytes, about, of the other files beside a vocabulary of no size
PER_TOKEN = 128  # bytes of a vocabulary, about
WORDS = "tokenizer"  # what is kept without weights
EXACT = "float32"  # what every quantised number is in


@lru_cache(maxsize=4)
def _opened(path: Path, changed: tuple[int, ...]) -> OpenedGGUF:
    return open_parts(path)


def opened(path: Path) -> OpenedGGUF:
    """Read once, as long as the file stays as it is."""
    try:
        stat = path.stat()
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None
    return _opened(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


def folder_of(
    path: Path, dtype: str = EXACT, progress: Progress = SILENT, *, keep: bool = True, device: str = ""
) -> Path:  # fmt: skip
    """The folder with config, tokenizer and weights in `dtype`. Raises RopewalkError for what cannot be read or kept.

    device: where the model will be; OutOfMemory before anything is dequantised where a CPU's memory cannot hold it.
    """
    check_whole(path)
    kind = dtype if dtype in DTYPES else EXACT
    found = store.find(parts_of(path), kind) if keep else None
    if found is not None:
        _check_memory(path, kind, device, (found / WEIGHTS).stat().st_size)
        return found
    source = opened(path)
    config, weights = config_of(source), DTYPES[kind][1] * source.numbers
    _check_memory(path, kind, device, weights)

    def fill(folder: Path) -> dict[str, str]:
        jobs = jobs_of(source, config)
        hashes = _small(folder, source, {**config, "dtype": kind})
        progress.begin(f"dequantising {path.name} to {kind} ({human_bytes(weights)})", source.numbers)
        with (folder / WEIGHTS).open("wb") as stream:
            hashes[WEIGHTS] = write_weights(jobs, kind, stream, progress)
        progress.begin(f"loading {path.name}")
        return hashes

    return store.kept(source.parts, kind, weights + _size(source), fill, progress, keep=keep)


def tokenizer_folder(path: Path) -> Path:
    """The folder with config and tokenizer alone. BadConfig for a GGUF that has none, or one that is not read."""
    alone = size_of(path) is not None  # a header is no file that anything is kept of
    if not alone and (found := store.find(parts_of(path), WORDS)) is not None:
        return found
    source = opened(path)
    words = _words(source)
    if isinstance(words, BadConfig):
        raise words
    fill = partial(_small, source=source, config=config_of(source))
    return store.kept(source.parts, WORDS, _size(source), fill, SILENT, keep=not alone)


def _small(folder: Path, source: OpenedGGUF, config: Mapping[str, Any]) -> dict[str, str]:
    """Everything but the weights. A model without a tokenizer of its own reads with another one, or is given ids."""
    known = {key: config[key] for key in ("bos_token_id", "pad_token_id") if config.get(key) is not None}
    files: dict[str, Any] = {CONFIG: config, GENERATION: {**known, "eos_token_id": ending_tokens(source) or None}}
    words = _words(source)
    files |= {} if isinstance(words, BadConfig) else words
    hashes = {}
    for name, content in files.items():
        data = store.text_of(content).encode()
        (folder / name).write_bytes(data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


@lru_cache(maxsize=2)
def _words(source: OpenedGGUF) -> dict[str, Any] | BadConfig:
    """The files of its tokenizer, or why there are none."""
    try:
        return tokenizer_files(source)
    except BadConfig as error:
        return error


def _size(source: OpenedGGUF) -> int:
    embeddings = source.tensors.get("token_embd.weight")
    return SMALL + PER_TOKEN * (embeddings.shape[-1] if embeddings else 0)


def _check_memory(path: Path, dtype: str, device: str, needed: int) -> None:
    if device != "cpu":
        return
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise OutOfMemory(
            f"{path.name} is {human_bytes(needed)} in {dtype}, and {human_bytes(free)} of memory are free.\n"
            "  dtype bfloat16 (--dtype) takes half of float32; plan, doctor and export need no weights."
        )
