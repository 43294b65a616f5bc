"""The fitted plan against the plans that need no fit, on documents that neither the search nor the choice has seen."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig
from ropewalk.measure.documents import Document
from ropewalk.measure.nll import token_nll
from ropewalk.measure.statistics import Interval, cluster_mean, studentised
from ropewalk.measure.tables import BITS
from ropewalk.models.attach import attach
from ropewalk.scaling.method import Option
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.spec import ModelSpec

FITTED = "fitted"
# Name in tables: (method, options). "paper" is eq. 18's ramp, linear in turns; without it the released code's.
BASELINES: dict[str, tuple[str, dict[str, Option]]] = {
    "yarn": ("yarn", {}),
    "yarn, paper": ("yarn", {"ramp": "turns"}),
    "ntk": ("ntk", {}),
    "dynamic-yarn": ("dynamic-yarn", {}),
}


def baselines(
    spec: ModelSpec, factor: float, layers: Sequence[str], model: str, more: Sequence[str] = ()
) -> dict[str, ScalingPlan]:
    """more: names of methods besides."""
    rivals: dict[str, tuple[str, dict[str, Option]]] = {**BASELINES, **{name: (name, {}) for name in more}}
    return {
        name: make_plan(spec, factor=factor, method=method, options=options, layer_types=layers, model=model)
        for name, (method, options) in rivals.items()
    }


def bits_by_token(model: Any, plan: ScalingPlan, document: Document) -> numpy.ndarray:
    """(tokens - 1,) bits of tokens 1, 2, ..."""
    with attach(model, plan):
        nll = token_nll(model, torch.tensor([document.ids], device=model.device))[0]
    return nll.float().cpu().numpy() * BITS


@dataclass(frozen=True)
class Compared:
    """How one plan reads the report documents.

    far, short: bits per token beyond and within the original length.
    gain: far bits of this plan minus those of the fitted one, paired by document: above 0 where the fit is better.
    buckets: bits per token between successive edges.
    """

    far: Interval
    short: Interval
    gain: Interval
    buckets: tuple[float, ...]


def compare(bits: Mapping[str, numpy.ndarray], original: int, edges: Sequence[int]) -> dict[str, Compared]:
    """Every plan against the fitted one; bits as `bits_by_token` gives them, of the same documents in the same order."""
    fitted = bits[FITTED]
    return {
        name: Compared(
            _mean(rows[:, original - 1 :]),
            _mean(rows[:, : original - 1]),
            _difference((rows - fitted)[:, original - 1 :]),
            tuple(float(rows[:, max(a - 1, 0) : b - 1].mean()) for a, b in itertools.pairwise(edges)),
        )
        for name, rows in bits.items()
    }


def _mean(rows: numpy.ndarray) -> Interval:
    return cluster_mean(*_pooled(rows)).not_below_0()


def _difference(rows: numpy.ndarray) -> Interval:
    """Documents are what is resampled, and a difference is resampled as one number per document: that is the pairing."""
    return studentised(*_pooled(rows)).symmetric()


def _pooled(rows: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    return rows.sum(1, dtype=numpy.float64), numpy.full(len(rows), rows.shape[1])


SCHEMA = "ropewalk.fit-report/1"
IDS = "ids"
BITS_OF = "bits of "  # and the name of a plan


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
    tensors = {f"{BITS_OF}{name}": numpy.ascontiguousarray(rows, dtype=numpy.float32) for name, rows in bits.items()}
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
            bits = {name: file.get_tensor(f"{BITS_OF}{name}") for name in facts["order"]}
            return Report(
                tuple(facts["documents"]), file.get_tensor(IDS), bits, facts["original"], tuple(facts["edges"]), facts["plans"]
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadConfig):
            raise
        raise BadConfig(f"{path} cannot be read as the report of a fit: {error}.") from None
