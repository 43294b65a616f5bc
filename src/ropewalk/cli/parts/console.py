"""What reaches the terminal: text of other people's files is shown, never obeyed.

A config's values, its keys and file names may hold escape sequences, which move the cursor, repaint what was said or set a
title; and rich's own markup. One console for all verbs and one stdout for plain prints let through what is theirs alone.
"""

import re
import sys
from collections.abc import Iterator
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


def print_table(console: Console, table: Table) -> None:
    """As rich draws it, numbers to the right; its notes are left to whoever prints it.

    What is too wide goes on in the next line: the cells first, for a name is typed again, and nothing is ever cut.
    """
    import rich.table

    drawn = rich.table.Table(*table.columns, box=None)
    for row in table.rows:
        drawn.add_row(*row)
    for column in drawn.columns:
        column.overflow = "fold"
    for column in drawn.columns[1:]:
        column.justify = "right"
    if drawn.columns:
        names = (table.columns[0], *(row[0] for row in table.rows))
        drawn.columns[0].no_wrap = max(map(len, names)) <= console.width // 2
    console.print(drawn)
