"""`ropewalk.fit`: the stretch that suits a model, searched with its weights untouched."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import (
    Data,
    Device,
    Dtype,
    Flag,
    Force,
    Layers,
    OneModel,
    OriginalLength,
    Place,
    TextField,
    Time,
    To,
    as_names,
    as_texts,
)  # fmt: skip
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length, as_seconds

if TYPE_CHECKING:
    from ropewalk.jobs.fit.result import FitResult


def fit(
    model: OneModel,
    out: Annotated[Place, Flag("The plan to write; a second run goes on with the search.", ("-o", "--out"))],
    *,
    to: To = None,
    factor: Annotated[float | None, Flag("s = target length / original length; 8 where --to says nothing.")] = None,
    data: Data = (),
    text_field: TextField = "text",
    family: Annotated[str, Flag("yarn (3 numbers), monotone (7), free (one a pair); near (9), causal.")] = "monotone",
    causal: Annotated[
        bool, Flag("Fit one rule for all scales of the causal schedule (family yarn, free or near).", ("--causal",))
    ] = False,
    grid: Annotated[int, Flag("Steps per octave of the causal schedule.")] = 8,
    optimiser: Annotated[str, Flag("gradient, or cma: without gradients.")] = "gradient",
    objective: Annotated[str, Flag("far: tokens beyond the window; answers: of pass keys alone.")] = "far",
    short_weight: Annotated[float, Flag("How much the loss within the window counts besides.")] = 0.0,
    budget: Annotated[Time, Flag("For everything: 90s, 5m or 1h30m.", metavar="TIME")] = "5m",
    original_length: OriginalLength = None,
    layers: Layers = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: Annotated[int, Flag("Shares out the documents and seeds the search.")] = 0,
    force: Force = False,
    tokenizer: Any = None,
    progress: Progress = SILENT,
) -> "FitResult":
    """Search a family of plans on some documents, choose on others, and report on a third set that neither saw.

    budget: seconds, or "5m".  tokenizer: of a live model that no folder here holds.

    Writes the winner to `out`, the search's state beside it, and goes on from there when it is called again.
    Raises RopewalkError for what cannot be fitted.

        found = ropewalk.fit("ropewalk-tiny", "plan.json", factor=2, family="yarn", budget="10s")
        found.plan, found.winner, found.compared
    """
    started = time.monotonic()
    seconds = as_seconds(budget)
    if to is not None and factor is not None:
        raise BadOption("give a target length (to) or a factor, and not both.")
    source = Source(model, tokenizer=tokenizer, original_length=original_length, progress=progress)
    spec = source.spec

    from ropewalk.jobs.fit.job import Fit, one_layer_type, run_fit
    from ropewalk.jobs.fit.objective import library_sets, read_sets

    chosen = as_names(layers or ())
    trained = spec.rope(one_layer_type(spec, chosen)).original_length
    scale = as_length(to) / trained if to is not None else 8.0 if factor is None else factor
    asked = Fit(scale, family, causal, grid, optimiser, objective, short_weight, seconds, chosen, seed)
    words = source.tokenizer()
    progress.begin("reading texts")
    far = round(trained * scale)
    sets = read_sets(words, as_texts(data), far, seed, text_field) if data else library_sets(words, far, seed)
    progress.begin(source.loading)
    live = source.load(device=device, dtype=dtype)
    return run_fit(
        live,
        words,
        source.fingerprint(progress.note),
        spec,
        asked,
        sets,
        Path(out),
        source.name,
        progress,
        force=force,
        started=started,
    )
