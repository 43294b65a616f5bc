"""`ropewalk.doctor`: does every engine do what is written, and does what runs do it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import (
    Device,
    Factor,
    Flag,
    Force,
    Model,
    Names,
    OriginalLength,
    Place,
    Plan,
    PlanOrFile,
    To,
    Versions,
    as_names,
    as_place,
    as_versions,
)  # fmt: skip
from ropewalk.api.running import RunMethod, plan_to_run
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length

if TYPE_CHECKING:
    from ropewalk.jobs.doctor.diagnosis import Diagnosis
    from ropewalk.jobs.doctor.live.open import AskedServer
    from ropewalk.jobs.doctor.target import Target


def doctor(
    target: Annotated[
        Model | None,
        Flag("A folder, config.json, GGUF, command line in quotes, Compose file, or http://HOST:PORT.", metavar="TARGET"),
    ] = None,
    *,
    engines: Annotated[
        Names | None, Flag("Engines to look at, by commas: vllm,sglang,llama.cpp.", ("--for",), metavar="ENGINES")
    ] = None,
    versions: Versions = None,
    config: Annotated[Place | None, Flag("The config that a command line serves, if its model is not here.")] = None,
    numeric: Annotated[bool, Flag("Load the model with transformers and measure its cos and sin.", ("--numeric",))] = False,
    trainer: Annotated[str | None, Flag("Compare two stacks: what the trainer is given, or its address ...")] = None,
    rollout: Annotated[str | None, Flag("... and the rollout engine. With an address, both sides are run.")] = None,
    method: RunMethod = None,
    factor: Factor = None,
    plan: PlanOrFile = None,
    device: Device = "auto",
    dtype: Annotated[
        str, Flag("float32, bfloat16 or float16; auto: float32 on a CPU and to measure tables, bfloat16 on accelerators.")
    ] = "auto",
    model: Annotated[str | None, Flag("The model to ask, of a server that has several.")] = None,
    to: To = None,
    original_length: OriginalLength = None,
    passages: Annotated[int | None, Flag("Texts that a server is asked about (12).", least=2)] = None,
    margin: Annotated[float | None, Flag("Nats per token: a server may lose (0.1), stacks be apart (0.05).")] = None,
    timeout: Annotated[float, Flag("Seconds that a server has for one answer.")] = 300.0,
    api_key_env: Annotated[str | None, Flag("Variable with its key.", metavar="NAME")] = None,
    plot: Annotated[Place | None, Flag("Of a server: write one HTML page with the plot.")] = None,
    force: Force = False,
    progress: Progress = SILENT,
) -> "Diagnosis":
    """Read what is written as each engine reads it; or measure a live model, ask a running server, compare two stacks.

    target: a folder, a config.json, a GGUF, a hub id, a command line, a Compose file, an address, a live model, or a config.
    numeric: load it, or take the live model, and measure every rotary table beside its config.
    trainer, rollout: two targets, in place of `target`; where one is an address, both are run and compared on the same texts.

    `exit_code` is 0 where all is as written, 1 with findings, 3 where a server's answers do not decide. Raises RopewalkError
    for what cannot be read or asked.

        found = ropewalk.doctor("ropewalk-tiny", engines="vllm,mlx")
        found.findings, found.exit_code, found.tables
    """
    names, at = as_names(engines or ()), as_versions(versions)
    base = None if config is None else as_place(config)
    running = any(is_address(side) for side in (trainer, rollout) if side)
    if (method or factor or plan is not None) and not running:
        raise BadOption("method, factor and plan (--method ...) stretch a trainer or rollout beside a server's address.")
    if running or (target is not None and is_address(target)):
        from ropewalk.jobs.doctor.live.open import AskedServer

        length, original = (None if value is None else as_length(value) for value in (to, original_length))
        asked = AskedServer(base, model, length, original, passages, margin, timeout, api_key_env)
    if trainer or rollout:
        if not (trainer and rollout) or target is not None or numeric:
            raise BadOption("trainer and rollout (--trainer, --rollout) go together, and without target or numeric.")
        if not running:
            from ropewalk.jobs.doctor.diagnosis import of_pair

            return of_pair(_resolved(trainer, base, progress), _resolved(rollout, base, progress), names, at)
        if names or at or plot:
            raise BadOption("running stacks are asked, not read: leave out engines (--for), versions and plot.")
        return _stacks(str(trainer), str(rollout), asked, (method, factor, plan), device, dtype, progress)
    if target is None or target == "":
        raise BadOption("name a TARGET: a folder, a config.json, a GGUF, or a command line in quotes.")
    if is_address(target):
        if names or at or numeric:
            raise BadOption("a running server is asked, not read: leave out engines (--for), versions and numeric.")
        from ropewalk.jobs.doctor.live.open import diagnose

        return diagnose(target, asked, plot=None if plot is None else as_place(plot), force=force, progress=progress)
    if numeric:
        return _measured(target, device, dtype, progress)
    from ropewalk.jobs.doctor.diagnosis import of_engines

    return of_engines(_resolved(target, base, progress), names, at)


def is_address(target: Any) -> bool:
    """A running server, and not a file, a model's name or a command line that holds an address."""
    return isinstance(target, str) and "://" in target.partition(" ")[0]


def _resolved(target: Any, config: Path | None, progress: Progress) -> "Target":
    from ropewalk.jobs.doctor.target import of_config, resolve

    if not isinstance(target, str | Path):
        source = Source(target)
        return of_config(source.name or "this config", source.config)

    def find(model: str) -> Path:
        from ropewalk.checkpoints.gguf_places import find_gguf
        from ropewalk.checkpoints.hub import checkpoint

        return find_gguf(model, weights=False, progress=progress) or checkpoint(model, weights=False)

    return resolve(str(target), find, config, progress)


def _measured(target: Any, device: str, dtype: str, progress: Progress) -> "Diagnosis":
    from ropewalk.jobs.doctor.diagnosis import of_tables

    source = Source(target, progress=progress)
    source.spec  # noqa: B018  (what is not there is told before anything heavy is imported)
    progress.begin(source.loading)
    from ropewalk.models.checkup import checkup

    live = source.load(device=device, dtype="float32" if dtype == "auto" else dtype)
    return of_tables(source.name, checkup(live, source.spec))


def _stacks(
    trainer: str, rollout: str, asked: "AskedServer", stretch: tuple[str | None, float | None, Plan | None], device: str,
    dtype: str, progress: Progress,
) -> "Diagnosis":  # fmt: skip
    models = [side for side in (trainer, rollout) if not is_address(side)]
    if any(part is not None for part in stretch) and not models:
        raise BadOption("method, factor and plan (--method ...) stretch the side that is a model; both are servers here.")
    method, factor, plan = stretch
    plans = {side: plan_to_run(_source(side), plan, method=method, factor=factor) for side in models}
    from ropewalk.jobs.doctor.stacks.open import diagnose

    return diagnose(trainer, rollout, asked, plans, device=device, dtype=dtype, progress=progress)


def _source(side: str) -> Source:
    """Of a model beside a server."""
    if " " in side and not Path(side).exists():
        raise BadOption(f"{side!r} is a command line, which is read and not run. Beside an address, give the model's folder.")
    return Source(side)
