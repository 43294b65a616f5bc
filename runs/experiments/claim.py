"""The paper's claim, small: tokens of training until the far bucket is as good as Position Interpolation's at its end.

Rows of 2 L, read at 8 L, three seeds, the bundled model. Methods that begin below linear's end are trained for a tenth of its
steps: the rate is constant, so a short run is the beginning of a long one. Then adapters against all weights, and PoSE against
whole rows. Records are kept: a run that is stopped goes on where it was.

Run: python runs/experiments/claim.py [-o out/claim]; about two hours on one quiet core. runs/figures/claim.py draws it.
     python runs/experiments/claim.py --beside near-linear,dynamic-yarn,yarn; three quarters of an hour: every stretch of
     positions before and after, on rows of 2 L and of 8 L, and how far the others are above the first, paired by seed.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.progress import track

from ropewalk.jobs.train.job import train
from ropewalk.jobs.train.log import read_log
from ropewalk.jobs.train.recipe import read_recipe

FAR = "2048-4096"
SEEDS = (0, 1, 2)
METHODS = ("linear", "ntk", "ntk_by_parts", "yarn", "dynamic-yarn-causal-2")
WHOLE = ("linear", "ntk")  # untrained, the others are below where linear ends
COMMON: dict[str, Any] = {
    "model": "ropewalk-tiny", "data": ["library-train-tests"], "held_out": ["library"], "held_out_documents": 5, "passkeys": 0,
    "checkpointing": False, "save_every": 1000, "keep": 1, "factor": 8.0, "rate": 3e-4, "warm_up": 4, "schedule": "constant",
    "length": 1024, "batch": 2, "micro": 2, "long_share": 1.0,
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {  # as many tokens of both
    "40 steps of two rows of 2 L": {"steps": 40, "evaluate_every": 40},
    "20 steps of a row of 8 L": {"steps": 20, "evaluate_every": 20, "length": 4096, "batch": 1, "micro": 1},
}  # fmt: skip
T3 = 4.303  # Student's t, 95 %, two degrees of freedom


@dataclass(frozen=True)
class Curve:
    """tokens trained, and nats per token of the far bucket, at each evaluation."""

    tokens: list[int]
    far: list[float]
    inside: list[float]

    def until(self, loss: float) -> float | None:
        """Tokens until the far loss is at most `loss`, straight between evaluations; None where it never was."""
        if self.far[0] <= loss:
            return 0.0
        for (t0, a), (t1, b) in pairwise(zip(self.tokens, self.far, strict=True)):
            if b <= loss:
                return t0 + (t1 - t0) * (a - loss) / (a - b)
        return None


def held_out(out: Path, name: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The evaluations of a run, which is trained where it is not there."""
    folder = out / name
    if not (folder / "model" / "config.json").is_file():
        train(read_recipe("", given), folder, lambda event: None)
    return [line for line in read_log(folder) if "held_out" in line]


def curve(out: Path, name: str, **given: Any) -> Curve:
    lines = held_out(out, name, COMMON | given)
    (stage,) = read_recipe("", COMMON | given).stages
    each = stage.batch * (stage.length or 0)
    far, inside = ([line["held_out"][FAR] for line in lines], [line["rise_inside_window"] for line in lines])
    return Curve([line["at"] * each for line in lines], far, inside)


