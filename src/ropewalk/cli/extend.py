"""Write a checkpoint that stock transformers runs with a stretched window. Weights are linked, never loaded.

Example: `ropewalk extend ropewalk-tiny --factor 8 --method yarn -o tiny-4k`
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
    plan_from,
    print_json,
    read_spec,
    said_of_files,
)
from ropewalk.engines.transformers.checkpoint import text_path
from ropewalk.engines.transformers.class_defaults import is_native
from ropewalk.errors import BadOption
from ropewalk.scaling.plan_notes import plan_notes


def run(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write.")],
    to: To = None,
    factor: Factor = None,
    method: MethodName = "yarn",
    option: Options = None,
    original_length: OriginalLength = None,
    layers: Layers = None,
    plan_file: PlanFile = None,
    force: Force = False,
    json: Json = False,
) -> None:
    from ropewalk.checkpoints.extend import CARD, PLAN, extend
    from ropewalk.checkpoints.hub import checkpoint

    if plan_file and (to or factor):
        raise BadOption("--plan already says how far to stretch; leave out --to and --factor.")
    config, _ = find_config(model)
    spec = read_spec(config, original_length)
    plan = as_plan(plan_file) if plan_file else plan_from(spec, model, to, factor, method, option, layers)
    source = checkpoint(model)
    written = extend(source, plan, out, force=force)
    if json:
        print_json({"out": str(out), "plan": plan.to_dict(), "fingerprint": plan.fingerprint, "config": written})
        return
    for sentence in (*spec.warnings, *plan_notes(spec, plan), *said_of_files(source)):
        print(f"note: {sentence}")
    where = "".join(f", inside {key}" for key in text_path(written))
    proved = "config proved against the plan" if is_native(spec.model_type) else "config written for the model's own code"
    print(f"{out}: {plan.name}, {plan.target_length:,} tokens, {proved}{where} ({plan.fingerprint})")
    print(f"  {CARD} says what was done, {PLAN} holds the plan. It is not measured yet: no stretch is free.")
