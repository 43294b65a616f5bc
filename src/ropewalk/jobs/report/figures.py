"""The pictures of the certificate, drawn by plotly from the tables.

Colours are mid-tones that stand out on white and on near-black alike, so one figure serves both themes; the page's style sheet
colours the axes. Text, legend and theme belong to the page, not to the picture.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from ropewalk.jobs.report.marks import short

# Told apart by most colour-blind readers (after Okabe & Ito 2008); a method has the same colour on every page.
COLOURS = {
    "none": "#7d8590",
    "linear": "#d8572a",
    "ntk": "#b98300",
    "ntk_by_parts": "#169c76",
    "yarn": "#1f7fd1",
    "llama3": "#8b62cf",
    "longrope": "#c2558f",
}
SPARE = ("#2796a6", "#6f8f1f", "#a8674a", "#5a78c9", "#9a6fb0")
SYMBOLS = ("circle-open", "square-open", "diamond-open", "x-thin-open", "triangle-up-open")
DASHES = ("dash", "dot", "dashdot", "longdash")
CEILING = 1.7  # times the lowest loss where that is highest
Losses = Mapping[str, Sequence[Mapping[str, Any] | None]]  # of each method, by bucket
AXIS = {"showline": False, "zeroline": False, "ticks": "", "gridcolor": "#8884", "gridwidth": 1, "fixedrange": True}


def styles(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(colour, dash) of each method: `dynamic-yarn` and `near-yarn` have yarn's, dashed; `dynamic` alone is over ntk."""
    found: dict[str, tuple[str, str]] = {}
    spare, dashes = iter(itertools.cycle(SPARE)), iter(itertools.cycle(DASHES))
    for method in methods:
        static = _under(method)
        colour = COLOURS.get(static) or next((c for m, (c, _) in found.items() if _under(m) == static), None) or next(spare)
        taken = any(c == colour for c, _ in found.values())
        found[method] = (colour, next(dashes) if taken or static != method else "solid")
    return found


def _under(method: str) -> str:
    """The static method a name is over: its longest part that is a method with a colour."""
    name = method.partition("@")[0]
    policy, *parts = name.split("-")
    if policy not in ("dynamic", "near"):
        return name
    return next((part for part in parts if part in COLOURS), "ntk" if policy == "dynamic" else name)


