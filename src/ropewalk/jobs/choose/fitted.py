"""A fitted plan among the candidates: made on documents that neither choose nor are reported on, where there is time for it.

Jobs do not import one another: the search itself is handed in.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.checkpoints import runs
from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig, RopewalkError, first_line
from ropewalk.jobs.choose.candidates import FITTED, candidates
from ropewalk.jobs.choose.texts import FEWEST_OF_THREE
from ropewalk.measure.documents import Document
from ropewalk.progress import Progress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.units import spoken

SCHEMA = "ropewalk.choose-fit/1"
PLACE, RECORD = Path("fit", "plan.json"), "fit.json"  # in the run's folder, and beside that
SHARE = 0.2  # of the budget, at most
FITTING = "fitting"  # in run.json: the documents of the fit


@dataclass(frozen=True)
class ToFit:
    """What a search is given.

    documents: that it may see, each of `target` tokens.
    out: the file of its plan; beside it lies whatever it needs to go on.
    """

    model: Any
    tokenizer: Any
    fingerprint: str
    spec: ModelSpec
    name: str
    documents: Sequence[Document]
    target: int
    seed: int
    out: Path
    progress: Progress


@dataclass(frozen=True)
class Fitted:
    """seconds: of all runs of the search together."""

    plan: ScalingPlan
    steps: int
    seconds: float


@dataclass(frozen=True)
class Fitter:
    """A search, as whoever hands it in describes it.

    run: (what, seconds for all runs of it together) -> a plan. Raises RopewalkError for a model that it cannot fit.
    readings: what the least search that is begun costs, in plain readings of the target length.
    like: a plan's name: an engine that cannot be given that can be given none that is fitted.
    """

    run: Callable[[ToFit, float], Fitted]
    readings: float
    like: str


@dataclass(frozen=True)
class Outcome:
    """plan: None where none was made, and why not.  seconds: that it took.  note: a sentence for people."""

    plan: ScalingPlan | None
    seconds: float
    note: str


def why_not(
    fitter: Fitter, documents: int, spec: ModelSpec, target: int, config: Mapping[str, Any], engines: Sequence[str],
    names: Collection[str], there: Mapping[str, Any] | None,
) -> str:  # fmt: skip
    """Why no documents are kept for a fit, whatever the budget is; empty where they are.

    names: of the user's plans.  there: what the folder's run.json says.
    """
    if documents < FEWEST_OF_THREE:
        return f"three sets of texts take {FEWEST_OF_THREE} of the target length, and there are {documents}"
    if FITTED in names:
        return f"a plan that is given has the name {FITTED}"
    if there is not None and FITTING not in there:
        return "this run was begun without documents for it; one in another folder (-o) has some"
    like = candidates(spec, target, config, methods=[fitter.like], engines=engines)[-1] if engines else None
    return f"{', '.join(like.refused)} cannot be given such a plan" if like and like.refused else ""


def fitted_plan(fitter: Fitter, given: ToFit, budget: float, reading: Callable[[], float]) -> Outcome:
    """The plan that an earlier run made, or a new one where `SHARE` of the budget holds the least search.

    reading: seconds of a plain reading of the target length.
    Why none was made is kept too, and asked again with a larger budget alone, so that a run that goes on decides alike.
    """
    record = given.out.with_name(RECORD)
    kept = runs.read(record) if record.exists() else {}
    if kept.get("plan") or (kept.get("why") and budget <= kept["budget"]):
        return _outcome(kept, given)
    if not kept or kept.get("why"):  # one that was interrupted had room
        needed = fitter.readings * reading()
        if needed > SHARE * budget:
            why = (
                f"a search takes {spoken(needed)} at least on this machine, and this budget has {spoken(SHARE * budget)} for "
                f"it; {math.ceil(needed / SHARE)}s have room for one (--budget)"
            )
            return _outcome(_keep(record, budget, why=why), given)
    _keep(record, budget)
    return _outcome(_made(fitter, given, budget, record), given)


def _made(fitter: Fitter, given: ToFit, budget: float, record: Path) -> dict[str, Any]:
    began = time.monotonic()
    try:
        found = fitter.run(given, SHARE * budget)
    except RopewalkError as error:
        return _keep(record, budget, why=first_line(error).rstrip("."), seconds=time.monotonic() - began)
    write_file(given.out, found.plan.to_json())
    return _keep(record, budget, plan=found.plan.fingerprint, steps=found.steps, seconds=found.seconds)


def _keep(record: Path, budget: float, **said: Any) -> dict[str, Any]:
    found = {"schema": SCHEMA, "budget": budget, **said}
    write_file(record, json.dumps(found, indent=2) + "\n")
    return found


def _outcome(kept: dict[str, Any], given: ToFit) -> Outcome:
    seconds = float(kept.get("seconds", 0.0))
    if not kept.get("plan"):
        return Outcome(None, seconds, f"no plan was fitted: {kept['why']}.")
    plan = ScalingPlan.from_json(given.out.read_text(encoding="utf-8"))
    if plan.fingerprint != kept["plan"]:
        raise BadConfig(
            f"{given.out} is not the plan that was fitted here: its fingerprint is {plan.fingerprint}, and "
            f"{kept['plan']} is written in {RECORD}.\n  Put it back, or choose another folder (-o)."
        )
    note = (
        f"{FITTED} is {plan.name}, {kept['steps']} steps of a search that took {spoken(seconds)}, on {len(given.documents)} "
        "documents that neither choose nor are reported on."
    )
    return Outcome(plan, seconds, note)