def spread(values: list[float]) -> str:
    """Mean and 95 % interval over seeds (Student's t)."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = T3 * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.3f} ({statistics.mean(values) - half:.3f} to {statistics.mean(values) + half:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path("out/claim"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--beside", metavar="METHODS", help="these alone, by commas")
    arguments = parser.parse_args()
    out, steps = arguments.out, arguments.steps
    if arguments.beside:
        for name, given in ROWS.items():
            print(f"\nNats per token after {name}, {len(SEEDS)} seeds; above the first, paired by seed\n")
            side_by_side(out / name.replace(" ", "-"), arguments.beside.split(","), given)
        return
    jobs = [(method, seed) for seed in SEEDS for method in METHODS]
    curves = {(method, seed): trained(out, method, seed, steps) for method, seed in track(jobs, "training")}
    print(
        f"Nats per token at {FAR}, 5 held-out documents; rows of 1,024 tokens, steps of 2 rows, {steps} of them "
        f"({' and '.join(WHOLE)}) or {steps // 10}; {len(SEEDS)} seeds.\n"
    )
    print("| method | before | after | tokens to linear's last loss | share of linear's | inside L |")
    print("|---|---|---|---|---|---|")
    table = {}
    for method in METHODS:
        runs = [curves[method, seed] for seed in SEEDS]
        until = [run.until(curves["linear", seed].far[-1]) for seed, run in zip(SEEDS, runs, strict=True)]
        reached = [t for t in until if t is not None]
        share = [t / curves["linear", seed].tokens[-1] for seed, t in zip(SEEDS, until, strict=True) if t is not None]
        said = (
            f"{statistics.mean(reached):,.0f}" if len(reached) == len(SEEDS) else f"reached by {len(reached)} of {len(SEEDS)}"
        )
        print(
            f"| {method} | {spread([run.far[0] for run in runs])} | {spread([run.far[-1] for run in runs])} | {said} | "
            f"{spread(share) if len(share) == len(SEEDS) else ''} | {statistics.mean(run.inside[-1] for run in runs):+.1%} |"
        )
        table[method] = {"tokens": runs[0].tokens, "far": [run.far for run in runs], "until": until}
    others(out, steps // 10, steps // 40, table)
    (out / "table.json").write_text(json.dumps(table, indent=1) + "\n")


def trained(out: Path, method: str, seed: int, steps: int) -> Curve:
    long = method in WHOLE
    given = {"steps": steps if long else steps // 10, "evaluate_every": max(steps // (20 if long else 40), 1)}
    return curve(out, f"{method}-{seed}", method=method, seed=seed, **given)


def side_by_side(out: Path, methods: list[str], given: dict[str, Any]) -> None:
    """Every bucket under every method, before and after, as means over seeds."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for method, seed in track([(method, seed) for seed in SEEDS for method in methods], "training"):
        more: dict[str, Any] = {"method": method, "seed": seed, "held_out_documents": 12}
        lines = held_out(out, f"{method}-{seed}", COMMON | given | more)
        for when, line in (("before", lines[0]), ("after", lines[-1])):
            buckets = line["held_out"]
            found.setdefault((when, method), []).append(list(buckets.values()))
    print("| " + " | ".join(["method", "", *buckets]) + " |\n" + "|---" * (2 + len(buckets)) + "|")
    for when in ("before", "after"):
        for method in methods:
            rows = found[when, method]
            print(
                f"| {method} | {when} | "
                + " | ".join(f"{statistics.mean(column):.3f}" for column in zip(*rows, strict=True))
                + " |"
            )
    for method in methods[1:]:
        pairs = zip(found["after", method], found["after", methods[0]], strict=True)
        above = [[its - ours for its, ours in zip(*pair, strict=True)] for pair in pairs]
        print(
            f"| {method} | above {methods[0]} | "
            + " | ".join(spread(list(column)) for column in zip(*above, strict=True))
            + " |"
        )


def others(out: Path, steps: int, every: int, table: dict[str, Any]) -> None:
    """One seed each: adapters against all weights, PoSE against whole rows of 8 L and of 2 L, at as many tokens."""
    rows = {
        "all weights": {},
        "adapters, norms and embedding": {"lora": True, "rate": 1e-3},
        "adapters alone": {"lora": True, "lora_also": False, "rate": 1e-3},
        "PoSE, rows of L": {"pose": True, "length": 512, "batch": 4, "micro": 4},
        "whole rows of 8 L": {"length": 4096, "batch": 1, "micro": 1, "steps": steps // 2, "evaluate_every": every},
    }  # fmt: skip
    print("\n| yarn, seed 0 | before | after | inside L |\n|---|---|---|---|")
    for label, given in track(rows.items(), "training"):
        name = "yarn-0" if not given else label.replace(",", "").replace(" ", "-")
        found = curve(out, name, **{"method": "yarn", "seed": 0, "steps": steps, "evaluate_every": every} | given)
        print(f"| {label} | {found.far[0]:.3f} | {found.far[-1]:.3f} | {found.inside[-1]:+.1%} |")
        table[label] = {"tokens": found.tokens, "far": [found.far]}


if __name__ == "__main__":
    main()
