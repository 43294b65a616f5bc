"""Does every engine do what is written? Reads a folder, a config.json, a GGUF or a pasted command line, and says what each
engine makes of it, in words and numbers; or asks a running server; or compares a trainer with its rollout. Exit code 0: all as
written, PASS or ALIKE. 1: findings, FAIL or DIFFER. 2: bad input. 3: a server's answers do not decide.

Example: `ropewalk doctor ropewalk-tiny --for transformers,vllm,mlx`
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.parts.common import (
    Device,
    Dtype,
    Factor,
    Force,
    Json,
    OriginalLength,
    PlanFile,
    RunMethod,
    To,
    is_address,
    parse_versions,
    print_json,
)
from ropewalk.cli.parts.console import Console
from ropewalk.errors import BadOption
from ropewalk.jobs.doctor.static import Diagnosis, Difference, compare, examine, meaning
from ropewalk.jobs.doctor.target import Target, resolve

FINDINGS = 1


def run(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="A folder, a config.json, a GGUF, a command line in quotes, or http://HOST:PORT."
        ),
    ] = None,
    engines: Annotated[
        str | None, typer.Option("--for", metavar="ENGINES", help="Engines to look at, by commas: vllm,sglang,llama.cpp.")
    ] = None,
    versions: Annotated[
        str | None, typer.Option("--versions", metavar="ENGINE=VERSION", help="By commas: vllm=0.31,sglang=0.5.19.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The config that a command line serves, if its model is not here.")
    ] = None,
    numeric: Annotated[
        bool, typer.Option("--numeric", help="Load the model with transformers and measure its cos and sin.")
    ] = False,
    trainer: Annotated[
        str | None, typer.Option("--trainer", help="Compare two stacks: what the trainer is given, or its address ...")
    ] = None,
    rollout: Annotated[
        str | None, typer.Option("--rollout", help="... and the rollout engine. With an address, both sides are run.")
    ] = None,
    method: RunMethod = None,
    factor: Factor = None,
    plan_file: PlanFile = None,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    model: Annotated[str | None, typer.Option("--model", help="Of a server that has several.")] = None,
    to: To = None,
    original_length: OriginalLength = None,
    passages: Annotated[int | None, typer.Option("--passages", min=2, help="Of a server: how many are asked (12).")] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="Nats per token: a server may lose (0.1), stacks be apart (0.05).")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that a server has for one answer.")] = 300.0,
    api_key_env: Annotated[str | None, typer.Option("--api-key-env", metavar="NAME", help="Variable with its key.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Of a server: write one HTML page with the plot.")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    running = any(map(is_address, filter(None, (trainer, rollout))))
    if (method or factor or plan_file) and not running:
        raise BadOption("--method, --factor and --plan stretch a trainer or rollout beside a server's address.")
    names = tuple(filter(None, (engines or "").split(",")))
    at = parse_versions(versions)
    if trainer or rollout:
        if not (trainer and rollout) or target or numeric:
            raise BadOption("--trainer and --rollout go together, and without TARGET or --numeric.")
        if running:
            if names or at or plot:
                raise BadOption("running stacks are asked, not read: leave out --for, --versions and --plot.")
            from ropewalk.cli.parts.doctor_stacks import run_stacks

            raise typer.Exit(
                run_stacks(trainer, rollout, method=method, factor=factor, plan=plan_file, dtype=dtype, device=device,
                           config=config, model=model, to=to, original_length=original_length, passages=passages,
                           margin=margin, timeout=timeout, api_key_env=api_key_env, json=json)
            )  # fmt: skip
        _compare(_resolve(trainer, config), _resolve(rollout, config), names, at, json)
        return
    if not target:
        raise BadOption("name a TARGET: a folder, a config.json, a GGUF, or a command line in quotes.")
    if is_address(target):
        if names or at or numeric:
            raise BadOption("a running server is asked, not read: leave out --for, --versions and --numeric.")
        from ropewalk.cli.parts.doctor_live import run_live

        raise typer.Exit(
            run_live(target, config=config, model=model, to=to, original_length=original_length, passages=passages,
                     margin=margin, timeout=timeout, api_key_env=api_key_env, plot=plot, force=force, json=json)
        )  # fmt: skip
    if numeric:
        _numeric(target, json)
        return
    found = _resolve(target, config)
    _report(found, examine(found, names, at), json)


def _resolve(target: str, config: Path | None) -> Target:
    def find(model: str) -> Path:
        from ropewalk.checkpoints.hub import checkpoint

        return checkpoint(model, weights=False)

    return resolve(target, find, config)


def _report(target: Target, found: Sequence[Diagnosis], json: bool) -> None:
    sick = any(diagnosis.losses for diagnosis in found)
    if json:
        print_json({"target": target.title, "written": [meaning(k) for k in target.layers], "healthy": not sick,
                    "engines": [_as_dict(d) for d in found]})  # fmt: skip
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"[bold]{target.title}[/]", markup=True)
        for keys in target.layers:
            console.print(f"  written: {meaning(keys)}", markup=False)
        for diagnosis in found:
            _print(console, diagnosis)
    if sick:
        raise typer.Exit(FINDINGS)


def _as_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "engine": diagnosis.engine,
        "version": diagnosis.version,
        "findings": [{"said": loss.said, **dataclasses.asdict(loss)} for loss in diagnosis.losses],
        "attention_factor": {r.layer_type: r.scaled.attention_factor if r.scaled else None for r in diagnosis.rotations},
        "window": {r.layer_type: r.window for r in diagnosis.rotations},
    }


def _print(console: Console, diagnosis: Diagnosis) -> None:
    name = f"{diagnosis.title} {diagnosis.version}"
    if not diagnosis.losses:
        console.print(f"[green]ok[/]    {name}: as written")
        return
    for loss in diagnosis.losses:
        console.print("[red]finds[/] ", end="")
        console.print(loss.said, markup=False)
        if loss.way_out:
            console.print(f"        {loss.way_out}", markup=False)
        console.print(f"        {loss.source}", style="dim", markup=False)


def _compare(trainer: Target, rollout: Target, names: Sequence[str], at: dict[str, str], json: bool) -> None:
    if names and len(names) != 2:
        raise BadOption("with --trainer and --rollout, --for names two engines: the trainer's and the rollout's.")
    one, other = names or (_reader(trainer, "transformers"), _reader(rollout, "vllm"))
    (a,) = examine(trainer, [one], {k: v for k, v in at.items() if k == one})
    (b,) = examine(rollout, [other], {k: v for k, v in at.items() if k == other})
    differences = compare(a, b)
    apart = any(difference.differs for difference in differences)
    if json:
        print_json({"trainer": _as_dict(a), "rollout": _as_dict(b), "same": not apart,
                    "differences": [dataclasses.asdict(d) for d in differences]})  # fmt: skip
    else:
        for difference in differences:
            print(_sentence(difference, f"{a.title} {a.version}", f"{b.title} {b.version}"))
        for loss in (*a.losses, *b.losses):
            print(f"  {loss.said}")
    if apart:
        raise typer.Exit(FINDINGS)


def _reader(target: Target, usual: str) -> str:
    return target.engines[0] if len(target.engines) == 1 else usual


def _sentence(difference: Difference, trainer: str, rollout: str) -> str:
    where = "" if difference.layer_type == "all" else f"{difference.layer_type}: "
    if difference.frequency is None:
        return f"{where}{trainer} and {rollout} cannot be compared: one of them does not rotate these layers."
    if not difference.differs:
        return f"{where}{trainer} and {rollout} rotate alike."
    return (
        f"{where}{trainer} and {rollout} differ: a frequency x{difference.frequency:.4g} off, attention factor "
        f"x{difference.attention_factor:.4g}, logits x{difference.logits:.4g}."
    )


def _numeric(target: str, json: bool) -> None:
    from ropewalk.models.checkup import measure_checkpoint

    found = measure_checkpoint(target)
    wrong = [table for table in found if not table.right]
    if json:
        print_json({"target": target, "healthy": not wrong, "tables": [dataclasses.asdict(table) for table in found]})
    else:
        for table in found:
            print(f"{'ok   ' if table.right else 'finds'} {table.said}")
    if wrong:
        raise typer.Exit(FINDINGS)
