"""What held-out documents say while the model trains: loss by context length, pass keys, and the price inside the window."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy
import torch

from ropewalk.errors import BadConfig
from ropewalk.jobs.train.data.layout import IGNORED, Layout, lay_out, shard
from ropewalk.jobs.train.loop import Loop, sums
from ropewalk.measure.comparisons import compare
from ropewalk.measure.documents import Document, check_documents, choose
from ropewalk.measure.material import Material
from ropewalk.measure.retrieval import make_samples
from ropewalk.measure.task import Sample
from ropewalk.measure.texts import Texts, source_files

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FLAT = 3  # evaluations in a row without a gain


@dataclass(frozen=True)
class HeldOut:
    """documents: all of one length.  samples: pass keys hidden at that length."""

    documents: Sequence[Document]
    samples: Sequence[Sample]

    def cut(self, length: int) -> "HeldOut":
        """Only the first `length` tokens of each document, and no pass keys."""
        return HeldOut([Document(d.name, d.ids[:length], d.sha) for d in self.documents], ())


@dataclass(frozen=True)
class HeldOutLoss:
    """sums: (documents, buckets, 2), nats and tokens.  hits: pass keys whose every token was the model's first choice."""

    sums: numpy.ndarray
    edges: tuple[int, ...]
    hits: int
    asked: int

    def mean(self, low: int, high: int) -> float:
        """Nats per token of positions `low` to `high`, which are edges."""
        a, b = self.edges.index(low), self.edges.index(high)
        nats, count = self.sums[:, a:b].sum((0, 1))
        return float(nats / count)

    @property
    def by_length(self) -> dict[str, float]:
        return {f"{a}-{b}": self.mean(a, b) for a, b in pairwise(self.edges)}

    @property
    def far(self) -> numpy.ndarray:
        """(documents, 2): the last bucket."""
        last: numpy.ndarray = self.sums[:, -1]
        return last


def check_apart(data: Sequence[str], held_out: Sequence[str]) -> None:
    """Raises BadConfig for a file or a hub data set that is trained on and held out: its loss would tell of memory."""
    if both := sorted(_places(data) & _places(held_out)):
        more = f" and {len(both) - 1:,} more" if len(both) > 1 else ""
        raise BadConfig(
            f"{both[0]}{more}: trained on, and held out too. The evaluation would measure memory.\n"
            "  Name other documents as held_out (--held-out), or take these out of data (--data)."
        )


def _places(sources: Sequence[str]) -> set[str]:
    return {place for s in sources for place in [str(p.resolve()) for p in source_files(s)] or [s]}


def prepare(
    tokenizer: Any, sources: Sequence[str], text_field: str, length: int, count: int, passkeys: int, seed: int
) -> HeldOut:
    """Raises BadConfig where there are fewer than two documents of that length."""
    choice = choose(Texts(sources, text_field), tokenizer, tokens=length, count=count, seed=seed)
    check_documents(choice, tokens=length, count=count)
    samples: list[Sample] = []
    if passkeys:
        each = -(-passkeys // len(DEPTHS))
        made, _ = make_samples(Material(tokenizer), ["passkey"], [length], depths=DEPTHS, count=each, seed=seed)
        samples = made[:: max(len(made) // passkeys, 1)][:passkeys]
    return HeldOut(choice.documents, samples)


@torch.no_grad()
def read(loop: Loop, held_out: HeldOut) -> HeldOutLoss:
    """Every data-parallel group reads its share; all processes get the whole."""
    parallel, model = loop.trained.parallel, loop.trained.model
    found = torch.zeros(len(held_out.documents), len(loop.edges) - 1, 2, dtype=torch.float64, device=parallel.device)
    hits = torch.zeros(len(held_out.samples), 2, dtype=torch.float64, device=parallel.device)
    model.eval()
    try:
        for i, mine in _turns(len(held_out.documents), loop):
            layout = _layout(loop, held_out.documents[i].ids)
            losses = _losses(loop, layout)[..., 0]
            if mine:
                found[i] = sums(losses, layout.labels, layout.positions, loop.edges)
        for i, mine in _turns(len(held_out.samples), loop):
            sample = held_out.samples[i]
            layout = _layout(loop, sample.ids, (sample.answer_start, sample.answer_end))
            hit, asked = _losses(loop, layout)[..., 1], (layout.labels != IGNORED)
            if mine:
                hits[i] = torch.stack([hit[asked].sum(), asked.sum()])
    finally:
        model.train()
    parallel.add(found)
    parallel.add(hits)
    exact = int((hits[:, 0] == hits[:, 1]).sum())
    return HeldOutLoss(found.cpu().numpy(), loop.edges, exact, len(hits))


def _losses(loop: Loop, layout: Layout) -> torch.Tensor:
    with loop.around(layout):
        return loop.losses(layout)


def _turns(count: int, loop: Loop) -> list[tuple[int, bool]]:
    """(item, counts?) for this process: as many for everyone, since sharded weights are gathered by all together."""
    parallel = loop.trained.parallel
    rounds = -(-count // parallel.data)
    turns = [parallel.data_rank + k * parallel.data for k in range(rounds)]
    return [(min(i, count - 1), i < count) for i in turns]


def _layout(loop: Loop, ids: Sequence[int], answer: tuple[int, int] | None = None) -> Layout:
    """One document in a row, padded to what context parallelism divides; padding and all but an answer count for nothing."""
    parallel = loop.trained.parallel
    padding = -len(ids) % (2 * parallel.context)
    row = numpy.asarray([*ids, *[0] * padding], dtype=numpy.int64)
    whole = lay_out([(row, (len(row),))])
    low, high = (answer[0] - 1, answer[1] - 1) if answer else (0, len(ids) - 1)
    whole.labels[:, :low] = IGNORED
    whole.labels[:, high:] = IGNORED
    return shard(whole, parallel.context_rank, parallel.context).to(parallel.device)


def is_flat(readings: Sequence[HeldOutLoss]) -> bool:
    """Has the far bucket gained nothing in the last FLAT evaluations, each against the one before, paired by document?"""
    last = readings[-FLAT - 1 :]
    return len(last) > FLAT and not any(_gained(before, after) for before, after in pairwise(last))


def _gained(before: HeldOutLoss, after: HeldOutLoss) -> bool:
    found = compare(before.far[:, 0], after.far[:, 0], before.far[:, 1])
    return found.difference.low > 0


def as_reading(line: dict[str, Any], edges: tuple[int, ...]) -> HeldOutLoss:
    """Back from a line of the log."""
    return HeldOutLoss(numpy.array(line["sums"]), edges, *line["passkeys"])
