"""What every protocol is made of: windows, and which line of a table each belongs to."""

import itertools
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import ClassVar

from ropewalk.errors import BadOption

CORPUS = "all documents in a row"  # the name of the document that a `corpus` protocol reads
TOKENS, WINDOWS, DOCUMENTS = "tokens", "windows", "documents"  # what has equal weight in a mean


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Tokens [BOS, document[start : start + length - 1]], of which those from index `first` on are scored.

    start: counted without BOS.  length: tokens in the call, BOS included.  first: index in the window, at least 1.
    bos: without it the window is document[start : start + length].
    """

    document: str
    start: int
    length: int
    first: int = 1
    bos: bool = True

    @property
    def end(self) -> int:
        """The first token of the document that is not read."""
        return self.start + self.length - self.bos


Cells = dict[str, list[Window]]


class Protocol:
    """A frozen dataclass of whole numbers.

    kind: its name in text.  average: what has equal weight in the mean: every token, every window or every document.
    corpus: it reads all documents in a row as one, without regard to where they end.
    """

    kind: ClassVar[str]
    average: ClassVar[str] = TOKENS
    corpus: ClassVar[bool] = False

    def needs(self, bos: bool = True) -> int:
        """The fewest tokens, without BOS, that a document must have; a shorter one is refused."""
        raise NotImplementedError

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        """The windows of each line of the table, for a document of `tokens` tokens without BOS."""
        raise NotImplementedError

    def windows(self, document: str, tokens: int, bos: bool = True) -> list[Window]:
        return [window for windows in self.cells(document, tokens, bos).values() for window in windows]

    def __str__(self) -> str:
        numbers = astuple(self)  # type: ignore[call-overload]
        flat = itertools.chain.from_iterable(n if isinstance(n, tuple) else (n,) for n in numbers)
        return f"{self.kind}:{','.join(map(str, flat))}"


def check_rising(protocol: Protocol, numbers: Sequence[int], *, least: int, count: int = 1) -> None:
    if len(numbers) < count:
        raise BadOption(f"{protocol}: {protocol.kind} needs at least {count} number{'s' * (count > 1)}.")
    if numbers[0] < least or any(a >= b for a, b in itertools.pairwise(numbers)):
        raise BadOption(f"{protocol}: numbers of tokens must rise and be at least {least}.")
