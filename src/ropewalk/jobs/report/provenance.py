"""Where the numbers of a certificate come from: models, plans, versions, documents, and the words that say how."""

from collections.abc import Mapping
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


HOW = {
    "loss": [
        (
            "Loss by position",
            "-ln p of each token given all before it in its document, divided by ln 2. A token belongs to the bucket of its own "
            "position, 0 being BOS, which nothing predicts. A bucket is the sum over all documents divided by the number of "
            "tokens. Static and causal plans read a document once at the full length; other dynamic ones once per length, and a "
            "bucket comes from the shortest reading that covers it.",
        ),
        (
            "Its interval",
            "95 %: documents are drawn again with replacement (2,000 times), as documents differ far more than tokens do.",
        ),
        (
            "Ratios and differences",
            "Paired: the difference of two methods in each document, documents drawn again together. A ratio of perplexity is "
            "exp of the difference in nats.",
        ),
        (
            "Smallest detectable difference",
            "What these documents would show with 80 % power at a two-sided 5 % level, from how much the paired difference varies "
            "between documents.",
        ),
    ],
    "retrieval": [
        (
            "Percentage found",
            "An answer counts if greedy decoding gives it. Samples are the same for every method. The interval is Wilson's score "
            "interval. Answers in several parts score the share of parts found.",
        )
    ],
    "ruler": [
        (
            "Effective length",
            "The longest tested length whose mean over tasks passes the threshold. The interval of a mean joins the Wilson intervals of its "
            "tasks (Zou, Huang & Zhang 2009). The effective length has its interval from samples drawn again within each "
            "task and length (2,000 times), so its ends are tested lengths too. None: no length passes.",
        )
    ],
    "tax": [
        (
            "Short-context tax",
            "Loss with the plan less loss without it, on the same tokens of windows inside the original length; and the mean over "
            "positions of KL(base || extended) between the two distributions. Intervals over documents.",
        )
    ],
    "speed": [("Speed and memory", "Medians over repeats; prefill reads the whole length at once, decode writes one token at a time after it.")],
    "anchors": [
        (
            "Ratios beside published curves",
            "ln of the published perplexity over all tokens up to a length, divided by ln of that at the model's original length; for this "
            "run the mean loss over all tokens up to a length, divided likewise.",
        )
    ],
}  # fmt: skip


def how(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How each number shown was computed; nothing about sections that are not there."""
    return [line for section, lines in HOW.items() if certificate.get(section) for line in lines]
