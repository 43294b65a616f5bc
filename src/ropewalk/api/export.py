"""`ropewalk.export`: a stretched checkpoint or GGUF for the engines that will serve it."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import (
    Factor,
    Flag,
    Force,
    Layers,
    Method,
    MethodOptions,
    Names,
    OneModel,
    OriginalLength,
    Place,
    PlanOrFile,
    To,
    Versions,
    as_names,
    as_place,
    as_versions,
    plan_from,
)  # fmt: skip
from ropewalk.engines.engine import get_engine
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.plan_notes import plan_notes
from ropewalk.table import Table

if TYPE_CHECKING:
    from ropewalk.checkpoints.export import Exported

DEFAULT = "transformers,vllm,sglang"
READERS = {"llama_cpp", "ollama"}  # of a GGUF


@dataclass(frozen=True)
class Export:
    """out: the folder.  written: what is in it, and which engines refused.  notes: what a person should know."""

    out: Path
    plan: ScalingPlan
    written: "Exported"
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where an engine refused."""
        return 1 if self.written.refused else 0

    @property
    def table(self) -> Table:
        parts = self.written.parts
        rows = [(part.folder, ", ".join(part.engines), f"{part.plan.target_length:,}", part.written.carrier) for part in parts]
        refused = tuple(f"refused: {name}: {reason}" for name, reason in self.written.refused.items())
        return Table(("folder", "engines", "tokens", "written with"), tuple(rows), refused)

    def to_dict(self) -> dict[str, Any]:
        from ropewalk.checkpoints.export import summary

        return {"out": str(self.out), "plan": self.plan.to_dict(), **summary(self.written)}

    def _repr_html_(self) -> str:
        return self.table.to_html()


@dataclass(frozen=True)
class GgufExport:
    """out: the file.  plan: None where an earlier stretch was undone.  changed: key -> (before, after); None where absent."""

    out: Path
    plan: ScalingPlan | None = None
    carrier: str = ""
    changed: Mapping[str, tuple[Any, Any]] | None = None
    notes: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        length = self.plan.target_length if self.plan else 0
        return (f"llama-server -m {shlex.quote(str(self.out))} -c {length}",) if self.plan else ()

    @property
    def table(self) -> Table:
        rows = ((name, *map(shown, values)) for name, values in (self.changed or {}).items())
        return Table(("key", "before", "after"), tuple(rows))

    def to_dict(self) -> dict[str, Any]:
        said = {"schema": "ropewalk.gguf/1", "out": str(self.out)}
        if self.plan is None:
            return {**said, "restored": True}
        changed = {name: {"before": before, "after": after} for name, (before, after) in (self.changed or {}).items()}
        plan = {"plan": self.plan.to_dict(), "fingerprint": self.plan.fingerprint, "carrier": self.carrier}
        return {**said, **plan, "changed": changed, "commands": list(self.commands)}

    def _repr_html_(self) -> str:
        return self.table.to_html()


def shown(value: Any) -> str:
    """The value of a key, for people."""
    return "absent" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)


