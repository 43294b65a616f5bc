"""A certificate that was written: where it is, and all that it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.jobs.report.markdown import markdown
from ropewalk.jobs.report.page import render


@dataclass(frozen=True)
class Certificate:
    """out: the page.  size: in bytes.  made: what it was made of, by section."""

    out: Path
    size: int
    made: Mapping[str, Any]

    @property
    def title(self) -> str:
        return str(self.made["headline"]["title"])

    @property
    def sentence(self) -> str:
        return str(self.made["headline"]["sentence"])

    @property
    def notes(self) -> list[str]:
        """What is missing, and what to know of the numbers."""
        return [*self.made["missing"], *self.made["notes"]]

    def to_dict(self) -> dict[str, Any]:
        return dict(self.made)

    def to_markdown(self) -> str:
        """The main tables, for a model card."""
        return markdown(self.made)

    def _repr_html_(self) -> str:
        """The whole page, in a frame of its own: its style is not the notebook's."""
        from html import escape

        return f'<iframe srcdoc="{escape(render(self.made))}" width="100%" height="800" style="border:0"></iframe>'
