"""`fit`: search a family for the plan that reads furthest, choose on other documents, report on a third set."""

import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from ropewalk.checkpoints.files import write_file
from ropewalk.checkpoints.fingerprint import versions
from ropewalk.checkpoints.runs import one_writer
from ropewalk.errors import BadLength, BadOption, OutOfMemory, UnknownName
from ropewalk.jobs.fit.compare import FITTED, baselines, bits_by_token, keep_report, read_report, report_path
from ropewalk.jobs.fit.family import Space, get_family
from ropewalk.jobs.fit.objective import Item, Sets, answer_items, far_items, gradient, losses
from ropewalk.jobs.fit.result import FitResult
from ropewalk.jobs.fit.search import SearchStep, descend, evolve
from ropewalk.jobs.fit.state import CHOICE, LEAST, REPORT, SAFETY, Budget, SearchState, load_state, state_path
from ropewalk.measure.documents import Document
from ropewalk.measure.faults import attempt
from ropewalk.measure.records import ids_hash
from ropewalk.measure.tables import edges_of
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.schedule import CAUSAL, Dynamic
from ropewalk.scaling.spec import ModelSpec

OPTIMISERS = ("gradient", "cma")
OBJECTIVES = ("far", "answers")
BATCH = 2  # documents a step
PATIENCE = 6  # looks at the choosing documents without progress


@dataclass(frozen=True)
class Fit:
    """What to search, and how.

    factor: s.  family: of `families()`.  causal: fit one rule for the causal schedule, `grid` steps per octave.
    objective: "far", the loss beyond the original length, or "answers", of pass keys alone.
    short_weight: how much the loss within the original length counts besides.
    budget: seconds for everything: loading, search and comparison.
    """

    factor: float
    family: str = "monotone"
    causal: bool = False
    grid: int = 8
    optimiser: str = "gradient"
    objective: str = "far"
    short_weight: float = 0.0
    budget: float = 300.0
    layers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, value, known in (("optimiser", self.optimiser, OPTIMISERS), ("objective", self.objective, OBJECTIVES)):
            if value not in known:
                raise UnknownName(kind, value, known)
        if not self.factor > 1:
            raise BadLength(f"factor is {self.factor:g}; there is nothing to fit unless the window grows.")
        if not (self.short_weight >= 0 and math.isfinite(self.short_weight)):
            raise BadOption(f"short_weight is {self.short_weight:g}; it must be a number of 0 or more.")
        if not self.budget > 0:
            raise BadOption(f"budget is {self.budget:g} s; it must be more than 0.")
        family = get_family(self.family)
        family.check(dynamic=self.causal)
        if self.short_weight and family.must_be_dynamic:
            raise BadOption(
                f"short_weight is {self.short_weight:g}, and {self.family} changes nothing within the original length.\n"
                "  Leave it out (--short-weight): it is for plans of one scale, which pay there."
            )


def one_layer_type(spec: ModelSpec, layers: Sequence[str]) -> str:
    chosen = tuple(layers) or spec.stretchable
    if len(chosen) != 1:
        raise BadOption(
            f"a fit moves one layer type at a time; this model has {', '.join(chosen) or 'none'}. Name one: layers (--layers)."
        )
    make_plan(spec, factor=1, method="linear", layer_types=tuple(layers) or None)  # it refuses models that only slide
    return chosen[0]


def own_softmax(spec: ModelSpec, layer_type: str) -> float:
    """softmax_mscale of the model's own yarn: latent attention was trained with it, and a search leaves it."""
    own = dict(spec.scaling).get(layer_type)
    stated = dict(own.options).get("softmax_mscale", 0.0) if own else 0.0
    return float(stated)  # type: ignore[arg-type]


def run_fit(
    model: Any, tokenizer: Any, fingerprint: str, spec: ModelSpec, fit: Fit, sets: Sets, out: Path, name: str,
    progress: Progress = SILENT,
    *, force: bool = False, started: float | None = None,
) -> FitResult:  # fmt: skip
    """Search, choose and report; writes `out` whenever a better plan is found, and the state of the search beside it.

    fingerprint: of the weights.  name: of the model, for the plan.
    started: when the budget began to run, on time.monotonic's clock; now, where none is given.
    """
    budget = Budget(fit.budget, time.monotonic() if started is None else started)
    search = _Search(model, tokenizer, spec, fit, sets, out, name, progress, budget)
    with one_writer(out.with_name(f".{out.stem}.fit.lock"), out):
        search.begin(fingerprint, force=force)
        search.run()
        return search.report()


STEPS, LOOK = 8, 4  # of the least search that is begun; after so many the documents that choose are looked at
# Plain readings of the target length that it takes: a document with its gradient under near distances is 5 to 6.4 (processor
# time, 1,024 to 4,096 tokens), and three starts are timed and read on four documents, at up to 1.3 each.
READINGS = STEPS * BATCH * 8 + 20


