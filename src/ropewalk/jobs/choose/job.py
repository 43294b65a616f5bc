"""A choice from a request to a run folder: run.json, fit/, choosing/, records/, plans/, plan.json, choice.json, report.html.

Which documents choose, are reported on or fitted on is drawn before anything is read, and none does two of it. Every reading
is kept as soon as it is there, with the seconds it took; a run that goes on counts those again, and decides as it would have.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ropewalk.checkpoints import runs
from ropewalk.checkpoints.files import plain, write_file
from ropewalk.checkpoints.fingerprint import measured_by, versions
from ropewalk.errors import BadLength, BadOption
from ropewalk.jobs.choose.candidates import FITTED, NONE, OWN, WINDOW, Candidate, candidates
from ropewalk.jobs.choose.conclude import conclude, outcome, runner_up
from ropewalk.jobs.choose.fitted import FITTING, PLACE, Fitter, ToFit, fitted_plan, why_not
from ropewalk.jobs.choose.race import SLOWER, Race, Reading, TooLittle, race
from ropewalk.jobs.choose.reader import SECONDS, Reader
from ropewalk.jobs.choose.result import PLAN, REPORT, Asked, ChooseResult, Needless
from ropewalk.jobs.choose.texts import Shares, documents_of, questions, share_out
from ropewalk.jobs.report.headline import certificate, tiles
from ropewalk.jobs.report.loss import coarse_edges
from ropewalk.jobs.report.page import write_page
from ropewalk.jobs.report.run_folder import make_run
from ropewalk.measure.anytime import LEAST
from ropewalk.measure.documents import Document, describe
from ropewalk.measure.material import Material
from ropewalk.measure.pace import pace, units
from ropewalk.measure.protocols import Position, Prefix
from ropewalk.measure.records import Record, tokenizer_hash
from ropewalk.measure.task import Sample
from ropewalk.measure.texts import LIBRARY, TEXT_FIELD
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.units import spoken

SCHEMA = "ropewalk.choose/1"
RUN, CHOICE, CHOOSING = "run.json", "choice.json", "choosing"
SHARE = 0.55  # of the budget goes into choosing, the rest into the report
PROBED = 0.1  # of the budget, at most, goes into seeing what the model can be asked
KINDS = (
    ("passkey",),
    ("keys-1", "keys-2", "keys-4"),
    ("quote-1",),
)  # of each the hardest that the model can do, of two at most
ASKED, SKILL = 10, 0.6  # questions inside the window, and the share found there by a model that can do a task
REPORTED = 2  # documents that are reported on whatever the budget


@dataclass(frozen=True)
class Choice:
    """What is to be chosen.

    to: target length, tokens.  budget: seconds of measuring.  methods: only these.  engines: that must carry the plan.
    saved: further plans.  fitter: makes one more, of documents that do nothing else.
    retrieval: ask questions too, not only read.
    """

    to: int
    budget: float = 1200.0
    methods: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    saved: dict[str, ScalingPlan] = field(default_factory=dict)
    data: tuple[str, ...] = (LIBRARY,)
    text_field: str = TEXT_FIELD
    retrieval: bool = True
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "sdpa"
    fitter: Fitter | None = None


def run_choose(source: Source, asked: Choice, out: Path, progress: Progress = SILENT) -> ChooseResult | Needless:
    """Choose, report, and write both into `out`."""
    spec = source.spec
    original = max(spec.rope(name).original_length for name in spec.stretchable or dict(spec.ropes))
    if asked.to <= original:
        raise BadLength(
            f"the target (--to) is {asked.to:,} tokens, and the model was trained at {original:,}: there is nothing to "
            f"choose, it reads that as it is.\n  Ask for more than {original:,}. If the window is wrong, give "
            "original_length (--original-length)."
        )
    if not asked.budget > 0:
        raise BadOption(f"budget is {asked.budget:g} s; it must be more than 0.")
    found = _candidates(source, asked, asked.saved)
    progress.begin("reading texts")
    tokenizer = source.tokenizer()
    pool = documents_of(asked.to, original, tokenizer, asked.data, asked.text_field, asked.seed, progress)
    if isinstance(pool, Needless):
        return pool
    there = runs.read(out / RUN) if (out / RUN).exists() else None
    why = _why_not(source, asked, len(pool), there)
    shares = share_out(pool, asked.seed, fit=asked.fitter is not None and not why)
    job = _Job(source, asked, out, progress, original, found, tokenizer, shares, there or {})
    if not shares.fitting:
        _check_two(found)
    if why:
        job._note(f"no plan is fitted: {why}.")
    with runs.one_writer(out / runs.LOCK):
        return job.run()


def _check_two(found: Sequence[Candidate]) -> None:
    """Before anything is written, where no plan is to be fitted: a folder is the run's that was begun there."""
    able = [candidate.name for candidate in found if not candidate.refused]
    if len(able) < 2:
        why = "".join(f"\n  {c.name}: {title}: {why}" for c in found for title, why in c.refused.items())
        raise BadOption(
            f"a choice needs two plans at least, and there is {able[0]} alone.{why}\n  Name more methods (--methods)."
        )


