"""Where the numbers of a certificate come from: model, plans, versions and documents."""

from typing import Any

from ropewalk.jobs.report.run_folder import Run
from ropewalk.scaling.plan import ScalingPlan

# Facts of the run or of its records that a reader wants to see, in this order.
SHOWN = {
    "tokenizer": "tokenizer",
    "dtype": "dtype",
    "attention": "attention",
    "device": "device",
    "bos": "beginning of a document",
    "seed": "seed",
    "torch": "torch",
    "transformers": "transformers",
    "ropewalk": "ropewalk",
}


def provenance(run: Run) -> dict[str, Any]:
    documents = sorted({str(r.facts["document"]) for r in run.records if "document" in r.facts})
    scored = sum(len(record.nll) for record in run.records)
    facts = [("model", run.model), ("weights", run.model_hash)]
    facts += [(label, value) for fact, label in SHOWN.items() if (value := _said(run, fact))]
    facts += [
        ("original length", f"{run.original_length:,} tokens"),
        ("target length", f"{run.target_length:,} tokens"),
        ("documents", f"{len(documents)}"),
        ("records", f"{len(run.records):,}, with {scored:,} scored tokens"),
        ("averaging", "over tokens: each scored token counts once"),
    ]
    return {
        "facts": facts,
        "documents": documents,
        "plans": [_plan(name, plan) for name, plan in run.plans.items()],
        "commands": _commands(run),
    }


def _said(run: Run, fact: str) -> str:
    """What run.json or the records say; more than one value is shown as such, because it matters."""
    if fact in run.facts:
        return str(run.facts[fact])
    return ", ".join(sorted({str(record.facts[fact]) for record in run.records if fact in record.facts}))


def _commands(run: Run) -> list[str]:
    made = run.facts.get("command")
    return [str(made) if made else "ropewalk demo -o RUN", "ropewalk report RUN", "ropewalk report RUN --json"]


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
