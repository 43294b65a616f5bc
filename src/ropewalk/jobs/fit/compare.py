"""The fitted plan against the plans that need no fit, on documents that neither the search nor the choice has seen."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from ropewalk.jobs.evaluate.documents import Document
from ropewalk.jobs.evaluate.nll import token_nll
from ropewalk.jobs.evaluate.statistics import Interval, cluster_mean, studentised
from ropewalk.jobs.evaluate.tables import BITS
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


def baselines(spec: ModelSpec, factor: float, layers: Sequence[str], model: str) -> dict[str, ScalingPlan]:
    return {
        name: make_plan(spec, factor=factor, method=method, options=options, layer_types=layers, model=model)
        for name, (method, options) in BASELINES.items()
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
    return cluster_mean(*_pooled(rows))


def _difference(rows: numpy.ndarray) -> Interval:
    """Documents are what is resampled, and a difference is resampled as one number per document: that is the pairing."""
    return studentised(*_pooled(rows)).symmetric()


def _pooled(rows: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    return rows.sum(1, dtype=numpy.float64), numpy.full(len(rows), rows.shape[1])