def _candidates(source: Source, asked: Choice, saved: dict[str, ScalingPlan]) -> list[Candidate]:
    return candidates(
        source.spec, asked.to, source.config, methods=asked.methods, engines=asked.engines, saved=saved, model=source.name
    )  # fmt: skip


def _why_not(source: Source, asked: Choice, documents: int, there: dict[str, Any] | None) -> str:
    if asked.fitter is None:
        return ""
    return why_not(asked.fitter, documents, source.spec, asked.to, source.config, asked.engines, asked.saved, there)


@dataclass
class _Job:
    source: Source
    asked: Choice
    out: Path
    progress: Progress
    original: int
    found: list[Candidate]
    tokenizer: Any
    shares: Shares
    there: dict[str, Any]  # what run.json said
    spent: float = 0.0
    fitted: float = 0.0  # seconds, of what is spent
    turn: str = ""  # what is being done now, in words
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes += self.source.spec.warnings
        self.choosing, self.reporting = self.shares.choosing, self.shares.reporting

    def run(self) -> ChooseResult:
        asked = self.asked
        checkpoint = self.source.fingerprint(self.progress.note)
        self.hash, self.words = measured_by(checkpoint), tokenizer_hash(self.tokenizer)
        device, dtype = self.source.placement(asked.device, asked.dtype)
        facts = self._facts(checkpoint, device, dtype)
        runs.settle(self.out / RUN, SCHEMA, facts, write=False, names=runs.NAMES)
        self.progress.begin(self.source.loading)
        self.model = self.source.load(device=device, dtype=dtype, attention=asked.attention)
        self.facts = {"device": device}
        self.begun = (self.out / CHOOSING / SECONDS).exists()
        self._foresee()
        runs.settle(
            self.out / RUN, SCHEMA, facts, names=runs.NAMES
        )  # what is refused leaves no run that another would have to be like
        chooser = self._reader(CHOOSING, self.choosing)
        kinds = self._with_room(chooser, self._kinds(chooser)) if asked.retrieval else []
        self._fit(checkpoint)
        self._check_two()
        raced = self._race(chooser, kinds)
        plans = self._finalists(raced)
        reader = self._reader("records", self.reporting)
        rounds = self._report(reader, plans, kinds)
        records = [record for record in reader.records if record.key in reader.used]
        return self._conclude(raced, plans, records, kinds, rounds)

    def _facts(self, checkpoint: str, device: str, dtype: str) -> dict[str, Any]:
        """Whatever could make a difference to a number; a budget only says how many there are."""
        asked, third = self.asked, self.shares.fitting
        fit = {FITTING: describe(third), FITTED: self.there.get(FITTED)} if third else {}
        return {
            "model": self.source.name, "checkpoint": checkpoint, "model_hash": self.hash, "tokenizer_hash": self.words,
            "target": asked.to, "engines": list(asked.engines), "retrieval": asked.retrieval, "seed": asked.seed,
            "candidates": {c.name: c.plan.fingerprint for c in self.found},
            "data": list(asked.data), "choosing": describe(self.choosing), "documents": describe(self.reporting),
            "device": device, "dtype": dtype, "attention": asked.attention, "versions": versions(), **fit,
        }  # fmt: skip

    def _reader(self, folder: str, documents: Sequence[Document]) -> Reader:
        """What is hidden is hidden in these documents alone."""
        text = "\n".join(self.tokenizer.decode(document.ids, skip_special_tokens=True) for document in documents)
        return Reader(
            self.model, self.hash, self.words, Material(self.tokenizer, text), self.out / folder, facts=self.facts,
            tell=self._tell,
        )  # fmt: skip

    def _tell(self, plan: str, share: float) -> None:
        reading = f"{share:.0%} read of a text under {plan}" if share < 0.995 else ""
        self.progress.say(", ".join(filter(None, [self.turn, reading])))

    def _foresee(self) -> None:
        """A reading of the target length may take longer than the budget: that is told before it is begun."""
        if not self.begun:
            one = self._reading * (3 if self.asked.retrieval else 1)
            if 2 * LEAST * one > SHARE * self.asked.budget:
                raise self._too_little(2 * LEAST * one)

    @cached_property
    def _reading(self) -> float:
        """Seconds that a plain one of the target length takes."""
        return pace(self.model) * units(self.asked.to)

    def _fit(self, checkpoint: str) -> None:
        """A fitted plan takes part from here on, if there is one; run.json says so."""
        asked, third = self.asked, self.shares.fitting
        if asked.fitter is None or not third:
            return
        self.progress.begin("fitting a plan")
        given = ToFit(
            self.model, self.tokenizer, checkpoint, self.source.spec, self.source.name, third, asked.to, asked.seed,
            self.out / PLACE, self.progress,
        )  # fmt: skip
        made = fitted_plan(asked.fitter, given, asked.budget, lambda: self._reading)
        self._note(made.note)
        self.fitted, self.spent = made.seconds, self.spent + made.seconds
        if made.plan is None:
            return
        facts = runs.read(self.out / RUN)
        write_file(self.out / RUN, json.dumps({**facts, FITTED: made.plan.fingerprint}, indent=2) + "\n")
        self.found = _candidates(self.source, asked, {**asked.saved, FITTED: made.plan})
        if same := next((c.name for c in self.found if FITTED in c.alike), None):
            self._note(f"the search ended where it began: {FITTED} reads as {same} does.")

    def _check_two(self) -> None:
        """After a fit that made no plan: a run that was not there before is none."""
        try:
            _check_two(self.found)
        except BadOption:
            if not self.there:
                (self.out / RUN).unlink(missing_ok=True)
            raise

    def _too_little(self, needed: float) -> BadOption:
        least = math.ceil(1.2 * (needed / SHARE + self.spent))
        return BadOption(
            f"budget (--budget) is {spoken(self.asked.budget)}, and two plans cannot be told apart in that: {LEAST} rounds of "
            f"each, of {self.asked.to:,} tokens, take {spoken(needed)} on this machine, and as much goes into the report.\n"
            f"  The least that works is about {least}s (--budget {least}s). A shorter target (--to) or an accelerator takes "
            "less."
        )

    def _samples(
        self, reader: Reader, kinds: Sequence[str], length: int, count: int, *, half: int = 0
    ) -> list[tuple[Sample, ...]]:  # fmt: skip
        """half: 0 for those that choose, 1 for those that are reported on: other keys, and other depths first."""
        return questions(reader.material, kinds, length, count, 2 * self.asked.seed + half)

    def _with_room(self, reader: Reader, kinds: Sequence[str]) -> list[str]:
        """Those that the target length has room for."""
        kept = [kind for kind in kinds if self._samples(reader, [kind], self.asked.to, 1)[0]]
        for kind in kinds:
            if kind not in kept:
                self._note(f"{kind} does not fit into {self.asked.to:,} tokens, and is not asked.")
        return kept

    def _kinds(self, reader: Reader) -> list[str]:
        """Two that the model can do where it was trained, each at its hardest: what it cannot do tells no plans apart."""
        plan = next(c.plan for c in self.found if c.name in (OWN, NONE))
        done: list[str] = []
        for ladder in KINDS:
            known: list[str] = []
            while len(done) < 2 and len(known) < len(ladder) and self._can(reader, plan, ladder[len(known)]):
                known.append(ladder[len(known)])
            done += known[-1:]
        if not done:
            self._note("the model finds neither pass keys nor quotations inside its own window, so loss alone decides.")
        return done

    def _can(self, reader: Reader, plan: ScalingPlan, kind: str) -> bool:
        if self.spent > PROBED * self.asked.budget:
            return False
        samples = [sample for turn in self._samples(reader, [kind], self.original, ASKED) for sample in turn]
        answers = [reader.question(plan, sample) for sample in samples]
        self.spent += sum(answer.seconds for answer in answers)
        return bool(answers) and sum(answer.found for answer in answers) >= SKILL * len(answers)

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)
        self.progress.note(sentence)

    def _race(self, reader: Reader, kinds: Sequence[str]) -> Race:
        able = {c.name: c for c in self.found if not c.refused}
        asked = self._samples(reader, kinds, self.asked.to, len(self.choosing))
        protocol = Prefix((self.asked.to,))

        def read(name: str, round: int) -> Reading:
            plan = able[name].reads
            bits, seconds = reader.document(plan, self.choosing[round], protocol)
            answers = [reader.question(plan, sample) for sample in asked[round]]
            chance = sum(answer.chance for answer in answers) / len(answers) if answers else None
            return Reading(bits, chance, seconds + sum(answer.seconds for answer in answers))

        def tell(spent: float, alive: int, round: int) -> None:
            self.progress.reach(self.spent + spent)
            self.turn = f"round {round + 1}" + (f", {alive} plans" if alive > 1 else "")
            self.progress.say(self.turn)

        self.progress.begin(f"choosing among {len(able)} plans", self.asked.budget, found=self.begun)
        self.progress.reach(self.fitted + reader.spent)
        keep = [name for name in (NONE, OWN) if name in able]
        seconds = SHARE * (self.asked.budget - self.fitted)
        try:
            raced = race(
                list(able), len(asked), read, seconds, keep=keep, all_first=bool(self.asked.methods),
                tell=tell,
            )  # fmt: skip
        except TooLittle as error:
            raise self._too_little(error.needed) from None
        self.spent += raced.seconds
        return raced

    def _finalists(self, raced: Race) -> dict[str, ScalingPlan]:
        """No stretch, the chosen plan, the runner-up, and what the config has already."""
        known = {c.name: c.plan for c in self.found}
        wanted = [NONE, outcome(raced)[1], runner_up(raced), *([OWN] if OWN in raced.readings else [])]
        return {name: known[name] for name in dict.fromkeys(wanted) if name is not None}

    def _report(self, reader: Reader, plans: dict[str, ScalingPlan], kinds: Sequence[str]) -> int:
        """Round by round under all finalists, while the time lasts; how many."""
        for name, plan in plans.items():
            write_file(self.out / "plans" / f"{name}.json", plan.to_json())
        self.progress.begin("reporting", self.asked.budget, found=self.begun)
        self.progress.reach(self.spent + reader.spent)
        count = len(self.reporting)
        asked, inside = (self._samples(reader, kinds, length, count, half=1) for length in (self.asked.to, self.original))
        edges = Position(tuple(dict.fromkeys([*coarse_edges(self.original, self.asked.to), self.asked.to])))
        longest = rounds = 0.0
        for i, document in enumerate(self.reporting):
            self.turn = f"document {i + 1}"
            if i >= REPORTED and self.spent + SLOWER * longest > self.asked.budget:
                break
            took = sum(reader.document(plan, document, edges)[1] for plan in plans.values())
            took += sum(reader.tax(plan, document) for name, plan in plans.items() if name not in (NONE, WINDOW))
            for sample in (*asked[i], *inside[i]):
                took += sum(reader.question(plan, sample).seconds for plan in plans.values())
            self.spent, longest, rounds = self.spent + took, max(longest, took), i + 1
            self.progress.reach(self.spent)
        self._speed(reader, plans, longest)
        return int(rounds)

    def _speed(self, reader: Reader, plans: dict[str, ScalingPlan], round: float) -> None:
        """In turns, so that a machine that grows slower favours none."""
        for repeat in range(2):
            if self.spent + SLOWER * round > self.asked.budget:
                return
            timed = [plan for name, plan in plans.items() if name != WINDOW]
            self.spent += reader.speeds(timed, self.asked.to, repeat)

    def _conclude(
        self, raced: Race, plans: dict[str, ScalingPlan], records: list[Record], kinds: Sequence[str], rounds: int
    ) -> ChooseResult:
        """records: not those that another run began of a document that this one has no time for."""
        facts = {**runs.read(self.out / RUN), "tasks": list(kinds)}
        run = make_run(records, plans, facts)
        made = certificate(run)
        documents = {"choosing": len(raced.readings[raced.winner]), "reporting": rounds}
        if facts.get(FITTED):
            documents[FITTING] = len(self.shares.fitting)
        result = conclude(
            Asked(self.source.name, self.asked.to, self.original, self.asked.budget, self.asked.engines, self.out),
            self.found, raced, run, made, documents, kinds, self.spent, self.notes,
        )  # fmt: skip
        if result.plan is not None:
            write_file(self.out / PLAN, result.plan.to_json())
        else:
            (self.out / PLAN).unlink(missing_ok=True)
        write_file(self.out / CHOICE, json.dumps(plain(result.to_dict()), indent=2) + "\n")
        headline = {"title": result.title, "sentence": result.sentence, "method": result.chosen, "times": result.times}
        shown = {**made, "headline": headline, "choice": result.to_dict()}
        write_page(self.out / REPORT, {**shown, "tiles": tiles(shown)})
        return result
