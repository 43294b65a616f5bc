"""Measure models under many plans: loss by position, retrieval, the short-context tax, speed. Goes on where it stopped.

Example: `ropewalk eval ropewalk-tiny --methods none,yarn --lengths 512,1024 --documents 4 --samples 2 -o out/eval`
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.api.arguments import as_plan
from ropewalk.cli.parts.common import Json, OriginalLength, find_config, print_json
from ropewalk.errors import BadOption
from ropewalk.scaling.units import as_length

Written = str | Callable[[float], str]
Many = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders, hub ids, or ropewalk-tiny.")]


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip() and part.strip() != "-")


def _numbers(text: str, what: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _split(text))
    except ValueError:
        raise BadOption(f"{what} is {text!r}; it must be numbers separated by commas.") from None


def run(
    models: Many,
    out: Annotated[Path, typer.Option("-o", "--out", help="The run's folder; several models get one each below it.")] = Path(
        "out/eval"
    ),
    methods: Annotated[
        str, typer.Option(help="By commas; `own`: the config's own stretch; `window`: unchanged on its last L tokens.")
    ] = "none,yarn",
    plan_file: Annotated[
        list[Path] | None, typer.Option("--plan", help="A saved plan to measure too (again and again).")
    ] = None,
    lengths: Annotated[str | None, typer.Option(help="Tokens to measure at, by commas: 4k,8k,16k.")] = None,
    factor: Annotated[
        float | None, typer.Option(help="Stretch by this; without --lengths, measure L, 2 L, ... up to it.")
    ] = None,
    original_length: OriginalLength = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="File, folder, glob, .jsonl, .parquet or hub id owner/name:split; again for more. Default: library."
        ),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Key or column of the text in rows of data; a,b joins several.")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first text that cannot be read.")] = False,
    documents: Annotated[int, typer.Option(min=1, help="Documents per method, chosen by seed.")] = 12,
    protocols: Annotated[
        str, typer.Option(help="position, prefix, sliding:1024,256, random:1024,4 and others by commas; - for none.")
    ] = "position",
    tasks: Annotated[
        str, typer.Option(help="passkey, needle, random_copy, ruler (all its offline ones) and others by commas; - for none.")
    ] = "passkey",
    samples: Annotated[int, typer.Option(min=1, help="Samples per length and depth.")] = 20,
    depths: Annotated[str, typer.Option(help="Where needles are hidden, 0 to 1, by commas.")] = "0,0.25,0.5,0.75,1",
    questions: Annotated[
        list[str] | None, typer.Option(metavar="TASK=FILE", help="qa_1=SQuAD file, qa_2=HotpotQA file.")
    ] = None,
    ruler_compat: Annotated[
        bool, typer.Option("--ruler-compat", help="RULER's prompts byte for byte as the reference generator's.")
    ] = False,
    gap: Annotated[bool, typer.Option("--gap", help="Ask each question without its needle too.")] = False,
    tax: Annotated[bool, typer.Option(help="Measure what a plan costs inside the original length.")] = True,
    speed: Annotated[bool, typer.Option(help="Measure tokens per second and memory.")] = True,
    difference: Annotated[
        float | None, typer.Option(help="Bits per token: say how many documents it takes to see this difference.")
    ] = None,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="Read documents until every plan is told from the first; the level holds.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Chooses documents and samples.")] = 0,
    tokenizer: Annotated[str | None, typer.Option(help="Another tokenizer than the model's own: folder or hub id.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes an accelerator.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16; auto: bfloat16 on accelerators.")] = "auto",
    attention: Annotated[str, typer.Option(help="sdpa, eager or flash_attention_2.")] = "sdpa",
    batch: Annotated[int, typer.Option(min=1, help="Sequences at a time; halved where memory runs out.")] = 4,
    silence: Annotated[
        float, typer.Option(help="With torchrun: seconds without a measurement after which a process is taken for dead.")
    ] = 1800.0,
    json: Json = False,
) -> None:
    from ropewalk.api.source import loading
    from ropewalk.cli.parts.console import Console
    from ropewalk.cli.parts.progress import Bar, cost_bar

    for model in models:
        find_config(model)  # what is not there is told before anything heavy is imported
    console = Console(stderr=True, highlight=False)
    with Bar("starting", console, transient=True):
        from ropewalk.jobs.evaluate.job import evaluate, run_folders
        from ropewalk.jobs.evaluate.prepare import split_protocols
        from ropewalk.jobs.evaluate.request import Request
        from ropewalk.jobs.evaluate.summary import summary
        from ropewalk.jobs.evaluate.workers import workers

    options: dict[str, Any] = {
        "methods": _split(methods),
        "extra_plans": {path.stem: as_plan(path) for path in plan_file or ()},
        "lengths": tuple(as_length(part) for part in _split(lengths or "")),
        "factor": factor,
        "original_length": as_length(original_length) if original_length else None,
        "protocols": () if protocols.strip() == "-" else split_protocols(protocols),
        "tasks": _split(tasks),
        "data": tuple(data or ("library",)),
        "text_field": text_field,
        "strict": strict,
        "documents": documents,
        "samples": samples,
        "depths": _numbers(depths, "--depths"),
        "questions": dict(_question(text) for text in questions or ()),
        "gap": gap,
        "ruler_compat": ruler_compat,
        "stop_early": stop_early,
        "tax": tax,
        "speed": speed,
        "difference": difference,
        "seed": seed,
        "tokenizer": tokenizer,
        "device": device,
        "dtype": dtype,
        "attention": attention,
        "batch": batch,
    }
    outcomes = []
    with workers(silence) as ours:
        for model, folder in zip(models, run_folders(out, models), strict=True):
            with cost_bar(console, f"measuring {model}", f"preparing {model}: {loading(model)}") as start:
                outcomes.append(evaluate(folder, Request(model, **options), start, _say(console, ours.rank), ours))
    found = [summary(outcome) for outcome in outcomes] if ours.is_first else []
    if ours.is_first and json:
        print_json({"runs": found})
    for one in found if not json else ():
        _print(Console(highlight=False), one)
    if any(outcome.failures for outcome in outcomes):
        raise typer.Exit(1)


def _print(console: Any, run: dict[str, Any]) -> None:
    for protocol, rows in run["bits_per_token"].items():
        _print_table(console, f"bits per token (perplexity), {protocol.partition(':')[0]}", rows, _bits)
    for method, sentence in run["power"].items():
        console.print(f"{method} against {next(iter(run['plans']))}, in the last column: {sentence}", markup=False)
    _print_table(console, "bits per token, inside the original length", run["tax"], "{:+z.4f}")
    for task, rows in run["retrieval"].items():
        _print_table(
            console, f"{task}, % right", {m: {n: 100 * s for n, s in row.items()} for m, row in rows.items()}, "{:.0f}"
        )
    speeds = {method: {"prefill": s["prefill_tokens_per_second"], "decode": s["decode_tokens_per_second"]}
              for method, s in run["speed"].items()}  # fmt: skip
    _print_table(console, f"tokens/s at {run['lengths'][-1]:,}", speeds, "{:,.0f}")
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


def _bits(bits: float) -> str:
    return f"{bits:.3f} ({2**bits:,.2f})" if bits < 30 else f"{bits:.3f} (over a billion)"


def _print_table(
    console: Any, title: str, rows: dict[str, dict[Any, float | None]], form: str | Callable[[float], str]
) -> None:
    from rich.table import Table

    written = form.format if isinstance(form, str) else form
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if not columns:
        return
    table = Table(title, *(f"{c:,}" if isinstance(c, int) else str(c) for c in columns), box=None)
    for method, row in rows.items():
        table.add_row(method, *(written(v) if (v := row.get(column)) is not None else "" for column in columns))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    console.print()


def _question(text: str) -> tuple[str, Path]:
    task, equals, file = text.partition("=")
    if not equals or not Path(file).is_file():
        raise BadOption(f"--questions {text!r}: write qa_1=FILE or qa_2=FILE, with a file that is there.")
    return task, Path(file)


def _say(console: Any, rank: int) -> Any:
    who = f"process {rank}: " if rank else ""
    return lambda sentence: console.print(f"{who}{sentence}", markup=False)
