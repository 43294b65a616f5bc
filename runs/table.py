"""The table of all stretches: every kind of stretch on two models, by loss, retrieval, what short texts pay, and speed.

    python runs/table.py --only tiny-x8 [--part loss,ask] [--budget 40m] [-o out/table]     measures, and goes on
    python runs/table.py --foresee                                                          says how many passes that takes
    python runs/table.py --print | --json | --docs                                          from what is on disk, no model

What is measured is a run folder of `ropewalk eval` for each part, out/table/tiny-x8/loss and so on: stopped at any moment, the
same command goes on, and `--print` makes the table of what is there. `--docs` writes it into
docs/table.md and docs/table.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ropewalk.cli.parts.progress import Bar
from ropewalk.errors import BadConfig, BadOption, RopewalkError
from ropewalk.measure.pace import units
from ropewalk.measure.speed import REPEATS
from ropewalk.scaling.units import as_seconds
from table_page import AGAINST, STATIC, gather, tables, write_page
from tools.real_model import real_model

METHODS = (
    "none", "window", "linear", "ntk", "ntk_by_parts", "yarn", "dynamic-yarn", "rerope", "leaky_rerope", "self_extend",
    "near-rerope", "near-yarn", "near-linear", "near-0.25-linear-log_n", "near-0.375-self_extend-log_n",
)  # fmt: skip
FREE = ("none", "window")  # the model itself inside its window: nothing to pay there
HIDDEN = ("passkey", "needle", "random_copy", "multikey_copy", "chained_copy")  # asked at five depths
RULER = (
    "niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multikey_3",
    "niah_multivalue", "niah_multiquery", "vt",
)  # fmt: skip
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
CAN = 0.5  # of the prompts inside the window: a task of which the model itself does less is not asked beyond it
PARTS = ("loss", "inside", "ask", "speed")
MODELS = {"tiny": "ropewalk-tiny", "smol": "SmolLM2-135M-Instruct"}
DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class Case:
    """One model under one factor.

    edges: of the stretches that loss is told of.  ladders: asked beside HIDDEN and RULER.  asked, timed: the methods that are
    asked, and timed beside static yarn; fewer than all, so that each has all samples.  ask_at, time_at: tokens.
    samples: prompts of each task and length.  tasks: these alone.  file: where a model is that is not fetched.
    """

    name: str
    window: int
    factor: int
    edges: tuple[int, ...]
    documents: int
    ladders: tuple[str, ...]
    asked: tuple[str, ...]
    ask_at: tuple[int, ...]
    timed: tuple[str, ...]
    time_at: int
    dtype: str
    data: tuple[str, ...]
    samples: int = 20
    methods: tuple[str, ...] = METHODS
    tasks: tuple[str, ...] = ()
    file: str | None = None

    @property
    def key(self) -> str:
        return f"{self.name}-x{self.factor}"

    @property
    def reach(self) -> int:
        return self.window * self.factor

    def model(self) -> str:
        return MODELS["tiny"] if self.name == "tiny" else self.file or str(real_model(_told))


ASKED = ("yarn", "dynamic-yarn", "window", "self_extend", "near-linear", "near-0.25-linear-log_n")
BOTH = ("library", "library-train-tests")  # only the bundled model was trained on one of them
TINY = Case(
    "tiny", 512, 8, (0, 256, 512, 1024, 2048, 4096), 12, ("keys-1", "keys-2", "keys-4", "quote-1"),
    tuple(name for name in METHODS if name not in ("none", "linear", "ntk")), (1024, 2048, 4096),
    tuple(name for name in METHODS if name != "window"), 4096, "float32", ("library",),
)  # fmt: skip
SMOL = Case(
    "smol", 8192, 2, (0, 4096, 8192, 12_288, 16_384), 8, ("keys-2", "keys-8", "quote-4"), ASKED, (16_384,),
    ("yarn", "dynamic-yarn", "near-yarn", "near-linear", "near-rerope", "self_extend"), 16_384, "bfloat16", BOTH,
)  # fmt: skip
FAR = replace(SMOL, factor=4, edges=(0, 4096, 8192, 12_288, 16_384, 24_576, 32_768), documents=4, ask_at=(32_768,))
CASES = {case.key: case for case in (TINY, SMOL, FAR)}


def folder_of(out: Path, case: Case, part: str) -> Path:
    """What a model does inside its window is one run, whatever the factor."""
    return out / (case.name if part.startswith("inside") else case.key) / part


def requests(case: Case, part: str, able: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(folder, what `ropewalk.evaluate` is asked) of a part.  able: the tasks that are asked beyond the window."""
    same: dict[str, Any] = {"data": case.data, "dtype": case.dtype, "protocols": (), "tasks": (), "tax": False, "speed": False}
    stretched = {**same, "factor": float(case.factor)}
    if part == "loss":
        read = f"position:{','.join(map(str, case.edges))}"
        yield part, {
            **stretched, "methods": case.methods, "lengths": (case.reach,), "protocols": (read,), "documents": case.documents,
            "tax": True,
        }  # fmt: skip
    if part == "speed":
        yield part, {**stretched, "methods": case.timed, "lengths": (case.time_at,), "speed": True}
    if part == "inside":
        yield from _asking(part, {**same, "methods": ("none",), "lengths": (case.window,)}, case, tasks_of(case))
    if part == "ask":
        yield from _asking(part, {**stretched, "methods": case.asked, "lengths": case.ask_at}, case, able)


