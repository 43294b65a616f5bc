"""`ropewalk.verify`: do the engines compute what was written?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import Device, Flag, Length, Model, Names, as_names, as_texts
from ropewalk.engines.transformers.checkpoint import local_checkpoint
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length

if TYPE_CHECKING:
    from ropewalk.jobs.verify.result import Verified
    from ropewalk.jobs.verify.witness import Witness


def verify(
    out: Annotated[Model, Flag("What `extend` or `export` wrote: a folder, or a GGUF. Or a hub id.", metavar="OUT")],
    *,
    engines: Annotated[
        Names | None, Flag("By commas: transformers,mlx,llama.cpp,vllm. [default: all]", metavar="NAMES")
    ] = None,
    python: Annotated[
        Names | Mapping[str, Path],
        Flag("The python of an environment that has the engine.", metavar="ENGINE=PATH", many=True),
    ] = (),
    tokens: Annotated[
        Length | None, Flag("Tokens to score. [default: 512 beyond the original window]", metavar="TOKENS")
    ] = None,
    tolerance: Annotated[float, Flag("Largest difference of a log-probability, nats.")] = 1e-3,
    timeout: Annotated[float, Flag("Seconds that one engine may take.")] = 1800.0,
    device: Device = "auto",
    dtype: Annotated[
        str, Flag("Of the reference: float32, bfloat16 or float16; auto: float32, as the engines compute.")
    ] = "auto",
    progress: Progress = SILENT,
) -> "Verified":
    """Each engine that is here scores the same tokens, with the scaling and without, beside Ropewalk's own numbers.

    out: what `extend` or `export` wrote, a GGUF, a hub id whose config is stretched, or a live model loaded from such.
    python: {"vllm": "/opt/vllm/bin/python"}, or ["vllm=/opt/vllm/bin/python"].  device, dtype: of Ropewalk's own numbers.

    `exit_code` is 0 where all agree, 1 where one does not, 3 where one that was named, or every one, could not be run. Raises
    RopewalkError for what is not stretched or cannot be read.

        made = ropewalk.extend("ropewalk-tiny", "yarn", "tiny-4k", to="4k")
        done = ropewalk.verify(made.out, engines="transformers", tokens=600)
        done.exit_code, done.table, done.verified[0].testimonies
    """
    if not _above_0(tolerance) or not _above_0(timeout):
        raise BadOption("tolerance and timeout (--tolerance, --timeout) must be above 0.")
    source, names = Source(out), as_names(engines or ())
    target = source.name
    if not (source.is_named or source.is_live):
        raise BadOption("a config holds no weights, and they are needed here: name what extend or export wrote.")
    count = None if tokens is None else as_length(tokens)

    from ropewalk.jobs.verify.ask import nowhere
    from ropewalk.jobs.verify.result import Absent, Verified
    from ropewalk.jobs.verify.witness import get_witness

    pythons = {get_witness(name).name: path for name, path in _pythons(python).items()}
    absent, asked_for = _absent(source, names, pythons)
    missing = tuple(Absent(one.name, one.title, nowhere(one)) for one in absent)
    if absent and len(absent) == asked_for:
        return Verified(target, (), named=True, absent=missing)
    for one in missing:
        progress.note(one.said)
    if source.is_live:
        _ = source.folder  # the engines read it: what the live model has that it has not would go unseen
    progress.begin(f"reading {target}")

    import torch

    from ropewalk.jobs.verify.run import verify as run
    from ropewalk.jobs.verify.subject import asked, scratch, subjects
    from ropewalk.models.placement import find_device, find_dtype

    place = find_device(device)
    kind = getattr(torch, find_dtype("float32" if dtype == "auto" else dtype, place))
    found = []
    with scratch() as folder:
        for subject in subjects(target, Path(folder)):
            found.append(
                run(
                    subject, asked(subject, names), pythons, tokens=count, tolerance=tolerance, timeout=timeout, device=place,
                    dtype=kind, progress=progress,
                )
            )  # fmt: skip
            progress.note(found[-1].said)
            progress.begin(f"reading {target}")
    return Verified(target, tuple(found), named=bool(names))


def _above_0(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _absent(source: Source, names: Sequence[str], pythons: Mapping[str, Path]) -> tuple[list["Witness"], int]:
    """Before anything is fetched or computed: which of the engines that were named are not here, and how many were named."""
    from ropewalk.jobs.verify.ask import find
    from ropewalk.jobs.verify.witness import chosen

    asked = chosen(names) if names else []
    if source.is_gguf and (wrong := [witness.name for witness in asked if witness.reads != "GGUF"]):
        raise BadOption(f"{source.name} is for llama_cpp, and not for {', '.join(wrong)}.")
    local_checkpoint(source.name)  # says so where there is nothing
    return [witness for witness in asked if find(witness, pythons.get(witness.name)) is None], len(asked)


def _pythons(given: Names | Mapping[str, Path]) -> dict[str, Path]:
    if isinstance(given, Mapping):
        return {name: Path(path).expanduser() for name, path in given.items()}
    if not isinstance(given, Sequence):
        raise BadOption(f"python is {given!r}; write it as {{'vllm': '/opt/vllm/bin/python'}}.")
    found = {}
    for text in as_texts(given):
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise BadOption(f"{text!r} is not a python. Write ENGINE=PATH, such as vllm=/opt/vllm/bin/python.")
        found[name] = Path(path).expanduser()
    return found
