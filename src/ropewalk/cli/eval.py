"""Measure models under many plans: loss by position, retrieval, short-context degradation, speed. Goes on where it stopped.

Example: `ropewalk eval ropewalk-tiny --methods none,yarn --lengths 512,1024 --documents 4 --samples 2 -o out/eval`
"""

import os
from pathlib import Path
from typing import Any

import typer

from ropewalk.api.evaluate import evaluate
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.console import Console, print_table
from ropewalk.cli.parts.flags import parameters, with_flags
from ropewalk.cli.parts.progress import Bar
from ropewalk.models.source import Source, loading


def _run(model: list[str], out: Path, json: bool = False, **options: Any) -> None:
    for name in model:
        _ = Source(name).config  # what is not there is told before the first of them is measured
    console, runs = Console(stderr=True, highlight=False), []
    with Bar("starting", console, transient=True) as bar:
        folders = _folders(out, model)
        for name, folder in zip(model, folders, strict=True):
            bar.begin(f"preparing {name}: {loading(name)}")
            runs.append(evaluate(name, folder, **options, progress=bar))
    if os.environ.get("RANK", "0") == "0":
        if json:
            print_json({"runs": [run.to_dict() for run in runs]})
        for run in runs if not json else ():
            _print(Console(highlight=False), run)
    if any(run.exit_code for run in runs):
        raise typer.Exit(1)


def _folders(out: Path, models: list[str]) -> list[Path]:
    from ropewalk.jobs.evaluate.job import run_folders

    return run_folders(out, models)


def _print(console: Console, outcome: Any) -> None:
    run = outcome.to_dict()
    for table in outcome.tables:
        print_table(console, table)
        console.print()
    for method, sentence in run["power"].items():
        console.print(f"{method} against {next(iter(run['plans']))}, in the last column: {sentence}", markup=False)
    for skipped in run["skipped"]:
        console.print(f"left out: {skipped['task']} at {skipped['length']:,}: {skipped['why']}", markup=False)
    if run["unreadable"]:
        first = run["unreadable"][0]
        console.print(
            f"{len(run['unreadable'])} texts could not be read, such as {first['place']}: {first['reason']}", markup=False
        )
    if run["failures"]:
        console.print(f"{len(run['failures'])} of {len(run['plans'])} plans could not be measured", markup=False)
    console.print(f"{run['records']} records of {run['documents']['read']} documents, {run['found']} of them from before")
    console.print(f"[bold]{run['report']}[/]" if run["report"] else "nothing was measured")


run = with_flags(_run, parameters(evaluate))