def export(
    model: OneModel,
    plan: PlanOrFile = None,
    out: Annotated[Place | None, Flag("The folder to write; the file, of a GGUF.", ("-o", "--out"))] = None,
    *,
    engines: Annotated[Names | None, Flag(f"Engines, by commas. [default: {DEFAULT}]", ("--for",), metavar="ENGINES")] = None,
    to: To = None,
    factor: Factor = None,
    method: Method = "yarn",
    options: MethodOptions = None,
    original_length: OriginalLength = None,
    layers: Layers = None,
    versions: Versions = None,
    in_place: Annotated[bool, Flag("Change the GGUF itself, once the new one is whole.", ("--in-place",))] = False,
    restore: Annotated[bool, Flag("Undo an earlier stretch of the GGUF, bit for bit.", ("--restore",))] = False,
    force: Force = False,
    progress: Progress = SILENT,
) -> Export | GgufExport:
    """Write what each engine needs, with the commands to paste. Weights are linked or spliced, and never loaded.

    model: a folder, a hub id, ropewalk-tiny, a live model loaded from one of them, or a GGUF.
    plan: a ScalingPlan, its file, or a method's name; none makes one of `to` or `factor` and the others.

    Of a checkpoint, `out` becomes a folder with one config for all engines where there is one, a folder per engine elsewhere.
    Of a GGUF, `out` is a stretched copy; `in_place` changes the file itself, and `restore` undoes that.

    Raises CannotExpress where no engine can carry the plan, and RopewalkError for what cannot be read or written.

        made = ropewalk.export("ropewalk-tiny", "yarn", "served", engines="vllm,mlx", factor=8)
        made.table, made.exit_code, made.to_dict()["parts"]
    """
    source, at = Source(model, original_length=original_length), as_versions(versions)
    names = as_names(DEFAULT if engines is None else engines)
    planned = partial(plan_from, plan=plan, to=to, factor=factor, method=method, options=options, layers=layers)
    if source.is_gguf:
        _check_gguf(() if engines is None else names, out, in_place, restore, plan, (to, factor))
        assert source.gguf is not None
        version = next((v for name, v in at.items() if get_engine(name).name == "llama_cpp"), "")
        place = None if out is None else as_place(out)
        if restore:
            return _restored(source.gguf, place, force, progress)
        return _stretched(source, planned, place, version, force, progress)
    if in_place or restore or out is None:
        raise BadOption(
            "out is missing (-o names the folder to write), or in_place or restore are there, which are for a GGUF."
        )
    if not names:
        raise BadOption("engines (--for) names no engine.")
    for name in (*names, *at):
        get_engine(name)
    spec = source.spec
    chosen = planned(spec, source.name)

    from ropewalk.checkpoints.export import export as write
    from ropewalk.checkpoints.extend import file_notes

    folder, place = source.folder, as_place(out)
    progress.begin(f"writing {place}")
    written = write(folder, chosen, names, place, versions=at, force=force)
    said = [*filter(None, (written.lost, *(get_engine(name).unseen(version) for name, version in at.items())))]
    return Export(
        place, chosen, written, (*spec.warnings, *plan_notes(spec, chosen), *said, *source.weights_notes, *file_notes(folder))
    )


def _check_gguf(
    engines: tuple[str, ...], out: Place | None, in_place: bool, restore: bool, plan: Any, lengths: tuple[Any, ...]
) -> None:
    for name in engines:
        if get_engine(name).name not in READERS:
            raise BadOption(
                f"{get_engine(name).title} reads no GGUF that is stretched here. What is meant is "
                'engines="llama.cpp,ollama" (--for llama.cpp,ollama).'
            )
    if (out is None) != in_place:
        raise BadOption("say where to: out (-o FILE) for a copy, or in_place (--in-place); one of the two.")
    if restore and (plan is not None or any(length is not None for length in lengths)):
        raise BadOption("restore gives back what was there before; leave out to, factor and plan (--to, --factor, --plan).")


def _restored(path: Path, out: Path | None, force: bool, progress: Progress) -> GgufExport:
    from ropewalk.checkpoints.gguf import restore_gguf

    return GgufExport(restore_gguf(path, out, force=force, progress=progress))


def _stretched(
    source: Source, planned: Callable[..., ScalingPlan], out: Path | None, version: str, force: bool, progress: Progress
) -> GgufExport:
    from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf

    assert source.gguf is not None
    opened = open_gguf(source.gguf)
    spec = opened.spec(source.original_length)
    chosen = planned(spec, source.gguf.name)
    done = stretch_gguf(opened, chosen, out, version=version, force=force, progress=progress)
    return GgufExport(done.out, chosen, done.carrier, done.changed, (*spec.warnings, *plan_notes(spec, chosen)))
