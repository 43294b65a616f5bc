"""The picture of holds_up's table: what each meaning of "dynamic" gains or loses against the static plan of the same method.

    python runs/dynamic_picture.py out/holds_up/table.json docs/images/dynamic.png

Needs playwright and Chromium, as the tests of pages do.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.subplots import make_subplots

BUCKETS = ("0 to 256", "to 512", "to 1,024", "to 2,048", "to 4,096")
COLOURS = {"causal-1": "#9ecae9", "causal-2": "#1f7fd1", "causal-4": "#08519c", "causal-8": "#08306b",
           "request": "#b98300", "rotate": "#c2558f"}  # fmt: skip
METHODS = ("yarn", "ntk_by_parts", "ntk")
WIDTH, HEIGHT = 1280, 460


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
    made.update_layout(
        template="plotly_white", width=WIDTH, height=HEIGHT, font={"family": "system-ui, sans-serif", "size": 14},
        legend={"orientation": "h", "y": -0.15, "x": 0.5, "xanchor": "center"}, margin={"l": 70, "r": 20, "t": 40, "b": 80},
    )  # fmt: skip
    return made


def photograph(made: go.Figure, out: Path) -> None:
    html = made.to_html(include_plotlyjs=True, config={"staticPlot": True})
    with sync_playwright() as driver:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH + 16, "height": HEIGHT + 16})
        page.set_content(html)
        page.locator(".main-svg").first.wait_for()
        page.screenshot(path=out)
        browser.close()


def main(table: Path, out: Path) -> None:
    photograph(figure(json.loads(table.read_text())), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
