"""Where the tokens of a micro-batch stand: documents, positions, labels, and which of them this process holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy
import torch

IGNORED = -100


class Span(NamedTuple):
    """Queries of one document that stand together: rows, columns held here, and the keys they may see.

    first, last: columns of the queries on this process.  start, end: the keys' columns in the whole row; query `last - 1`
    sees keys up to `end - 1`, the one before it one less, and so on.
    """

    rows: tuple[int, int]
    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True)
class Layout:
    """A micro-batch as one process sees it. All tensors (rows, columns held here), int64.

    labels: the token that follows in the same document, or IGNORED.
    spans: the queries held here.  documents: those of whole rows, whoever holds them.
    order: the columns of the whole row that are held here, None where that is all of them.
    everyone: `order` of every process of the context-parallel group, one after the other.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    spans: tuple[Span, ...]
    documents: tuple[Span, ...]
    length: int
    order: torch.Tensor | None = None
    everyone: torch.Tensor | None = None

    def to(self, device: str | torch.device) -> "Layout":
        moved = (None if t is None else t.to(device) for t in (self.order, self.everyone))
        order, everyone = moved
        ids, positions, labels = (t.to(device) for t in (self.ids, self.positions, self.labels))
        return replace(self, ids=ids, positions=positions, labels=labels, order=order, everyone=everyone)

    @property
    def document_of(self) -> torch.Tensor:
        """(rows, columns): which document of its row each column belongs to, from 0."""
        found = torch.zeros_like(self.ids)
        for (r0, r1), first, *_ in self.documents:
            if first:
                found[r0:r1, first:] += 1
        return found


def lay_out(rows: Sequence[tuple[numpy.ndarray, Sequence[int]]], positions: Sequence[numpy.ndarray] | None = None) -> Layout:
    """rows: (ids (length,), lengths of the documents in it).  positions: of each row; None restarts at every document."""
    ids = torch.from_numpy(numpy.stack([ids for ids, _ in rows]).astype(numpy.int64))
    lengths = [tuple(lengths) for _, lengths in rows]
    where = positions if positions is not None else [restarting(n) for n in lengths]
    spans = tuple(_spans(lengths))
    return Layout(ids, torch.from_numpy(numpy.stack(where)), _labels(ids, lengths), spans, spans, ids.shape[1])


def restarting(lengths: Iterable[int]) -> numpy.ndarray:
    """0, 1, ... from the start of every document."""
    return numpy.concatenate([numpy.arange(n) for n in lengths])


def skipping(lengths: Iterable[int], target: int, rng: numpy.random.Generator) -> numpy.ndarray:
    """PoSE: every document is cut once, and its second part moved away, so that all of [0, target) is met in training.

    The second part's jump is uniform in what the target leaves room for. (Zhu et al., arXiv:2309.10400, section 3.2, with two
    chunks and the texts left contiguous.)
    """
    parts = []
    for n in lengths:
        cut = int(rng.integers(1, n)) if n > 1 else n
        jump = int(rng.integers(0, max(target - n, 0) + 1))
        parts.append(numpy.concatenate([numpy.arange(cut), numpy.arange(cut, n) + jump]))
    return numpy.concatenate(parts)


def _labels(ids: torch.Tensor, lengths: Sequence[Sequence[int]]) -> torch.Tensor:
    """Shifted on the whole row, before anything is cut: no process needs its neighbour's first token."""
    labels = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=IGNORED)
    for row, pieces in enumerate(lengths):
        labels[row, torch.tensor(list(accumulate(pieces))) - 1] = IGNORED
    return labels


def _spans(lengths: Sequence[Sequence[int]]) -> Iterable[Span]:
    """Neighbouring rows that are cut alike are attended together."""
    starts = [0, *(i for i in range(1, len(lengths)) if lengths[i] != lengths[i - 1]), len(lengths)]
    for r0, r1 in pairwise(starts):
        for first, last in pairwise([0, *accumulate(lengths[r0])]):
            yield Span((r0, r1), first, last, first, last)


def zigzag(length: int, rank: int, world: int) -> torch.Tensor:
    """The columns that a process of a context-parallel group holds: piece `rank` of 2 * world, and its mirror image.

    Late queries see many keys and early ones few: so everyone has the same work. (Llama 3, arXiv:2407.21783, section 3.3.2.)
    """
    pieces = torch.arange(length).chunk(2 * world)
    return torch.cat([pieces[rank], pieces[2 * world - 1 - rank]])


def shard(layout: Layout, rank: int, world: int) -> Layout:
    """The part of a whole micro-batch that one of `world` processes holds; the length is a multiple of 2 * world."""
    if world == 1:
        return layout
    order = zigzag(layout.length, rank, world)
    everyone = torch.cat([zigzag(layout.length, r, world) for r in range(world)])
    spans = tuple(_held(layout.spans, order))
    ids, positions, labels = (t[:, order] for t in (layout.ids, layout.positions, layout.labels))
    return Layout(ids, positions, labels, spans, layout.documents, layout.length, order, everyone)


def _held(spans: Iterable[Span], order: torch.Tensor) -> Iterable[Span]:
    jumps = (order.diff() != 1).nonzero().flatten() + 1
    edges = [0, *jumps.tolist(), len(order)]
    for column, until in pairwise(edges):
        low, high = int(order[column]), int(order[until - 1]) + 1
        for rows, first, last, start, _ in spans:
            x, y = max(first, low), min(last, high)
            if x < y:
                yield Span(rows, column + x - low, column + y - low, start, y)
