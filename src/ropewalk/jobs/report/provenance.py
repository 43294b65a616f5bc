"""Where the numbers of a certificate come from: model, plans, versions and documents."""

from typing import Any

from ropewalk.jobs.evaluate.protocols import CORPUS
from ropewalk.jobs.report.run_folder import Run
from ropewalk.scaling.plan import ScalingPlan

# Facts that a reader wants to see, in this order. run.json says them, or the records do.
SHOWN = ("dtype", "attention", "device", "seed", "torch", "transformers", "ropewalk")


def provenance(run: Run) -> dict[str, Any]:
    documents = sorted({str(r.facts["document"]) for r in run.records if "document" in r.facts} - {CORPUS})
    scored = sum(len(record.nll) for record in run.records)
    facts = [
        ("model", run.model),
        ("weights", run.model_hash),
        ("tokenizer", _said(run, "tokenizer_hash") or _said(run, "tokenizer")),
        *((name, _said(run, name)) for name in SHOWN),
        ("original length", f"{run.original_length:,} tokens"),
        ("measured to", f"{run.longest:,} tokens"),
        ("documents", f"{len(documents)}"),
        ("each begins with", {"True": "BOS", "False": "its own first token"}.get(_said(run, "bos"), _said(run, "bos"))),
        ("texts", ", ".join(map(str, run.facts.get("data", ())))),
        ("records", f"{len(run.records):,}, with {scored:,} scored tokens"),
        ("averaging", "over tokens: each scored token counts once"),
    ]
    return {
        "facts": [(name, value) for name, value in facts if value],
        "documents": documents,
        "plans": [_plan(name, plan) for name, plan in run.plans.items()],
        "commands": [_made(run), "ropewalk report RUN", "ropewalk report RUN --json"],
    }


def _said(run: Run, fact: str) -> str:
    """What run.json or else the records say; more than one value is shown as such, because it matters."""
    told = {**run.facts.get("versions", {}), **run.facts}
    return str(told[fact]) if fact in told else ", ".join(sorted({str(r.facts[fact]) for r in run.records if fact in r.facts}))


def _made(run: Run) -> str:
    """The command that makes the records again, from what run.json says was asked for."""
    facts = run.facts
    if "protocols" not in facts:
        return "ropewalk demo -o RUN"
    asked = {
        "methods": ",".join(name for name, plan in run.plans.items() if name == plan.name),
        "lengths": ",".join(map(str, facts["lengths"])),
        "documents": len(facts["documents"]) or None,
        "protocols": ",".join(facts["protocols"]) or "-",
        "tasks": ",".join(facts["tasks"]) or "-",
        "samples": facts["samples"],
        "depths": ",".join(f"{depth:g}" for depth in facts["depths"]),
        "seed": facts["seed"],
        "dtype": facts["dtype"],
    }
    plans = [f"--plan plans/{name}.json" for name, plan in run.plans.items() if name != plan.name]
    flags = [f"--{name} {value}" for name, value in asked.items() if value not in (None, "")]
    return " ".join(["ropewalk eval", run.model, *flags, *plans, *["--gap"] * bool(facts["gap"]), "-o RUN"])


def _plan(name: str, plan: ScalingPlan) -> dict[str, str]:
    (_, stretch), *_ = plan.stretches
    options = ", ".join(f"{key} = {value}" for key, value in stretch.options if not isinstance(value, tuple))
    return {
        "name": name,
        "factor": f"1 to {stretch.factor:g}" if stretch.dynamic else f"{stretch.factor:g}",
        "attention_factor": f"{stretch.scaled().attention_factor:.4f}",
        "options": options or "defaults",
        "fingerprint": plan.fingerprint,
    }
