"""What a fit reported on, kept beside its plan: tokens and bits, from which its table can be made again without the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.documents import Document
from ropewalk.jobs.files import write_file
from ropewalk.jobs.fit.compare import Compared, compare

SCHEMA = "ropewalk.fit-report/1"
IDS = "ids"
BITS = "bits of "  # and the name of a plan


def report_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.report.safetensors")


@dataclass(frozen=True)
class Report:
    """documents: names.  ids: (documents, tokens).  bits: of each plan, (documents, tokens - 1), of tokens 1, 2, ..."""

    documents: tuple[str, ...]
    ids: numpy.ndarray
    bits: dict[str, numpy.ndarray]
    original: int
    edges: tuple[int, ...]
    plans: dict[str, str]

    def compared(self) -> dict[str, Compared]:
        return compare(self.bits, self.original, self.edges)


def keep_report(
    path: Path, documents: Sequence[Document], bits: Mapping[str, numpy.ndarray], original: int, edges: Sequence[int],
    plans: Mapping[str, str],
) -> None:  # fmt: skip
    """plans: fingerprints, by the names that bits have."""
    read = documents[: len(next(iter(bits.values())))]
    tensors = {f"{BITS}{name}": numpy.ascontiguousarray(rows, dtype=numpy.float32) for name, rows in bits.items()}
    tensors[IDS] = numpy.array([document.ids for document in read], dtype=numpy.int32)
    facts = {"documents": [d.name for d in read], "original": original, "edges": list(edges), "plans": dict(plans),
             "order": list(bits)}  # fmt: skip
    write_file(path, save(tensors, {"schema": SCHEMA, "facts": json.dumps(facts)}))


def read_report(path: Path) -> Report:
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("schema") != SCHEMA:
                raise BadConfig(f"{path} is not the report of a fit: its schema is {metadata.get('schema')!r}.")
            facts = json.loads(metadata["facts"])
            bits = {name: file.get_tensor(f"{BITS}{name}") for name in facts["order"]}
            return Report(
                tuple(facts["documents"]), file.get_tensor(IDS), bits, facts["original"], tuple(facts["edges"]), facts["plans"]
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadConfig):
            raise
        raise BadConfig(f"{path} cannot be read as the report of a fit: {error}.") from None
