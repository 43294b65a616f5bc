"""Reads a run folder: run.json, plans/NAME.json and records/*.safetensors. Needs no model."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.files import called
from ropewalk.errors import BadConfig
from ropewalk.measure.records import Record, Records
from ropewalk.measure.window import METHOD, WindowPlan, read_plan
from ropewalk.scaling.plan import ScalingPlan

KINDS = {"protocols": list, "tasks": list, "documents": list, "data": list, "asked": dict, "versions": dict}  # in run.json
REFERENCE = "none"  # the model unchanged: what every method is compared with


@dataclass(frozen=True)
class Run:
    """What a report is made of.

    plans: by name, `none` first, dynamic last.  records: those of these plans, named as their plans are.
    facts: run.json, empty where there is none.  notes: what a reader should know about what was left out.
    """

    records: Sequence[Record]
    plans: Mapping[str, ScalingPlan]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def original_length(self) -> int:
        (_, stretch), *_ = next(iter(self.plans.values())).stretches
        return stretch.rope.original_length

    @property
    def target_length(self) -> int:
        return max(plan.target_length for plan in self.plans.values())

    @property
    def longest(self) -> int:
        """The longest length of anything measured: the plans may reach further than this run did."""
        return max(int(record.facts.get("length", record.key.length)) for record in self.records)

    @property
    def reach(self) -> int:
        """The longest reading of a document; the original length where none was as long."""
        read = [record.key.length for record in self.records if record.key.protocol == "window"]
        return max([self.original_length, *read])

    @property
    def model(self) -> str:
        return called(str(self.facts.get("model") or next(iter(self.plans.values())).model))

    @property
    def model_hash(self) -> str:
        return self.records[0].key.model


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises BadConfig for a folder that is no run, has no records, or has those of two models."""
    if not (folder / "records").is_dir() or not (folder / "plans").is_dir():
        raise BadConfig(
            f"{folder} is not a run: it needs the folders records/ and plans/.\n"
            "  `ropewalk eval` and `ropewalk demo` write such a folder; give the one that holds both."
        )
    plans = _plans(folder / "plans")
    records = list(Records(folder / "records"))
    if not records:
        raise BadConfig(
            f"{folder / 'records'} is empty: nothing has been measured yet. Run `ropewalk eval` or `ropewalk demo`."
        )
    return make_run(records, plans, run_facts(folder), folder)


def make_run(
    records: Iterable[Record], plans: Mapping[str, ScalingPlan], facts: Mapping[str, Any] | None = None, folder: Path = Path()
) -> Run:
    """Records belong to a plan by its fingerprint and take its name; what belongs to no plan here is left out and counted."""
    records = list(records)
    _one_model(records, folder)
    if nameless := [r for r in records if r.key.protocol in ("window", "tax") and r.facts.get("document") is None]:
        raise BadConfig(f"the record {nameless[0].key.name} in {folder} names no document. Delete its file and run again.")
    plans = dict(sorted(plans.items(), key=lambda item: method_order(item[0])))
    names = {plan.fingerprint: name for name, plan in plans.items()}
    ours = [replace(r, key=replace(r.key, method=names[r.key.plan])) for r in records if r.key.plan in names]
    if not ours:
        raise BadConfig(
            f"no record in {folder}, of {len(records)}, belongs to a plan in plans/ ({', '.join(plans)}).\n"
            "  The plans were changed after the run; put the old ones back, or run again."
        )
    strangers = Counter(r.key.method for r in records if r.key.plan not in names)
    notes = [
        f"{count} records of another plan called {name} were left out; its plan is not in plans/."
        for name, count in sorted(strangers.items())
    ]
    return Run(ours, plans, facts or {}, notes)


def window_of(run: Run) -> str | None:
    """The row of the model unchanged on its last tokens."""
    return next((name for name, plan in run.plans.items() if isinstance(plan, WindowPlan)), None)


def method_order(name: str) -> tuple[bool, bool, bool, str]:
    """The model unchanged, also on its last tokens alone, then static methods, then dynamic ones."""
    return name != REFERENCE, not name.startswith(f"{METHOD}-"), name.startswith("dynamic"), name


