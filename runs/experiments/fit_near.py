"""Fitted plans beside plans that need no fit, on the documents that the fits were reported on: no search has seen them.

    ropewalk fit ropewalk-tiny --factor 8 --causal --family near --budget 10m -o near.json
    ropewalk fit ropewalk-tiny --factor 8 --causal --family free --budget 10m -o lists.json
    python runs/experiments/fit_near.py near.json lists.json --factor 8 [-o out/fit_near]

Loss by position, and how much less the first plan has than each beyond the trained window, paired. The near plan on a fit's
finer grid says which part of that is the grid. It goes on where it was stopped.
"""

import argparse
from pathlib import Path

from near_far import show

import ropewalk
from ropewalk.jobs.fit.compare import read_report, report_path
from ropewalk.measure.records import Readings
from ropewalk.measure.tables import BITS, compare_sums, sums_by_position
from ropewalk.measure.texts import library_root

METHODS = (
    "window", "dynamic-yarn", "near-0.25-linear-log_n", "near-0.25-linear-log_n-causal-8", "near-0.375-self_extend-log_n",
)  # fmt: skip


def reported(plan: Path) -> set[str]:
    """Names of the library files that the fit of this plan was reported on."""
    return set(read_report(report_path(plan)).documents)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="+", type=Path)
    parser.add_argument("--model", default="ropewalk-tiny")
    parser.add_argument("--factor", type=float, default=8.0)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("-o", "--out", type=Path, default=Path("out/fit_near"))
    args = parser.parse_args()
    names = sorted(set.intersection(*map(reported, args.plans)))
    outcome = ropewalk.evaluate(
        args.model, args.out, methods=args.methods, plan=args.plans, factor=args.factor, documents=len(names),
        data=[str(library_root() / name) for name in names], tasks="-", tax=False, speed=False,
    )  # fmt: skip
    original = outcome.prepared.plans["dynamic-yarn"].stretches[0][1].rope.original_length
    target = round(original * args.factor)
    show(outcome.records, original, target)
    sums = {name: found[0] for name, found in sums_by_position(Readings(outcome.records), (original, target)).items()}
    print(f"\nof {args.plans[0].stem}, beyond the trained window, less than")
    for name, theirs in sums.items():
        found = compare_sums(theirs, sums[args.plans[0].stem], same_tokens=True)
        if found and name != args.plans[0].stem:
            value, low, high = (x * BITS for x in (found.difference.value, found.difference.low, found.difference.high))
            print(f"| {name} | {value:+.3f} ({low:+.3f} to {high:+.3f}) |")


if __name__ == "__main__":
    main()
