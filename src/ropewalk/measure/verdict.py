"""The verdict in words: how far is a method *shown* to carry, and what would it take where that is not decided?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ropewalk.errors import BadOption
from ropewalk.measure.comparisons import paired
from ropewalk.measure.statistics import ENOUGH, SAMPLES, Array, Interval, checked, documents_needed

HOLDS, WORSE, OPEN = "holds", "worse", "not decided"
MANY = 1_000_000  # documents: more are "over a million"


@dataclass(frozen=True, slots=True)
class LastStretch:
    """The last tokens before a length, of every document. sums, counts: (documents,) of the loss, in the same order."""

    length: int
    sums: Array
    counts: Array


class Found(NamedTuple):
    """What was found of what was hidden in a length, as a state of its own and in words."""

    state: str
    words: str


@dataclass(frozen=True, slots=True)
class LengthStep:
    """One length against the original one. difference: above 0, the last stretch is worse than the baseline's; 95 %.

    loss: HOLDS where the whole interval is below the margin, WORSE where it is above, else OPEN; then needed is about how many
    documents would decide.  found: None where nothing was hidden.
    """

    length: int
    difference: Interval
    error: float
    loss: str
    needed: int | None
    found: Found | None = None

    @property
    def holds(self) -> bool:
        return self.loss == HOLDS and (self.found is None or self.found.state == HOLDS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """longest: to where it is shown to hold; None where no length is shown to."""

    longest: int | None
    steps: tuple[LengthStep, ...]
    documents: int
    words: str


def verdict(
    name: str, baseline: LastStretch, stretches: Sequence[LastStretch], *, margin: float, unit: str = "nats",
    found: Mapping[int, Found] | None = None, samples: int = SAMPLES, seed: int = 0,
) -> Verdict:  # fmt: skip
    """The longest length to which the method is shown to lose less than `margin`, in numbers and words.

    baseline: the last stretch inside the original length, of the model without a plan.
    stretches: those of the method, of the same documents.  margin: a loss, in `unit`, that would not matter.
    found: for lengths at which things were hidden, whether they are still found.

    A length holds where the whole 95 % interval of its paired difference lies below the margin: equivalence that is shown
    (one side of Schuirmann's two one-sided tests 1987; reading better than before is no fault), and not a difference that was
    missed. So fewer documents never make a longer reading, and beyond the window fewer than `ENOUGH` decide nothing.
    Lengths beyond the baseline's are asked from the shortest up, until one does not hold: in such a fixed sequence each may be
    tested at the full level (Maurer, Hothorn & Lehmacher 1995). Where none holds, the baseline's own length is looked at. What
    a method costs *inside* the window is said, and does not end the sequence.

    Each document's baseline counts with the tokens of its stretch, should they differ.
    """
    _check(baseline, stretches, margin)
    ordered = sorted(stretches, key=lambda stretch: stretch.length)
    steps = tuple(_step(baseline, s, margin, (found or {}).get(s.length), samples, seed) for s in ordered)
    inside, beyond = ([step for step in steps if (step.length > baseline.length) is far] for far in (False, True))
    longest = inside[-1] if inside and inside[-1].loss == HOLDS else None
    failed = None
    for step in beyond:
        if not step.holds:
            failed = step
            break
        longest = step
    words = [_first(name, baseline, longest, steps, margin, unit)]
    words += [_failure(failed, len(baseline.sums), margin, unit)] if failed else []
    words += [_cost(step, unit) for step in inside[-1:] if step.loss != HOLDS and longest]
    return Verdict(longest.length if longest else None, steps, len(baseline.sums), " ".join(words))


def _check(baseline: LastStretch, stretches: Sequence[LastStretch], margin: float) -> None:
    if not stretches:
        raise BadOption("there is no length to judge: give the last stretch of one length at least.")
    if len(baseline.sums) < 2:
        raise BadOption(
            f"a verdict needs 2 documents at least, and ten to be of use; there are {len(baseline.sums)}.\n"
            "  One document says nothing of how much documents differ."
        )
    if not margin > 0:
        raise BadOption(f"margin is {margin!r}; it must be above 0: no number of documents shows that nothing is lost.")
    if margin == math.inf:
        raise BadOption("margin is infinite; it must be a finite number: any loss is less than that.")


def _step(
    baseline: LastStretch, stretch: LastStretch, margin: float, found: Found | None, samples: int, seed: int
) -> LengthStep:  # fmt: skip
    sums, counts = checked(baseline.sums, baseline.counts)
    if len(stretch.sums) != len(sums):
        raise BadOption(
            f"the last stretch at {stretch.length:,} has {len(stretch.sums)} documents, the baseline {len(sums)}.\n"
            "  A verdict compares the same documents: leave out those that are not long enough for every length."
        )
    paired_loss = paired(stretch.sums, sums / counts * stretch.counts, stretch.counts, samples=samples, seed=seed)
    gap, error, n = paired_loss.symmetric(), paired_loss.error, len(sums)
    enough = n >= ENOUGH or stretch.length <= baseline.length
    if enough and gap.high < margin:
        return LengthStep(stretch.length, gap, error, HOLDS, None, found)
    if enough and gap.low > margin:
        return LengthStep(stretch.length, gap, error, WORSE, None, found)
    wished = abs(margin - gap.value)
    needed = documents_needed(error, n, wished) if wished and error else n
    return LengthStep(stretch.length, gap, error, OPEN, max(needed, ENOUGH, n + 1), found)


def _first(
    name: str, baseline: LastStretch, longest: LengthStep | None, steps: tuple[LengthStep, ...], margin: float, unit: str
) -> str:  # fmt: skip
    if longest is None:
        first, said = (
            steps[0],
            f"{name} is not shown to read any length tested as the unstretched model reads {baseline.length:,}",
        )
        inside = first.length <= baseline.length
        return f"{said}: at {first.length:,} it loses {_gap(first, unit)}." if inside else f"{said}."
    if longest.length <= baseline.length:
        return f"{name} reads to {longest.length:,} tokens, and is not shown to read beyond the trained length."
    kept = f", and {longest.found.words}" if longest.found else ""
    return (
        f"{name} reads to {longest.length:,} tokens: its last stretch there is shown to lose less than {margin:g} {unit} "
        f"against the unstretched model's at {baseline.length:,} ({_gap(longest, unit)}){kept}."
    )


def _gap(step: LengthStep, unit: str) -> str:
    gap = step.difference
    return f"{gap.value:+.3f} {unit}, 95 % interval {gap.low:+.3f} to {gap.high:+.3f}"


def _failure(step: LengthStep, documents: int, margin: float, unit: str) -> str:
    found = step.found if step.found and step.found.state != HOLDS else None
    if step.loss == WORSE:
        said = f"At {step.length:,} it is worse: {_gap(step, unit)}"
    elif found and found.state == WORSE:
        said = f"At {step.length:,} it does not hold ({_gap(step, unit)})"
    else:
        why = f" by {documents} documents, since fewer than {ENOUGH} decide nothing there" if documents < ENOUGH else ""
        said = f"At {step.length:,} it is not decided{why}: {_gap(step, unit)}"
        if step.loss == OPEN:
            said += f"; about {_documents(step.needed)} would show whether that is less than {margin:g}"
    return f"{said}; {found.words}." if found else f"{said}."


def _documents(needed: int | None) -> str:
    return f"{needed:,} documents" if needed and needed <= MANY else "over a million documents"


def _cost(step: LengthStep, unit: str) -> str:
    return f"Inside the trained length, at {step.length:,}, it costs {_gap(step, unit)}."
