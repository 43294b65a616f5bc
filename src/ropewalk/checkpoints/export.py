"""A checkpoint for the engines that will serve it: one config for them all where there is one, a folder per engine elsewhere.

Every config is read back the way its engine reads it before anything is written. Weights are hard-linked, never copied twice.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.extend import check_places, fill
from ropewalk.checkpoints.files import new_folder
from ropewalk.engines import llama_cpp
from ropewalk.engines.config_files import write_config
from ropewalk.engines.engine import Engine, Written, get_engine
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.errors import CannotExpress
from ropewalk.scaling.plan import ScalingPlan

MODELFILE = "Modelfile"
CONFIG, SHARED, COMMANDS, SUMMARY = "config.json", "checkpoint", "COMMANDS.md", "export.json"


@dataclass(frozen=True, slots=True)
class ExportPart:
    """One folder of an export: which engines it is for, the plan in it, and what was written."""

    folder: str
    engines: tuple[str, ...]
    plan: ScalingPlan
    written: Written
    commands: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Exported:
    """parts: the folders.  refused: the reason, by engine and rung, where an engine cannot carry the plan.
    lost: what is not in any of them, in a sentence; empty where the plan is one table, which a config can say.
    """

    parts: tuple[ExportPart, ...]
    refused: Mapping[str, str]
    lost: str = ""


def export(
    source: Path,
    plan: ScalingPlan,
    engines: Sequence[str],
    out: Path,
    *,
    versions: Mapping[str, str] | None = None,
    force: bool = False,
) -> Exported:
    """Write `plan` for `engines` into the folder `out`, from the checkpoint in `source`.

    A dynamic plan becomes a ladder of static ones, a folder per factor, since no config says "dynamic" alike to two engines.
    Raises CannotExpress where no engine can carry any of it; engines that refuse beside others that do not are reported.
    """
    check_places(source, out)
    found = plan_export(read_config(source), plan, engines, versions or {})
    with new_folder(out, force=force) as folder:
        for part in found.parts:
            _write_part(folder / part.folder, source, part)
        (folder / COMMANDS).write_text(commands_page(found), encoding="utf-8")
        (folder / SUMMARY).write_text(json.dumps(summary(found), indent=2) + "\n", encoding="utf-8")
    return found


def plan_export(config: Mapping[str, Any], plan: ScalingPlan, engines: Sequence[str], versions: Mapping[str, str]) -> Exported:
    """What would be written where; touches no file."""
    chosen = list(dict.fromkeys(get_engine(name) for name in engines))
    at = {get_engine(name).name: version for name, version in versions.items()}
    rungs = ladder(plan)
    parts: list[ExportPart] = []
    refused: dict[str, str] = {}
    for name, rung in rungs:
        parts += _parts(config, rung, chosen, at, refused, name)
    if not parts:
        raise CannotExpress("\n".join(refused.values()))
    return Exported(tuple(parts), refused, lost(plan))


def lost(plan: ScalingPlan) -> str:
    """What static plans, which are all that engines can be given, do not say of this one."""
    if plan.is_one_table:
        return ""
    near = next((stretch for _, stretch in plan.stretches if stretch.near), None)
    if near is None:
        return f"no engine scales as {plan.name} does: what is written are static plans, which stretch short texts too."
    method = near.far_alone.method
    return (
        f"no engine tells near distances from far ones: what is written is {method} for every distance, another plan than "
        f"{plan.name}, and most likely a worse one. Measure it first (ropewalk eval --methods {method}), export yarn instead, "
        "or keep the model live (ropewalk serve)."
    )


def ladder(plan: ScalingPlan) -> list[tuple[str, ScalingPlan]]:
    """(folder, static plan): the plan itself, or, where one table does not say it, powers of two up to its factor."""
    if plan.is_one_table:
        return [("", plan)]
    top = max(stretch.factor for _, stretch in plan.stretches)
    steps = [2.0**k for k in range(1, math.ceil(math.log2(top)))] if top > 1 else []
    return [(f"x{factor:g}", _static(plan, factor)) for factor in dict.fromkeys([*steps, top])]


def _static(plan: ScalingPlan, factor: float) -> ScalingPlan:
    stretches = tuple(
        (name, dataclasses.replace(stretch.far_alone, factor=min(factor, stretch.factor), dynamic=None))
        for name, stretch in plan.stretches
    )
    reached = max(stretch.target_length for _, stretch in stretches)
    return ScalingPlan(stretches, min(reached, plan.target_length), plan.model)


def _parts(
    config: Mapping[str, Any],
    plan: ScalingPlan,
    engines: list[Engine],
    at: Mapping[str, str],
    refused: dict[str, str],
    rung: str,
) -> Iterator[ExportPart]:
    readers = [engine for engine in engines if engine.reads == CONFIG]
    shared = _shared(config, plan, readers, at)
    if shared is not None:
        names = tuple(engine.name for engine in readers)
        commands = {engine.name: engine.commands(plan, shared.files[CONFIG], f"{_at(rung, SHARED)}") for engine in readers}
        yield ExportPart(_at(rung, SHARED), names, plan, shared, commands)
    for engine in engines:
        if shared is not None and engine in readers:
            continue
        try:
            written = engine.write(plan, config, at.get(engine.name, ""))
        except CannotExpress as error:
            refused[f"{engine.name}{f' {rung}' if rung else ''}"] = str(error)
            continue
        folder = _at(rung, engine.name)
        said = engine.commands(plan, written.files[CONFIG], folder) if engine in readers else _from_above(written, folder)
        yield ExportPart(folder, (engine.name,), plan, written, {engine.name: said})


def _from_above(written: Written, folder: str) -> tuple[str, ...]:
    """Its commands with the files that were written named from where they are run: one folder up."""
    return tuple(
        " ".join(f"{folder}/{word}" if word in written.files else word for word in command.split(" "))
        for command in written.commands
    )


def _at(rung: str, folder: str) -> str:
    return f"{rung}/{folder}" if rung else folder


def _shared(config: Mapping[str, Any], plan: ScalingPlan, readers: list[Engine], at: Mapping[str, str]) -> Written | None:
    if not readers:
        return None
    try:
        carrier, new = write_config(readers, plan, config, at)
    except CannotExpress:
        return None
    return Written({CONFIG: new}, (), carrier)


def _write_part(folder: Path, source: Path, part: ExportPart) -> None:
    folder.mkdir(parents=True)
    config = part.written.files.get(CONFIG)
    if isinstance(config, Mapping) and get_engine(part.engines[0]).reads == CONFIG:
        fill(folder, source, part.plan, config)
        return
    for name, content in part.written.files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def commands_page(found: Exported) -> str:
    """The commands to paste, engine by engine, and what was refused."""
    lines = ["# Commands", "", "Run them in this folder. ORIGINAL is the checkpoint that this was made from.", ""]
    lines += [f"Not what was planned: {found.lost}", ""] if found.lost else []
    for part in found.parts:
        for engine, commands in part.commands.items():
            title = get_engine(engine).title
            lines += [f"## {title}, {part.plan.target_length:,} tokens (`{part.folder}`)", "", "```bash", *commands, "```", ""]
            if llama_cpp.KEYS_FILE in part.written.files:
                where = f"`{part.folder}/{llama_cpp.KEYS_FILE}`"
                lines += [f"x.gguf is the GGUF of ORIGINAL, with what {where} says put into it: metadata, no weights.", ""]
                if MODELFILE in part.written.files:
                    lines += [f"`{part.folder}/{MODELFILE}` looks for it beside itself.", ""]
    for name, reason in found.refused.items():
        lines += [f"## {name}: refused", "", reason, ""]
    lines += [
        "Then see whether the engine does what is written: `ropewalk doctor FOLDER`, or the command in quotes;",
        "`ropewalk verify .` runs the engines that are here, with the scaling and without.",
        "",
    ]
    return "\n".join(lines)


def summary(found: Exported) -> dict[str, Any]:
    parts = [
        {"folder": part.folder, "engines": list(part.engines), "carrier": part.written.carrier, "method": part.plan.name,
         "target_length": part.plan.target_length, "fingerprint": part.plan.fingerprint,
         "commands": {name: list(said) for name, said in part.commands.items()}}
        for part in found.parts
    ]  # fmt: skip
    return {
        "schema": "ropewalk.export/1",
        "parts": parts,
        "refused": dict(found.refused),
        **({"lost": found.lost} if found.lost else {}),
    }
