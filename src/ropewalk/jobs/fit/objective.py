"""What a fit lowers: a weighted mean of the loss of some tokens of some documents, with and without a gradient."""

import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch.utils.checkpoint import checkpoint

from ropewalk.errors import BadConfig
from ropewalk.jobs.fit.family import Space
from ropewalk.measure.documents import Choice, Document, Joined, choose
from ropewalk.measure.material import Material
from ropewalk.measure.nll import head_of, token_nll
from ropewalk.measure.tasks.passkey import make_passkey
from ropewalk.measure.texts import TEXT_FIELD, Texts
from ropewalk.models.attach import attach
from ropewalk.models.differentiable import rotating_by
from ropewalk.scaling.plan import ScalingPlan

DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
CHUNK = 1024  # positions whose logits exist at one time


@dataclass(frozen=True)
class Item:
    """One reading. weights: (tokens - 1,) float32, of the nll of tokens 1, 2, ...; the loss is their sum product."""

    name: str
    ids: tuple[int, ...]
    weights: numpy.ndarray

    @property
    def first(self) -> int:
        """The first token that counts."""
        return 1 + int(numpy.flatnonzero(self.weights)[0])


def far_items(documents: Iterable[Document], original: int, short_weight: float = 0.0) -> list[Item]:
    """Mean nll of the tokens beyond the original length, plus `short_weight` times that of those within it."""
    return [Item(d.name, d.ids, _far(len(d.ids), original, short_weight)) for d in documents]


def _far(tokens: int, original: int, short_weight: float) -> numpy.ndarray:
    """Token L is the first whose prediction has L tokens before it: nll[L - 1]."""
    weights = numpy.zeros(tokens - 1, dtype=numpy.float32)
    weights[original - 1 :] = 1 / (tokens - original)
    weights[: original - 1] = short_weight / (original - 1)
    return weights


def answer_items(tokenizer: Any, documents: Sequence[Document], length: int, seed: int) -> list[Item]:
    """A pass key hidden in each document's place, five depths in turn; only the five digits of the answer count.

    LongRoPE2 (Shang et al. 2025, arXiv:2502.20082, section 3.3) searches on such answer tokens, whose loss needs the
    distant needle, rather than on all tokens, most of which do not need it.
    """
    items, material = [], Material(tokenizer)
    (first, *_) = material.start or material.encode("\n")  # without a BOS a prompt begins as `passkey` does
    for i, document in enumerate(documents):
        sample = make_passkey(
            document.ids[len(material.start) :], material.encode, length=length, depth=DEPTHS[i % len(DEPTHS)],
            rng=random.Random(seed + i), bos=first, newlines=material.newlines,
        )  # fmt: skip
        weights = numpy.zeros(length - 1, dtype=numpy.float32)
        weights[-sample.answer_length :] = 1 / sample.answer_length
        items.append(Item(document.name, sample.ids, weights))
    return items


def losses(model: Any, plan: ScalingPlan, items: Sequence[Item]) -> list[float]:
    """The loss of every item, nats, in one attach."""
    with attach(model, plan):
        return [_loss_of(model, item) for item in items]


def _loss_of(model: Any, item: Item) -> float:
    nll = token_nll(model, torch.tensor([item.ids], device=model.device), first=item.first)[0]
    return float(nll.float().cpu().double() @ torch.from_numpy(item.weights[item.first - 1 :]).double())


def gradient(
    model: Any, plan: ScalingPlan, space: Space, u: torch.Tensor, items: Sequence[Item]
) -> tuple[float, torch.Tensor]:
    """(mean loss of the items, its gradient in u): one forward and one backward pass each, activations checkpointed.

    plan: one whose layers, schedule and near distances are those of the space at u; its own frequencies are not used.
    """
    point = u.detach().clone().requires_grad_()
    total = 0.0
    for item in items:  # one graph at a time: memory does not grow with the number of items
        near = space.near(point) if space.near else None
        rotating = rotating_by(model, plan, lambda scale: space.frequencies(point, scale), len(item.ids), near)
        with rotating, torch.enable_grad():
            loss = _graph(model, item) / len(items)
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    assert point.grad is not None
    return total, point.grad


