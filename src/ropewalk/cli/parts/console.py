"""What reaches the terminal: text of other people's files is shown, never obeyed.

A config's values, its keys and file names may hold escape sequences, which move the cursor, repaint what was said or set a
title; and rich's own markup. One console for all verbs and one stdout for plain prints let through what is theirs alone.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import rich.console
from rich.errors import MarkupError
from rich.markup import escape
from rich.text import Text

from ropewalk.table import Table

__all__ = ["Console", "escape", "print_table", "safe_output", "visible"]

# C0 and C1 but for tab and newline, and what turns the direction of writing around.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Control characters by their names: an escape is printed as \\x1b."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class Console(rich.console.Console):
    """rich's, whose every text is made visible first, and whose colours go past `safe_output`."""

    @property
    def file(self) -> Any:
        found = super().file
        return getattr(found, "raw", found) if isinstance(found, _Visible) else found

    @file.setter
    def file(self, new: Any) -> None:
        self._file = new

    def render_str(self, text: str, **how: Any) -> Text:
        try:
            return super().render_str(visible(text), **how)
        except MarkupError:  # a bracket that somebody else wrote
            return super().render_str(visible(text), **{**how, "markup": False})


class _Visible:
    """A stream that makes what is written visible."""

    def __init__(self, raw: TextIO):
        self.raw = raw

    def write(self, text: str) -> int:
        return self.raw.write(visible(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextmanager
def safe_output() -> Iterator[None]:
    """Plain prints of what runs inside show control characters instead of sending them."""
    raw = sys.stdout
    sys.stdout = _Visible(raw)
    try:
        yield
    finally:
        sys.stdout = raw


GAP = 2  # blanks beside a column


def print_table(console: Console, table: Table) -> None:
    """As rich draws it, numbers to the right; its notes are left to whoever prints it.

    What is too wide goes on in the next line, between words; where even words have no room, the last columns come below the
    others, beside the names again. A name is typed again: it is broken only where it takes half of the width. Nothing is cut.
    """
    import rich.table

    words = [_longest(table, i, str.split) for i in range(len(table.columns))]
    names = max((len(row[0]) for row in table.rows), default=0)
    words[0] = min(max(words[0], names), console.width // 2)
    for columns in _side_by_side(words, console.width):
        drawn, spare = rich.table.Table(box=None), console.width - sum(words[i] + GAP for i in columns)
        for i in (*columns[1:], 0):
            grown = max(min(_longest(table, i, lambda cell: [cell]) - words[i], spare), 0)
            words[i], spare = words[i] + grown, spare - grown
        for i in columns:
            drawn.add_column(table.columns[i], overflow="fold", width=words[i], justify="right" if i else "left")
        for row in table.rows:
            drawn.add_row(*(row[i] for i in columns))
        console.print(drawn)


def _longest(table: Table, column: int, parts: Callable[[str], Iterable[str]]) -> int:
    """Characters of a column's longest part."""
    return max((len(part) for row in (table.columns, *table.rows) for part in parts(row[column])), default=0)


def _side_by_side(least: Sequence[int], width: int) -> list[list[int]]:
    """Which columns stand together, the first always among them."""
    parts: list[list[int]] = []
    for i in range(1, len(least)):
        if not parts or sum(least[j] + GAP for j in (*parts[-1], i)) > width:
            parts.append([0])
        parts[-1].append(i)
    return parts or [[0]]
