"""Near distances as trained against every other stretch: loss by position, paired over the same documents.

Run: python runs/experiments/near_far.py [MODEL] --factor 8 [-o out/near_far]; it goes on where it was stopped. On the bundled
model half an hour on two cores. What it measured is a run folder like any other: `ropewalk report` makes its page.
"""

import argparse
import sys
from pathlib import Path

import ropewalk
from ropewalk.cli.parts.progress import Bar
from ropewalk.measure.records import Record
from ropewalk.measure.tables import edges_of

sys.path.insert(0, str(Path(__file__).parents[1]))

from table_page import less_table, loss_tables, losses, spans_of

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
    edges, names = edges_of(original, target), sorted({record.key.method for record in records})
    rivals = [name for rival in RIVALS for name in names if name in (rival, f"{rival}-{original}")]
    for rival in rivals:
        case = {"edges": edges, "window": original, "against": rival, "methods": ()}
        case["loss"] = losses(records, spans_of(edges, original), rival)
        print(loss_tables(case) if rival == rivals[0] else less_table(case))


if __name__ == "__main__":
    main()
