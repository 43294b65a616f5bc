"""The two pictures people expect, drawn by plotly from tables."""

import itertools
import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ropewalk.jobs.evaluate.statistics import Interval

# Okabe & Ito 2008: told apart by most colour-blind readers. The same method has the same colour in every picture.
PALETTE = ("#555555", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#56B4E9", "#7A5195")
SHADES = ((0.0, "#eef1f5"), (1.0, "#0072B2"))
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": FONT, "size": 13},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
}


def loss_figure(losses: Mapping[str, Sequence[Interval]], edges: Sequence[int], original: int) -> go.Figure:
    """Loss by position: one line per method with its 95 % band, the trained length marked."""
    figure = go.Figure()
    middles = [(low * high) ** 0.5 if low else high / 2 for low, high in itertools.pairwise(edges)]
    for colour, (method, buckets) in zip(PALETTE, losses.items(), strict=False):
        band = [b.high for b in buckets] + [b.low for b in reversed(buckets)]
        figure.add_scatter(
            x=[*middles, *reversed(middles)], y=band, fill="toself", line_width=0, fillcolor=colour, opacity=0.08,
            legendgroup=method, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=middles, y=[b.value for b in buckets], name=method, legendgroup=method, mode="lines+markers",
            line={"color": colour, "width": 2.5}, marker_size=5,
            hovertemplate="%{y:.3f} bits per token<extra>" + method + "</extra>",
        )  # fmt: skip
    figure.add_vline(x=original, line_dash="dash", line_color="#888")
    figure.add_annotation(
        x=math.log10(original), y=1, yref="paper", text=f" trained length {original:,}", showarrow=False, xanchor="left",
        font_color="#666",
    )  # fmt: skip
    ticks = [edges[-1] >> i for i in range(6)][::-1]
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{t:,}" for t in ticks], title="position in the document, tokens"
    )
    figure.update_yaxes(title="loss, bits per token")
    figure.update_layout(**LAYOUT, height=460, legend={"orientation": "h", "y": 1.12}, hovermode="x unified")
    return figure


def passkey_figure(grids: Mapping[str, Mapping[tuple[int, float], Interval]]) -> go.Figure:
    """Pass keys read back: depth by length, one heat map per method, all on one colour scale."""
    columns = min(3, len(grids))
    rows = -(-len(grids) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=list(grids), shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.04,
        vertical_spacing=0.24 / rows,
    )  # fmt: skip
    for i, grid in enumerate(grids.values()):
        lengths = sorted({length for length, _ in grid})
        depths = sorted({depth for _, depth in grid})
        values = [[100 * grid[length, depth].value for length in lengths] for depth in depths]
        labels = [[f"{grid[n, d].low:.0%} to {grid[n, d].high:.0%}" for n in lengths] for d in depths]
        figure.add_heatmap(
            x=[f"{n:,}" for n in lengths], y=[f"{d:.0%}" for d in depths], z=values, text=values, customdata=labels,
            texttemplate="%{text:.0f}", zmin=0, zmax=100, coloraxis="coloraxis", xgap=2, ygap=2,
            hovertemplate="length %{x}, depth %{y}: %{z:.0f} %<br>95 % interval %{customdata}<extra></extra>",
            row=i // columns + 1, col=i % columns + 1,
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category")
    figure.update_layout(
        **LAYOUT, height=270 * rows + 60,
        coloraxis={"colorscale": SHADES, "cmin": 0, "cmax": 100, "colorbar": {"title": "% found", "thickness": 12}},
    )  # fmt: skip
    return figure
