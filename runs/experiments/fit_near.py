"""Fitted plans beside plans that need no fit, on the twelve library files that every fit leaves for its report.

    ropewalk fit ropewalk-tiny --factor 8 --causal --family near --budget 10m -o near.json
    ropewalk fit ropewalk-tiny --factor 8 --causal --family free --budget 10m -o lists.json
    python runs/experiments/fit_near.py near.json lists.json [-o out/fit_near]

Loss by position, and how much less the first plan has than each beyond the trained window, paired. The near plan on a fit's
finer grid says which part of that is the grid. It goes on where it was stopped.
"""

import argparse
from pathlib import Path

from near_far import show

import ropewalk
from ropewalk.jobs.fit.objective import library_sets
from ropewalk.measure.records import Readings
from ropewalk.measure.tables import BITS, compare_sums, sums_by_position
from ropewalk.measure.texts import library_root
from ropewalk.models.load import load_tokenizer
from ropewalk.scaling.plan import ScalingPlan

METHODS = (
    "window", "dynamic-yarn", "near-0.25-linear-log_n", "near-0.25-linear-log_n-causal-8", "near-0.375-self_extend-log_n",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="+", type=Path)
    parser.add_argument("--model", default="ropewalk-tiny")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("-o", "--out", type=Path, default=Path("out/fit_near"))
    args = parser.parse_args()
    plan = ScalingPlan.from_json(args.plans[0].read_text(encoding="utf-8"))
    (_, stretch), target = plan.stretches[0], plan.target_length
    report = library_sets(load_tokenizer(args.model), target, 0).report
    outcome = ropewalk.evaluate(
        args.model, args.out, methods=args.methods, plan=args.plans, factor=stretch.factor, documents=len(report),
        data=[str(library_root() / document.name) for document in report], tasks="-", tax=False, speed=False,
    )  # fmt: skip
    original = stretch.rope.original_length
    show(outcome.records, original, target)
    sums = {name: found[0] for name, found in sums_by_position(Readings(outcome.records), (original, target)).items()}
    first = args.plans[0].stem
    print(f"\n{first}, beyond the trained window, less than")
    for name in filter(lambda name: name != first, sums):
        if found := compare_sums(sums[name], sums[first], same_tokens=True):
            value, low, high = (x * BITS for x in (found.difference.value, found.difference.low, found.difference.high))
            print(f"| {name} | {value:+.3f} ({low:+.3f} to {high:+.3f}) |")


if __name__ == "__main__":
    main()
