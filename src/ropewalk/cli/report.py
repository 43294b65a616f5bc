"""Render a run as a certificate: one HTML page of every table, interval and plot, made from its records alone.

Example: `ropewalk report out/demo -o certificate.html`
"""

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.parts.common import Force, Json, print_json
from ropewalk.scaling.units import human_bytes


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder: what eval or demo wrote.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The page to write; an older report is replaced. [default: RUN/report.html]"),
    ] = None,
    margin: Annotated[float, typer.Option(help="Bits per token that a length may lose and still hold.")] = 0.1,
    force: Force = False,
    json: Json = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the main tables as Markdown and nothing else.")
    ] = False,
) -> None:
    from ropewalk.jobs.report.headline import certificate
    from ropewalk.jobs.report.markdown import markdown
    from ropewalk.jobs.report.page import write_page
    from ropewalk.jobs.report.run_folder import read_run

    made = certificate(read_run(folder), margin)
    out = out or folder / "report.html"
    size = write_page(out, made, force=force)
    if json:
        print_json(made)
    elif as_markdown:
        print(markdown(made), end="")
    else:
        print(f"{made['headline']['title']}. {made['headline']['sentence']}")
        for words in [*made["missing"], *made["notes"]]:
            print(f"note: {words}")
        print(f"{out}: {human_bytes(size)}, open it in a browser; it needs no network")
