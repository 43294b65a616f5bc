"""Find the stretch that suits a model, its weights untouched, and compare it honestly with the paper's settings.

Example: `ropewalk fit ropewalk-tiny --factor 2 --family yarn --budget 10s -o plan.json`
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.parts.common import Force, Json, Layers, Model, OriginalLength, find_config, print_json, read_spec
from ropewalk.scaling.units import parse_seconds


def run(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="The plan to write; a second run goes on with the search.")],
    factor: Annotated[float, typer.Option("--factor", help="s = target length / original length.")] = 8.0,
    data: Annotated[
        list[str] | None,
        typer.Option(help="File, folder, glob, .jsonl, .parquet or hub id; again for more (default: held-out library files)."),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Key or column of the text in rows of data; a,b joins several.")] = "text",
    family: Annotated[str, typer.Option(help="yarn (3 numbers), monotone (7) or free (one a pair).")] = "monotone",
    causal: Annotated[
        bool, typer.Option("--causal", help="Fit one law for the causal schedule (family yarn or free).")
    ] = False,
    grid: Annotated[int, typer.Option(help="Steps per octave of the causal schedule.")] = 8,
    optimiser: Annotated[str, typer.Option(help="gradient, or cma: without gradients.")] = "gradient",
    objective: Annotated[str, typer.Option(help="far: tokens beyond the window; answers: of pass keys alone.")] = "far",
    short_weight: Annotated[float, typer.Option(help="How much the loss within the window counts besides.")] = 0.0,
    budget: Annotated[str, typer.Option(metavar="TIME", help="For everything: 90s, 5m or 1h.")] = "5m",
    original_length: OriginalLength = None,
    layers: Layers = None,
    seed: Annotated[int, typer.Option(help="Shares out the documents and seeds the search.")] = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    import time

    started = time.monotonic()

    from ropewalk.cli.parts.console import Console
    from ropewalk.cli.parts.progress import Bar, loading

    config, _ = find_config(model)
    seconds = parse_seconds(budget)
    with Bar("starting", transient=True):
        from ropewalk.checkpoints.hub import checkpoint
        from ropewalk.jobs.fit.family import get_family
        from ropewalk.jobs.fit.job import Fit, one_layer_type, run_fit
        from ropewalk.jobs.fit.objective import library_sets, read_sets
        from ropewalk.models.load import load_model, load_tokenizer

    chosen = tuple(layers.split(",")) if layers else ()
    get_family(family)
    fit = Fit(factor, family, causal, grid, optimiser, objective, short_weight, seconds, chosen, seed)
    spec = read_spec(config, original_length)
    target = round(spec.rope(one_layer_type(spec, chosen)).original_length * factor)
    tokenizer = load_tokenizer(model)
    with Bar("reading texts", transient=True) as bar:
        sets = read_sets(tokenizer, data, target, seed, text_field) if data else library_sets(tokenizer, target, seed)
        stage = ""

        def watch(now: Any) -> None:
            nonlocal stage
            if now.what != stage:
                bar.begin(now.what, 1.0, found=now.done > 0)
                stage = now.what
            bar.reach(now.done)
            best = f"{now.steps} steps, best {now.best:.4f} nats" if now.steps else ""
            dropped = f"{now.dropped} candidates dropped" if now.dropped else ""
            bar.say(", ".join(filter(None, [best, dropped])))

        bar.begin(loading(model))
        live = load_model(model)
        result = run_fit(live, tokenizer, checkpoint(model), spec, fit, sets, out, model, watch, force=force, started=started)
    if json:
        print_json({"out": str(out), **_as_dict(result)})
    else:
        _print(Console(highlight=False), out, fit.budget, result)


def _as_dict(result: Any) -> dict[str, Any]:
    return {
        **dataclasses.asdict(result),
        "plan": result.plan.to_dict(),
        "fitted": result.fitted.to_dict(),
        "fingerprint": result.plan.fingerprint,
    }


def _print_gain(console: Any, result: Any) -> None:
    """Against each plan: is the gain shown, or could it be nothing?"""
    gains = {name: row.gain for name, row in result.compared.items() if name != "fitted"}
    better, worse = [n for n, g in gains.items() if g.low > 0], [n for n, g in gains.items() if g.high < 0]
    open_ = [n for n in gains if n not in better and n not in worse]
    for names, said in ((better, "shown to be better than"), (worse, "shown to be worse than"), (open_, "not told from")):
        if names:
            console.print(f"Beyond the window, on the documents reported on, the fit is {said} {', '.join(names)}.")


def _print(console: Any, out: Path, budget: float, result: Any) -> None:
    from rich.table import Table

    from ropewalk.jobs.fit.compare import FITTED

    edges = [f"{a}-{b}" for a, b in zip(result.edges, result.edges[1:], strict=False)]
    table = Table("bits per token at", *edges, "beyond the window", "fit gains", "95 %", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in result.compared.items():
        gain = ["", ""] if name == FITTED else [f"{row.gain.value:+.4f}", f"{row.gain.low:+.4f} to {row.gain.high:+.4f}"]
        table.add_row(name, *(f"{value:.3f}" for value in row.buckets), f"{row.far.value:.4f}", *gain)
    console.print(table)
    for note in result.notes:
        console.print(f"Budget: {note}")
    _print_gain(console, result)
    n = result.documents
    console.print(
        f"fitted on {n['fit']} documents, chosen on {n['choose']}, reported on {n['report']}; {result.steps} steps, "
        f"{result.dropped} candidates dropped, {result.seconds:.0f} s of {budget:.0f}"
    )
    console.print(f"{result.kept}: their tokens and bits, which the table was made of")
    if result.winner == FITTED:
        console.print(f"{out}: the fitted plan ({result.plan.name}), the best on the documents that chose")
    else:
        console.print(f"The fit did not win: on the documents that chose, {result.winner} is better. {out} is that plan.")
