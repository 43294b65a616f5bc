"""An evaluation from a request to a run folder: run.json, plans/, records/, report.html.

run.json is written before anything is measured, every record as soon as it is there, and the report last. So a run that is
killed at any moment goes on when it is asked for again, and ends with the same records.
"""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ropewalk.checkpoints import runs
from ropewalk.checkpoints.files import write_file
from ropewalk.engines.transformers.checkpoint import local_checkpoint
from ropewalk.errors import BadConfig, BadOption, CannotAttach, Mismatch, NotFinite, RopewalkError
from ropewalk.jobs.evaluate.in_turn import Clock, PlanShare, clear, foretold, read_turns, read_until_clear, turns
from ropewalk.jobs.evaluate.prepare import Prepared, prepare
from ropewalk.jobs.evaluate.request import RUN, SCHEMA, EvalRequest
from ropewalk.jobs.evaluate.result import REPORT, Outcome
from ropewalk.jobs.evaluate.workers import Workers
from ropewalk.jobs.report.page import write_report
from ropewalk.measure.faults import BatchSize, Say
from ropewalk.measure.pace import TRIED, pace, units
from ropewalk.measure.passes import bodies, measure, versions, wanted_passes, window_measurements
from ropewalk.measure.records import Record, Records
from ropewalk.measure.retrieval import Asker, sample_key
from ropewalk.measure.speed import measure_speed, speed_keys
from ropewalk.measure.tax import BaseStates, record_tax, tax_measurements
from ropewalk.measure.window import WindowPlan
from ropewalk.models.attach import attach
from ropewalk.models.load import check_tokenizer
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.plan import ScalingPlan

UNCHANGED = "none"  # pays no tax
PROBES = 50  # readings to see how fast this machine is, as part of a run's whole work: below that, none is made
Advance = Callable[[float], None]


def run_folders(out: Path, models: Sequence[str]) -> list[Path]:
    """One model's run is `out` itself; several get a folder each below it, named after them."""
    if len(models) == 1:
        return [out]
    names = [re.sub(r"[^\w.-]+", "--", Path(m).name if _is_local(m) else m).strip("-.") for m in models]
    if len(set(names)) < len(names) or not all(names):
        raise BadOption(
            f"two models would share a folder below {out}: {', '.join(names)}. Evaluate them into folders of their own."
        )
    return [out / name for name in names]


def _is_local(model: str) -> bool:
    return local_checkpoint(model) is not None


def evaluate(
    out: Path, request: EvalRequest, progress: Progress = SILENT, workers: Workers | None = None, source: Source | None = None
) -> Outcome:
    """Measure what `request` asks for into `out`, and write its report.

    source: the model, where it is a live one; else it is found by `request.model`.
    """
    workers = workers or Workers()
    source = source or Source(
        request.model, tokenizer=request.tokenizer, original_length=request.original_length, progress=progress
    )
    say, began = progress.note, time.monotonic()
    device, dtype = source.placement(request.device, request.dtype)
    request = replace(request, device=device, dtype=dtype)
    prepared = prepare(request, source, say)
    if request.stop_early:
        _check_stop_early(prepared, workers)
    if request.budget is not None:
        _check_budget(request.budget, workers)
    for note in prepared.notes:
        say(note)
    with ExitStack() as held:

        def begin() -> None:
            if workers.is_first:
                held.enter_context(runs.one_writer(out / runs.LOCK))
                runs.settle(out / RUN, SCHEMA, prepared.facts(), write=False, grows=prepared.grows, names=runs.NAMES)
                _check_drawn(prepared, Records(out / "records"))
            runs.settle(out / RUN, SCHEMA, prepared.facts(), grows=prepared.grows, names=runs.NAMES)

        workers.first_alone(begin)
        return _evaluate(out, request, prepared, workers, progress, began)


