"""The whole examination of a running server, and its result as one object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.checkpoints.files import plain
from ropewalk.errors import BadLength, BadOption
from ropewalk.jobs.doctor.live.endpoint import Endpoint
from ropewalk.jobs.doctor.live.judge import FAIL, KEY_MARGIN, MARGIN, PASS, KeyStep, LossStep, judge_keys, judge_loss, overall
from ropewalk.jobs.doctor.live.measure import PassageCell, Round, cost, measure_keys, measure_loss
from ropewalk.jobs.doctor.live.passages import PassageSource, library_text
from ropewalk.progress import SILENT, Progress

PASSAGES = 12
LEAST = 64  # tokens of an original window: two halves of it hold a passage and a pass key
SCHEMA = "ropewalk.live/1"


@dataclass(frozen=True)
class WrittenConfig:
    """What the model's config says of it, where one is at hand: its original window, and the longest input it is meant for."""

    original: int
    target: int


@dataclass(frozen=True)
class LiveDiagnosis:
    """findings: what alone makes it fail.  notes: what a person should know.  how: the loss was read; empty: it was not."""

    url: str
    model: str
    claimed: int | None
    original: int
    margin: float
    how: str
    cells: tuple[PassageCell, ...]
    loss: tuple[LossStep, ...]
    keys: tuple[KeyStep, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return overall(self.loss, self.keys, self.findings)

    @property
    def words(self) -> str:
        """The rule that decided."""
        if self.verdict == FAIL:
            return "beyond the original window the server does worse than inside it, or not at all."
        what = (
            f"the loss rises by less than {self.margin:g} nats"
            if self.loss
            else f"at most {KEY_MARGIN:.0%} of the keys are lost"
        )
        if self.verdict == PASS:
            return f"beyond the original window {what}, shown at every length."
        return f"not shown that beyond the original window {what}, and not the contrary: more passages (--passages) ask more."

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "verdict": self.verdict, **plain(self)}


def target_of(endpoint: Endpoint, asked: int | None) -> int:
    """How far the server should read: what a person says, or what it claims."""
    if asked is None and endpoint.claimed is None:
        raise BadOption("the server does not say how far it reads. Say how far it should: to (--to).")
    return asked or endpoint.claimed or 0


def work(lengths: Sequence[int], passages: int, reader: bool) -> float:
    """In the unit that progress is told of."""
    return (1 + reader) * passages * sum(map(cost, lengths))


def examine(
    endpoint: Endpoint, lengths: Sequence[int], original: int, *, written: WrittenConfig | None = None,
    passages: int = PASSAGES, margin: float = MARGIN, text: str | None = None, progress: Progress = SILENT,
) -> LiveDiagnosis:  # fmt: skip
    """Read and ask at every length (from `lengths_for`) and judge.

    passages: of the loss, and as many pass keys.  margin: nats per token that the loss may rise by beyond the original window.
    text: what passages are taken from; the standard library's held-out part by default.
    """
    if original < LEAST:
        raise BadLength(f"an original window of {original} tokens is too short to examine; it must have {LEAST} at least.")
    if passages < 2 or not 0 < margin < math.inf:
        raise BadOption(
            f"passages are {passages} and the margin {margin:g}: two passages and a finite margin above 0 are needed."
        )
    source = PassageSource(text or library_text(), passages)
    progress.begin(f"asking {endpoint.model}", work(lengths, passages, endpoint.reader is not None))
    round_ = Round(endpoint, source, lengths, original, progress)
    cells = measure_loss(round_) if endpoint.reader else []
    asked = measure_keys(round_)
    return LiveDiagnosis(
        url=endpoint.client.root,
        model=endpoint.model,
        claimed=endpoint.claimed,
        original=original,
        margin=margin,
        how=endpoint.reader.name if endpoint.reader else "",
        cells=(*cells, *asked),
        loss=tuple(judge_loss(cells, original, margin)),
        keys=tuple(judge_keys(asked, original)),
        findings=(*_claims(endpoint, written), *_troubles([*cells, *asked])),
        notes=tuple(_notes(endpoint, written)),
    )


def _claims(endpoint: Endpoint, written: WrittenConfig | None) -> list[str]:
    if not written or endpoint.claimed is None or written.target <= written.original or endpoint.claimed <= written.target:
        return []
    times = endpoint.claimed / written.target
    return [
        f"the server reads {endpoint.claimed:,} tokens, x{times:.3g} of the {written.target:,} that the config's own scaling "
        "reaches: a factor may be applied twice."
    ]


def _notes(endpoint: Endpoint, written: WrittenConfig | None) -> list[str]:
    found = []
    if endpoint.reader is None:
        found.append("this server tells no log-probabilities of a prompt: pass keys alone decide.")
    if written and endpoint.claimed and written.target == written.original < endpoint.claimed:
        found.append(f"the config says nothing of a stretch; the server was started with one, to {endpoint.claimed:,} tokens.")
    return found


def _troubles(cells: Sequence[PassageCell]) -> list[str]:
    """What could not be measured, once for each kind and length."""
    kinds: dict[tuple[int, str], tuple[int, str]] = {}
    for cell in cells:
        if cell.trouble:
            kind = (cell.length, "numbers" if cell.loss is not None else "answer")
            often, words = kinds.get(kind, (0, cell.trouble))
            kinds[kind] = (often + 1, words)
    return [f"at {length:,} tokens, {often} of the requests: {words}" for (length, _), (often, words) in kinds.items()]
