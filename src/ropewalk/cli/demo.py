"""Watch the bundled model read eight times further: seven plans, a table, two plots and a checkpoint, in minutes.

Example: `ropewalk demo -o out/demo`
"""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.common import Json, print_json


def run(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; a second run goes on in it.")] = Path(
        "out/demo"
    ),
    documents: Annotated[int, typer.Option(min=2, help="Held-out files to read per method.")] = 12,
    samples: Annotated[int, typer.Option(min=1, help="Pass keys per cell of the grid.")] = 2,
    seed: Annotated[int, typer.Option(help="Chooses documents and pass keys.")] = 0,
    json: Json = False,
) -> None:
    from rich.console import Console

    from ropewalk.cli.progress import cost_bar
    from ropewalk.jobs.demo import Demo, run_demo
    from ropewalk.jobs.evaluate.records import Records

    console = Console(stderr=json, highlight=False)
    console.print("ropewalk-tiny was trained at 512 tokens. Seven plans read it at 4,096.")
    demo = Demo(documents=documents, samples=samples, seed=seed)
    with cost_bar(console, "measuring") as start:
        plans = run_demo(out, demo, start)
    records = list(Records(out / "records"))
    if json:
        print_json(_as_dict(out, records, plans))
    else:
        _print_tables(console, records, plans)
        console.print(f"\n[bold]{out / 'report.html'}[/]  the same as pictures: open it in a browser")
        console.print(f"[bold]{out / 'checkpoint'}[/]   yarn, factor 8: stock transformers loads it")
        console.print(f"[bold]{out / 'records'}[/]      every token's loss; [bold]{out / 'plans'}[/] every plan as JSON")


def _tables(records: list[Any], plans: dict[str, Any]) -> tuple[list[int], dict[str, Any], dict[str, Any]]:
    from ropewalk.jobs.evaluate.tables import loss_by_position, passkey_by_length, passkey_grid
    from ropewalk.jobs.report.loss import coarse_edges

    (_, stretch), *_ = next(iter(plans.values())).stretches
    edges = coarse_edges(stretch.rope.original_length, max(plan.target_length for plan in plans.values()))
    keys = {plan.fingerprint for plan in plans.values()}
    records = [record for record in records if record.key.plan in keys]
    grids = passkey_grid(records)
    return edges, loss_by_position(records, edges), {m: passkey_by_length(grid) for m, grid in grids.items()}


def _as_dict(out: Path, records: list[Any], plans: dict[str, Any]) -> dict[str, Any]:
    edges, losses, passkeys = _tables(records, plans)
    return {
        "edges": edges,
        "bits_per_token": {method: [b.value for b in losses[method]] for method in plans},
        "passkey": {method: passkeys[method] for method in plans},
        "files": [str(out / name) for name in ("report.html", "checkpoint", "records", "plans")],
    }


def _print_tables(console: Any, records: list[Any], plans: dict[str, Any]) -> None:
    from rich.table import Table

    edges, losses, passkeys = _tables(records, plans)
    loss = Table("bits per token at", *(f"{a}-{b}" for a, b in itertools.pairwise(edges)), box=None)
    best = [min(round(buckets[i].value, 3) for buckets in losses.values()) for i in range(len(edges) - 1)]  # as shown
    for method in plans:
        cells = [_mark(f"{b.value:.3f}", round(b.value, 3) == best[i]) for i, b in enumerate(losses[method])]
        loss.add_row(method, *cells)
    found = Table("pass key found at", *(f"{length}" for length in next(iter(passkeys.values()))), box=None)
    for method in plans:
        found.add_row(method, *(f"{100 * share:.0f} %" for share in passkeys[method].values()))
    for table in (loss, found):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print()
        console.print(table)


def _mark(text: str, best: bool) -> str:
    return f"[bold green]{text}[/]" if best else text
