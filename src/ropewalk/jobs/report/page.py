"""The certificate as one HTML file that asks the network for nothing."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig, OutputExists
from ropewalk.jobs.report import marks
from ropewalk.jobs.report.figures import anchor_figure, loss_figure, styles
from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.run_folder import make_run, run_facts
from ropewalk.measure.records import Record
from ropewalk.scaling.plan import ScalingPlan

MARK = '<meta name="generator" content="ropewalk report">'


def write_report(path: Path, records: Iterable[Record], plans: Mapping[str, ScalingPlan]) -> int:
    """The certificate of records at hand, as a run writes it when it ends; returns the size in bytes.

    `ropewalk report` makes the same page from the folder.
    """
    return write_page(path, certificate(make_run(records, plans, run_facts(path.parent))))


def render(made: Mapping[str, Any]) -> str:
    """The page; `made` is what `certificate` makes of a run."""
    loss, anchors = made["loss"], made["anchors"]
    shown = [anchor for anchor in anchors["loss"] if anchor["shown"]] if anchors else []
    figures = {}
    if loss:
        figures["loss-plot"] = loss_figure(loss["plot"], loss["fine_edges"], made["original_length"])
    if shown:
        figures["anchors-plot"] = anchor_figure(loss["prefix"], shown, made["original_length"])
    times = made["headline"]["times"]
    return _template().render(
        **made,
        style=_source("style.css"),
        script=_source("page.js"),
        figures=for_script(figures),
        plotly=packed_plotly(),
        styles=styles(made["methods"]),
        anchor_styles={
            trace["name"]: (trace["line"]["color"], trace["line"]["dash"])
            for trace in figures.get("anchors-plot", {"data": []})["data"]
            if trace["name"] not in made["methods"]
        },
        rope=marks.rope(),
        seal=marks.seal(f"{times:g}\N{MULTIPLICATION SIGN}", ("the trained", "length")) if times is not None else "",
    )


def for_script(data: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever a name says."""
    return Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


@cache
def packed_plotly() -> str:
    """plotly's script, gzipped and in base64: 2 MB for 4.8. The page unpacks it with the browser's own DecompressionStream."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def write_page(out: Path, made: Mapping[str, Any], *, force: bool = False) -> int:
    """Write the page and return its size in bytes. An older certificate is replaced, anything else only with `force`."""
    if out.is_dir():
        raise BadConfig(f"{out} is a folder. Give the name of the file to write, such as {out / 'report.html'}.")
    if out.exists() and not force and not _is_report(out):
        raise OutputExists(f"{out} exists and is not a Ropewalk report. Choose another name, or replace it: force (--force).")
    page = render(made).encode()
    write_file(out, page)
    return len(page)


def _is_report(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return MARK in stream.read(2000)


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("ropewalk.jobs.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["number"] = marks.number
    return environment.get_template("page.html.j2")


def _source(name: str) -> Markup:
    return Markup((files(__package__) / name).read_text(encoding="utf-8"))
