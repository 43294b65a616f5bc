"""Verify what was written: the reference and every engine that is here score the same tokens."""

import gc
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy
import torch

from ropewalk.engines.config_files import rotations
from ropewalk.engines.engine import get_engine
from ropewalk.engines.transformers.checkpoint import CONFIG
from ropewalk.errors import BadLength, BadOption, CannotExpress, RopewalkError
from ropewalk.jobs.verify.ask import TIMEOUT, EngineAnswer, Interpreter, ask, find, nowhere
from ropewalk.jobs.verify.compare import CONTROL, TOLERANCE, EngineComparison, EngineScores, compare
from ropewalk.jobs.verify.subject import Subject
from ropewalk.jobs.verify.witness import Witness
from ropewalk.measure.nll import token_nll
from ropewalk.models.attach import attach
from ropewalk.progress import SILENT, Progress

BEYOND = 512  # tokens past the original window, unless told otherwise
REFERENCE_SECONDS = 5.0
SEED = 0


class Status(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    BLIND = "sees nothing"  # it agrees with and without the scaling
    BROKE = "broke"
    REFUSED = "cannot carry it"
    ABSENT = "is not here"


FAILED = (Status.DIFFERS, Status.BLIND, Status.BROKE)
NOT_RUN = (Status.REFUSED, Status.ABSENT)


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one witness says.  version: of the engine, empty where it is not known.  reason: for all but "agrees"."""

    engine: str
    title: str
    version: str
    status: Status
    reason: str = ""
    comparison: EngineComparison | None = None

    @property
    def name(self) -> str:
        """Of the engine with its version."""
        return f"{self.title} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class Verification:
    """tokens: scored, of which those after `original_length` are beyond the window."""

    title: str
    plan: str
    fingerprint: str
    original_length: int
    target_length: int
    tokens: int
    testimonies: tuple[Testimony, ...]

    @property
    def said(self) -> str:
        """One line, as soon as it is known."""
        return f"{self.title}: {', '.join(f'{one.name} {one.status}' for one in self.testimonies)}"

    @property
    def healthy(self) -> bool:
        return all(testimony.status not in FAILED for testimony in self.testimonies)


def token_ids(subject: Subject, tokens: int | None) -> list[int]:
    """Random tokens, the same on every machine; BadLength where they would not go beyond the window, or past its end."""
    least, most = subject.original_length + 2, subject.plan.target_length
    count = min(subject.original_length + BEYOND, most) if tokens is None else tokens
    if not least <= count <= most:
        raise BadLength(
            f"{count:,} tokens cannot show the stretch: from {least:,}, just beyond the original window, to {most:,}, its end."
        )
    draw = random.Random(SEED)
    return [draw.randrange(subject.vocabulary) for _ in range(count)]


def reference(subject: Subject, ids: Sequence[int], device: str = "cpu", dtype: torch.dtype = torch.float32) -> EngineScores:
    """Ropewalk's own numbers: the model with the plan attached and without it."""
    model, row = subject.load(dtype=dtype, device=device), torch.tensor([ids], device=device)
    plain = -token_nll(model, row)[0].cpu().double().numpy()
    with attach(model, subject.plan):
        stretched = -token_nll(model, row)[0].cpu().double().numpy()
    if not numpy.isfinite(stretched).all():
        raise BadOption(f"the reference itself answers with NaN or infinity: {subject.title} cannot be verified.")
    del model
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # the engines want that memory
    return EngineScores(stretched, plain)


def verify(
    subject: Subject,
    engines: Sequence[Witness],
    pythons: Mapping[str, Path] | None = None,
    *,
    tokens: int | None = None,
    tolerance: float = TOLERANCE,
    timeout: float = TIMEOUT,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress = SILENT,
) -> Verification:
    """pythons: by engine name; see `ask.find`.  tokens: to score.  tolerance: nats.  timeout: seconds for an engine.

    device, dtype: of the reference.  progress: its amounts are the seconds that each piece may take.
    """
    found = {witness: find(witness, (pythons or {}).get(witness.name)) for witness in engines}
    ids = token_ids(subject, tokens)
    scale = max(1.0, len(ids) / 1024)
    seconds = REFERENCE_SECONDS + sum(2 * w.seconds for w, python in found.items() if python)
    progress.begin(f"verifying {subject.title}", scale * seconds)
    truth = reference(subject, ids, device, dtype) if any(found.values()) else None
    progress.advance(scale * REFERENCE_SECONDS)
    heard = [
        _Hearing(
            subject, witness, python, truth, ids, tolerance, timeout, partial(progress.advance, scale * witness.seconds)
        ).testimony()
        for witness, python in found.items()
    ]
    plan = subject.plan
    factors = ", ".join(dict.fromkeys(f"x{stretch.factor:g}" for _, stretch in plan.stretches))
    return Verification(
        subject.title, f"{plan.name} {factors}", plan.fingerprint, subject.original_length, plan.target_length, len(ids),
        tuple(heard),
    )  # fmt: skip


@dataclass(frozen=True)
class _Hearing:
    subject: Subject
    witness: Witness
    python: Interpreter | None
    truth: EngineScores | None
    ids: Sequence[int]
    tolerance: float
    timeout: float
    done: Callable[[], None]

    def testimony(self) -> Testimony:
        if self.python is None or self.truth is None:
            return self._says(Status.ABSENT, nowhere(self.witness))
        try:
            pair = self.subject.pair(self.witness)
        except CannotExpress as error:
            return self._says(Status.REFUSED, str(error))
        answers = ask(self.witness, self.python, pair, self.ids, timeout=self.timeout, done=self.done)
        return self._judged(self.truth, *answers)

    def _judged(self, truth: EngineScores, stretched: EngineAnswer, plain: EngineAnswer) -> Testimony:
        if stretched.logprobs is None or plain.logprobs is None:
            which = "" if stretched.logprobs is None else "without the scaling, "
            return self._says(Status.BROKE, which + (stretched.error or plain.error))
        found = compare(truth, EngineScores(stretched.logprobs, plain.logprobs), self.subject.original_length, self.tolerance)
        if not found.agrees:
            return self._says(Status.DIFFERS, self._why(found), found)
        if not found.sees:
            return self._says(
                Status.BLIND,
                f"without the scaling it is only {found.ratio:.3g} times as far off, not {CONTROL:g}: "
                "these tokens do not show whether the scaling is on. Score more tokens (--tokens).",
                found,
            )
        return self._says(Status.AGREES, "", found)

    def _why(self, found: EngineComparison) -> str:
        if found.floor > found.tolerance:
            return (
                f"it is {found.floor:.2g} off without any scaling too: its arithmetic or its weights differ, whatever its "
                "rotation does. If that is expected, raise the tolerance (--tolerance)."
            )
        reasons = self._losses()
        if found.unscaled <= found.tolerance:
            reasons.insert(0, "it answers as if there were no scaling at all")
        return "; ".join(reasons) or "its rotation differs, and no known loss of this engine says why"

    def _losses(self) -> list[str]:
        """What the doctor says about this engine and this config."""
        if self.witness.reads != CONFIG or self.subject.config is None or self.python is None:
            return []
        try:
            found = rotations(get_engine(self.witness.name), self.subject.config, self.python.version)
        except RopewalkError:  # a version or a config that the ledger cannot read explains nothing
            return []
        return list(dict.fromkeys(loss.said for rotation in found.values() for loss in rotation.losses))

    def _says(self, status: Status, reason: str, comparison: EngineComparison | None = None) -> Testimony:
        version = self.python.version if self.python else ""
        return Testimony(self.witness.name, self.witness.title, version, status, reason, comparison)
