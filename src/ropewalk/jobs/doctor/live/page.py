"""One plot of a server's answers, in one HTML file that asks the network for nothing."""

from importlib.resources import files
from math import isfinite, log10
from pathlib import Path
from typing import Any

import jinja2
from plotly.subplots import make_subplots

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig, OutputExists
from ropewalk.jobs.doctor.live.job import LiveDiagnosis
from ropewalk.jobs.report.figures import AXIS
from ropewalk.jobs.report.page import for_script, packed_plotly

MARK = '<meta name="generator" content="ropewalk doctor">'
LINE, FOUND, MISSED = "#1f7fd1", "#169c76", "#d8572a"


def check_place(out: Path, *, force: bool = False) -> None:
    """Before anything is asked: only an older page is replaced without `force`."""
    if out.is_dir():
        raise BadConfig(f"{out} is a folder. Give the name of the file to write, such as {out / 'doctor.html'}.")
    if out.exists() and not force and MARK not in out.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise OutputExists(
            f"{out} exists and is not a page of the doctor. Choose another name, or replace it: force (--force)."
        )


def write_page(out: Path, result: LiveDiagnosis) -> None:
    loader = jinja2.PackageLoader("ropewalk.jobs.doctor.live", ".")
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "page.html.j2"
    )
    style, script = ((files("ropewalk.jobs.report") / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    figures = for_script({"live-plot": figure(result)})
    write_file(out, template.render(result=result, style=style, script=script, figures=figures, plotly=packed_plotly()))


def figure(result: LiveDiagnosis) -> dict[str, Any]:
    """Above, each passage's loss and their mean with its 95 % interval; below, every pass key by its depth."""
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.06)
    for passage in sorted({cell.passage for cell in result.cells if cell.loss is not None}):
        own = [c for c in result.cells if c.passage == passage and c.loss is not None and isfinite(c.loss)]
        made.add_scatter(x=[c.position for c in own], y=[c.loss for c in own], mode="lines", hoverinfo="skip", row=1, col=1,
                         line={"color": "#8888", "width": 1})  # fmt: skip
    ends = [(s, s.loss) for s in result.loss if isfinite(s.loss.low) and isfinite(s.loss.high)]
    made.add_scatter(
        x=[s.length for s, _ in ends], y=[loss.value for _, loss in ends], mode="lines+markers", name="mean", row=1, col=1,
        line={"color": LINE, "width": 2.6}, hovertemplate="%{y:.3f} nats<extra>mean</extra>",
        error_y={"color": LINE, "array": [loss.high - loss.value for _, loss in ends],
                 "arrayminus": [loss.value - loss.low for _, loss in ends]},
    )  # fmt: skip
    for name, hit, colour, symbol in (("found", True, FOUND, "circle"), ("missed", False, MISSED, "x")):
        some = [cell for cell in result.cells if cell.found is hit]
        made.add_scatter(x=[c.position for c in some], y=[c.depth for c in some], mode="markers", name=name, row=2, col=1,
                         marker={"color": colour, "symbol": symbol, "size": 8})  # fmt: skip
    made.add_vline(x=result.original, line_dash="dot", line_color="#888")
    made.add_annotation(x=log10(result.original), y=1, yref="paper", text=f" original window {result.original:,}",
                        showarrow=False, xanchor="left", yanchor="top")  # fmt: skip
    lengths = sorted({cell.length for cell in result.cells})
    made.update_xaxes(**AXIS, type="log", tickvals=lengths, ticktext=[f"{n:,}" for n in lengths])
    made.update_xaxes(title="tokens up to the end of the prompt", row=2, col=1)
    made.update_yaxes(**AXIS)
    made.update_yaxes(title="nats per token", row=1, col=1)
    made.update_yaxes(title="depth of the key", tickformat=".0%", range=[1.04, -0.04], row=2, col=1)
    made.update_layout(template=None, showlegend=False, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
                       margin={"l": 60, "r": 12, "t": 10, "b": 46}, dragmode=False)  # fmt: skip
    plain = made.to_plotly_json()
    return {"data": list(plain["data"]), "layout": plain["layout"]}
