"""Short-context degradation: what a stretch costs where the model needed none, on windows inside its original length.

The base is the model as it was loaded. A causal dynamic plan leaves it alone there bit for bit: exactly 0. The
method `none`, attached, is not that base: its table comes from float64 and differs in the last bits.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ropewalk.errors import BadLength
from ropewalk.measure.documents import Document
from ropewalk.measure.faults import attempt, check_finite, too_large
from ropewalk.measure.nll import head_of, positions_at_once
from ropewalk.measure.passes import Measurement, plan_at
from ropewalk.measure.records import Key, Record, Records, ids_hash
from ropewalk.measure.statistics import Array
from ropewalk.models.attach import attach
from ropewalk.scaling.plan import ScalingPlan


@dataclass(frozen=True, slots=True)
class WindowTax:
    """One window, each (tokens - 1,) float32, nats: -ln p of every token but the first, and KL(base || extended).

    The divergence is over the whole next-token distribution, so it sees what the one token that came does not.
    """

    base: Array
    extended: Array
    kl: Array


class BaseStates:
    """What the model itself makes of the windows read last, for every plan that is measured on them: one pass instead of two.

    most: bytes of memory that are kept; the oldest go first.
    """

    def __init__(self, most: int = 2**29):
        self._most, self._kept = most, dict[str, torch.Tensor]()

    def of(self, ids: torch.Tensor, read: Callable[[], torch.Tensor]) -> torch.Tensor:
        name = ids_hash(ids[0].cpu())
        if name in self._kept:
            return self._kept[name].to(ids.device)
        states = read()
        self._kept[name] = states.cpu()
        while sum(kept.nbytes for kept in self._kept.values()) > self._most:
            del self._kept[next(iter(self._kept))]
        return states


@torch.inference_mode()
def measure_tax(
    model: Any, plan: ScalingPlan, windows: Iterable[Any], *, chunk: int | None = None, bases: BaseStates | None = None
) -> Iterator[WindowTax]:  # fmt: skip
    """Read each window twice, as the model is and under `plan`, and compare token by token.

    Of longrope's two lists it is the one for short texts, as an engine takes it there.

    model: without any plan attached; it is left so.  windows: sequences of token ids, each no longer than the shortest
    original length of the plan.  chunk: positions whose two distributions exist at one time;
    None: as `positions_at_once` says.  bases: of this model, from call to call.

    Two forward passes a window, or one where `bases` has the other. In memory at once: two times tokens x hidden size in the
    model's dtype, and a few times chunk x vocabulary floats; where the head cannot be run alone (see `head_of`), two times
    tokens x vocabulary instead. Log-softmax is float32. Where the two are equal bit for bit, the divergence is exactly 0;
    rounding can otherwise leave it some 1e-7 below.
    """
    longest = min(stretch.rope.original_length for _, stretch in plan.stretches)
    bases = bases or BaseStates()
    for number, window in enumerate(windows):
        ids = torch.as_tensor(window, device=model.device)[None]
        if not 2 <= ids.shape[1] <= longest:
            raise BadLength(
                f"window {number} has {ids.shape[1]:,} tokens; short-context degradation is measured on 2 to {longest:,}, "
                "inside the original length.\n"
                "  Cut the window, or measure beyond it with `position`, where a stretch has its use."
            )
        head = head_of(model, ids)
        base = bases.of(ids, partial(_states, model, ids, head is None))
        with attach(model, plan_at(plan, ids.shape[1])):
            extended = _states(model, ids, head is None)
        yield _compare(head or torch.nn.Identity(), base, extended, ids[0, 1:], chunk or positions_at_once(model, 2))


def _states(model: Any, ids: torch.Tensor, logits: bool) -> torch.Tensor:
    """(tokens - 1, width): hidden states, or logits where only the whole model can make them."""
    if logits:
        return model(ids, use_cache=False).logits[0, :-1]  # type: ignore[no-any-return]
    return model.base_model(ids, use_cache=False).last_hidden_state[0, :-1]  # type: ignore[no-any-return]


def _compare(
    head: Callable[[torch.Tensor], torch.Tensor], base: torch.Tensor, extended: torch.Tensor, targets: torch.Tensor, chunk: int
) -> WindowTax:
    pieces = []
    for b, e, t in zip(*(torch.split(x, chunk) for x in (base, extended, targets)), strict=True):
        p, q = head(b[None])[0].float().log_softmax(-1), head(e[None])[0].float().log_softmax(-1)
        kl = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
        pieces.append(torch.stack([*(-x.gather(-1, t[:, None])[:, 0] for x in (p, q)), kl]))
    return WindowTax(*torch.cat(pieces, 1).cpu().numpy())


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
    advance: Callable[[float], None], bases: BaseStates | None = None,
) -> None:  # fmt: skip
    """Measure what is not on disk yet. nll is the loss under the plan; extra tensors are `base_nll` and `kl`.

    `advance` is told of two passes a window, whether or not `bases` has one.
    """
    for m in wanted:
        if m.key not in records:
            done = attempt(partial(next, measure_tax(model, plan, [m.ids], bases=bases)))
            if done is None:
                raise too_large(len(m.ids))
            (found,) = done
            check_finite(model, found.extended, m.ids, m.positions, f"{m.what} (short-context degradation) under {plan.name}")
            extra = {"base_nll": found.base, "kl": found.kl}
            records.add(Record(m.key, found.extended, {**m.facts, **facts, "first": 1}, extra))
        advance(2 * m.cost)
