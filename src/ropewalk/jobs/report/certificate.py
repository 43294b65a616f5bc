"""All tables of a run in one JSON value: what the page shows and `ropewalk report --json` prints."""

from typing import Any

from ropewalk.jobs.report import sections
from ropewalk.jobs.report.headline import headline, tiles
from ropewalk.jobs.report.loss import loss
from ropewalk.jobs.report.provenance import provenance
from ropewalk.jobs.report.run_folder import Run, missing
from ropewalk.jobs.report.verdicts import MARGIN, verdicts

SCHEMA = "ropewalk.certificate/1"


def certificate(run: Run, margin: float = MARGIN) -> dict[str, Any]:
    """Every table of the run, with None for sections that it has no data for."""
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "model": run.model,
        "original_length": run.original_length,
        "target_length": run.target_length,
        "longest": run.longest,
        "methods": list(run.plans),
        "margin": margin,
        "missing": missing(run),
        "notes": list(run.notes),
        "loss": loss(run),
        "verdicts": verdicts(run, margin),
        "protocols": sections.protocols(run),
        "retrieval": sections.retrieval(run),
        "ruler": sections.ruler(run),
        "tax": sections.tax(run),
        "speed": sections.speed(run),
        "provenance": provenance(run),
    }
    made["anchors"] = sections.anchors(made)
    made["headline"] = headline(made)
    made["tiles"] = tiles(made)
    return made
