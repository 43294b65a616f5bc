"""Do the engines compute what was written? Each one that is here scores the same tokens beyond the original window, with the
scaling and without it, and is held beside Ropewalk's own numbers. Exit code 0: all agree. 1: one does not. 2: bad input.
3: an engine that was named, or every engine, could not be run.

Example: `ropewalk verify served --engines mlx --tokens 600`
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ropewalk.api.verify import verify
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import verb

if TYPE_CHECKING:
    from ropewalk.jobs.verify.compare import Comparison
    from ropewalk.jobs.verify.result import Verified
    from ropewalk.jobs.verify.run import Testimony, Verification

MARKS = {"agrees": "[green]ok[/]   ", "is not here": "[dim]skip[/] ", "cannot carry it": "[dim]skip[/] "}


def _print(_: Console, found: "Verified") -> int:
    console = Console(highlight=False, soft_wrap=True)
    for one in found.verified:
        _print_part(console, one)
    for absent in found.absent:
        _print_line(console, "is not here", absent.said)
    return found.exit_code


def _print_part(console: Console, found: "Verification") -> None:
    console.print(found.title, style="bold", markup=False)
    beyond = found.tokens - 1 - found.original_length
    console.print(
        f"  {found.plan}, {found.original_length:,} -> {found.target_length:,} tokens; {found.tokens:,} scored, {beyond:,} of "
        "them beyond the original window",
        markup=False,
    )
    for testimony in found.testimonies:
        _print_line(console, testimony.status, _sentence(testimony))
        for line in _bands(testimony.comparison):
            console.print(f"        {line}", style="dim", markup=False)


def _print_line(console: Console, status: str, sentence: str) -> None:
    console.print(MARKS.get(status, "[red]FAILS[/]"), end="")
    console.print(f" {sentence}", markup=False)


def _sentence(testimony: "Testimony") -> str:
    who, compared, reason = testimony.name, testimony.comparison, testimony.reason
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


run = verb(verify, _print)
