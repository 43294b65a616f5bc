"""How YaRN's best numbers move with the factor: a coarse grid at s = 4, 8 and 16, static and causal, on the bundled model.

Chosen on the documents that `ropewalk fit` chooses with; told on those that it reports on, paired with the released numbers.
`rule` is the causal rule of the family `yarn` (docs/fit.md), the same four numbers at every factor.

Run: python runs/experiments/fit_factors.py [-o out/fit_factors.json] [--choose 3] [--report 6]; a quarter of an hour on two
cores. runs/figures/fit_factors.py draws it.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from rich.progress import track

from ropewalk.jobs.fit.compare import bits_by_token
from ropewalk.jobs.fit.objective import library_sets
from ropewalk.measure.comparisons import compare
from ropewalk.measure.documents import Document
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import ScalingPlan, make_plan

MODEL, ORIGINAL = "ropewalk-tiny", 512
FAST, SLOPES = (2.5, 5.0, 10.0, 20.0, 32.0), (0.05, 0.1)


class Bench:
    def __init__(self, factor: float, choose: int, report: int):
        self.model, self.factor = load_model(MODEL), factor
        self.spec = read_live(self.model)
        sets = library_sets(load_tokenizer(MODEL), round(ORIGINAL * factor), 0)
        self.choose, self.report = sets.choose[:choose], sets.report[:report]

    def plan(self, method: str = "yarn", **options: Any) -> ScalingPlan:
        return make_plan(self.spec, factor=self.factor, method=method, **({"options": options} if options else {}))

    def grid(self) -> dict[tuple[float, float], ScalingPlan]:
        """(turns of the fast end, slope) to a plan; the slow end is 0.8 turns."""
        return {
            (fast, slope): self.plan(beta_fast=fast, beta_slow=0.8, temperature_slope=slope, truncate=False)
            for fast, slope in itertools.product(FAST, SLOPES)
        }

    def rule(self) -> ScalingPlan:
        return self.plan(
            "dynamic-yarn-causal-8", beta_fast=2.5, beta_slow=0.8, beta_growth=1.0, temperature_slope=0.05, truncate=False
        )  # fmt: skip

    def far(self, plan: ScalingPlan, documents: Sequence[Document]) -> numpy.ndarray:
        """(documents, 2): bits and tokens beyond the window."""
        read = [bits_by_token(self.model, plan, document)[ORIGINAL - 1 :] for document in documents]
        return numpy.array([[bits.sum(), len(bits)] for bits in read])


def at(factor: float, choose: int, report: int) -> dict[str, Any]:
    bench = Bench(factor, choose, report)
    looked = {}
    for numbers, plan in track(bench.grid().items(), f"factor {factor:g}"):
        bits, tokens = bench.far(plan, bench.choose).sum(0)
        looked[numbers] = bits / tokens
    fast, slope = min(looked, key=lambda n: looked[n])
    told = {
        "yarn": bench.plan(), "best of the grid": bench.grid()[fast, slope], "dynamic-yarn": bench.plan("dynamic-yarn"),
        "rule": bench.rule(),
    }  # fmt: skip
    rows = {name: bench.far(plan, bench.report) for name, plan in told.items()}
    result: dict[str, Any] = {"factor": factor, "beta_fast": fast, "slope": slope, "documents": len(bench.report)}
    for name, row in rows.items():
        base = rows["dynamic-yarn" if name == "rule" else "yarn"]
        d = compare(row[:, 0], base[:, 0], row[:, 1]).difference
        result[name] = {"bits": float(row[:, 0].sum() / row[:, 1].sum()), "difference": [d.value, d.low, d.high]}
    result["looked"] = {f"{a:g}, {b:g}": float(value) for (a, b), value in looked.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path("out/fit_factors.json"))
    parser.add_argument("--choose", type=int, default=3)
    parser.add_argument("--report", type=int, default=6)
    arguments = parser.parse_args()
    found = []
    print("| s | fast end | slope | yarn | best of the grid | less yarn (95 %) | dynamic-yarn | rule | less it (95 %) |")
    print("|---|---|---|---|---|---|---|---|---|")
    for factor in (4.0, 8.0, 16.0):
        row = at(factor, arguments.choose, arguments.report)
        found.append(row)
        best, rule = row["best of the grid"], row["rule"]
        signed = ["{:+.3f} ({:+.3f}, {:+.3f})".format(*each["difference"]) for each in (best, rule)]
        print(
            f"| {factor:g} | {row['beta_fast']:g} | {row['slope']:g} | {row['yarn']['bits']:.3f} | {best['bits']:.3f} | "
            f"{signed[0]} | {row['dynamic-yarn']['bits']:.3f} | {rule['bits']:.3f} | {signed[1]} |",
            flush=True,
        )
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
