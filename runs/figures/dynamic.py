"""The picture of holds_up's table: what each meaning of "dynamic" gains or loses against the static plan of the same method.

python runs/figures/dynamic.py out/holds_up/table.json docs/images/dynamic.png
"""

import json
import sys
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from drawing import DARK, LIGHT, MIDDLE, photograph

BUCKETS = ("0 to 256", "to 512", "to 1,024", "to 2,048", "to 4,096")
COLOURS = {"causal-1": LIGHT, "causal-2": MIDDLE, "causal-4": "#08519c", "causal-8": DARK,
           "request": "#b98300", "rotate": "#c2558f"}  # fmt: skip
METHODS = ("yarn", "ntk_by_parts", "ntk")


def figure(table: dict[str, dict[str, list[list[float]]]]) -> go.Figure:
    made = make_subplots(1, len(METHODS), subplot_titles=[f"over {m}" for m in METHODS], horizontal_spacing=0.06)
    for column, method in enumerate(METHODS, 1):
        for policy, colour in COLOURS.items():
            values = table[f"{method}, {policy}"]["minus static"]
            y, low, high = zip(*values, strict=True)
            made.add_scatter(
                x=BUCKETS, y=y, name=policy, legendgroup=policy, showlegend=column == 1, mode="lines+markers",
                line={"color": colour, "width": 2}, marker_size=6,
                error_y={
                    "array": [b - a for a, b in zip(y, high, strict=True)], "symmetric": False, "thickness": 1.2, "width": 3,
                    "arrayminus": [a - b for a, b in zip(y, low, strict=True)],
                },
                row=1, col=column,
            )  # fmt: skip
        made.add_hline(y=0, line_color="#555", line_width=1, row=1, col=column)
    made.update_yaxes(title="bits per token, less the static plan's", col=1)
    return made


def main(table: Path, out: Path) -> None:
    legend = {"orientation": "h", "y": -0.15, "x": 0.5, "xanchor": "center"}
    photograph(figure(json.loads(table.read_text())), out, legend=legend, margin={"l": 70, "r": 20, "t": 40, "b": 80})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
