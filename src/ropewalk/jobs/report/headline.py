"""The certificate's first lines: what the run says in one sentence, and its few most important numbers."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from ropewalk.jobs.report import sections
from ropewalk.jobs.report.loss import MARGIN, loss, verdicts
from ropewalk.jobs.report.marks import number, short
from ropewalk.jobs.report.provenance import provenance
from ropewalk.jobs.report.run_folder import REFERENCE, Run, missing
from ropewalk.measure.window import METHOD as WINDOW

Made = Mapping[str, Any]
NOT_READ = "Loss by position was not measured in this run, so it has no verdict on how far the model reads."


def headline(made: Made) -> dict[str, Any]:
    """title, sentence, the best method, and how many times the original length it reads (None without a verdict)."""
    best = best_verdict(made)
    method = best["method"] if best else _usual_method(made)
    sentence = best["sentence"] if best else NOT_READ
    if not best or not best["length"]:
        return {
            "title": f"{made['model']}, measured to {made['longest']:,} tokens",
            "sentence": sentence,
            "method": method,
            "times": None,
        }
    title, times = f"{made['model']} reads to {best['length']:,} tokens", best["length"] / made["original_length"]
    return {"title": title, "sentence": sentence, "method": method, "times": times}


def best_verdict(made: Made) -> dict[str, Any] | None:
    """The method that reads furthest; of several, the one with the lowest loss in the last stretch.

    A window is no stretch: it is named where it is all there is.
    """
    rows = made["loss"]["rows"] if made["loss"] else {}

    def rank(verdict: Mapping[str, Any]) -> tuple[int, float]:
        last = rows[verdict["method"]][-1]
        return verdict["length"] or 0, -last["value"] if last else -inf

    stretched = [verdict for verdict in made["verdicts"] if not verdict["method"].startswith(f"{WINDOW}-")]
    return max(stretched or made["verdicts"], key=rank, default=None)


def _usual_method(made: Made) -> str:
    """yarn where it is there: the method that people ask about first."""
    methods: list[str] = made["methods"]
    return "yarn" if "yarn" in methods else methods[-1]


def tiles(made: Made) -> list[dict[str, str]]:
    """A label, a value and a note for each number that heads the page; all about the headline's method."""
    method = made["headline"]["method"]
    found = (tile for make in (_reach, _loss, _found, _effective, _tax) for tile in make(made, method))
    return [dict(zip(("label", "value", "note"), tile, strict=True)) for tile in found]


Tile = tuple[str, str, str]


def _reach(made: Made, method: str) -> Iterator[Tile]:
    """Of a choice the plan that was chosen, which another may be shown to outreach."""
    chosen, original = "choice" in made, made["original_length"]
    best = next((v for v in made["verdicts"] if v["method"] == method), None) if chosen else best_verdict(made)
    if chosen and best and method != WINDOW and (best["length"] or 0) <= original and not best["worse_at"]:
        yield f"reads to, with {method}", "not decided", f"beyond the {original:,} tokens that it was trained at"
    elif best and best["length"]:
        yield f"reads to, with {method}", f"{best['length']:,}", f"tokens; trained at {original:,}"


def _loss(made: Made, method: str) -> Iterator[Tile]:
    if made["loss"] and _last(made["loss"]["rows"], method):
        rows, (low, high) = made["loss"]["rows"], made["loss"]["buckets"][-1]
        beside = f"; {REFERENCE} {rows[REFERENCE][-1]['value']:.3f}" if _last(rows, REFERENCE) and method != REFERENCE else ""
        yield f"loss at {low:,} to {high:,}", f"{rows[method][-1]['value']:.3f}", f"bits per token{beside}"


def _last(rows: Mapping[str, Any], method: str) -> Any:
    return rows[method][-1] if method in rows else None


def _found(made: Made, method: str) -> Iterator[Tile]:
    for task in made["retrieval"][:1]:
        cells = task["by_length"].get(method) or [None]
        if cells[-1]:
            cell = cells[-1]
            note = f"of {cell['tries']}; {number(cell['low'], 'hundred')} to {number(cell['high'], 'percent0')}"
            yield f"{task['task']} at {task['lengths'][-1]:,}", number(cell["value"], "percent0"), note


def _effective(made: Made, method: str) -> Iterator[Tile]:
    if made["ruler"] and method in made["ruler"]["rows"]:
        row, ruler = made["ruler"]["rows"][method], made["ruler"]
        value = short(row["absolute"]["value"]) if row["absolute"]["value"] else "none"
        note = (
            f"at {ruler['threshold']}; at {number(ruler['relative'], 'percent0')} of its own {short(row['relative']['value'])}"
        )
        yield "RULER, effective length", value, note


def _tax(made: Made, method: str) -> Iterator[Tile]:
    if made["tax"] and method in made["tax"]["rows"]:
        row = made["tax"]["rows"][method]
        yield (
            "short-context degradation",
            number(row["loss"]["value"], "signed"),
            f"bits per token; KL {row['kl']['value']:z.4f}",
        )


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