def search_plan(
    model: Any, tokenizer: Any, fingerprint: str, spec: ModelSpec, fit: Fit, sets: Sets, out: Path, name: str,
    progress: Progress = SILENT,
) -> tuple[ScalingPlan, SearchState]:  # fmt: skip
    """The search alone, for who compares its plan with others himself: nothing is read of a third set, and nothing beside it.

    fit.budget: seconds for all runs of this search together: one that was interrupted has what is left of them.
    """
    budget = Budget(fit.budget)
    search = _Search(model, tokenizer, spec, fit, replace(sets, report=()), out, name, progress, budget)

    def go() -> None:
        search.begin(fingerprint, force=not state_path(out).exists())  # a plan alone was left by a process that was killed
        budget.limit -= search.earlier
        search.run()

    with one_writer(out.with_name(f".{out.stem}.fit.lock"), out):
        if attempt(go) is None:
            raise OutOfMemory(
                f"a step of the search does not fit into memory: {search.target:,} tokens with their gradients.\n"
                "  Ask for a shorter target (--to), or use a larger device."
            )
    return search.plan(search.state.u), search.state


class _Search:
    def __init__(
        self, model: Any, tokenizer: Any, spec: ModelSpec, fit: Fit, sets: Sets, out: Path, name: str,
        progress: Progress, budget: Budget,
    ):  # fmt: skip
        self.model, self.fit, self.sets, self.out, self.name, self.progress = model, fit, sets, out, name, progress
        self.budget, self.stage = budget, ""
        self.layer = one_layer_type(spec, fit.layers)
        rope = spec.rope(self.layer)
        self.original, self.target = rope.original_length, round(rope.original_length * fit.factor)
        if self.target <= self.original:
            raise BadLength(
                f"factor is {fit.factor:g}, by which {self.original:,} tokens become {self.target:,}: there is nothing to "
                "fit unless the window grows.\n  Ask for a larger factor (--factor), or for a target length (--to)."
            )
        dynamic, family = Dynamic(CAUSAL, fit.grid) if fit.causal else None, get_family(fit.family)
        self.space: Space = family.space(rope, fit.factor, dynamic).keeping(own_softmax(spec, self.layer))
        self.others = baselines(spec, fit.factor, [self.layer], name, family.rivals) if sets.report else {}
        self.items = self._items(tokenizer, sets.fit, fit.seed)
        self.choosing = self._items(tokenizer, sets.choose, fit.seed + len(sets.fit))  # no key that was fitted on
        self.reported, self.earlier = len(sets.report), 0.0  # seconds of earlier runs
        self.state: SearchState

    def _items(self, tokenizer: Any, documents: Sequence[Document], seed: int) -> list[Item]:
        if self.fit.objective == "answers":
            return answer_items(tokenizer, documents, self.target, seed)
        return far_items(documents, self.original, self.fit.short_weight)

    def plan(self, u: Sequence[float]) -> ScalingPlan:
        return ScalingPlan(((self.layer, self.space.stretch(u)),), self.target, self.name)

    def begin(self, fingerprint: str, *, force: bool) -> None:
        """Take up an earlier search, or measure the start and the plans that need none."""
        key = {
            **dataclasses.asdict(self.fit),
            "layers": [self.layer],
            "model": fingerprint,
            "versions": versions(),
            "documents": self._hash(),
        }
        del key["budget"]
        found = load_state(self.out, key, force=force)
        self._tell("timing a reading", 0.0)
        self.budget.reading = self._time_one()
        if found:
            self.state, self.earlier = found, found.seconds
            self.choosing = self.choosing[: found.choosing]
        else:
            self._measure_starts(key)
        self.reported = self.budget.room(REPORT, len(self.others) + 1, len(self.sets.report), "room kept for the report")

    def _measure_starts(self, key: dict[str, Any]) -> None:
        starts = self.space.starts
        plans = {**self.rivals, **{f"start {i + 1}": self.plan(u) for i, u in enumerate(starts)}}
        self.choosing = self.choosing[: self.budget.room(CHOICE, len(plans), len(self.choosing), "the choice reads")]
        measured, began = {}, self.budget.seconds
        for i, (name, plan) in enumerate(plans.items()):
            self._tell(f"choosing documents under {name}", i / len(plans))
            measured[name] = self._loss(plan)
        self.budget.reading = (self.budget.seconds - began) / (len(plans) * len(self.choosing))
        losses = [measured.pop(f"start {i + 1}") for i in range(len(starts))]
        if not any(map(math.isfinite, losses)):
            raise BadOption("the loss is not a number wherever this family starts: look at the model or its dtype first.")
        best = min(range(len(starts)), key=lambda i: losses[i] if math.isfinite(losses[i]) else math.inf)
        self.state = SearchState(key, starts[best], losses[best], measured, len(self.choosing))
        self._save()

    @property
    def rivals(self) -> dict[str, ScalingPlan]:
        """What the fit must beat to be returned: static plans, and causal ones if it is causal itself."""
        return {name: plan for name, plan in self.others.items() if self.fit.causal or not plan.is_dynamic}

    def run(self) -> None:
        """Until the budget is spent but for the report, or nothing gets better."""
        before, worse, began = self.state.steps, 0, self.budget.seconds
        every = LOOK if self.fit.optimiser == "gradient" else 2
        kept = self.budget.reading * (self.reported * (len(self.others) + 1) * SAFETY + len(self.choosing))
        for step in self._steps():
            self.state.steps += 1
            self.state.dropped += step.dropped
            took, began = self.budget.seconds - began, self.budget.seconds
            is_last = self.budget.left < kept + took
            if (self.state.steps - before) % every == 0 or is_last:
                worse = 0 if self._look(step) else worse + 1
            if worse >= PATIENCE or is_last:
                break
            done = min((self.budget.seconds + kept) / self.budget.limit, 1.0)
            self._tell("searching", done)
        self._save()

    def _tell(self, what: str, done: float) -> None:
        """What is being done, how far that is, and the best plan's loss on the choosing documents."""
        if what != self.stage:
            self.progress.begin(what, 1.0, found=done > 0)
            self.stage = what
        self.progress.reach(done)
        if hasattr(self, "state"):  # before anything was measured there is nothing to say of it
            best = f"{self.state.steps} steps, best {self.state.loss:.4f} nats" if self.state.steps else ""
            dropped = f"{self.state.dropped} candidates dropped" if self.state.dropped else ""
            self.progress.say(", ".join(filter(None, [best, dropped])))

    def _look(self, step: SearchStep) -> bool:
        """Is this point better than the best, on the documents that choose? Whatever the answer, the state is saved."""
        loss = self._loss(self.plan(step.u)) if math.isfinite(step.loss) else math.nan
        better = loss < self.state.loss
        if better:
            self.state.u, self.state.loss = list(step.u), loss
        self._save()
        return better

    def _save(self) -> None:
        self.state.seconds = self.earlier + self.budget.seconds
        write_file(self.out, self.plan(self.state.u).to_json())
        self.state.save(state_path(self.out))

    def _steps(self) -> Iterator[SearchStep]:
        if self.fit.optimiser == "cma":
            return evolve(self.space, self.state.u, self._candidates, seed=self.fit.seed)
        return descend(self.space, self.state.u, self._gradient)

    def _batch(self, number: int) -> list[Item]:
        return [self.items[(BATCH * number + i) % len(self.items)] for i in range(BATCH)]

    def _gradient(self, u: Any, number: int) -> tuple[float, Any]:
        return gradient(self.model, self.plan(u.tolist()), self.space, u, self._batch(number))

    def _candidates(self, points: Sequence[Sequence[float]], number: int) -> list[float]:
        return [sum(losses(self.model, self.plan(u), self._batch(number))) / BATCH for u in points]

    def _loss(self, plan: ScalingPlan) -> float:
        found = losses(self.model, plan, self.choosing)
        return sum(found) / len(found)

    def _time_one(self) -> float:
        start = time.monotonic()
        losses(self.model, self.plan(self.space.starts[-1]), self.choosing[:1])
        return time.monotonic() - start

    def _hash(self) -> str:
        parts = [ids_hash(d.ids) for part in (self.sets.fit, self.sets.choose, self.sets.report) for d in part]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def report(self) -> FitResult:
        fitted = self.plan(self.state.u)
        plans = {FITTED: fitted, **self.others}
        bits = self._read(plans)
        self.budget.note_excess()
        chosen = {FITTED: self.state.loss, **self.state.losses}
        winner = min(chosen, key=lambda name: chosen[name])
        edges = edges_of(self.original, self.target)
        write_file(self.out, plans[winner].to_json())
        kept = report_path(self.out)
        keep_report(kept, self.sets.report, bits, self.original, edges, {n: plan.fingerprint for n, plan in plans.items()})
        return FitResult(
            plans[winner], winner, read_report(kept).compared(), edges, chosen, fitted, self.state.steps,
            self.state.dropped, self.budget.seconds,
            {"fit": len(self.sets.fit), "choose": len(self.choosing), "report": len(bits[FITTED])},
            tuple(self.budget.notes), str(kept), str(self.out),
        )  # fmt: skip

    def _read(self, plans: Mapping[str, ScalingPlan]) -> dict[str, numpy.ndarray]:
        """Bits of every token, document by document under all plans, until all are read or another would exceed the budget."""
        rows: dict[str, list[numpy.ndarray]] = {name: [] for name in plans}
        for i, document in enumerate(self.sets.report):
            began = self.budget.seconds
            for name, plan in plans.items():
                rows[name].append(bits_by_token(self.model, plan, document))
            done = (i + 1) / len(self.sets.report)
            self._tell("reporting", done)
            if i + 1 >= LEAST and self.budget.left < self.budget.seconds - began:
                break
        return {name: numpy.stack(each) for name, each in rows.items()}