def _check_drawn(prepared: Prepared, records: Records) -> None:
    """Raises BadConfig for answers to questions that are not among those of this run: of texts that were others then.

    What samples are hidden in is no part of run.json: a whole folder of texts, of which a few are read as documents.
    """
    asked = [sample_key(prepared.model_hash, plan, s) for plan in prepared.plans.values() for s in prepared.samples]
    others = [record for record in records.beside(asked) if "task" in record.facts]
    if others:
        tasks = ", ".join(sorted({record.key.protocol for record in others}))
        raise BadConfig(
            f"{records.folder.parent} holds answers ({len(others)}) to other samples of {tasks} than are drawn now: the texts "
            "they are hidden in, or the questions, are others since.\n"
            "  Counted together they would be paired with nothing. Put the old texts back, or choose another folder (-o)."
        )


def _evaluate(
    out: Path, request: EvalRequest, prepared: Prepared, workers: Workers, progress: Progress, began: float
) -> Outcome:
    """Into a folder that is this run's own."""
    say = progress.note
    if workers.is_first:
        for name, plan in prepared.plans.items():
            write_file(out / "plans" / f"{name}.json", plan.to_json())
    records = Records(out / "records")
    parts = [_part(prepared, plan, workers) for plan in prepared.plans.values()]
    keys = [key for part in parts for key in part.keys(prepared.model_hash)]
    found = sum(key in records for key in keys)
    if found:
        say(f"{found} of {len(keys)} measurements are there already.")
    model = _load(prepared) if found < len(keys) else None  # a stage of its own, and so before the next
    budget = request.budget
    now = time.monotonic()
    total = max(budget - (now - began), 1.0) if budget else sum(part.cost for part in parts)
    progress.begin(f"measuring {request.model}", total, found=found > 0 and not budget)

    def beat(cost: float) -> None:
        workers.beat()
        if budget:
            progress.reach(min(time.monotonic() - now, total))
        else:
            progress.advance(cost)

    failures = _measure(prepared, model, parts, records, beat, say, began) if model is not None else []
    workers.finish()
    measured = _measured(prepared, records)
    if workers.is_first and measured:
        write_report(out / REPORT, measured, prepared.plans)
    return Outcome(out, prepared, measured, found, failures)


def _check_stop_early(prepared: Prepared, workers: Workers) -> None:
    if len(prepared.plans) < 2 or not prepared.protocols or any(protocol.corpus for protocol in prepared.protocols):
        raise BadOption(
            "stopping early compares other plans with the first, document by document: name two or more methods and protocols "
            "that read documents one by one."
        )
    if workers.world > 1:
        raise BadOption("stopping early looks at documents one after another: run it in one process, without torchrun.")


def _check_budget(budget: float, workers: Workers) -> None:
    if not budget > 0:
        raise BadOption(f"budget is {budget:g} s; it must be more than 0.")
    if workers.world > 1:
        raise BadOption("a budget looks at one clock after each document: run it in one process, without torchrun.")


def _part(prepared: Prepared, plan: ScalingPlan, workers: Workers) -> PlanShare:
    bos = prepared.tokenizer.bos_token_id
    wanted = wanted_passes(prepared.protocols, prepared.documents, plan, bos=bos)
    texts = bodies(prepared.documents, bos)
    passes = window_measurements(
        prepared.model_hash, plan, wanted.passes, texts, bos=bos, tokenizer_hash=prepared.tokenizer_hash
    )
    tax = tax_measurements(prepared.model_hash, plan, prepared.documents)
    unchanged = plan.name == UNCHANGED or isinstance(plan, WindowPlan)
    speed = speed_keys(prepared.model_hash, plan, prepared.lengths[-1])
    return PlanShare(
        plan,
        workers.share(list(passes)),
        workers.share(tax) if prepared.request.tax and not unchanged else [],
        workers.share(prepared.samples, group=lambda sample: sample.index),  # an index has one haystack, read once
        speed if prepared.request.speed and workers.is_first and not isinstance(plan, WindowPlan) else [],
    )


def _load(prepared: Prepared) -> Any:
    request = prepared.request
    model = prepared.source.load(device=request.device, dtype=request.dtype, attention=request.attention)
    check_tokenizer(prepared.tokenizer, model, request.tokenizer or request.model)
    return model