def _graph(model: Any, item: Item) -> torch.Tensor:
    ids = torch.tensor([item.ids], device=model.device)
    weights = torch.from_numpy(item.weights[item.first - 1 :]).to(ids.device, _kept(model.dtype))
    targets = ids[0, item.first :]
    with torch.no_grad():
        head = head_of(model, ids)
    if head is None:
        return _nll(model(ids, use_cache=False).logits[0, item.first - 1 : -1], targets) @ weights
    hidden = model.base_model(ids, use_cache=False).last_hidden_state[0, item.first - 1 : -1]

    def piece(states: torch.Tensor, wanted: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        return _nll(head(states), wanted) @ share

    pieces = zip(*(torch.split(each, CHUNK) for each in (hidden, targets, weights)), strict=True)
    return torch.stack([checkpoint(piece, *each, use_reentrant=False) for each in pieces]).sum()


def _nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits.to(_kept(logits.dtype)), targets, reduction="none")


def _kept(dtype: torch.dtype) -> torch.dtype:
    """log-softmax is float32 whatever the model's dtype, and float64 in float64."""
    return torch.promote_types(dtype, torch.float32)


LEAST = 6  # documents: two for each set
MANY = 18  # documents of which twelve may be reported on


@dataclass(frozen=True)
class Sets:
    fit: tuple[Document, ...]
    choose: tuple[Document, ...]
    report: tuple[Document, ...]


def library_sets(tokenizer: Any, tokens: int, seed: int) -> Sets:
    """Held-out library files. Which twelve are reported on depends on nothing, so that no search can have seen them.

    Where too few are so long, several in a row make one text; of fewer than `MANY` texts a quarter is reported on.
    """
    every = _long_enough(Texts(), tokenizer, tokens).documents
    if len(every) < MANY:
        every = max(every, choose(Joined(tokens), tokenizer, tokens=tokens, count=sys.maxsize).documents, key=len)
    if len(every) < LEAST:
        raise BadConfig(
            f"{len(every)} texts of the held-out library, files in a row included, have {tokens:,} tokens, the target length; "
            f"a fit needs {LEAST}: two to fit on, two to choose on, two to report on.\n"
            "  Give long texts of your own as data (--data), ten or more for each of the three, or a smaller factor."
        )
    report = random.Random(0).sample(every, 12 if len(every) >= MANY else _quarter(len(every)))
    named = {document.name for document in report}
    # Left out: built from the machine's own configuration, so different on each.
    others = [d for d in every if d.name not in named and not d.name.startswith("_sysconfigdata")]
    random.Random(seed).shuffle(others)
    n = min(6, len(others) // 2) if len(every) >= MANY else _quarter(len(every))
    return Sets(tuple(others[n:]), tuple(others[:n]), tuple(sorted(report, key=lambda d: d.name)))


def _quarter(documents: int) -> int:
    return documents // 4 if documents >= 8 else 2


def read_sets(tokenizer: Any, sources: Sequence[str], tokens: int, seed: int, text_field: str = TEXT_FIELD) -> Sets:
    """Texts from wherever `Texts` takes them, cut to `tokens`: a quarter to choose, a quarter to report, no text twice."""
    choice = _long_enough(Texts(tuple(sources), text_field), tokenizer, tokens)
    documents = choice.documents
    if len(documents) < LEAST:
        unread = "".join(f"\n  {problem.place}: {problem.reason}" for problem in choice.problems[:3])
        raise BadConfig(
            f"{len(documents)} of {choice.found} texts have {tokens:,} tokens, the target length; a fit needs {LEAST}: two to "
            f"fit on, two to choose on, two to report on.{unread}\n  Give more or longer documents, or a smaller factor."
        )
    random.Random(seed).shuffle(documents)
    n = _quarter(len(documents))
    return Sets(tuple(documents[2 * n :]), tuple(documents[:n]), tuple(documents[n : 2 * n]))


def _long_enough(texts: Texts, tokenizer: Any, tokens: int) -> Choice:
    """All of them, in name order."""
    return choose(texts, tokenizer, tokens=tokens, count=sys.maxsize)