def every_task(case: Case) -> tuple[str, ...]:
    return (*HIDDEN, *case.ladders, *RULER)


def tasks_of(case: Case) -> tuple[str, ...]:
    return case.tasks or every_task(case)


def _asking(part: str, same: dict[str, Any], case: Case, tasks: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """As many prompts of each task: of those that hide at a depth some for each, RULER's have none."""
    hidden, ruler = ([task for task in tasks if (task in RULER) == (group == "ruler")] for group in ("hidden", "ruler"))
    if hidden:
        yield part, {**same, "tasks": tuple(hidden), "samples": max(case.samples // len(DEPTHS), 1), "depths": DEPTHS}
    if ruler:
        yield f"{part}-ruler", {**same, "tasks": tuple(ruler), "samples": case.samples}


def passes(request: dict[str, Any], case: Case) -> dict[int, int]:
    """Tokens to forward passes of that many; RULER's answers may be written too, and prefixes shared: about so many."""
    found: dict[int, int] = {}
    methods = request["methods"]
    if request["protocols"]:
        found[case.reach] = len(methods) * request["documents"]
    if request["tax"] and (paying := [method for method in methods if method not in FREE]):
        found[case.window] = found.get(case.window, 0) + (1 + len(paying)) * request["documents"]
    for length in request["lengths"] if request["tasks"] else ():
        prompts = request["samples"] * len(request.get("depths", (0,)))
        found[length] = found.get(length, 0) + len(methods) * len(request["tasks"]) * prompts
    if request["speed"]:
        found[case.time_at] = len(methods) * (REPEATS + 1)
    return found


def foresee(cases: Sequence[Case], parts: Sequence[str], out: Path) -> str:
    """Before it is known what a model does inside its window, all tasks are counted. A folder of two cases counts once."""
    lines, counted = [], set()
    for case in cases:
        able, whole = can_do(case, out) or tasks_of(case), 0.0
        for folder, request in (found for part in parts for found in requests(case, part, able)):
            found, place = passes(request, case), folder_of(out, case, folder)
            if place in counted:
                continue
            counted.add(place)
            whole += sum(units(tokens) * count for tokens, count in found.items())
            lines.append(
                f"{case.key} {folder}: "
                + ", ".join(f"{count:,} passes of {tokens:,} tokens" for tokens, count in found.items())
            )
        lines.append(f"{case.key} in all: as long as {whole / units(case.reach):,.0f} passes of {case.reach:,} tokens")
    return "\n".join(lines)


def can_do(case: Case, out: Path) -> list[str]:
    """The tasks that the model itself does inside its window, of those that were asked there."""
    found = gather({part: folder_of(out, case, part) for part in ("inside", "inside-ruler")}, case.edges, case.window)
    return [task for task in tasks_of(case) if (cell := found.get("inside", {}).get(task)) and cell["share"][0] >= CAN]


@dataclass
class Clock:
    """budget: seconds for everything; None: no end."""

    budget: float | None
    began: float

    @property
    def left(self) -> float | None:
        return None if self.budget is None else self.budget - (time.monotonic() - self.began)


def measure(case: Case, parts: Sequence[str], out: Path, clock: Clock, say: Callable[[str], None], **how: Any) -> list[str]:
    """What could not be measured, in words. Parts that are not begun, as the time is spent, are said."""
    from ropewalk import evaluate

    failures = []
    for part in parts:
        able = can_do(case, out) if part == "ask" else []
        if part == "ask" and not able:
            say(f"{case.key}: nothing to ask; of what --part inside asks, which comes first, nothing is known to be done.")
        for name, request in requests(case, part, able):
            left, folder = clock.left, folder_of(out, case, name)
            if left is not None and left <= 0:
                say(f"{case.key} {name}: not begun, the time is spent. The same command goes on.")
                continue
            with Bar(f"{case.key}, {name}") as bar:
                outcome = evaluate(
                    case.model(), folder, **request, **how, budget=None if part == "speed" else left, progress=bar
                )
            failures += outcome.failures
    return failures


def chosen(asked: str | None, known: Sequence[str], option: str) -> list[str]:
    names = asked.split(",") if asked else list(known)
    if strange := [name for name in names if name not in known]:
        raise BadOption(f"{option}: {', '.join(strange)} is none of {', '.join(known)}.")
    return names


def _fewer(case: Case, args: argparse.Namespace) -> Case:
    if args.methods:
        names = tuple(args.methods.split(","))
        timed = tuple(dict.fromkeys([STATIC, *(name for name in names if name != "window")]))
        case = replace(case, methods=names, asked=tuple(name for name in names if name != "none"), timed=timed)
    documents, samples = args.documents or case.documents, args.samples or case.samples
    tasks = tuple(chosen(args.tasks, every_task(case), "--tasks"))
    return replace(case, documents=documents, samples=samples, tasks=tasks, file=args.model)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"of {', '.join(CASES)}, by commas")
    parser.add_argument("--part", help=f"of {', '.join(PARTS)}, by commas")
    parser.add_argument("--model", help="SmolLM2-135M-Instruct as a file or folder, instead of the one of `make real`")
    parser.add_argument("--methods", help="these alone, by commas; later all go into the same folders")
    parser.add_argument("--tasks", help="these alone, by commas, likewise")
    parser.add_argument("--documents", type=int, help="another number; more of them later go into the same folders")
    parser.add_argument("--samples", type=int, help="prompts of each task and length, likewise")
    parser.add_argument("--budget", help="90s, 40m or 2h for all; speed, once begun, is measured to its end")
    parser.add_argument("--against", default=AGAINST, help=f"the row that others are compared with; {AGAINST}")
    parser.add_argument("--seed", type=int, default=0, help="of documents and prompts; give another one another -o")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/table"))
    instead = parser.add_mutually_exclusive_group()
    for name, words in (
        ("foresee", "say how many passes it takes"), ("print", "the tables as Markdown"), ("json", "the numbers as JSON"),
        ("docs", "write docs/table.md and docs/table.json; a part without a folder keeps what they have"),
    ):  # fmt: skip
        instead.add_argument(f"--{name}", action="store_true", help=words)
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    try:
        cases = [_fewer(CASES[key], args) for key in chosen(args.only, list(CASES), "--only")]
        parts = chosen(args.part, PARTS, "--part")
        if args.foresee:
            print(foresee(cases, parts, args.out))
        else:
            sys.exit(run(cases, parts, args))
    except RopewalkError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _told("Stopped. The same command goes on.")
        sys.exit(130)


def run(cases: Sequence[Case], parts: Sequence[str], args: argparse.Namespace) -> int:
    """Measure, unless what is on disk is asked for, and show what is there. The exit code: 1 where something failed."""
    failures: list[str] = []
    if not (args.print or args.json or args.docs):
        clock = Clock(as_seconds(args.budget) if args.budget else None, time.monotonic())
        for case in cases:
            failures += measure(case, parts, args.out, clock, _told, seed=args.seed, device=args.device)
    found = {case.key: numbers for case in cases if (numbers := of_case(case, args.out, args.against))}
    if args.docs:
        write_page(DOCS, found)
    elif not found:
        raise BadConfig(f"{args.out} holds nothing of {', '.join(case.key for case in cases)} yet.")
    else:
        print(json.dumps(found, indent=1) if args.json else tables(found))
    return int(bool(failures))


def _told(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def of_case(case: Case, out: Path, against: str) -> dict[str, Any] | None:
    """Everything that is on disk of a case; None where nothing is. Methods that were not measured are named, and empty."""
    folders = {part: folder_of(out, case, part) for part in ("loss", "inside", "inside-ruler", "ask", "ask-ruler", "speed")}
    found = gather(folders, case.edges, case.window, against)
    if not found:
        return None
    return {
        "model": MODELS[case.name], "window": case.window, "factor": case.factor, "edges": case.edges, "against": against,
        "methods": METHODS, "tasks": every_task(case), "ask_at": case.ask_at, "can": CAN, **found,
    }  # fmt: skip


if __name__ == "__main__":
    main()
