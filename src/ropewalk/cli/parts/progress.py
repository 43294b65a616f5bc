"""A progress bar with time left, for work whose pieces cost differently."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ropewalk.cli.parts.console import Console

Start = Callable[[float, int, int], Callable[[float], None]]


@contextmanager
def cost_bar(console: Console, what: str) -> Iterator[Start]:
    """Yields `start(total cost, pieces, pieces found on disk)`, which answers `advance(cost)`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def start(total: float, pieces: int, found: int) -> Callable[[float], None]:
            if found:
                console.print(f"{found} of {pieces} measurements are there already.")
            task = progress.add_task(what, total=total)
            return lambda cost: progress.advance(task, cost)

        yield start