def _measure(
    prepared: Prepared, model: Any, parts: Sequence[PlanShare], records: Records, advance: Advance, say: Say, began: float
) -> list[str]:  # fmt: skip
    """What could not be measured, plan by plan. Raises only where nothing could, or where going on makes no sense."""
    request = prepared.request
    facts = {**versions(model), "device": request.device}
    batch, bases = BatchSize(request.batch, say), BaseStates()
    asker = Asker(model, prepared.model_hash, prepared.material, records, batch, facts, request.gap, say)
    failures = _cannot_attach(model, parts, say)  # told before anything is read: that may take hours
    parts = [part for part in parts if part.plan.fingerprint not in failures]
    if not parts:
        raise next(iter(failures.values()))
    names, plans = [d.name for d in prepared.documents], [part.plan.fingerprint for part in parts]

    def one(part: PlanShare) -> None:
        if part.plan.fingerprint in failures:
            return
        try:
            measure(model, part.plan, part.passes, records, advance, batch=batch)
            record_tax(model, part.plan, part.tax, records, facts, advance, bases)
            asker.ask(part.plan, part.samples, advance)
        except (NotFinite, CannotAttach, Mismatch) as error:
            failures[part.plan.fingerprint] = error
            say(f"{part.plan.name} is given up: {error}")

    def missing(part: PlanShare) -> float:
        return part.missing(prepared.model_hash, records).cost

    def is_clear(read: Sequence[str]) -> bool:
        left = [plan for plan in plans if plan not in failures]  # without the first there is nothing to tell others from
        compared = request.stop_early and len(left) > 1 and left[0] == plans[0]
        return compared and clear(left, read, prepared.protocols[0], records)

    turn = next(turns(parts, names, request.seed))
    first, prompts, rate = sum(map(missing, turn)), sum(len(part.samples) for part in turn), 0.0
    left = sum(map(missing, parts))
    if request.budget is not None or left > PROBES * units(TRIED):
        rate = pace(model)
    if request.budget is not None:
        to_do = parts if _untimed(parts, records) else [replace(part, speed=[]) for part in parts]
        read_turns(to_do, names, request.seed, Clock(request.budget, began, rate), missing, one, is_clear, say)
    else:
        if told := foretold(left, rate, len(names), first, prompts):
            say(told)
        if request.stop_early and len(parts) > 1:
            read_until_clear(parts, names, request.seed, one, is_clear, advance, say)
            parts = [replace(part, passes=[]) for part in parts]
        for part in parts:
            one(part)
    if all(part.plan.fingerprint in failures for part in parts):
        raise next(iter(failures.values()))
    _speed(model, [part for part in parts if part.plan.fingerprint not in failures], records, facts, advance)
    return [str(error) for error in failures.values()]


def _cannot_attach(model: Any, parts: Sequence[PlanShare], say: Say) -> dict[str, RopewalkError]:
    """The plans that this model cannot take, by fingerprint."""
    failures: dict[str, RopewalkError] = {}
    for part in parts:
        try:
            attach(model, part.plan).undo()
        except (CannotAttach, Mismatch) as error:
            failures[part.plan.fingerprint] = error
            say(f"{part.plan.name} is given up: {error}")
    return failures


def _untimed(parts: Sequence[PlanShare], records: Records) -> bool:
    return any(key not in records for part in parts for key in part.speed)


def _speed(model: Any, parts: Sequence[PlanShare], records: Records, facts: dict[str, Any], advance: Advance) -> None:
    """Every plan's first repeat, then every plan's second, ... Where one is missing, all are measured again: speeds of another
    hour, or of another machine of the same kind, are not to be compared with those of now.
    """
    if not _untimed(parts, records):
        advance(sum(units(key.length) for part in parts for key in part.speed))
        return
    records.drop(key for part in parts for key in part.speed)
    warm: set[str] = set()
    for turn in zip_longest(*(part.speed for part in parts)):
        for part, key in zip(parts, turn, strict=True):
            if key is not None:
                with attach(model, part.plan) as attached:
                    records.add(measure_speed(model, attached, key, facts, warm=key.plan in warm))
                warm.add(key.plan)
            advance(units(key.length) if key is not None else 0)


def _measured(prepared: Prepared, records: Records) -> list[Record]:
    """Every record of this run's plans, whichever process made it, under the name that the run gives its plan."""
    names = {plan.fingerprint: name for name, plan in prepared.plans.items()}
    return [
        replace(record, key=replace(record.key, method=names[record.key.plan]))
        for record in records
        if record.key.plan in names
    ]
