"""Break one line at a time, and demand that the tests of its own module notice.

    python -m tests.mutants [--floor NAME] [words]    only those of one floor, or whose description contains `words`

Floors are the folders of src/ropewalk; one file beside this lists the faults of each, by source file, with the tests that must
see them. `--floor jobs/fit` names a folder below a floor.

Each mutant is made in a temporary copy; the working tree is never touched. A mutant that survives is a missing test, and one
whose text is no longer in the source is an error, so that these lists cannot rot. The floor scaling takes seven minutes on
two busy cores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

ROOT = Path(__file__).resolve().parents[2]
GREEN, RED = 0, 1  # pytest's exit codes; any other (nothing collected, interrupted) is neither
WORKERS = 2
FLOORS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


@dataclass(frozen=True)
class Mutant:
    """file: below src/ropewalk.  tests: that must notice, in turn."""

    what: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


def mutants(floor: str) -> list[Mutant]:
    """On two floors a mutant is judged by second implementations and a ledger too: all of the floor's tests are asked."""
    more = (f"tests/{floor}",) * (floor in ("scaling", "engines"))
    listed = import_module(f"{__package__}.{floor}").MUTANTS.items()
    return [
        Mutant(what, file, right, wrong, (*tests, *more)) for (file, *tests), rows in listed for what, right, wrong in rows
    ]


def result_of(mutant: Mutant | None, files: list[str]) -> str:
    """ "green", "red" or, where the mutant no longer fits or pytest could not run, why not.  files: of tests, in turn."""
    with tempfile.TemporaryDirectory(prefix="ropewalk-mutant-") as folder:
        copy = Path(folder)
        for part in ("src", "tests", "runs"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            file = copy / "src" / "ropewalk" / mutant.file
            source = file.read_text(encoding="utf-8")
            if mutant.right not in source:
                return f"text not found in {mutant.file}: {mutant.right!r}"
            file.write_text(source.replace(mutant.right, mutant.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        # The copy's own source must be the one that is imported, wherever Ropewalk is installed.
        environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        for tests in files:
            run = subprocess.run([*command, tests], cwd=copy, env=environment, capture_output=True, text=True, check=False)
            if run.returncode != GREEN:
                break
    if run.returncode in (GREEN, RED):
        return "green" if run.returncode == GREEN else "red"
    return f"pytest ended with {run.returncode}: {run.stdout[-300:]}{run.stderr[-300:]}"


def main() -> int:
    console = Console()
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--floor", default="", help=f"{', '.join(FLOORS)}, or a folder below one")
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    words = " ".join(args.words)
    known = [mutant for floor in FLOORS for mutant in mutants(floor)]
    chosen = [mutant for mutant in known if words in mutant.what and mutant.file.startswith(args.floor and f"{args.floor}/")]
    if not chosen:
        console.print(f"no mutant of {args.floor or 'any floor'} is described by {words!r}", markup=False)
        return 2
    console.print("unmutated first ...")
    if (unmutated := result_of(None, list(dict.fromkeys(tests for mutant in chosen for tests in mutant.tests)))) != "green":
        console.print(f"the tests are not green without a mutant: {unmutated}")
        return 2
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(WORKERS) as pool:
        task = progress.add_task("mutants", total=len(chosen))

        def judge(mutant: Mutant) -> str:
            result = result_of(mutant, list(mutant.tests))
            progress.advance(task)
            if result != "red":
                verdict = "SURVIVED" if result == "green" else f"ERROR: {result}"
                progress.console.print(f"{mutant.what} ({mutant.file}): {verdict}", markup=False)
            return result

        results = list(pool.map(judge, chosen))
    console.print(f"{results.count('red')} of {len(chosen)} mutants killed")
    return 0 if results.count("red") == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
