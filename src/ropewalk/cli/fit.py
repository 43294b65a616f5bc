"""Find the stretch that suits a model, its weights untouched, and compare it honestly with the paper's settings.

Example: `ropewalk fit ropewalk-tiny --factor 2 --family yarn --budget 10s -o plan.json`
"""

from typing import Any

from ropewalk.api.fit import fit
from ropewalk.cli.parts.console import Console, print_table
from ropewalk.cli.parts.flags import verb


def _print(console: Console, result: Any) -> None:
    from ropewalk.jobs.fit.compare import FITTED

    print_table(console, result.table)
    for note in result.notes:
        console.print(f"Budget: {note}")
    _print_gain(console, result)
    n = result.documents
    console.print(
        f"fitted on {n['fit']} documents, chosen on {n['choose']}, reported on {n['report']}; {result.steps} steps, "
        f"{result.dropped} candidates dropped, {result.seconds:.0f} s"
    )
    console.print(f"{result.kept}: their tokens and bits, which the table was made of")
    if result.winner == FITTED:
        console.print(f"{result.out}: the fitted plan ({result.plan.name}), the best on the documents that chose")
    else:
        console.print(
            f"The fit did not win: on the documents that chose, {result.winner} is better. {result.out} is that plan."
        )


def _print_gain(console: Console, result: Any) -> None:
    """Against each plan: is the gain shown, or could it be nothing?"""
    gains = {name: row.gain for name, row in result.compared.items() if name != "fitted"}
    better, worse = [n for n, g in gains.items() if g.low > 0], [n for n, g in gains.items() if g.high < 0]
    open_ = [n for n in gains if n not in better and n not in worse]
    for names, said in ((better, "shown to be better than"), (worse, "shown to be worse than"), (open_, "not told from")):
        if names:
            console.print(f"Beyond the window, on the documents reported on, the fit is {said} {', '.join(names)}.")


run = verb(fit, _print)
