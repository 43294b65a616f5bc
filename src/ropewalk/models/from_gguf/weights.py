"""The weights of a GGUF, dequantised into one safetensors file, a piece at a time: a model larger than memory can be written.

The numbers are those of the package gguf, which llama.cpp's people keep beside their own.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ropewalk.engines.gguf_file import BLOCKS, Tensor
from ropewalk.errors import BadConfig, extra_parts
from ropewalk.models.from_gguf.layouts import check_shape, layout_of, named, rows_of, shift_of
from ropewalk.models.from_gguf.opened import OpenedGGUF
from ropewalk.progress import SILENT, Progress

DTYPES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "float16": ("F16", 2)}
PIECE = 2**22  # numbers at a time: what is dequantised fits the caches of a processor
THREADS = 4


@dataclass(frozen=True, slots=True)
class Job:
    """One tensor: what it is called in transformers, where it is, how its rows are to lie, and what is taken from it."""

    name: str
    tensor: Tensor
    file: Path
    start: int
    rows: list[int] | None
    shift: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Slowest axis first, as everybody but ggml has it."""
        return tuple(reversed(self.tensor.shape))


def jobs_of(opened: OpenedGGUF, config: Mapping[str, Any]) -> list[Job]:
    """Every tensor, in the order of the file. BadConfig for one without a place, or that is not dequantised."""
    layout, library = layout_of(opened.arch), package()
    heads = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}
    found = []
    for tensor in opened.tensors.values():
        name = named(layout, tensor, config["num_hidden_layers"])
        if name is None:
            continue
        check_shape(tensor, config)
        _check_kind(library, tensor)
        rows = rows_of(layout, tensor.name, tensor.count // width_of(tensor), heads.__getitem__)
        found.append(Job(name, tensor, *opened.start(tensor.name), rows, shift_of(layout, tensor.name)))
    return found


def width_of(tensor: Tensor) -> int:
    """Numbers in a row; a bias is a column."""
    return tensor.shape[0] if len(tensor.shape) > 1 or BLOCKS[tensor.kind][0] > 1 else 1


def package() -> Any:
    with extra_parts():
        import gguf
    return gguf


def _check_kind(library: Any, tensor: Tensor) -> None:
    numbers, size = BLOCKS[tensor.kind]
    if not tensor.shape or tensor.shape[0] % numbers:
        raise BadConfig(
            f"{tensor.name} has shape {list(tensor.shape)}, and its type packs {numbers} numbers of a row together."
        )
    import numpy

    try:
        kind = library.GGMLQuantizationType(tensor.kind)
        library.quants.dequantize(numpy.zeros((1, size), numpy.uint8), kind)
    except (ValueError, NotImplementedError, KeyError):
        known = ", ".join(kind.name for kind in library.quants._type_traits)
        raise BadConfig(
            f"{tensor.name} is quantised as {name_of(library, tensor.kind)}, which gguf {_version()} does not dequantise.\n"
            f"  It does F32, F16, {known}. Take another file of the same model."
        ) from None


def name_of(library: Any, kind: int) -> str:
    try:
        return str(library.GGMLQuantizationType(kind).name)
    except ValueError:
        return f"type {kind}"


def _version() -> str:
    from importlib.metadata import version

    return version("gguf")


def header_of(jobs: list[Job], dtype: str) -> bytes:
    """Of a safetensors file."""
    kind, width = DTYPES[dtype]
    said: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for job in jobs:
        end = at + width * job.tensor.count
        said[job.name] = {"dtype": kind, "shape": job.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(said, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_weights(jobs: list[Job], dtype: str, stream: BinaryIO, progress: Progress = SILENT) -> str:
    """The SHA-256 of what was written.  progress: told of the numbers that are done, in a stage that has begun."""
    digest = hashlib.sha256()

    def put(data: bytes | memoryview) -> None:
        digest.update(data)
        stream.write(data)

    put(header_of(jobs, dtype))
    with ThreadPoolExecutor(THREADS) as pool:
        for data, count in _in_order(pool, _pieces(jobs, dtype)):
            put(data)
            progress.advance(count)
    return digest.hexdigest()


def _in_order(pool: ThreadPoolExecutor, work: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    """The answers one after another, a few of them computed ahead."""
    waiting = [pool.submit(one) for one in islice(work, 2 * THREADS)]
    while waiting:
        yield waiting.pop(0).result()
        waiting += [pool.submit(one) for one in islice(work, 1)]


def _pieces(jobs: list[Job], dtype: str) -> Iterator[Callable[[], Any]]:
    for job in jobs:
        width = width_of(job.tensor)
        rows, step = job.tensor.count // width, max(PIECE // width, 1)
        for first in range(0, rows, step):
            yield partial(_piece, job, first, min(first + step, rows), dtype)


def _piece(job: Job, first: int, last: int, dtype: str) -> tuple[memoryview, int]:
    """Rows `first` to `last` as transformers has them, as bytes of a safetensors file; and how many numbers they are."""
    import numpy
    import torch

    library, (numbers, size) = package(), BLOCKS[job.tensor.kind]
    width = width_of(job.tensor) // numbers * size
    raw = numpy.memmap(job.file, numpy.uint8, "r", job.start, (job.tensor.size // width, width))
    taken = raw[first:last] if job.rows is None else raw[job.rows[first:last]]
    found = library.quants.dequantize(numpy.ascontiguousarray(taken), library.GGMLQuantizationType(job.tensor.kind))
    values = torch.from_numpy(numpy.require(found, numpy.float32, ["C", "W"]))
    if job.shift:
        values -= job.shift
    made = values.to(getattr(torch, dtype))
    if not torch.isfinite(made).all():
        raise BadConfig(
            f"{job.tensor.name} holds numbers that are not finite in {dtype}: the file is damaged, or was made so.\n"
            "  Compare its SHA-256 with the one that its maker published."
            + ("" if dtype != "float16" else "\n  If that agrees: dtype bfloat16 (--dtype) reaches further.")
        )
    return made.contiguous().view(torch.uint8).numpy().data.cast("B"), made.numel()
