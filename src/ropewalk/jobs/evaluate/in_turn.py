"""Reading one document after another under every plan: until plans are told apart, or until the time is spent."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ropewalk.measure.anytime import LEAST, look, random_order
from ropewalk.measure.faults import Say
from ropewalk.measure.pace import units
from ropewalk.measure.passes import Measurement
from ropewalk.measure.protocols import Protocol
from ropewalk.measure.records import Key, Readings, Records
from ropewalk.measure.retrieval import cost as sample_cost
from ropewalk.measure.retrieval import sample_key
from ropewalk.measure.tables import BITS, Sums, table
from ropewalk.measure.task import Sample
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.units import spoken

LONG = 3600.0  # seconds, above which a run says beforehand how long it will take
Advance = Callable[[float], None]


@dataclass(frozen=True)
class PlanShare:
    """What is measured under one plan: by one process, or in one turn."""

    plan: ScalingPlan
    passes: list[Measurement]
    tax: list[Measurement]
    samples: list[Sample]
    speed: list[Key]

    @property
    def cost(self) -> float:
        read = sum(m.cost for m in self.passes) + 2 * sum(m.cost for m in self.tax)
        return read + sum(map(sample_cost, self.samples)) + sum(units(key.length) for key in self.speed)

    def keys(self, model_hash: str) -> list[Key]:
        read = [m.key for m in (*self.passes, *self.tax)]
        return [*read, *(sample_key(model_hash, self.plan, s) for s in self.samples), *self.speed]

    def missing(self, model_hash: str, records: Records) -> "PlanShare":
        """What is not on disk yet."""
        return PlanShare(
            self.plan,
            [m for m in self.passes if m.key not in records],
            [m for m in self.tax if m.key not in records],
            [s for s in self.samples if sample_key(model_hash, self.plan, s) not in records],
            [key for key in self.speed if key not in records],
        )


def turns(shares: Sequence[PlanShare], documents: Sequence[str], seed: int) -> Iterator[list[PlanShare]]:
    """One document and one sample of each task, length and depth a turn, under every plan; what takes all documents together
    is in the first. The order of the documents is the one that stopping early reads them in; speed is in no turn."""
    order = [documents[i] for i in random_order(len(documents), seed)]
    for n in range(max(len(order), *(sample.index + 1 for share in shares for sample in share.samples), 1)):
        names = {*order[n : n + 1]} if n else {*order[:1], *_together(shares, documents)}
        yield [
            PlanShare(
                share.plan,
                [m for m in share.passes if m.facts["document"] in names],
                [m for m in share.tax if m.facts["document"] in names],
                [s for s in share.samples if s.index == n],
                [],
            )
            for share in shares
        ]


def _together(shares: Sequence[PlanShare], documents: Sequence[str]) -> set[str]:
    return {m.facts["document"] for share in shares for m in share.passes} - {*documents}


class Clock:
    """A budget in seconds, and how long work takes: as tried at first, as measured once something was read.

    began: on time.monotonic's clock.  rate: seconds a unit.
    """

    def __init__(self, budget: float, began: float, rate: float):
        self.budget, self.began, self.rate = budget, began, rate
        self.read = self.spent = 0.0

    def holds(self, cost: float) -> bool:
        return time.monotonic() - self.began + cost * self.rate <= self.budget

    def took(self, cost: float, seconds: float) -> None:
        self.read, self.spent = self.read + cost, self.spent + seconds
        if self.read:
            self.rate = self.spent / self.read


def foretold(missing: float, rate: float, documents: int, first: float, prompts: int = 0) -> str | None:
    """What to say before a run of so many units that would take hours; None for a shorter one.

    first: units of a turn.  prompts: how many are asked in it.
    """
    if missing * rate <= LONG:
        return None
    beside = f", with {prompts:,} prompts of tasks," if documents and prompts else ""
    return (
        f"this will take about {spoken(missing * rate)} here. A budget (--budget) such as 30m reads as many "
        f"{f'of the {documents} documents' if documents else 'samples'} as fit, each under every plan: one{beside} takes "
        f"{spoken(first * rate)}."
    )


def read_turns(
    shares: Sequence[PlanShare], documents: Sequence[str], seed: int, clock: Clock, missing: Callable[[PlanShare], float],
    one: Callable[[PlanShare], None], is_clear: Callable[[Sequence[str]], bool], say: Say,
) -> None:  # fmt: skip
    """Turn after turn, until another is foreseen to end too late; the first is read whatever it takes.

    missing: the cost of what is not on disk yet.  one: measures a share.  is_clear: of the documents read, is that enough?
    """
    order = [documents[i] for i in random_order(len(documents), seed)]
    every, kept = list(turns(shares, documents, seed)), sum(units(key.length) for share in shares for key in share.speed)
    for n, shares_now in enumerate(every):
        cost = sum(map(missing, shares_now))
        if cost and not clock.holds(cost + kept):
            if n:
                left = sum(missing(share) for later in every[n:] for share in later) + kept
                say(f"the time is spent after {_counted(n, order)}; the rest would take {spoken(left * clock.rate)} more.")
                return
            say(f"one document under every plan takes {spoken(cost * clock.rate)}, longer than the budget; it is read.")
        began = time.monotonic()
        for share in shares_now:
            one(share)
        clock.took(cost, time.monotonic() - began)
        if n + 1 >= LEAST and is_clear(order[: n + 1]):
            say(f"every plan is told from {shares[0].plan.name} after {_counted(n + 1, order)}; the rest is not read.")
            return


def _counted(n: int, order: Sequence[str]) -> str:
    return f"{min(n, len(order))} of {len(order)} documents" if order else f"{n} samples of each kind"


def read_until_clear(
    shares: Sequence[PlanShare], documents: Sequence[str], seed: int, one: Callable[[PlanShare], None],
    is_clear: Callable[[Sequence[str]], bool], advance: Advance, say: Say,
) -> int:  # fmt: skip
    """Read one document after another under every plan, its passes alone; how many were read when it was clear.

    The rest as in `read_turns`. The order is drawn from the seed before anything is read, and the look after each document is
    `anytime.look`, whose level holds however often one looks. A second run looks at the same documents in the same order, and
    stops where the first did.
    """
    order = [documents[i] for i in random_order(len(documents), seed)]
    for n, name in enumerate(order, 1):
        for share in shares:
            one(PlanShare(share.plan, [m for m in share.passes if m.facts["document"] == name], [], [], []))
        if n >= LEAST and is_clear(order[:n]):
            unread = set(order[n:])
            advance(sum(m.cost for share in shares for m in share.passes if m.facts["document"] in unread))
            say(f"every plan is told from {shares[0].plan.name} after {n} of {len(order)} documents; the rest is not read.")
            return n
    say(f"{len(order)} documents were read, and not every plan is told from {shares[0].plan.name}.")
    return len(order)


def clear(plans: Sequence[str], order: Sequence[str], protocol: Protocol, records: Records) -> bool:
    """Is the first of these plans told from all others, in the last line of `protocol`?  plans: fingerprints."""
    read = [
        replace(record, key=replace(record.key, method=record.key.plan))
        for record in records
        if record.key.plan in plans and record.facts.get("document") in order
    ]
    rows = table(Readings(read), protocol)
    first, *others = [_in_order(list(rows[plan].values())[-1], order) for plan in plans]
    return all(look(first.sums * BITS, other.sums * BITS, first.counts).stop for other in others)


def _in_order(sums: Sums, order: Sequence[str]) -> Sums:
    """The documents as they were read: what an anytime-valid test looks at is a sequence."""
    rows = [sums.documents.index(name) for name in order]
    return Sums(tuple(order), sums.sums[rows], sums.counts[rows], sums.tokens[rows])
