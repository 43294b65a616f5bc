"""Where the numbers of a certificate come from: model, plans, versions and documents."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ropewalk.jobs.report.run_folder import Run
from ropewalk.measure.protocols import CORPUS
from ropewalk.measure.window import WindowPlan
from ropewalk.scaling.method import Option
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.stretch import Stretch

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
        "plans": [row for name, plan in run.plans.items() for row in _rows(name, plan)],
        "commands": [_made(run), "ropewalk report RUN", "ropewalk report RUN --json"],
    }


def _said(run: Run, fact: str) -> str:
    """What run.json or else the records say; more than one value is shown as such, because it matters."""
    told = {**run.facts.get("versions", {}), **run.facts}
    return str(told[fact]) if fact in told else ", ".join(sorted({str(r.facts[fact]) for r in run.records if fact in r.facts}))


def _made(run: Run) -> str:
    """The command that makes the records again, from what run.json says was asked for; RUN is this run's folder."""
    try:
        return _command(run, run.facts["asked"])
    except (KeyError, TypeError, ValueError, AttributeError):  # there is none, or it lacks something, or has another shape
        return "# run.json does not say how this run was asked for"


def _command(run: Run, asked: Mapping[str, Any]) -> str:
    lists = {name: ",".join(asked[name]) or "-" for name in ("methods", "protocols", "tasks")}
    values = {
        **lists,
        "lengths": ",".join(map(str, asked["lengths"])) or None,
        "depths": ",".join(f"{depth:g}" for depth in asked["depths"]),
        **{name: asked[name] for name in ("factor", "original_length", "documents", "samples", "seed", "tokenizer", "dtype")},
        **{name: asked[name] for name, usual in (("text_field", "text"), ("attention", "sdpa")) if asked[name] != usual},
    }
    flags = [part for name, value in values.items() if value is not None for part in (_flag(name), _word(value))]
    flags += [part for source in asked["data"] if asked["data"] != ["library"] for part in ("--data", source)]
    flags += [part for task, path in asked["questions"].items() for part in ("--questions", f"{task}={path}")]
    flags += [_flag(name) for name in ("strict", "gap", "ruler_compat", "chat", "stop_early") if asked.get(name)]
    flags += [f"--no-{name}" for name in ("tax", "speed") if not asked[name]]
    return shlex.join(["ropewalk", "eval", str(run.facts["model"]), *flags, *_plans(run, asked), "-o", "AGAIN"])


def _plans(run: Run, asked: Mapping[str, Any]) -> list[str]:
    """Saved plans, which lie in the run's folder; a window is asked for as a method."""
    given = [name for name, plan in run.plans.items() if name not in asked["methods"] and not isinstance(plan, WindowPlan)]
    return [part for name in given for part in ("--plan", f"RUN/plans/{name}.json")]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _rows(name: str, plan: ScalingPlan) -> Iterator[dict[str, str]]:
    """One for each stretch of a plan: layers of other kinds may be left as they are, or have another base."""
    layers: dict[Stretch, list[str]] = {}
    for kind, stretch in plan.stretches:
        layers.setdefault(stretch, []).append(kind)
    for stretch, kinds in layers.items():
        near = [f"near = {stretch.near:,}"] if stretch.near else []
        options = [*near, *(f"{key} = {_option(value)}" for key, value in stretch.options)]
        yield {
            "name": name if len(layers) == 1 else f"{name}: {', '.join(kinds)}",
            "factor": f"1 to {stretch.factor:g}" if stretch.dynamic else f"{stretch.factor:g}",
            "attention_factor": f"{stretch.scaled_by(stretch.largest_scale).attention_factor:.4f}",
            "options": ", ".join(options) or "defaults",
            "fingerprint": plan.fingerprint,
        }


def _option(value: Option) -> str:
    return f"{len(value)} numbers" if isinstance(value, tuple) else str(value)
