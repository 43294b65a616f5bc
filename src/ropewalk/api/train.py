"""`ropewalk.train`: a model is trained briefly under a plan, as a recipe says."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import Flag, Model, Place, as_options, as_texts
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length

if TYPE_CHECKING:
    from ropewalk.jobs.train.log import TrainResult
    from ropewalk.jobs.train.recipe import Recipe

LENGTHS = ("to", "length", "original_length")
LISTS = ("data", "held_out", "track")


def train(
    model: Annotated[
        Model | None, Flag("A checkpoint's folder, a hub id, ropewalk-tiny, or a recipe.", metavar="MODEL|RECIPE.yaml")
    ] = None,
    out: Annotated[Place, Flag("The run's folder.", ("-o", "--out"))] = "out/train",
    *,
    recipe: "Place | Mapping[str, Any] | Recipe" = "",
    preflight: Annotated[bool, Flag("Only the proofs; trains nothing.", ("--preflight",))] = False,
    progress: Progress = SILENT,
    **fields: Any,
) -> "TrainResult":
    """Prove that everything is in place, train stage by stage, evaluate by context length on the way, and export.

    model: a folder, a hub id or ropewalk-tiny; or a recipe's file, which names its model.
    recipe: the name of one that comes along (such as "tiny-cpu"), a YAML file, a mapping, or a `Recipe`.
    fields: any key of a recipe, in place of what it says. Those of a stage (factor, to, method, options, steps, batch, rate,
    length, ...) count for every stage; lora_rank and the like are of the adapters. `dtype` is another name of `precision`.
    Lengths may be texts ("4k"), and options as for `ropewalk.plan`. What is not a key is refused, with the nearest that is.

    Called again with the same arguments, it goes on from the last checkpoint in `out`. Raises RopewalkError for a recipe that
    is none, for a folder that holds another run, and for a proof that fails.

        done = ropewalk.train("ropewalk-tiny", "out/train", recipe="tiny-cpu", steps=20)
        done.model, done.table, done.figure()
    """
    from ropewalk.jobs.train.recipe import check_fields, read_recipe

    if isinstance(model, str | Path) and str(model).endswith((".yaml", ".yml")):
        recipe, model = model, None
    if not isinstance(out, str | Path):
        raise BadOption(f"out is {out!r}; it must be a folder's path.")
    given = _given(fields)
    check_fields(given)
    if model is not None:
        given["model"] = _name(model)
    chosen = read_recipe(recipe, given)
    progress.begin(Source(chosen.model).loading)

    from ropewalk.jobs.train.job import train as run
    from ropewalk.jobs.train.telling import Telling

    first = os.environ.get("RANK", "0") == "0"
    shown = progress if first else SILENT
    return run(chosen, Path(out), Telling(shown), shown, preflight_only=preflight)


def _name(model: Any) -> str:
    """Of a checkpoint: training reads it afresh, in every process, and writes what it does not train from it."""
    if not isinstance(model, str | Path):
        raise BadOption(
            f"training reads a checkpoint, and this is of type {type(model).__name__}: save a live model, and give its folder."
        )
    return str(model)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in fields.items() if value is not None}
    if "dtype" in found and "precision" in found:
        raise BadOption("dtype and precision are two names of one thing: give one of them.")
    if "dtype" in found:
        found["precision"] = found.pop("dtype")
    for name in found:
        if name in LENGTHS:
            found[name] = as_length(found[name])
        elif name in LISTS and isinstance(found[name], str | Path):
            found[name] = as_texts(str(found[name]))
        elif name in LISTS and isinstance(found[name], list | tuple):
            found[name] = as_texts(found[name])
        elif name == "options":
            found[name] = as_options(found[name])
    return found
