"""YaRN's best numbers by factor: loss against the ramp's fast end, less the best of its factor; dotted: where the rule is.

python runs/figures/fit_factors.py out/fit_factors.json docs/images/fit-factors.png
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from drawing import DARK, LIGHT, MIDDLE, photograph

FAST, SLOPES = (2.5, 5.0, 10.0, 20.0, 32.0), (0.05, 0.1)  # the grid of runs/experiments/fit_factors.py


def figure(found: Sequence[dict[str, Any]]) -> go.Figure:
    made = go.Figure()
    for row, colour in zip(found, (LIGHT, MIDDLE, DARK), strict=True):
        least = min(row["looked"].values())
        for slope, dash in zip(SLOPES, ("solid", "dash"), strict=True):
            looked = [row["looked"][f"{fast:g}, {slope:g}"] - least for fast in FAST]
            made.add_scatter(x=FAST, y=looked, name=f"s = {row['factor']:g}, slope {slope:g}", mode="lines+markers",
                             line={"color": colour, "dash": dash, "width": 2})  # fmt: skip
        made.add_vline(x=2.5 * row["factor"], line={"color": colour, "dash": "dot", "width": 2})
    made.update_xaxes(title="turns from which pairs are kept (beta_fast); dotted: 2.5 s", type="log", tickvals=[*FAST, 40],
                      ticktext=[f"{x:g}" for x in (*FAST, 40)])  # fmt: skip
    made.update_yaxes(title="bits per token above the factor's best", range=[-0.004, 0.12])
    return made


def main(found: Path, out: Path) -> None:
    photograph(figure(json.loads(found.read_text())), out, margin={"l": 70, "r": 20, "t": 20, "b": 60})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
