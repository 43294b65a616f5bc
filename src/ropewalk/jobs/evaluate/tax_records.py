"""The short-context tax as records: the beginning of each document, read as the model is and under a plan."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ropewalk.jobs.evaluate.documents import Document
from ropewalk.jobs.evaluate.faults import attempt, check_finite, too_large
from ropewalk.jobs.evaluate.records import Key, Record, Records, ids_hash
from ropewalk.jobs.evaluate.run import Measurement
from ropewalk.jobs.evaluate.tax import measure_tax
from ropewalk.scaling.plan import ScalingPlan

PROTOCOL = "tax"


def tax_measurements(model_hash: str, plan: ScalingPlan, documents: Iterable[Document]) -> list[Measurement]:
    """One window a document: its first tokens, as many as the shortest original length of the plan."""
    length = min(stretch.rope.original_length for _, stretch in plan.stretches)
    found = []
    for document in documents:
        ids = document.ids[:length]
        item = hashlib.sha256(json.dumps([document.name, ids_hash(ids)]).encode()).hexdigest()[:16]
        key = Key(model_hash, plan.fingerprint, plan.name, PROTOCOL, item, len(ids))
        found.append(Measurement(key, ids, ((1, len(ids)),), {"document": document.name, "start": 0}))
    return found


def record_tax(
    model: Any, plan: ScalingPlan, wanted: Sequence[Measurement], records: Records, facts: dict[str, Any],
    advance: Callable[[float], None],
) -> None:  # fmt: skip
    """Measure what is not on disk yet. nll is the loss under the plan; extra tensors are `base_nll` and `kl`."""
    for m in wanted:
        if m.key not in records:
            done = attempt(partial(next, measure_tax(model, plan, [m.ids])))
            if done is None:
                raise too_large(len(m.ids))
            (found,) = done
            check_finite(model, found.extended, m.ids, m.positions, f"{m.what} (short-context tax) under {plan.name}")
            extra = {"base_nll": found.base, "kl": found.kl}
            records.add(Record(m.key, found.extended, {**m.facts, **facts, "first": 1}, extra))
        advance(2 * m.cost)
