"""A training run from end to end: prove, train stage by stage, evaluate, keep, export. Started again, it goes on."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ropewalk.checkpoints import files
from ropewalk.checkpoints.fingerprint import model_fingerprint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read as read_spec
from ropewalk.errors import BadConfig, NotFinite, RopewalkError, Stopped
from ropewalk.jobs.train import checkpoints as keep
from ropewalk.jobs.train.card import Done
from ropewalk.jobs.train.checkpoints import FREE, RUN, begin_or_compare
from ropewalk.jobs.train.data.index import Index, index_for
from ropewalk.jobs.train.data.packing import Packing, Rows
from ropewalk.jobs.train.export import MODEL, export, gather
from ropewalk.jobs.train.held_out import HeldOut, HeldOutLoss, as_reading, check_apart, is_flat, prepare, read
from ropewalk.jobs.train.log import Log, Tell, TrainEvent, TrainResult, open_log
from ropewalk.jobs.train.loop import Loop, Reached, make_optimizer
from ropewalk.jobs.train.parallel import Parallel, check_rotary, memory_in_words, one_run, parallel, telling
from ropewalk.jobs.train.preflight import Preflight, Proof, check
from ropewalk.jobs.train.recipe import Recipe
from ropewalk.jobs.train.setup import Trained, attending_by_layout, check_libraries, check_unpacked, set_up
from ropewalk.measure.tables import edges_of
from ropewalk.models.attach import Attached, attach
from ropewalk.models.load import load_tokenizer
from ropewalk.models.placement import AUTO, find_dtype
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress

KEPT = {"step": "stage_step", "updates": "updates", "tokens": "tokens", "skipped": "skipped", "thrown_away": "thrown_away"}


def train(
    recipe: Recipe, out: Path, watch: Tell, reading: Progress = SILENT, *, preflight_only: bool = False
) -> TrainResult:  # fmt: skip
    """Run a recipe in the folder `out`, or go on with what was begun there.  reading: told how far the texts are tokenised.

    Raises RopewalkError: BadConfig for libraries that are too old, and for data, plan or model other than those the run began
    with, Mismatch for a proof that fails, NotFinite for the third step in a row without numbers, OutOfMemory, Stopped where
    another process failed.
    """
    check_libraries()
    with (
        parallel(recipe.context, recipe.replicate, recipe.device) as processes,
        one_run(out, processes),
        telling(out, processes),
        memory_in_words(),
    ):
        if recipe.precision == AUTO:
            kind = find_dtype(AUTO, processes.device.partition(":")[0])
            recipe = Recipe.model_validate({**recipe.model_dump(), "precision": kind})
        tell = watch if processes.is_first else lambda event: None
        return _Run(recipe, out, processes, tell, reading).go(preflight_only)


@dataclass
class _Run:
    recipe: Recipe
    out: Path
    processes: Parallel
    watch: Tell
    reading: Progress = SILENT
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)

    def go(self, preflight_only: bool) -> TrainResult:
        recipe = self.recipe
        self.source = Source(recipe.model, progress=self.reading).folder
        config = read_config(self.source)
        check_unpacked(recipe.model, config)
        self.spec = read_spec(config, original_length=recipe.original_length)
        self.plans = [recipe.plan(stage, self.spec) for stage in recipe.stages]
        self.lengths = [
            recipe.row_length(stage, plan, self.processes.data) for stage, plan in zip(recipe.stages, self.plans, strict=True)
        ]
        self.original = min(stretch.rope.original_length for _, stretch in self.plans[0].stretches)
        self.edges = edges_of(self.original, max(plan.target_length for plan in self.plans))
        self.tokenizer = load_tokenizer(self.source)
        self.index = self._index()
        self.rows = [
            Rows(Packing(self.index, n, recipe.seed, long_share=s.long_share), s, plan.target_length, recipe.seed)
            for s, plan, n in zip(recipe.stages, self.plans, self.lengths, strict=True)
        ]
        self.held_out = self._held_out()
        self._begin()
        trained = set_up(self.source, recipe, self.processes)
        done = {} if preflight_only else self._resumed()
        log: Log = (
            open_log(self.out, (done.get("of_stage", -1), done.get("step", 0)), recipe.track)
            if self.processes.is_first and not preflight_only
            else lambda line: None
        )
        self.base = done.get("base") or self._base(trained)
        self.progress = Reached(done.get("stage", 0), **{name: done.get(key, 0) for name, key in KEPT.items()})
        for number in range(self.progress.stage, len(recipe.stages)):
            if not self._stage(trained, number, done if number == done.get("stage") else {}, log, preflight_only):
                return TrainResult(None, self.proofs, 0, 0, 0, [])
        return self._finish(trained, done)

    # Before anything is computed.

    def _index(self) -> Index:
        """The first process tokenises; the others find it done."""

        def make() -> Index:
            place, field = self.out / "data", self.recipe.text_field
            return index_for(self.recipe.data, self.tokenizer, place, self.reading, text_field=field)

        index = make() if self.processes.is_first else None
        self.processes.wait()
        return index or make()

    def _held_out(self) -> HeldOut | None:
        recipe = self.recipe
        if not recipe.held_out:
            return None
        check_apart(recipe.data, recipe.held_out)
        longest = max(plan.target_length for plan in self.plans)
        return prepare(
            self.tokenizer, recipe.held_out, recipe.text_field, longest, recipe.held_out_documents, recipe.passkeys,
            recipe.seed,
        )  # fmt: skip

    def _begin(self) -> None:
        """Write what this run is, or compare it with what was begun here. No checkpoint: nothing to go on with."""
        done = bool(keep.complete(self.out))
        mine = {
            "model": model_fingerprint(self.source), "data": self.index.fingerprint,
            "plans": [plan.fingerprint for plan in self.plans],
            "recipe": self.recipe.model_dump(mode="json", exclude=set(FREE)),
        }  # fmt: skip
        self.identity = begin_or_compare(self.out, mine, done=done, write=self.processes.is_first)
        if self.processes.is_first:
            keep.sweep(self.out)
            files.sweep(self.out / MODEL)
        self.processes.wait()

    def _resumed(self) -> dict[str, Any]:
        """The facts of the newest whole checkpoint."""
        found = keep.complete(self.out)
        facts = keep.read_facts(found[-1]) if found else {}
        if facts and facts["run"] != self.identity:
            raise BadConfig(f"{found[-1]} belongs to another run than {self.out / RUN} says. Remove one of them.")
        self.evaluations = list(facts.get("evaluations", []))
        return facts

    def _base(self, trained: Trained) -> float | None:
        """Nats inside the original window before anything: no plan, no training."""
        if not self.held_out:
            return None
        rope = next(iter(dict(self.plans[0].stretches).values()))
        assert rope.rope.original_length == self.original
        with attending_by_layout(trained.model), trained.scoring.installed():
            loop = self._loop(trained, 0, Reached())
            return read(loop, self.held_out.cut(self.original)).mean(0, self.original)

    # One stage.

    def _loop(self, trained: Trained, number: int, progress: Reached) -> Loop:
        stage = self.recipe.stages[number]
        return Loop(
            trained, self.recipe, stage, self.rows[number], self.edges, make_optimizer(trained, stage), progress
        )  # fmt: skip

    def _stage(self, trained: Trained, number: int, done: dict[str, Any], log: Log, preflight_only: bool) -> bool:
        plan, progress = self.plans[number], self.progress
        if not (done and progress.step):  # a stage begins anew, moments and all; what was read and thrown away adds up
            progress = self.progress = Reached(number, tokens=progress.tokens, thrown_away=progress.thrown_away)
        with (
            attach(trained.model, plan) as attached,
            attending_by_layout(trained.model),
            trained.scoring.installed(),
        ):
            loop = self._loop(trained, number, progress)
            self._prove(loop, attached)
            if preflight_only:
                return False
            if done:
                keep.load(keep.complete(self.out)[-1], trained, loop.optimizer)
                if not progress.step:
                    keep.begin(loop.optimizer, anew=True)
                self.watch(TrainEvent("resumed", {"step": done["step"], "of": self._steps}))
            self._train(loop, attached, log)
        return True

    def _prove(self, loop: Loop, attached: Attached) -> None:
        for proof in Preflight(loop, attached, self.out).proofs():
            self.proofs.append(proof)
            self.watch(TrainEvent("proof", dataclasses.asdict(proof)))
        if self.processes.is_first:
            files.write_file(
                self.out / "preflight.json", json.dumps([dataclasses.asdict(p) for p in self.proofs], indent=1) + "\n"
            )
        check(self.proofs)

    def _train(self, loop: Loop, attached: Attached, log: Log) -> None:
        now, stage = loop.progress, loop.stage
        before = self._before(now.stage)
        readings: list[HeldOutLoss] = [as_reading(e, self.edges) for e in self.evaluations if e["stage"] == now.stage]
        if self.held_out and now.step == 0:
            readings.append(self._evaluate(loop, before, log))
        while now.step < stage.steps:
            try:
                line = loop.step()
            except NotFinite as error:
                kept = keep.complete(self.out)
                raise NotFinite(
                    f"{error}\n  The last good checkpoint is {kept[-1] if kept else 'none: nothing was saved yet'}."
                ) from None
            at = before + now.step
            log({"at": at, **line})
            self.watch(TrainEvent("step", {"at": at, "of": self._steps, **line}))
            flat = False
            if self.held_out and (
                now.step == stage.steps or (self.recipe.evaluate_every and now.step % self.recipe.evaluate_every == 0)
            ):
                readings.append(self._evaluate(loop, at, log))
                flat = self.recipe.stop_when_flat and is_flat(readings)
            if flat or now.step == stage.steps or now.step % self.recipe.save_every == 0:
                self._save(loop, attached, before + (stage.steps if flat else now.step), flat)
            if flat:
                self.watch(TrainEvent("flat", {"at": at, "stage": now.stage}))
                break

    def _evaluate(self, loop: Loop, at: int, log: Log) -> HeldOutLoss:
        assert self.held_out
        assert self.base
        found = read(loop, self.held_out)
        rise = found.mean(0, self.original) / self.base - 1
        line = {
            "at": at, "stage": loop.progress.stage, "held_out": found.by_length, "passkeys": [found.hits, found.asked],
            "inside_window": found.mean(0, self.original), "rise_inside_window": rise, "sums": found.sums.tolist(),
        }  # fmt: skip
        self.evaluations.append(line)
        log({k: v for k, v in line.items() if k != "sums"})
        self.watch(TrainEvent("evaluation", line))
        self._alarm(at, loop.progress.stage)
        return found

    def _alarm(self, at: int, stage: int) -> None:
        """What the plan costs before its stage trains is no fault of training: static plans always do. Worse than that is."""
        assert self.base
        first, *later = (e["inside_window"] for e in self.evaluations if e["stage"] == stage)
        rise = (later[-1] / max(self.base, first) if later else first / self.base) - 1
        if rise > self.recipe.alarm:
            self.watch(TrainEvent("alarm" if later else "plan", {"at": at, "rise": rise, "allowed": self.recipe.alarm}))

    def _save(self, loop: Loop, attached: Attached, at: int, ends: bool) -> None:
        now, stage = loop.progress, loop.stage
        last = ends or now.step == stage.steps
        facts = {
            "step": at, "run": self.identity, "rotary": check_rotary(loop.trained.model, attached, self.processes),
            "stage": now.stage + 1 if last else now.stage, "stage_step": 0 if last else now.step, "of_stage": now.stage,
            "updates": now.updates, "tokens": now.tokens, "skipped": now.skipped, "thrown_away": now.thrown_away,
            "base": self.base, "evaluations": self.evaluations,
        }  # fmt: skip
        folder = keep.save(self.out, loop.trained, loop.optimizer, facts, self.recipe.keep)
        self.watch(TrainEvent("checkpoint", {"at": at, "folder": str(folder)}))

    # The end.

    def _finish(self, trained: Trained, done: dict[str, Any]) -> TrainResult:
        facts = keep.read_facts(keep.complete(self.out)[-1])
        if done.get("stage") == len(self.recipe.stages):  # everything was trained already: only the export is missing
            loop = self._loop(trained, -1, Reached())
            keep.load(keep.complete(self.out)[-1], trained, loop.optimizer)
        weights = gather(trained)
        said, failed = "", None
        if self.processes.is_first:
            try:
                told = Done(facts["step"], facts["tokens"], facts["thrown_away"], self.evaluations, self.base)
                said = export(self.source, self.recipe, self.plans[-1], weights, self.out, told)
            except RopewalkError as error:
                failed = error
        if self.processes.agree(failed is not None):
            raise failed or Stopped("the first process could not write the export; its message is above.")
        self.watch(TrainEvent("export", {"folder": str(self.out / MODEL), "said": said}))
        return TrainResult(
            self.out / MODEL, self.proofs, facts["step"], facts["tokens"], facts["thrown_away"],
            [{k: v for k, v in e.items() if k != "sums"} for e in self.evaluations], self.out,
        )  # fmt: skip

    @property
    def _steps(self) -> int:
        return self._before(len(self.recipe.stages))

    def _before(self, number: int) -> int:
        return sum(stage.steps for stage in self.recipe.stages[:number])
