"""Ropewalk's own protocols."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ropewalk.errors import BadOption
from ropewalk.measure.protocols.base import Cells, Protocol, Window, check_rising


@dataclass(frozen=True, slots=True)
class Prefix(Protocol):
    """The first c tokens of each document, for each c: the figures of the YaRN paper. One mean over tokens 1 to c - 1.

    What yarn's eval/perplexity.py computes with --truncate: its "sliding window" is then as long as the document.
    """

    lengths: tuple[int, ...]
    kind: ClassVar[str] = "prefix"

    def __post_init__(self) -> None:
        check_rising(self, self.lengths, least=2)

    def needs(self, bos: bool = True) -> int:
        return self.lengths[-1] - bos

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        return {str(c): [Window(document, 0, c, bos=bos)] for c in self.lengths}


@dataclass(frozen=True, slots=True)
class Position(Protocol):
    """The tokens whose own position lies between successive edges, BOS being position 0: where in the window a loss arises.

    A bucket [low, high) is read as a request of `high` tokens reads it.
    """

    edges: tuple[int, ...]
    kind: ClassVar[str] = "position"

    def __post_init__(self) -> None:
        check_rising(self, self.edges, least=0, count=2)
        if self.edges[1] < 2:
            raise BadOption(f"{self}: the first bucket holds no token that anything predicts; its upper edge must be above 1.")

    def needs(self, bos: bool = True) -> int:
        return self.edges[-1] - bos

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        return {f"{low}-{high}": [Window(document, 0, high, max(low, 1), bos)] for low, high in itertools.pairwise(self.edges)}

    def windows(self, document: str, tokens: int, bos: bool = True) -> list[Window]:
        """All tokens are scored, so that the same records can be cut at other edges too (`tables.loss_by_position`)."""
        return [Window(document, 0, high, bos=bos) for high in self.edges[1:]]


@dataclass(frozen=True, slots=True)
class Sliding(Protocol):
    """Windows of `length` tokens, each `stride` further; every token is scored once, in the first window that holds it.

    Press et al. 2022 (arXiv:2108.12409) as the long-context papers use it: the first window scores all its tokens, later
    ones their last `stride`; the last may be shorter. A document with no full window is refused.
    """

    length: int
    stride: int
    kind: ClassVar[str] = "sliding"

    def __post_init__(self) -> None:
        check_rising(self, (self.length,), least=2)
        if not 1 <= self.stride < self.length:
            raise BadOption(f"{self}: the stride is {self.stride}; it must be from 1 to the length less 1, {self.length - 1}.")

    def needs(self, bos: bool = True) -> int:
        return self.length - bos

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        return {str(self.length): list(self._slide(document, tokens, bos))}

    def _slide(self, document: str, tokens: int, bos: bool) -> Iterator[Window]:
        scored = 0
        for start in itertools.count(0, self.stride):
            end = min(start + self.length - bos, tokens)
            yield Window(document, start, end - start + bos, max(scored - start + bos, 1), bos)
            scored = end
            if end == tokens:
                return


@dataclass(frozen=True, slots=True)
class RandomWindow(Protocol):
    """`count` windows of `length` tokens at different random places of each document; all their tokens are scored.

    An unbiased estimate of what any window of that length holds, for a fraction of a sweep's cost. The places depend on the
    seed and the document's name alone.
    """

    length: int
    count: int
    seed: int = 0
    kind: ClassVar[str] = "random_window"

    def __post_init__(self) -> None:
        check_rising(self, (self.length,), least=2)
        if self.count < 1:
            raise BadOption(f"{self}: the count is {self.count}; at least one window must be read.")

    def needs(self, bos: bool = True) -> int:
        return self.length - bos + self.count - 1  # as many places as windows

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        places = range(tokens - (self.length - bos) + 1)
        starts = random.Random(f"{self.seed}/{document}").sample(places, self.count)
        return {str(self.length): [Window(document, start, self.length, bos=bos) for start in sorted(starts)]}
