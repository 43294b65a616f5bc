"""Write a stretched checkpoint for the engines that will serve it, with the exact commands. Weights are linked, never loaded.

Example: `ropewalk export ropewalk-tiny --factor 8 --method yarn --for vllm,sglang,mlx,llama.cpp,ollama -o tiny-served`
"""

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.common import (
    Factor,
    Force,
    Json,
    Layers,
    MethodName,
    Model,
    Options,
    OriginalLength,
    To,
    find_config,
    parse_versions,
    plan_from,
    print_json,
    read_plan,
    read_spec,
)
from ropewalk.errors import BadOption
from ropewalk.scaling.engine import get_engine
from ropewalk.scaling.plan import replaced


def run(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write.")],
    engines: Annotated[str, typer.Option("--for", metavar="ENGINES", help="Engines, by commas.")] = "transformers,vllm,sglang",
    to: To = None,
    factor: Factor = None,
    method: MethodName = "yarn",
    option: Options = None,
    original_length: OriginalLength = None,
    layers: Layers = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="A saved plan, instead of the options above.")] = None,
    versions: Annotated[str | None, typer.Option("--versions", metavar="ENGINE=VERSION", help="By commas: vllm=0.31.")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    from ropewalk.jobs.export import COMMANDS, export, summary
    from ropewalk.models.hub import checkpoint

    if plan_file and (to or factor):
        raise BadOption("--plan already says how far to stretch; leave out --to and --factor.")
    names = [name for name in engines.split(",") if name]
    if not names:
        raise BadOption("--for names no engine.")
    at = parse_versions(versions)
    for name in (*names, *at):
        get_engine(name)
    config, _ = find_config(model)
    spec = read_spec(config, original_length)
    plan = read_plan(plan_file) if plan_file else plan_from(spec, model, to, factor, method, option, layers)
    found = export(checkpoint(model), plan, names, out, versions=at, force=force)
    if json:
        print_json({"out": str(out), "plan": plan.to_dict(), **summary(found)})
    else:
        for sentence in (*spec.warnings, *replaced(spec, plan)):
            print(f"note: {sentence}")
        for part in found.parts:
            titles = ", ".join(get_engine(name).title for name in part.engines)
            print(f"{out / part.folder}: {titles}; {part.plan.target_length:,} tokens, written with {part.written.carrier}")
        for name, reason in found.refused.items():
            print(f"refused: {name}: {reason}")
        print(f"{out / COMMANDS} has the commands to paste. Nothing was run.")
    if found.refused:
        raise typer.Exit(1)