def loss_figure(losses: Losses, edges: Sequence[int], original: int) -> dict[str, Any]:
    """Loss by position: one line per method with its 95 % band, the trained length marked."""
    figure = go.Figure()
    spans = list(itertools.pairwise(edges))
    for method, (colour, dash) in styles(losses).items():
        known = [(span, bucket) for span, bucket in zip(spans, losses[method], strict=True) if bucket]
        x = [_middle(*span) for span, _ in known]
        if all(bucket["low"] is not None for _, bucket in known):
            high, low = ([bucket[end] for _, bucket in known] for end in ("high", "low"))
            figure.add_scatter(
                x=[*x, *reversed(x)], y=[*high, *reversed(low)], fill="toself", line_width=0, fillcolor=colour + "18",
                legendgroup=method, hoverinfo="skip", mode="lines",
            )  # fmt: skip
        figure.add_scatter(
            x=x, y=[bucket["value"] for _, bucket in known], name=method, legendgroup=method, mode="lines+markers",
            line={"color": colour, "width": 2.4, "dash": dash}, marker_size=5,
            hovertemplate="%{y:.3f}<extra>" + method + "</extra>",
        )  # fmt: skip
    figure.add_vline(x=original, line_dash="dot", line_color="#888", line_width=1.5)
    first = _middle(*spans[0])
    on_the_left = original**2 > first * edges[-1]  # of the line, where there is more room
    figure.add_annotation(
        x=log10(original), y=1, yref="paper", text=f" trained length {original:,} ", showarrow=False,
        xanchor="right" if on_the_left else "left", yanchor="top", font_size=12,
    )  # fmt: skip
    ticks = [tick for i in range(26) if first <= (tick := (original << i) // 4) <= edges[-1]]
    figure.update_xaxes(
        **AXIS, type="log", tickvals=ticks, ticktext=[short(t) for t in ticks], title="position in the document, tokens",
        range=[log10(first * 0.93), log10(edges[-1] * 1.03)], hoverformat=",.0f",
    )  # fmt: skip
    figure.update_yaxes(**AXIS, title="bits per token")
    if broken := leaving(losses):
        values = [bucket["value"] for row in losses.values() for bucket in row if bucket]
        figure.update_yaxes(range=[min(0.0, *values), _ceiling(losses)])
        figure.add_annotation(
            x=0, y=1, xref="paper", yref="paper", text=f" off the picture: {', '.join(broken)}", showarrow=False,
            xanchor="left", yanchor="top", font_size=12, yshift=-16,
        )  # fmt: skip
    return _finished(figure, hovermode="x unified")


def leaving(losses: Losses) -> list[str]:
    """Methods whose loss is so far above what another has at its worst that the picture would be of them alone."""
    top = _ceiling(losses)
    return [method for method, row in losses.items() if any(bucket and bucket["value"] > top for bucket in row)]


def _ceiling(losses: Losses) -> float:
    best = [min(known) for column in zip(*losses.values(), strict=True) if (known := [b["value"] for b in column if b])]
    return CEILING * max(best, default=0.0)


def anchor_figure(
    own: Mapping[str, Mapping[int, float]], anchors: Sequence[Mapping[str, Any]], original: int
) -> dict[str, Any]:
    """Loss over all tokens up to a length, as a ratio to itself at the original length; published curves are thin.

    own: method to length to ratio; anchors: with lengths, ratios and their own original_length.
    """
    figure = go.Figure()
    for i, anchor in enumerate(anchors):
        figure.add_scatter(
            x=[n / anchor["original_length"] for n in anchor["lengths"]], y=anchor["ratios"], name=anchor["name"],
            mode="lines+markers", line={"color": "#8a8f98", "width": 1.2, "dash": (*DASHES, "solid")[i % 5]},
            marker={"size": 6, "symbol": SYMBOLS[i % len(SYMBOLS)]},
            hovertemplate="%{y:.2f} at %{x:.3~g}\N{MULTIPLICATION SIGN}<extra>" + anchor["name"] + "</extra>",
        )  # fmt: skip
    for method, (colour, dash) in styles(own).items():
        figure.add_scatter(
            x=[n / original for n in own[method]], y=[*own[method].values()], name=method, legendgroup=method,
            mode="lines+markers", line={"color": colour, "width": 2.8, "dash": dash}, marker_size=6,
            hovertemplate="%{y:.2f} at %{x:.3~g}\N{MULTIPLICATION SIGN}<extra>" + method + "</extra>",
        )  # fmt: skip
    figure.add_hline(y=1, line_dash="dot", line_color="#888", line_width=1.5)
    ticks = [2**i for i in range(7)]
    figure.update_xaxes(
        **AXIS,
        type="log",
        tickvals=ticks,
        ticktext=[f"{t}\N{MULTIPLICATION SIGN}" for t in ticks],
        title="length / original length",
    )
    figure.update_yaxes(**AXIS, title="loss / loss at original length", range=_ratio_range(own, anchors))
    return _finished(figure, hovermode="closest")


def _ratio_range(own: Mapping[str, Mapping[int, float]], anchors: Sequence[Mapping[str, Any]]) -> list[float]:
    """Curves that break leave the picture at 1.7 times: where they go from there says nothing."""
    values = [r for row in own.values() for r in row.values()] + [r for anchor in anchors for r in anchor["ratios"]]
    return [min(values) - 0.08, min(max(values) + 0.08, 1.7)]


def _middle(low: int, high: int) -> float:
    """Where a bucket is drawn: its middle on the logarithmic axis."""
    return (low * high) ** 0.5 if low else high / 2


def _finished(figure: go.Figure, *, hovermode: str) -> dict[str, Any]:
    """As plain JSON values; without a template, which would be larger than the data."""
    figure.update_layout(
        template=None, showlegend=False, hovermode=hovermode, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 52, "r": 12, "t": 10, "b": 46}, autosize=True, dragmode=False,
    )  # fmt: skip
    made = figure.to_plotly_json()
    return {"data": list(made["data"]), "layout": made["layout"]}
