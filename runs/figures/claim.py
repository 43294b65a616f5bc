"""The picture of the claim: far loss against tokens trained, one line a seed.

python runs/figures/claim.py out/claim/table.json docs/images/claim.png
"""

import json
import sys
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from drawing import DARK, LIGHT, MIDDLE, photograph

FAR = "2048-4096"
COLOURS = {"linear": "#d8572a", "ntk": "#b98300", "ntk_by_parts": LIGHT, "yarn": MIDDLE, "dynamic-yarn-causal-2": DARK}


def figure(table: dict[str, Any]) -> go.Figure:
    made = go.Figure()
    for method, colour in COLOURS.items():
        for seed, far in enumerate(table[method]["far"]):
            made.add_scatter(x=table[method]["tokens"], y=far, mode="lines", name=method, showlegend=seed == 0,
                             line={"color": colour, "width": 2})  # fmt: skip
    made.update_xaxes(title="tokens of training")
    made.update_yaxes(title=f"nats per token, positions {FAR}")
    return made


def main(table: Path, out: Path) -> None:
    photograph(figure(json.loads(table.read_text())), out, margin={"l": 70, "r": 20, "t": 20, "b": 60})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
