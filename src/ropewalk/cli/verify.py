"""Do the engines compute what was written? Each one that is here scores the same tokens beyond the original window, with the
scaling and without it, and is held beside Ropewalk's own numbers. Exit code 0: all agree. 1: one does not. 2: bad input.
3: an engine that was named, or every engine, could not be run.

Example: `ropewalk verify served --engines mlx --tokens 600`
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ropewalk.cli.parts.common import Json, print_json
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.progress import Bar, cost_bar
from ropewalk.engines.transformers.checkpoint import is_gguf, local_checkpoint
from ropewalk.errors import BadOption

if TYPE_CHECKING:
    from ropewalk.jobs.verify.compare import Comparison
    from ropewalk.jobs.verify.run import Testimony, Verification
    from ropewalk.jobs.verify.subject import Subject

FAILED, NOT_RUN = 1, 3
MARKS = {"agrees": "[green]ok[/]   ", "is not here": "[dim]skip[/] ", "cannot carry it": "[dim]skip[/] "}


def run(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="What `extend` or `export` wrote: a folder, or a GGUF. Or a hub id.")
    ],
    engines: Annotated[
        str | None,
        typer.Option("--engines", metavar="NAMES", help="By commas: transformers,mlx,llama.cpp,vllm. [default: all]"),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option("--python", metavar="ENGINE=PATH", help="The python of an environment that has the engine."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="Tokens to score. [default: 512 beyond the original window]")
    ] = None,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Largest difference of a log-probability, nats.")] = 1e-3,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that one engine may take.")] = 1800,
    json: Json = False,
) -> None:
    if not tolerance > 0 or not timeout > 0:
        raise BadOption("--tolerance and --timeout must be above 0.")
    names = [name for name in (engines or "").split(",") if name]
    pythons = _pythons(python or [])
    _check_engines(out, names, pythons, json)
    with Bar(f"reading {out}", transient=True):
        from ropewalk.jobs.verify.run import verify
        from ropewalk.jobs.verify.subject import asked, scratch, subjects
    found = []
    with scratch() as place:
        coming = subjects(out, Path(place))
        while (subject := _next(coming, out)) is not None:
            with _bar(subject.title) as start:
                found.append(
                    verify(
                        subject,
                        asked(subject, names),
                        pythons,
                        tokens=tokens,
                        tolerance=tolerance,
                        timeout=timeout,
                        start=start,
                    )
                )
            if not json:
                _print(found[-1])
    code = _exit_code(found, bool(names))
    if json:
        print_json({"out": out, "exit_code": code, "verified": [_as_dict(one) for one in found]})
    if code:
        raise typer.Exit(code)


def _check_engines(out: str, names: Sequence[str], pythons: dict[str, Path], json: bool) -> None:
    """Before anything is computed: which of the engines that were named are not here. Where none is, that is the answer."""
    from ropewalk.jobs.verify.ask import find, nowhere
    from ropewalk.jobs.verify.witness import chosen

    asked = chosen(names) if names else []
    found = local_checkpoint(out)
    if found and is_gguf(found) and any(witness.reads != "GGUF" for witness in asked):
        return  # it is not for them, here or not
    absent = [witness for witness in asked if find(witness, pythons.get(witness.name)) is None]
    if absent and len(absent) == len(asked):
        missing = [{"engine": w.name, "status": "is not here", "reason": nowhere(w)} for w in absent]
        if json:
            print_json({"out": out, "exit_code": NOT_RUN, "verified": [], "absent": missing})
        for witness in absent if not json else ():
            _print_line("is not here", f"{witness.title} is not here: {nowhere(witness)}")
        raise typer.Exit(NOT_RUN)
    for witness in absent:
        print(f"{witness.title} is not here: {nowhere(witness)}", file=sys.stderr, flush=True)


def _next(coming: Iterator["Subject"], out: str) -> "Subject | None":
    """The next part to verify; its copies are made here."""
    with Bar(f"reading {out}", transient=True):
        return next(coming, None)


def _pythons(given: Sequence[str]) -> dict[str, Path]:
    from ropewalk.jobs.verify.witness import get_witness

    found = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise BadOption(f"{text!r} is not a python. Write ENGINE=PATH, such as vllm=/opt/vllm/bin/python.")
        found[get_witness(name).name] = Path(path).expanduser()
    return found


@contextmanager
def _bar(title: str) -> Iterator[Any]:
    with cost_bar(Console(stderr=True), f"verifying {title}") as start:
        yield lambda total: start(total, 1, 0)


def _exit_code(found: Sequence["Verification"], named: bool) -> int:
    from ropewalk.jobs.verify import run as job

    heard = [testimony.status for one in found for testimony in one.testimonies]
    if any(status in job.FAILED for status in heard):
        return FAILED
    not_run = [status in job.NOT_RUN for status in heard]
    return NOT_RUN if (any(not_run) if named else all(not_run)) else 0


def _print(found: "Verification") -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(found.title, style="bold", markup=False)
    beyond = found.tokens - 1 - found.original_length
    console.print(
        f"  {found.plan}, {found.original_length:,} -> {found.target_length:,} tokens; {found.tokens:,} scored, {beyond:,} of "
        "them beyond the original window",
        markup=False,
    )
    for testimony in found.testimonies:
        _print_line(testimony.status, _sentence(testimony))
        for line in _bands(testimony.comparison):
            console.print(f"        {line}", style="dim", markup=False)


def _print_line(status: str, sentence: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(MARKS.get(status, "[red]FAILS[/]"), end="")
    console.print(f" {sentence}", markup=False)


def _sentence(testimony: "Testimony") -> str:
    who, compared, reason = f"{testimony.title} {testimony.version}".rstrip(), testimony.comparison, testimony.reason
    if compared is None:
        return f"{who} {testimony.status}: {reason}"
    size = (
        f"within {compared.apart:.1e} nats at every position" if compared.agrees else f"off by up to {compared.apart:.2g} nats"
    )
    control = f"without the scaling {compared.control:.2g}, {compared.ratio:.1e} times as much"
    return "; ".join(filter(None, (f"{who}: {size}", control, reason)))


def _bands(compared: "Comparison | None") -> Iterator[str]:
    for band in compared.bands if compared else ():
        yield f"positions {band.start:,} to {band.stop - 1:,}: {band.apart:.1e}; without the scaling {band.control:.2g}"


def _as_dict(found: "Verification") -> dict[str, Any]:
    sizes = [(c.apart, c.control, c.floor) if (c := t.comparison) else () for t in found.testimonies]
    whole = dataclasses.asdict(found) | {"healthy": found.healthy}
    for testimony, size in zip(whole["testimonies"], sizes, strict=True):
        testimony |= dict(zip(("apart", "control", "floor"), size, strict=False))
    return whole
