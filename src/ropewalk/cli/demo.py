"""Watch the bundled model read eight times further: seven plans and a window, a certificate and a checkpoint, in minutes.

Example: `ropewalk demo -o out/demo`
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.parts.common import Json, print_json
from ropewalk.cli.parts.console import Console, print_table
from ropewalk.table import Table


def run(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; a second run goes on in it.")] = Path(
        "out/demo"
    ),
    documents: Annotated[int, typer.Option(min=2, help="Held-out files to read per method.")] = 12,
    samples: Annotated[int, typer.Option(min=1, help="Pass keys per cell of the grid.")] = 2,
    seed: Annotated[int, typer.Option(help="Chooses documents and pass keys.")] = 0,
    json: Json = False,
) -> None:
    from ropewalk.cli.parts.progress import Bar
    from ropewalk.models.source import loading

    console = Console(stderr=json, highlight=False)
    console.print("ropewalk-tiny was trained at 512 tokens. Seven plans and a window read it at 4,096.")
    told = console if console.is_terminal else Console(stderr=True, highlight=False)
    with Bar("starting", told) as bar:
        from ropewalk.jobs.evaluate.demo import Demo, run_demo

        bar.begin(loading("ropewalk-tiny"))
        outcome = run_demo(out, Demo(documents=documents, samples=samples, seed=seed), bar)
    found = outcome.to_dict()
    if json:
        print_json({**found, "checkpoint": str(out / "checkpoint")})
        return
    _print_tables(console, found)
    console.print(f"\n[bold]{out / 'report.html'}[/]  the certificate: the same with intervals, as pictures, in a browser")
    console.print(f"[bold]{out / 'checkpoint'}[/]   yarn, factor 8: stock transformers loads it")
    console.print(f"[bold]{out / 'records'}[/]      every token's loss; [bold]{out / 'plans'}[/] every plan as JSON")


def _print_tables(console: Any, found: dict[str, Any]) -> None:
    (losses,) = found["bits_per_token"].values()
    passkeys = {method: {n: 100 * share for n, share in row.items()} for method, row in found["retrieval"]["passkey"].items()}
    tax = {m: {"loss": row["loss"], "KL": row["kl"]} for m, row in found["tax"].items()}
    for table in (
        Table.of("bits per token at", losses, "{:.3f}"),
        Table.of("pass key found at", passkeys, "{:.0f} %"),
        Table.of("bits added below 512", tax, "{:z.4f}"),
    ):
        console.print()
        print_table(console, table)
