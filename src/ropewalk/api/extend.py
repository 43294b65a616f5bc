"""`ropewalk.extend`: a checkpoint that stock transformers runs with a stretched window."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ropewalk.api.arguments import (
    Factor,
    Flag,
    Force,
    Layers,
    Method,
    MethodOptions,
    OneModel,
    OriginalLength,
    Place,
    PlanOrFile,
    To,
    as_place,
    plan_from,
)  # fmt: skip
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.plan_notes import plan_notes
from ropewalk.table import Table


@dataclass(frozen=True)
class Extended:
    """out: the folder.  config: as written.  notes: what a person should know of the model, the plan and the files."""

    out: Path
    plan: ScalingPlan
    config: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def table(self) -> Table:
        return self.plan.table

    def to_dict(self) -> dict[str, Any]:
        plan = {"plan": self.plan.to_dict(), "fingerprint": self.plan.fingerprint}
        return {"out": str(self.out), **plan, "config": self.config}

    def _repr_html_(self) -> str:
        return self.table.to_html()


def extend(
    model: OneModel,
    plan: PlanOrFile = None,
    out: Annotated[Place | None, Flag("The folder to write.", ("-o", "--out"))] = None,
    *,
    to: To = None,
    factor: Factor = None,
    method: Method = "yarn",
    options: MethodOptions = None,
    original_length: OriginalLength = None,
    layers: Layers = None,
    force: Force = False,
    progress: Progress = SILENT,
) -> Extended:
    """Write a stretched checkpoint into the folder `out`. Weights are linked where that can be, and never loaded.

    model: a folder, a hub id, ropewalk-tiny, a live model that was loaded from one of them, or a GGUF, which is dequantised.
    plan: a ScalingPlan, its file, or a method's name; none makes one of `to` or `factor` and the others.

    The config is read back and proved against the plan before anything is copied. Raises CannotExpress where transformers has
    no words for the plan, OutputExists without `force`, and RopewalkError for what cannot be read or written.

        made = ropewalk.extend("ropewalk-tiny", "yarn", "tiny-4k", to="4k")
        made.config["max_position_embeddings"], made.notes
    """
    source = Source(model, original_length=original_length, progress=progress)
    spec = source.spec
    chosen = plan_from(spec, source.name, plan, to=to, factor=factor, method=method, options=options, layers=layers)
    if out is None:
        raise BadOption("out is missing: -o names the folder to write.")

    from ropewalk.checkpoints.extend import dequantised, file_notes
    from ropewalk.checkpoints.extend import extend as write

    folder, place = source.folder, as_place(out)
    progress.begin(f"writing {place}")
    if source.gguf is None:
        config, more = write(folder, chosen, place, force=force), file_notes(folder)
    else:
        config, more = write(folder, chosen, place, force=force, gguf=source.gguf.name), (dequantised(source.gguf.name),)
    return Extended(place, chosen, config, (*spec.warnings, *plan_notes(spec, chosen), *source.weights_notes, *more))
