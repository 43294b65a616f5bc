"""The pictures of docs/fit.md, from a plan that `ropewalk fit --causal` wrote and its `--json` report.

    python runs/figures/fit.py plan.json report.json docs/images/fit.png

Left: by how much each pair is slowed at three scales, over the paper's ramp. Right: gains by position, from the report.
"""

import json
import sys
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from drawing import DARK, LIGHT, MIDDLE, photograph
from ropewalk.scaling.method import get_method
from ropewalk.scaling.plan import ScalingPlan

SCALES = {2.0: LIGHT, 4.0: MIDDLE, 8.0: DARK}
OTHERS = {"yarn": "#555555", "dynamic-yarn": "#b98300", "fitted": DARK}


def figure(plan: ScalingPlan, report: dict[str, Any]) -> go.Figure:
    ((_, stretch),) = plan.stretches
    made = make_subplots(1, 2, subplot_titles=["factor of each pair", "bits per token, less static yarn's"])
    paper = get_method("yarn")
    for scale, colour in SCALES.items():
        for what, scaled, dash in (("fitted", stretch.scaled_by(scale), "solid"), ("yarn", paper(stretch.rope, scale), "dot")):
            slowed = [old / new for old, new in zip(stretch.rope.inv_freq, scaled.inv_freq, strict=True)]
            made.add_scatter(
                x=list(range(len(slowed))), y=slowed, name=f"{what}, s = {scale:g}", mode="lines", row=1, col=1,
                line={"color": colour, "dash": dash, "width": 2},
            )  # fmt: skip
    edges, compared = report["edges"], report["compared"]
    names = [f"to {b:,}" for b in edges[1:]]
    base = compared["yarn"]["buckets"]
    for name, colour in OTHERS.items():
        y = [a - b for a, b in zip(compared[name]["buckets"], base, strict=True)]
        made.add_scatter(x=names, y=y, name=name, mode="lines+markers", line={"color": colour, "width": 2}, row=1, col=2)
    made.update_xaxes(title="pair", col=1)
    made.update_xaxes(title="position", col=2)
    return made


def main(plan: Path, report: Path, out: Path) -> None:
    photograph(figure(ScalingPlan.from_json(plan.read_text()), json.loads(report.read_text())), out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
