"""Watch the bundled model read eight times further: seven plans and a window, a certificate and a checkpoint, in minutes.

Example: `ropewalk demo -o out/demo`
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ropewalk.checkpoints.extend import CARD, extend, model_card
from ropewalk.checkpoints.files import write_file
from ropewalk.cli.parts.common import Json, print_json
from ropewalk.engines.transformers.checkpoint import BUNDLED, read_config

if TYPE_CHECKING:  # they load torch
    from ropewalk.jobs.evaluate.job import Outcome, Start
    from ropewalk.jobs.evaluate.request import Request
    from ropewalk.measure.faults import Say

METHODS = ("none", "window", "linear", "ntk", "ntk_by_parts", "dynamic-request", "yarn", "dynamic-yarn")
WRITTEN = "yarn"  # the method whose checkpoint is written


@dataclass(frozen=True)
class Demo:
    """What a demo measures: sizes that fit five minutes on two cores."""

    factor: float = 8.0
    methods: Sequence[str] = METHODS
    documents: int = 12
    samples: int = 2
    seed: int = 0
    speed: bool = True

    @property
    def request(self) -> "Request":
        from ropewalk.jobs.evaluate.request import Request

        return Request(
            BUNDLED, tuple(self.methods), factor=self.factor, documents=self.documents, samples=self.samples, seed=self.seed,
            speed=self.speed,
            tasks=("passkey",), device="cpu", dtype="float32",
        )  # fmt: skip


def run_demo(out: Path, demo: Demo, start: "Start", say: "Say" = lambda sentence: None) -> "Outcome":
    """Evaluate every method into `out`, and write the checkpoint of one. A second run goes on where the first stopped."""
    from ropewalk.jobs.evaluate.job import evaluate

    outcome = evaluate(out, demo.request, start, say)
    plan, source = outcome.prepared.plans[WRITTEN], outcome.prepared.source
    extend(source, plan, out / "checkpoint", force=True)
    card = model_card(source, plan, read_config(out / "checkpoint"), measured=_measured(outcome))
    write_file(out / "checkpoint" / CARD, card)
    return outcome


def _measured(outcome: "Outcome") -> str:
    """For the checkpoint's card: what was measured of its method and of the model as it was."""
    from ropewalk.jobs.report.loss import coarse_edges
    from ropewalk.measure.tables import loss_by_position

    (_, stretch), *_ = outcome.prepared.plans[WRITTEN].stretches
    edges = coarse_edges(stretch.rope.original_length, stretch.target_length)
    losses = loss_by_position(outcome.records, edges)
    head = "| bits per token at | " + " | ".join(f"{low:,} to {high:,}" for low, high in itertools.pairwise(edges)) + " |"
    rows = [f"| {m} | " + " | ".join(f"{b.value:.3f}" for b in losses[m]) + " |" for m in ("none", WRITTEN) if m in losses]
    how = "Held-out files of the Python standard library, position by position; `none` is the model unchanged."
    return "\n".join([how, "", head, "|---" * len(edges) + "|", *rows])


def run(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; a second run goes on in it.")] = Path(
        "out/demo"
    ),
    documents: Annotated[int, typer.Option(min=2, help="Held-out files to read per method.")] = 12,
    samples: Annotated[int, typer.Option(min=1, help="Pass keys per cell of the grid.")] = 2,
    seed: Annotated[int, typer.Option(help="Chooses documents and pass keys.")] = 0,
    json: Json = False,
) -> None:
    from ropewalk.cli.parts.console import Console
    from ropewalk.cli.parts.progress import Bar, cost_bar, loading

    console = Console(stderr=json, highlight=False)
    console.print("ropewalk-tiny was trained at 512 tokens. Seven plans and a window read it at 4,096.")
    told = console if console.is_terminal else Console(stderr=True, highlight=False)
    with Bar("starting", told, transient=True):
        from ropewalk.jobs.evaluate.summary import summary
    with cost_bar(told, "measuring", loading("ropewalk-tiny")) as start:
        outcome = run_demo(out, Demo(documents=documents, samples=samples, seed=seed), start, console.print)
    found = summary(outcome)
    if json:
        print_json({**found, "checkpoint": str(out / "checkpoint")})
        return
    _print_tables(console, found)
    console.print(f"\n[bold]{out / 'report.html'}[/]  the certificate: the same with intervals, as pictures, in a browser")
    console.print(f"[bold]{out / 'checkpoint'}[/]   yarn, factor 8: stock transformers loads it")
    console.print(f"[bold]{out / 'records'}[/]      every token's loss; [bold]{out / 'plans'}[/] every plan as JSON")


def _print_tables(console: Any, found: dict[str, Any]) -> None:
    (losses,) = found["bits_per_token"].values()
    passkeys = {
        method: {f"{n:,}": 100 * share for n, share in row.items()} for method, row in found["retrieval"]["passkey"].items()
    }
    tax = {m: {"loss": row["loss"], "KL": row["kl"]} for m, row in found["tax"].items()}
    _print_table(console, "bits per token at", losses, "{:.3f}", best=min)
    _print_table(console, "pass key found at", passkeys, "{:.0f} %")
    _print_table(console, "bits added below 512", tax, "{:z.4f}")


def _print_table(console: Any, title: str, rows: dict[str, dict[str, float]], form: str, best: Any = None) -> None:
    from rich.table import Table

    columns = list(next(iter(rows.values())))
    table = Table(title, *columns, box=None)
    shown = {method: [form.format(row[column]) for column in columns] for method, row in rows.items()}
    bests = [best(column, key=float) if best else None for column in zip(*shown.values(), strict=True)]
    for method, cells in shown.items():
        table.add_row(method, *(f"[bold green]{c}[/]" if c == b else c for c, b in zip(cells, bests, strict=True)))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print()
    console.print(table)
