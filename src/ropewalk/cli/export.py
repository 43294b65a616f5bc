"""Write a stretched checkpoint for the engines that will serve it, with the exact commands. Weights are linked, never loaded.

Example: `ropewalk export ropewalk-tiny --factor 8 --method yarn --for vllm,sglang,mlx,llama.cpp,ollama -o tiny-served`
"""

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.api.arguments import as_plan
from ropewalk.cli.parts.common import (
    Factor,
    Force,
    Json,
    Layers,
    MethodName,
    Model,
    Options,
    OriginalLength,
    PlanFile,
    To,
    find_config,
    parse_versions,
    plan_from,
    print_json,
    read_spec,
    said_of_files,
)
from ropewalk.cli.parts.export_gguf import run_gguf
from ropewalk.engines.engine import get_engine
from ropewalk.errors import BadOption
from ropewalk.scaling.plan_notes import plan_notes

DEFAULT = "transformers,vllm,sglang"


def run(
    model: Model,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The folder to write; the file, of a GGUF.")] = None,
    engines: Annotated[
        str | None, typer.Option("--for", metavar="ENGINES", help=f"Engines, by commas. [default: {DEFAULT}]")
    ] = None,
    to: To = None,
    factor: Factor = None,
    method: MethodName = "yarn",
    option: Options = None,
    original_length: OriginalLength = None,
    layers: Layers = None,
    plan_file: PlanFile = None,
    versions: Annotated[str | None, typer.Option("--versions", metavar="ENGINE=VERSION", help="By commas: vllm=0.31.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the GGUF itself, once the new one is whole.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Undo an earlier stretch of the GGUF, bit for bit.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    from ropewalk.engines.transformers.checkpoint import is_gguf

    at = parse_versions(versions)
    if is_gguf(model):
        run_gguf(
            model, out, engines=engines, plan_file=plan_file, original_length=original_length, in_place=in_place,
            asked=(to, factor, method, option, layers), restore=restore, force=force, json=json,
            version=next((v for name, v in at.items() if get_engine(name).name == "llama_cpp"), ""),
        )  # fmt: skip
        return
    if in_place or restore or out is None:
        raise BadOption("-o names the folder to write; --in-place and --restore are for a GGUF.")
    from ropewalk.checkpoints.export import COMMANDS, export, summary
    from ropewalk.checkpoints.hub import checkpoint

    if plan_file and (to or factor):
        raise BadOption("--plan already says how far to stretch; leave out --to and --factor.")
    names = [name for name in (DEFAULT if engines is None else engines).split(",") if name]
    if not names:
        raise BadOption("--for names no engine.")
    for name in (*names, *at):
        get_engine(name)
    config, _ = find_config(model)
    spec = read_spec(config, original_length)
    plan = as_plan(plan_file) if plan_file else plan_from(spec, model, to, factor, method, option, layers)
    source = checkpoint(model)
    found = export(source, plan, names, out, versions=at, force=force)
    if json:
        print_json({"out": str(out), "plan": plan.to_dict(), **summary(found)})
    else:
        for sentence in (*spec.warnings, *plan_notes(spec, plan), *said_of_files(source)):
            print(f"note: {sentence}")
        for part in found.parts:
            titles = ", ".join(get_engine(name).title for name in part.engines)
            print(f"{out / part.folder}: {titles}; {part.plan.target_length:,} tokens, written with {part.written.carrier}")
        for name, reason in found.refused.items():
            print(f"refused: {name}: {reason}")
        print(f"{out / COMMANDS} has the commands to paste. Nothing was run.")
    if found.refused:
        raise typer.Exit(1)