def _plans(folder: Path) -> dict[str, ScalingPlan]:
    plans = {}
    for path in sorted(folder.glob("*.json")):
        try:
            plans[path.stem] = read_plan(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfig(f"{path} cannot be read: {error}") from None
        except BadConfig as error:
            raise BadConfig(f"{path}: {error}") from None
    if not plans:
        raise BadConfig(
            f"{folder} holds no plan. A record says only the fingerprint of its plan; the report needs the plan itself."
        )
    return plans


def run_facts(folder: Path) -> dict[str, Any]:
    """run.json of a run folder: what was asked for; empty where there is none, as in the demo's."""
    path = folder / "run.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadConfig(
            f"{path} cannot be read: {error}. Delete it: the report can be made of plans and records alone."
        ) from None
    if not isinstance(facts, dict):
        raise BadConfig(f"{path} holds {type(facts).__name__}, not an object. Delete it: plans and records are enough.")
    for name, kind in KINDS.items():
        if name in facts and not isinstance(facts[name], kind):
            found = type(facts[name]).__name__
            raise BadConfig(f"{path}: {name} is {found}, not {kind.__name__}. Delete it: plans and records are enough.")
    texts = {name: facts.get(name, []) for name in ("protocols", "tasks")}
    texts["documents"] = [isinstance(one, dict) and one.get("name") for one in facts.get("documents", [])]
    for name, found in texts.items():
        if not all(isinstance(one, str) for one in found):
            raise BadConfig(f"{path}: {name} has one without a name. Delete it: plans and records are enough.")
    return facts


def _one_model(records: Sequence[Record], folder: Path) -> None:
    models = Counter(record.key.model for record in records)
    if len(models) > 1:
        found = ", ".join(f"{model} ({count} record{'s' * (count != 1)})" for model, count in models.most_common())
        raise BadConfig(
            f"{folder} holds records of {len(models)} models: {found}.\n"
            "  A report is about one model. Give each its own folder: move the records of the other one, or delete them."
        )


def missing(run: Run) -> list[str]:
    """What a half-finished run still lacks, in words: what run.json asked for, and what some methods have and others not.

    A reading is known by its document and where it starts, as methods may need it at several lengths: then by the longest
    that any method has. Anything else is known by its length and item.
    """
    wanted, done = _asked(run), defaultdict(set)
    longest: dict[Any, int] = defaultdict(int)
    for record in run.records:
        wanted[record.key.protocol].add(_cell(record))
        longest[_cell(record)] = max(longest[_cell(record)], record.key.length)
    for record in run.records:
        if record.key.length == longest[_cell(record)]:
            done[record.key.method, record.key.protocol].add(_cell(record))
    return _not_begun(run) + [
        _lack(method, protocol, lacking, cells)
        for protocol, cells in sorted(wanted.items())
        for method in run.plans
        if (lacking := cells - done[method, protocol]) and not _pays_nothing(run, method, protocol)
    ]


def _pays_nothing(run: Run, method: str, protocol: str) -> bool:
    """Is there nothing to measure? The model unchanged has no tax, nor has its window, whose speed is not measured either."""
    return (protocol == "tax" and method == REFERENCE) or (protocol in ("tax", "speed") and method == window_of(run))


def _asked(run: Run) -> dict[str, set[Any]]:
    """The documents that run.json names, for protocols that read from the beginning of each."""
    whole = any(str(name).partition(":")[0] in ("position", "prefix", "sliding") for name in run.facts.get("protocols", ()))
    wanted: dict[str, set[Any]] = defaultdict(set)
    if whole:
        wanted["window"] = {(document["name"], 0) for document in run.facts.get("documents", ())}
    return wanted


def _not_begun(run: Run) -> list[str]:
    """Whole parts of the request without a single record; of a task that may also be because it fits no length."""
    begun = {record.key.protocol for record in run.records}
    payable = [part for part in ("tax", "speed") if not all(_pays_nothing(run, method, part) for method in run.plans)]
    asked = [*run.facts.get("tasks", ()), *(part for part in payable if run.facts.get(part))]
    return [f"nothing of {part} was measured yet" for part in asked if part not in begun]


def _cell(record: Record) -> Any:
    facts, protocol = record.facts, record.key.protocol
    if protocol == "window":
        return (facts["document"], facts.get("start", 0))
    if protocol == "speed":
        return (record.key.length, None)
    return (record.key.length, record.key.item)


def _lack(method: str, protocol: str, lacking: set[Any], cells: set[Any]) -> str:
    if protocol == "window":
        names, every = ({document for document, _ in some} for some in (lacking, cells))
        return f"{method} has not read {len(names)} of {len(every)} documents to the end: {_some(sorted(names))}"
    lengths = sorted({length for length, _ in lacking})
    return f"{method} lacks {len(lacking)} of {len(cells)} of {protocol}, at {_some([f'{n:,}' for n in lengths])} tokens"


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
