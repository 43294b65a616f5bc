"""Render a run as a certificate: one HTML page of every table, interval and plot, made from its records alone.

Example: `ropewalk report out/demo -o certificate.html`
"""

from typing import Annotated, Any

import typer

from ropewalk.api.report import report
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.flags import parameters, with_flags
from ropewalk.scaling.units import human_bytes

Markdown = Annotated[bool, typer.Option("--markdown", help="Print the main tables as Markdown and nothing else.")]


def _run(json: bool = False, as_markdown: Markdown = False, **given: Any) -> None:
    made = report(**given)
    if json:
        print_json(made.to_dict())
    elif as_markdown:
        print(made.to_markdown(), end="")
    else:
        print(f"{made.title}. {made.sentence}")
        for words in made.notes:
            print(f"note: {words}")
        print(f"{made.out}: {human_bytes(made.size)}, open it in a browser; it needs no network")


run = with_flags(_run, parameters(report))
