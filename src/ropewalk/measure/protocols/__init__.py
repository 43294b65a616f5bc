"""Protocols: which stretches of a document are read, and which of their tokens count.

A protocol is a few whole numbers, written as text: `position:0,512,1024`, `sliding:4096,256`. It answers one question: of a
document of so many tokens, which windows belong to which line of its table (`cells`). The same answer decides what has to be
read (`passes.wanted_passes`) and what a table adds up (`tables.table`), so the two cannot disagree.

BOS stands before every window and counts in its length, as in a request. Where a tokenizer has none, windows do without.
"""

from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.measure.protocols.base import CORPUS, Cells, Protocol, Window
from ropewalk.measure.protocols.conventions import DocumentMean, LlamaCpp, LmEval, LongLora, Press, Yarn
from ropewalk.measure.protocols.own import Position, Prefix, RandomWindow, Sliding
from ropewalk.scaling.units import as_length

__all__ = ["CONVENTIONS", "CORPUS", "KINDS", "Cells", "Position", "Prefix", "Protocol", "RandomWindow", "Sliding", "Window"]

CONVENTIONS: tuple[type[Protocol], ...] = (Press, Yarn, DocumentMean, LongLora, LmEval, LlamaCpp)
OWN: tuple[type[Protocol], ...] = (Prefix, Position, Sliding, RandomWindow)
KINDS: dict[str, type[Protocol]] = {kind.kind: kind for kind in (*OWN, *CONVENTIONS)}


def parse_protocol(text: str) -> Protocol:
    """`sliding:4096,256`, `position:0,4k,8k` and the like; `k` is 1,024. `str` of a protocol gives such a text back."""
    name, _, rest = text.strip().partition(":")
    if name not in KINDS:
        raise UnknownName("protocol", name, KINDS)
    numbers = tuple(_number(text, part) for part in rest.split(",")) if rest else ()
    made: Protocol = _build(text, KINDS[name], numbers)
    return made


def _build(text: str, kind: type[Protocol], numbers: tuple[int, ...]) -> Protocol:
    if kind in (Prefix, Position):
        return kind(numbers)
    try:
        return kind(*numbers)
    except TypeError:
        names = ", ".join(kind.__dataclass_fields__)  # type: ignore[attr-defined]
        raise BadOption(f"{text}: {kind.kind} takes {names}, in this order, separated by commas.") from None


def _number(text: str, part: str) -> int:
    try:
        return int(part) if part.isdecimal() else as_length(part)
    except BadLength:
        raise BadOption(f"{text}: {part!r} is not a whole number of tokens. Write 4096 or 4k.") from None
