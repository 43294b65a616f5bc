"""The whole comparison of two running stacks, and its result as one object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.checkpoints.files import plain
from ropewalk.errors import BadLength, BadOption
from ropewalk.jobs.doctor.live.job import LEAST, PASSAGES
from ropewalk.jobs.doctor.live.measure import cost
from ropewalk.jobs.doctor.live.passages import PassageSource, library_text
from ropewalk.jobs.doctor.stacks.measure import ALIKE, DIFFER, MARGIN, Band, Stacks, judge, measure, overall
from ropewalk.progress import SILENT, Progress

SCHEMA = "ropewalk.stacks/1"


@dataclass(frozen=True)
class StackDiagnosis:
    """trainer, rollout: as they were named.  how: each is read.  findings: what alone makes them differ."""

    trainer: str
    rollout: str
    how: tuple[str, str]
    original: int
    margin: float
    bands: tuple[Band, ...]
    findings: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return overall(self.bands, self.findings)

    @property
    def words(self) -> str:
        """The rule that decided, and where."""
        if self.verdict == ALIKE:
            return (
                f"at every length a token's log-probability is shown to be less than {self.margin:g} nats apart, on average."
            )
        if self.verdict != DIFFER:
            open_yet = f"not shown that both lie less than {self.margin:g} nats apart, and not the contrary"
            return f"{open_yet}: more passages (--passages) ask more."
        apart = [band for band in self.bands if band.verdict == DIFFER]
        if not apart:
            return "one side does not answer where the other does."
        if all(band.beyond for band in apart):
            return "beyond the original window alone: one side stretches less far, or otherwise."
        return (
            "inside the original window too: the attention factor, the method or its factor, or what has nothing to do with "
            "positions, such as weights or precision."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "verdict": self.verdict, **plain(self)}


def work(lengths: Sequence[int], passages: int) -> float:
    """In the unit that progress is told of."""
    return passages * sum(map(cost, lengths))


def compare(
    stacks: Stacks, lengths: Sequence[int], original: int, *,
    passages: int = PASSAGES, margin: float = MARGIN, asked: bool = False, text: str | None = None,
    progress: Progress = SILENT,
) -> StackDiagnosis:  # fmt: skip
    """Read both sides at every length (from `lengths_of`) and judge.

    asked: whether a person chose how far; otherwise one side that reads no further than the original window is a finding.
    margin: nats that the log-probability of a token may differ by, on average.
    text: what passages are taken from; the standard library's held-out part by default.
    """
    if original < LEAST:
        raise BadLength(f"an original window of {original} tokens is too short to examine; it must have {LEAST} at least.")
    if passages < 2 or not 0 < margin < math.inf:
        raise BadOption(
            f"passages are {passages} and the margin {margin:g}: two passages and a finite margin above 0 are needed."
        )
    progress.begin("asking both", work(lengths, passages))
    pairs = measure(stacks, PassageSource(text or library_text(), passages), lengths, original, progress)
    troubles = [f"at {pair.length:,} tokens: {pair.trouble}" for pair in pairs if pair.trouble]
    return StackDiagnosis(
        trainer=stacks.trainer.name,
        rollout=stacks.rollout.name,
        how=(stacks.trainer.how, stacks.rollout.how),
        original=original,
        margin=margin,
        bands=tuple(judge(pairs, original, margin)),
        findings=(*([] if asked else _claims(stacks, original)), *troubles),
    )


def _claims(stacks: Stacks, original: int) -> list[str]:
    """One side that reads no further than the original window, beside one that does."""
    near, far = sorted(stacks.sides, key=lambda side: side.claimed or 0)
    if not near.claimed or not far.claimed or not near.claimed <= original < far.claimed:
        return []
    return [
        f"{near.name} reads {near.claimed:,} tokens, no more than the original window, and {far.name} {far.claimed:,}. "
        "Is it meant so? to (--to) compares what both read."
    ]
