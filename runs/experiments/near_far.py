"""Near distances as trained against every other stretch: loss by position, paired over the same documents.

Run: python runs/experiments/near_far.py [MODEL] --factor 8 [-o out/near_far]; it goes on where it was stopped. On the bundled
model half an hour on two cores. What it measured is a run folder like any other: `ropewalk report` makes its page.
"""

import argparse
import itertools
from pathlib import Path

import ropewalk
from ropewalk.cli.parts.progress import Bar
from ropewalk.measure.comparisons import Comparison
from ropewalk.measure.records import Readings, Record
from ropewalk.measure.tables import BITS, compare_sums, edges_of, sums_by_position

METHODS = (
    "none", "window", "yarn", "dynamic-yarn", "near-linear", "near-0.25-linear-log_n", "near-0.375-self_extend-log_n",
    "near-yarn", "near-rerope", "rerope", "leaky_rerope", "self_extend",
)  # fmt: skip
RIVALS = ("dynamic-yarn", "window")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="ropewalk-tiny")
    parser.add_argument("--factor", type=float, default=8.0)
    parser.add_argument("--documents", type=int, default=12)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seed", type=int, default=0, help="of the choice of documents")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/near_far"))
    args = parser.parse_args()
    with Bar("loading the model") as bar:
        outcome = ropewalk.evaluate(
            args.model, args.out, methods=args.methods, factor=args.factor, documents=args.documents, tasks="-", tax=False,
            speed=False, dtype=args.dtype, seed=args.seed, progress=bar,
        )  # fmt: skip
    original = outcome.prepared.plans["dynamic-yarn"].stretches[0][1].rope.original_length
    show(outcome.records, original, round(original * args.factor))


def show(records: list[Record], original: int, target: int) -> None:
    """Bits per token, and the difference from each rival between the same edges and beyond the trained window as a whole."""
    edges, far = edges_of(original, target), (original, target)
    spans = list(dict.fromkeys([*itertools.pairwise(edges), far]))  # at twice the window there is one beyond it
    print("| method | " + " | ".join(f"{low:,}-{high:,}" for low, high in spans) + " |\n" + "|---" * (len(spans) + 1) + "|")
    readings = Readings(records)
    cells = [{name: sums[0] for name, sums in sums_by_position(readings, span).items()} for span in spans]
    names = {name.split("-")[0] if name.startswith("window") else name: name for name in readings.methods}
    for name in names.values():
        print(f"| {name} | " + " | ".join(f"{cell[name].interval().value:.3f}" for cell in cells) + " |")
    for rival in filter(names.get, RIVALS):
        print(f"\nless than {names[rival]} by, with 95 % intervals:")
        for name in names.values():
            found = [compare_sums(cell[names[rival]], cell[name], same_tokens=True) for cell in cells]
            print(f"| {name} | " + " | ".join(map(_said, found)) + " |")


def _said(found: Comparison | None) -> str:
    if found is None:
        return ""
    value, low, high = (x * BITS for x in (found.difference.value, found.difference.low, found.difference.high))
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
