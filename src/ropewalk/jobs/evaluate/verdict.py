"""The verdict in words: how far does a method carry, and how sure is that?"""

from collections.abc import Sequence
from dataclasses import dataclass

from ropewalk.errors import BadOption
from ropewalk.jobs.evaluate.comparisons import paired
from ropewalk.jobs.evaluate.power import documents_needed, smallest_detectable
from ropewalk.jobs.evaluate.statistics import SAMPLES, Array, Interval, checked

LEVEL = 0.05  # one-sided


@dataclass(frozen=True, slots=True)
class LastStretch:
    """The last tokens before a length, of every document. sums, counts: (documents,) of the loss, in the same order."""

    length: int
    sums: Array
    counts: Array


@dataclass(frozen=True, slots=True)
class Step:
    """One length against the original one. Above 0, the last stretch is worse than the baseline's.

    p_worse: one-sided, of no worse.  p_within: of worse by the margin or more; None without a margin.
    """

    length: int
    difference: Interval
    p_worse: float
    p_within: float | None
    error: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """longest: not significantly worse there; None if worse everywhere.  within: shown to lose less than the margin."""

    longest: int | None
    within: int | None
    steps: tuple[Step, ...]
    documents: int
    detectable: float
    words: str


def verdict(
    name: str, baseline: LastStretch, stretches: Sequence[LastStretch], *, margin: float | None = None,
    level: float = LEVEL, unit: str = "nats", samples: int = SAMPLES, seed: int = 0,
) -> Verdict:  # fmt: skip
    """The longest length whose last stretch is not significantly worse than the baseline's, in numbers and words.

    baseline: the last stretch inside the original length, of the model without a plan.
    stretches: those of the method, of the same documents.  margin: a loss, in `unit`, that would not matter.

    *Not worse* is tested from the longest length down, each at `level` one-sided, until one is not significantly worse.
    That is a fixed sequence (Maurer, Hothorn & Lehmacher 1995; Wiens 2003): a hypothesis is only tested once all before it
    were rejected, so the chance to call any length worse that is not stays at `level` without a correction, where Holm's
    would ask for more evidence at each. *Within the margin* is tested from the shortest up, until one fails, for the same
    reason. The first is absence of evidence, and its sentence says how large a loss could have stayed unseen; only the
    second is evidence of absence.

    Each document's baseline counts with the tokens of its stretch, should they differ.
    """
    if not stretches:
        raise BadOption("there is no length to judge: give the last stretch of one length at least.")
    if len(baseline.sums) < 2:
        raise BadOption(
            f"a verdict needs 2 documents at least, and ten to be of use; there are {len(baseline.sums)}.\n"
            "  One document says nothing of how much documents differ."
        )
    if margin is not None and not margin > 0:
        raise BadOption(f"margin is {margin!r}; it must be above 0: no number of documents shows that nothing is lost.")
    ordered = sorted(stretches, key=lambda stretch: stretch.length)
    steps = tuple(_step(baseline, stretch, margin, samples, seed) for stretch in ordered)
    longest = next((step for step in reversed(steps) if step.p_worse > level), None)
    within = None
    for step in steps if margin is not None else ():
        if step.p_within is None or step.p_within > level:
            break
        within = step.length
    judged, documents = longest or steps[0], len(baseline.sums)
    detectable = smallest_detectable(judged.error, documents, level=2 * level)
    words = [_first(name, baseline, longest, steps, level, unit)]
    if longest:
        words.append(
            f"{documents} documents would have shown a loss of {detectable:.3f} {unit} there in 80 of 100 comparisons; a "
            "smaller one can stay unseen."
        )
        words += _failures(steps, longest, level, unit)
    if margin is not None:
        words.append(_second(within, steps[0], documents, margin, level, unit))
    return Verdict(longest.length if longest else None, within, steps, documents, detectable, " ".join(words))


def _step(baseline: LastStretch, stretch: LastStretch, margin: float | None, samples: int, seed: int) -> Step:
    sums, counts = checked(baseline.sums, baseline.counts)
    if len(stretch.sums) != len(sums):
        raise BadOption(
            f"the last stretch at {stretch.length:,} has {len(stretch.sums)} documents, the baseline {len(sums)}.\n"
            "  A verdict compares the same documents: leave out those that are not long enough for every length."
        )
    found = paired(stretch.sums, sums / counts * stretch.counts, stretch.counts, samples=samples, seed=seed)
    p_within = None if margin is None else found.p_below(margin)
    return Step(stretch.length, found.symmetric(), found.p_above(), p_within, found.error)


def _first(
    name: str, baseline: LastStretch, longest: Step | None, steps: tuple[Step, ...], level: float, unit: str
) -> str:  # fmt: skip
    if longest is None:
        return (
            f"{name} is worse at every length tested than the unstretched model at {baseline.length:,}, "
            f"at {steps[0].length:,} by {_gap(steps[0], unit)} (each p at most {level:g}, one-sided)."
        )
    return (
        f"{name} holds to {longest.length:,} tokens: its last stretch there is not significantly worse than the unstretched "
        f"model's at {baseline.length:,} ({_gap(longest, unit)}; one-sided p {longest.p_worse:.2g})."
    )


def _gap(step: Step, unit: str) -> str:
    gap = step.difference
    return f"{gap.value:+.3f} {unit}, 95 % interval {gap.low:+.3f} to {gap.high:+.3f}"


def _failures(steps: tuple[Step, ...], longest: Step, level: float, unit: str) -> list[str]:
    after = next((step for step in steps if step.length > longest.length), None)
    bumps = [f"{step.length:,}" for step in steps if step.length < longest.length and step.p_worse <= level]
    said = [f"At {after.length:,} it is worse: {_gap(after, unit)}."] if after else []
    if bumps:
        said.append(f"Before that it looks worse at {', '.join(bumps)} (not corrected for several looks).")
    return said


def _second(within: int | None, first: Step, documents: int, margin: float, level: float, unit: str) -> str:
    if within is not None:
        return f"It is shown to lose less than {margin:g} {unit} up to {within:,} tokens."
    if first.difference.value >= margin:
        return f"It is not shown to lose less than {margin:g} {unit} at any length."
    needed = documents_needed(first.error, documents, margin - max(first.difference.value, 0.0), level=2 * level)
    return (
        f"It is not shown to lose less than {margin:g} {unit} at any length: at {first.length:,} that takes about "
        f"{max(needed, documents + 1):,} documents."
    )
