"""Rows of one length out of documents of every length: which tokens row number n holds, found without making those before it.

Documents of at least a row's length are cut from their start into whole rows. What is left of them and the shorter documents
are laid one after another, in an order of the epoch, and cut where a row ends. So a row's end cuts one document at most, no
token comes twice in an epoch, and a row is found by bisection in sums of lengths: O(log documents), whatever came before.
(Best-fit packing, Ding et al. 2024, arXiv:2404.10830, cuts fewer; it has to pack everything before the first row is known.)
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy

from ropewalk.errors import BadConfig, BadLength, BadOption
from ropewalk.jobs.train.data.index import Index
from ropewalk.jobs.train.data.layout import Layout, lay_out, restarting, shard, skipping
from ropewalk.jobs.train.parallel import Parallel
from ropewalk.jobs.train.recipe import Stage

T = TypeVar("T")
WHOLE, PACKED, MIXED = range(3)  # what a permutation is of: it is part of the seed


class DocumentPiece(NamedTuple):
    """Tokens start to stop of the index, all of one document."""

    document: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class PackedRow:
    """ids: (length,) int64.  lengths: tokens of each piece of a document, in order; their sum is the length.

    Positions restart at every piece, and tokens of one must not see those of another. The first token of a piece has
    nothing to be predicted from.
    """

    ids: numpy.ndarray
    lengths: tuple[int, ...]


class Packing:
    """Rows of `length` tokens, one for every number from 0 on: a function of (index, length, seed, number) alone.

    long_share: the share of rows that are one piece of one document, spread as evenly as can be (0.6: the second,
        fourth and fifth of every five); the others are packed. Each kind then has passes of its own, and begins the next
        when it is through. None takes every row of both kinds once per epoch, shuffled together.
    min_piece: documents and remainders with fewer tokens are left out. Where a row ends, a shorter piece may come about.
    rows_per_epoch: rows before any token can come again.
    dropped: tokens that a pass leaves out: those below `min_piece`, and the last ones, too few for a row. Which ones these
        last are changes with the pass.

    Memory and the beginning of a pass, which shuffles all documents, grow with their number.
    """

    def __init__(self, index: Index, length: int, seed: int, *, long_share: float | None = None, min_piece: int = 2):
        _check(length, seed, long_share, min_piece)
        self.index, self.length, self.seed = index, length, seed
        rows = index.lengths // length
        left = index.lengths - rows * length
        self.whole_ends = numpy.cumsum(rows)  # document d holds the whole rows from whole_ends[d - 1] to whole_ends[d]
        self.remainders = numpy.flatnonzero(left >= min_piece)  # documents that have one
        self.left = left[self.remainders]
        self.whole, self.packed = int(self.whole_ends[-1]), int(self.left.sum()) // length
        self.share = None if long_share is None else Fraction(long_share).limit_denominator(10_000)
        self._check_rows()
        self.rows_per_epoch = self._rows_per_epoch()
        self.dropped = int(left.sum()) - self.packed * length
        self._orders: dict[int, numpy.ndarray] = {}
        self._layouts: dict[int, tuple[numpy.ndarray, numpy.ndarray]] = {}

    def row(self, number: int) -> PackedRow:
        pieces = self.pieces(number)
        ids = numpy.concatenate([self.index.tokens[piece.start : piece.stop] for piece in pieces]).astype(numpy.int64)
        return PackedRow(ids, tuple(piece.stop - piece.start for piece in pieces))

    def pieces(self, number: int) -> list[DocumentPiece]:
        """Where row `number` comes from."""
        if number < 0:
            raise BadOption(f"there is no row {number}; rows are counted from 0.")
        if self.share is None:
            epoch, place = divmod(number, self.rows_per_epoch)
            place = int(self._order(MIXED, epoch, self.rows_per_epoch)[place])
            return [self._whole(place)] if place < self.whole else self._packed(epoch, place - self.whole)
        before = self._whole_before(number)
        if self._whole_before(number + 1) > before:
            epoch, place = divmod(before, self.whole)
            return [self._whole(int(self._order(WHOLE, epoch, self.whole)[place]))]
        return self._packed(*divmod(number - before, self.packed))

    def _whole_before(self, number: int) -> int:
        """Whole rows among the first `number`, where there is a share."""
        return math.floor(number * (self.share or 0))

    def _whole(self, place: int) -> DocumentPiece:
        document = int(numpy.searchsorted(self.whole_ends, place, side="right"))
        before = int(self.whole_ends[document - 1]) if document else 0
        start = int(self.index.ends[document] - self.index.lengths[document]) + (place - before) * self.length
        return DocumentPiece(document, start, start + self.length)

    def _packed(self, epoch: int, place: int) -> list[DocumentPiece]:
        order, ends = self._layout(epoch)
        here, stop = place * self.length, (place + 1) * self.length
        at = int(numpy.searchsorted(ends, here, side="right"))
        pieces = []
        while here < stop:
            document, until = int(self.remainders[order[at]]), min(int(ends[at]), stop)
            shift = int(self.index.ends[document]) - int(ends[at])  # a remainder is the end of its document
            pieces.append(DocumentPiece(document, here + shift, until + shift))
            here, at = until, at + 1
        return pieces

    def _layout(self, epoch: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The remainders in the order of an epoch, and where each ends."""

        def make() -> tuple[numpy.ndarray, numpy.ndarray]:
            order = self._shuffled(PACKED, epoch, len(self.left))
            return order, numpy.cumsum(self.left[order])

        return _kept(self._layouts, epoch, make)

    def _order(self, kind: int, epoch: int, count: int) -> numpy.ndarray:
        """The order of the epoch's rows."""
        return _kept(self._orders, epoch, lambda: self._shuffled(kind, epoch, count))

    def _shuffled(self, kind: int, epoch: int, count: int) -> numpy.ndarray:
        """A permutation. RandomState, because NumPy promises its numbers for every version to come, and Generator's not."""
        words = [self.seed % 2**32, self.seed // 2**32, kind, epoch % 2**32, epoch // 2**32]
        return numpy.random.RandomState(words).permutation(count)

    def _rows_per_epoch(self) -> int:
        if self.share is None:
            return self.whole + self.packed

        def again(rows: int) -> bool:
            whole = self._whole_before(rows)
            return whole > self.whole or rows - whole > self.packed

        return bisect_left(range(self.whole + self.packed + 2), True, key=again) - 1

    def _check_rows(self) -> None:
        tokens, longest = int(self.index.ends[-1]), int(self.index.lengths.max())
        if self.share and not self.whole:
            raise BadConfig(
                f"no document has the {self.length:,} tokens of a row; the longest has {longest:,}, and long_share asks for "
                "rows of one document.\n  Give longer documents, make the rows shorter, or leave long_share out."
            )
        if self.share is not None and self.share < 1 and not self.packed:
            raise BadConfig(
                f"what is shorter than a row of {self.length:,} tokens has {int(self.left.sum()):,} tokens altogether: not "
                f"one row.\n  A long_share of {float(self.share):g} needs short documents too: give some, or leave it out."
            )
        if not self.whole + self.packed:
            raise BadConfig(
                f"the data has {tokens:,} tokens, fewer than the {self.length:,} of one row.\n"
                "  Give more data, or make the rows shorter."
            )


def _check(length: int, seed: int, long_share: float | None, min_piece: int) -> None:
    if length < 2:
        raise BadLength(f"a row of {length} tokens predicts nothing; the length must be 2 or more.")
    if not 0 <= seed < 2**64:
        raise BadOption(f"the seed is {seed}; it must be from 0 to 2^64 - 1.")
    if long_share is not None and not 0 <= long_share <= 1:
        raise BadOption(f"long_share is {long_share}; it is the share of long rows, from 0 to 1.")
    if min_piece < 1:
        raise BadOption(f"min_piece is {min_piece}; it must be 1 or more.")


def _kept(cache: dict[int, T], epoch: int, make: Callable[[], T]) -> T:
    """The epoch's own, made once; the last two are kept, for rows asked for on both sides of an epoch's end."""
    if epoch not in cache:
        if len(cache) > 1:
            del cache[next(iter(cache))]
        cache[epoch] = make()
    return cache[epoch]


class Bin(NamedTuple):
    """Documents of low to high - 1 tokens: how many, and their tokens altogether."""

    low: int
    high: int
    documents: int
    tokens: int


def histogram(index: Index, edges: Sequence[int] | None = None) -> list[Bin]:
    """How long the documents are. edges: rising; by default the powers of two about the shortest and the longest.

    A document outside the edges is in no bin.
    """
    lengths = index.lengths
    if edges is None:
        edges = [2**i for i in range(int(lengths.min()).bit_length() - 1, int(lengths.max()).bit_length() + 1)]
    inside = lengths[(lengths >= edges[0]) & (lengths < edges[-1])]
    places = numpy.searchsorted(edges, inside, side="right") - 1
    documents = numpy.bincount(places, minlength=len(edges) - 1)
    tokens = numpy.bincount(places, weights=inside, minlength=len(edges) - 1)
    return [Bin(*map(int, found)) for found in zip(edges, edges[1:], documents, tokens, strict=False)]


class StepRows(NamedTuple):
    """micros: this process's part.  labels: how many tokens are predicted in the step, over all processes."""

    micros: list[Layout]
    labels: int


@dataclass(frozen=True)
class Rows:
    """packing: of this stage's length.  target: positions that PoSE reaches.  seed: of its jumps."""

    packing: Packing
    stage: Stage
    target: int
    seed: int

    def step(self, number: int, parallel: Parallel) -> StepRows:
        """number: from 0, within the stage."""
        first = number * self.stage.batch
        rows = [self.packing.row(first + i) for i in range(self.stage.batch)]
        labels = sum(len(row.ids) - len(row.lengths) for row in rows)
        if not labels:
            raise BadConfig(
                f"step {number + 1} predicts nothing: every one of its {len(rows)} rows holds documents of one token only.\n"
                "  A document's first token has nothing to be predicted from. Give longer documents."
            )
        mine = range(parallel.data_rank, self.stage.batch, parallel.data)
        return StepRows(list(self._micros([(first + i, rows[i]) for i in mine], parallel)), labels)

    def _micros(self, rows: list, parallel: Parallel) -> Iterator[Layout]:  # type: ignore[type-arg]
        for start in range(0, len(rows), self.stage.micro):
            piece = rows[start : start + self.stage.micro]
            layout = lay_out(
                [(row.ids, row.lengths) for _, row in piece], [self._positions(n, row.lengths) for n, row in piece]
            )
            yield shard(layout, parallel.context_rank, parallel.context).to(parallel.device)

    def _positions(self, number: int, lengths: tuple[int, ...]) -> numpy.ndarray:
        if not self.stage.pose:
            return restarting(lengths)
        return skipping(lengths, self.target, numpy.random.default_rng((self.seed, number)))
