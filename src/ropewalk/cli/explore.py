"""Write the RoPE Explorer, one HTML page to play with: what each method does to the pairs of a model. Needs no torch.

Example: `ropewalk explore ropewalk-tiny -o explorer.html`
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.parts.common import Force, Json, OriginalLength, find_config, print_json, read_spec


def run(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Open on this model: a folder, a config.json, a hub id, or ropewalk-tiny."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write; an older explorer is replaced.")] = Path(
        "explorer.html"
    ),
    original_length: OriginalLength = None,
    force: Force = False,
    json: Json = False,
) -> None:
    from ropewalk.jobs.explore.page import opened, write_explorer

    shown: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    if model is not None:
        config, _ = find_config(model)
        spec = read_spec(config, original_length)
        shown, warnings = opened(model, config, spec), spec.warnings
    size = write_explorer(out, shown, force=force)
    if json:
        print_json({"out": str(out), "bytes": size, "model": shown})
        return
    for warning in warnings:
        print(f"note: {warning}")
    print(f"{out}: {size / 1024:.0f} KiB, open it in a browser; it needs no network")
