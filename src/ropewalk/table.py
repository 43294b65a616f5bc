"""A table of words and numbers, made once and shown anywhere: on a terminal, in Markdown, in a notebook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Table:
    """columns: their heads, the first over the names of rows.  rows: as they are written.  notes: sentences below."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(title: str, rows: Mapping[str, Mapping[Any, Any]], form: str = "{}", notes: Sequence[str] = ()) -> "Table":
        """One row a name; a cell that is missing or None is empty.  form: of the numbers, such as "{:.3f}"."""
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        heads = (f"{c:,}" if isinstance(c, int) else str(c) for c in columns)
        cells = ((name, *("" if row.get(c) is None else form.format(row[c]) for c in columns)) for name, row in rows.items())
        return Table((title, *heads), tuple(cells), tuple(notes))

    def to_markdown(self) -> str:
        lines = [self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
        return "\n\n".join([text, *self.notes]) + "\n"

    def to_html(self) -> str:
        head = "".join(f"<th>{escape(column)}</th>" for column in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"
