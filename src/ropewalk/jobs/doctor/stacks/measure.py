"""The same passages at growing positions, read on both sides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy

from ropewalk.errors import BadAnswer, BadOption
from ropewalk.jobs.doctor.live.measure import cost, fits, fitting, lengths_for
from ropewalk.jobs.doctor.live.passages import PassageSource
from ropewalk.jobs.doctor.stacks.sides import Prompt, Side, Words, finite, same_tokens
from ropewalk.measure.statistics import Array, Interval, cluster_mean, studentised
from ropewalk.progress import Progress

PART = 8  # of the original window, and no more, is scored


@dataclass(frozen=True)
class Pair:
    """One passage at one length. trainer, rollout: ln p of its last tokens, nats; empty where `trouble` kept them away."""

    passage: int
    length: int
    trainer: tuple[float, ...] = ()
    rollout: tuple[float, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Stacks:
    """words: a tokenizer that makes ids for both; None where both are servers and none is at hand."""

    trainer: Side
    rollout: Side
    words: Words | None

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.trainer, self.rollout

    def prompt(self, text: str) -> Prompt:
        return Prompt(text, self.words.ids(text) if self.words else None)


def lengths_of(stacks: Stacks, original: int, asked: int | None) -> list[int]:
    """Inside the original window and beyond, as far as both read; half the length and the length where that is no further."""
    claims = [side.claimed for side in stacks.sides if side.claimed]
    target = asked or min(claims, default=0)
    if not target:
        raise BadOption("neither side says how far it reads. Say how far both should: to (--to).")
    return lengths_for(original, target) if target > original else [target // 2, target]


def measure(stacks: Stacks, source: PassageSource, lengths: Sequence[int], original: int, progress: Progress) -> list[Pair]:
    """Every passage at every length. A length that is refused once is not asked for again.

    Raises BadAnswer for what is refused inside the original window, and for sides that score other tokens.
    """
    last, pairs, gone = min(stacks.trainer.most, stacks.rollout.most, original // PART), list[Pair](), set[int]()
    for passage, length in product(range(source.count), lengths):
        if length not in gone:
            pair = _pair(stacks, source, passage, length, last)
            if pair.trouble and length <= original:
                raise BadAnswer(f"inside the original window, with {length:,} tokens: {pair.trouble}")
            pairs.append(pair)
            gone |= {length} if pair.trouble else set()
        progress.advance(cost(length))
    return pairs


def _pair(stacks: Stacks, source: PassageSource, passage: int, length: int, last: int) -> Pair:
    found = fitting(_asker(stacks, source, passage, length, last), source, passage, length)
    if isinstance(found, str):
        return Pair(passage, length, trouble=found)
    (one, other), _ = found
    odd = [side.name for side, reading in zip(stacks.sides, (one, other), strict=True) if not finite(reading)]
    if odd:
        return Pair(passage, length, trouble=f"log-probabilities of {' and '.join(odd)} are not numbers (NaN or infinite)")
    return Pair(passage, length, one.logprobs, other.logprobs)


def _asker(
    stacks: Stacks, source: PassageSource, passage: int, length: int, last: int
) -> Callable[[int], tuple[Any, int, int]]:
    def ask(tokens: int) -> tuple[Any, int, int]:
        prompt = stacks.prompt(source.before(passage, tokens))
        if prompt.ids is not None and not fits(len(prompt.ids), length):
            return None, len(prompt.text), len(prompt.ids)
        other, one = stacks.rollout.read(prompt, last), stacks.trainer.read(prompt, last)
        if prompt.ids is None:
            same_tokens(one, other, lambda: f"{stacks.trainer.name} and {stacks.rollout.name}")
        return (one, other), len(prompt.text), one.count

    return ask


ALIKE, DIFFER, UNDECIDED = "ALIKE", "DIFFER", "UNDECIDED"
LEVEL = 0.05
# Nats. bfloat16 beside float32 lies 0.015 apart on the bundled model, a lost attention factor 0.12 (docs/doctor.md).
MARGIN = 0.05
STEEPEST = 20.0  # of ln r: beyond it e^-d is no estimate of anything (verl, kl_penalty, clamps there too)


@dataclass(frozen=True)
class Band:
    """One length. mean: of d, nats.  apart: mean of |d|.  largest: of |d|.  kl: mean of k3."""

    length: int
    beyond: bool
    passages: int
    tokens: int
    mean: Interval
    apart: Interval
    largest: float
    kl: Interval
    verdict: str


def judge(pairs: Sequence[Pair], original: int, margin: float) -> list[Band]:
    lengths = sorted({pair.length for pair in pairs if pair.trainer})
    return [_band([p for p in pairs if p.length == at and p.trainer], at > original, margin, len(lengths)) for at in lengths]


def _band(pairs: Sequence[Pair], beyond: bool, margin: float, looks: int) -> Band:
    gaps = [numpy.subtract(pair.rollout, pair.trainer) for pair in pairs]
    counts = numpy.array([len(gap) for gap in gaps], float)
    apart = studentised(_sums(map(abs, gaps)), counts)
    within, above = apart.p_below(margin) <= LEVEL, apart.p_above(margin) <= LEVEL / looks
    return Band(
        length=pairs[0].length,
        beyond=beyond,
        passages=len(pairs),
        tokens=int(counts.sum()),
        mean=studentised(_sums(gaps), counts).symmetric(),
        apart=apart.equal_tailed().not_below_0(),
        largest=float(max(abs(gap).max() for gap in gaps)),
        kl=cluster_mean(_sums(map(k3, gaps)), counts).not_below_0(),
        verdict=ALIKE if within else DIFFER if above else UNDECIDED,
    )


def _sums(gaps: "map[Array] | list[Array]") -> Array:
    return numpy.array([gap.sum() for gap in gaps])


def k3(gap: Array) -> Array:
    """r - 1 - ln r with ln r = -gap; never below 0."""
    steep = numpy.clip(-gap, -STEEPEST, STEEPEST)
    found: Array = numpy.expm1(steep) - steep
    return found


def overall(bands: Sequence[Band], findings: Sequence[str]) -> str:
    verdicts = {band.verdict for band in bands}
    if findings or DIFFER in verdicts:
        return DIFFER
    return ALIKE if verdicts == {ALIKE} else UNDECIDED
