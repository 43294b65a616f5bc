"""Choose the stretch for a model by measuring every one within a budget; "do not stretch" is a possible answer.

Example: `ropewalk choose ropewalk-tiny --to 1k --budget 40s -o out/choose`
"""

from typing import Any

from ropewalk.api.choose import choose
from ropewalk.cli.parts.console import Console, print_table
from ropewalk.cli.parts.flags import verb


def _print(console: Console, found: Any) -> None:
    if not hasattr(found, "tables"):
        console.print(found.sentence, markup=False)
        return
    for table in found.tables:
        print_table(console, table)
        for note in table.notes:
            console.print(note, style="dim", markup=False)
        console.print()
    console.print(f"{found.title}.", style="bold", markup=False)
    console.print(found.sentence, markup=False)
    for sentence in found.more:
        console.print(sentence, markup=False)
    for what, command in found.commands.items():
        console.print(f"{what}: {command}", markup=False, soft_wrap=True)
    console.print(f"[bold]{found.page}[/]", soft_wrap=True)


run = verb(choose, _print)
