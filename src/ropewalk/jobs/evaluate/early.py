"""Reading documents until every plan is told from the first one, and no further, at an error rate that holds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ropewalk.jobs.evaluate.anytime import look, random_order
from ropewalk.jobs.evaluate.faults import Batch, Say
from ropewalk.jobs.evaluate.protocols import Protocol
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.records import Records
from ropewalk.jobs.evaluate.run import Measurement, measure
from ropewalk.jobs.evaluate.tables import BITS, Sums, table
from ropewalk.scaling.plan import ScalingPlan

LEAST = 3  # documents before the first look
Planned = tuple[ScalingPlan, Sequence[Measurement]]


def read_until_clear(
    model: Any, planned: Sequence[Planned], names: Sequence[str], protocol: Protocol, records: Records,
    advance: Callable[[float], None], batch: Batch, say: Say, seed: int,
) -> int:  # fmt: skip
    """Read one document after another under every plan; how many were read when the last line of `protocol` was decided.

    planned: plans with all their passes; each of the others is compared with the first.  names: the documents.
    The order is drawn from the seed before anything is read, and the look after each document is `anytime.look`, whose level
    holds however often one looks. A second run looks at the same documents in the same order, and stops where the first did.
    """
    order = [names[i] for i in random_order(len(names), seed)]
    for n, name in enumerate(order, 1):
        for plan, passes in planned:
            measure(model, plan, [m for m in passes if m.facts["document"] == name], records, advance, batch=batch)
        if n >= LEAST and _clear(planned, order[:n], protocol, records):
            unread = set(order[n:])
            advance(sum(m.cost for _, passes in planned for m in passes if m.facts["document"] in unread))
            say(f"every plan is told from {planned[0][0].name} after {n} of {len(order)} documents; the rest is not read.")
            return n
    say(f"{len(order)} documents were read, and not every plan is told from {planned[0][0].name}.")
    return len(order)


def _clear(planned: Sequence[Planned], order: Sequence[str], protocol: Protocol, records: Records) -> bool:
    plans = [plan.fingerprint for plan, _ in planned]
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
