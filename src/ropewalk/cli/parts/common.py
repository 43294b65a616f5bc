"""What several verbs share: option types, parsing of lengths and options, printing."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.api.arguments import as_options, as_plan
from ropewalk.checkpoints.files import plain
from ropewalk.engines.transformers.checkpoint import local_checkpoint, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadOption
from ropewalk.scaling.method import methods
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.units import as_length

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A checkpoint's folder, a config.json, a hub id, or ropewalk-tiny.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TOKENS", help="Target length: 131072, 128k or 1m (k = 1024).")]
Factor = Annotated[float | None, typer.Option("--factor", help="s = target length / original length.")]
MethodName = Annotated[
    str, typer.Option("--method", help=f"One of {', '.join(methods())}, dynamic (over ntk) or dynamic-METHOD.")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the method, such as beta_fast=16 or ramp=turns."),
]
OriginalLength = Annotated[
    str | None,
    typer.Option("--original-length", metavar="TOKENS", help="What the model was trained at, if the config is wrong."),
]
Layers = Annotated[
    str | None,
    typer.Option("--layers", metavar="TYPES", help="Layer types to stretch, by commas (default: those that see all)."),
]
Dynamic = Annotated[
    str | None,
    typer.Option("--dynamic", metavar="METHOD", help="The scale grows with the position: yarn is --method dynamic-yarn."),
]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="A saved plan, instead of the options that make one.")]
RunMethod = Annotated[str | None, typer.Option("--method", help="As for `ropewalk plan`; needs --factor or --to.")]
Dtype = Annotated[str, typer.Option("--dtype", help="Of the weights in memory: float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option("--device", help="Where the model runs: cpu, cuda, cuda:1, mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]

DYNAMIC_FACTOR = 8.0


def find_config(model: str) -> tuple[dict[str, Any], Path]:
    """The model's config, and where it was found; goes to the hub only for a hub id."""
    path = local_checkpoint(model)
    if path is None:
        from ropewalk.checkpoints.hub import checkpoint

        path = checkpoint(model, weights=False)
    return read_config(path), path


def read_spec(config: dict[str, Any], original_length: str | None) -> ModelSpec:
    return read(config, original_length=as_length(original_length) if original_length else None)


def plan_from(
    spec: ModelSpec,
    model: str,
    to: str | None,
    factor: float | None,
    method: str,
    options: Sequence[str] | None,
    layers: str | None = None,
) -> ScalingPlan:
    """The plan that a verb's options ask for."""
    return make_plan(
        spec,
        factor=factor,
        target_length=as_length(to) if to else None,
        method=method,
        options=as_options(options),
        layer_types=layers.split(",") if layers else None,
        model=model,
    )


def plan_to_run(
    model: str,
    dynamic: str | None,
    method: str | None,
    to: str | None,
    factor: float | None,
    options: list[str] | None,
    original_length: str | None,
    plan_file: Path | None,
) -> ScalingPlan | None:
    """The plan that a verb which runs a model asks for; None runs it as it is.

    A dynamic plan leaves short texts alone however far it reaches, so it has a factor of its own: DYNAMIC_FACTOR.
    The model's config is looked at whatever is asked for: what is not there is told before anything heavy is imported.
    """
    config, _ = find_config(model)
    if plan_file:
        if dynamic or method or to or factor or options or original_length:
            raise BadOption("--plan already says how to stretch; leave out the other options of the plan.")
        return as_plan(plan_file)
    if dynamic and method:
        raise BadOption(f"give --dynamic {dynamic} or --method {method}, and not both.")
    if not (dynamic or method or to or factor):
        return None
    name = f"dynamic-{dynamic}" if dynamic else method or "yarn"
    if name.startswith("dynamic") and not (to or factor):
        factor = DYNAMIC_FACTOR
    return plan_from(read_spec(config, original_length), model, to, factor, name, options)


def print_json(data: dict[str, Any]) -> None:
    """On stdout, as JSON that every reader takes: a number that is not finite is null."""
    json.dump(plain(data), sys.stdout, indent=2, default=str, allow_nan=False)
    print()
