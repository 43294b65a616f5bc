"""Asking a model under a plan: which samples, how each is read, and the record it leaves."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from ropewalk.errors import BadLength, BadOption, first_line
from ropewalk.measure.faults import BatchSize, Say, check_finite
from ropewalk.measure.greedy import generate_answers
from ropewalk.measure.in_windows import seen_of
from ropewalk.measure.material import Material
from ropewalk.measure.pace import units
from ropewalk.measure.passes import Advance, is_prefix_consistent, plan_at
from ropewalk.measure.records import Key, Record, Records
from ropewalk.measure.reuse import AnswerVerdict, each_answer
from ropewalk.measure.scoring import cleaned, scoring
from ropewalk.measure.task import Sample, get_task, ladders, tasks
from ropewalk.models.attach import Attached, attach
from ropewalk.scaling.plan import ScalingPlan

RULER = "ruler"  # all of RULER's tasks that need no question file
NEED_QUESTIONS = ("qa_1", "qa_2")
TEACHER, GREEDY = "teacher forcing", "greedy generation"


class Skipped(NamedTuple):
    task: str
    length: int
    why: str


def expand_tasks(names: Sequence[str], questions: Mapping[str, Any]) -> list[str]:
    """`ruler` becomes RULER's tasks: those that need no question file, and those whose file is there. A ladder its rungs."""
    if unused := [name for name in questions if name not in NEED_QUESTIONS]:
        raise BadOption(f"questions (--questions): no task reads a file as {unused[0]}; {' and '.join(NEED_QUESTIONS)} do.")
    ruler = [
        name
        for name, task in tasks().items()
        if "NVIDIA/RULER" in task.source and (name not in NEED_QUESTIONS or name in questions)
    ]
    groups = {RULER: ruler, **{name: list(ladder.tasks) for name, ladder in ladders().items()}}
    wanted = [expanded for name in names for expanded in groups.get(name) or [get_task(name).name]]
    return list(dict.fromkeys(wanted))


def check_chat(names: Sequence[str]) -> None:
    """Raises BadOption where a task has no form for a chat template."""
    if bare := [name for name in names if "chat" not in get_task(name).defaults]:
        raise BadOption(
            f"chat (--chat): {', '.join(bare)} can only be asked as a base model is. In a chat template there are "
            f"the ladders: {', '.join(ladders())}.\n  Ask the others without it, in another folder."
        )


def check_read(
    names: Sequence[str], samples: Sequence[Sample], *, gap: bool, compat: bool, chat: bool, questions: Collection[str] = ()
) -> None:  # fmt: skip
    """Raises BadOption where an option would be read by none of the tasks: it would be left out without a word."""
    reads = {word for name in names for word in get_task(name).defaults}
    asked = {sample.task for sample in samples}  # what has room at no length may hide one thing
    nothing_hidden = set(names) <= asked and all(sample.needle is None for sample in samples)
    unread = {
        "gap (--gap)": (gap and nothing_hidden, "a task that hides one thing, as passkey does,"),
        "ruler_compat (--ruler-compat)": (compat and "compat" not in reads, "RULER's tasks"),
        "chat (--chat)": (chat and "chat" not in reads, "the ladders"),
        "questions (--questions)": (not set(questions) <= set(names), f"{', '.join(NEED_QUESTIONS)}, or ruler,"),
    }
    for option, (is_unread, reader) in unread.items():
        if is_unread:
            raise BadOption(
                f"{option} changes nothing here: the tasks are {', '.join(names) or 'none'}, and only {reader} can be asked "
                "so.\n  Leave it out, or ask for such tasks (--tasks)."
            )


def make_samples(
    material: Material, names: Sequence[str], lengths: Sequence[int], *, depths: Sequence[float], count: int, seed: int,
    compat: bool = False, chat: bool = False,
) -> tuple[list[Sample], list[Skipped]]:  # fmt: skip
    """The samples of every task and length, the same for every method; and the tasks that do not fit a length, with why.

    A sample longer than its length would be cut by no one: it is left out and told as well.
    compat: RULER's tasks as the reference generator writes them, flaws included.
    chat: in the model's chat template; see `check_chat`.
    """
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    for name in names:
        options = {word: True for word, on in (("compat", compat), ("chat", chat)) if on and word in get_task(name).defaults}
        for length in lengths:
            try:
                made = list(get_task(name)(material, length=length, count=count, seed=seed, depths=depths, **options))
            except BadLength as error:
                skipped.append(Skipped(name, length, first_line(error)))
                continue
            fitting = [sample for sample in made if len(sample.ids) <= length]
            if len(fitting) < len(made):
                skipped.append(Skipped(name, length, f"{len(made) - len(fitting)} samples are longer than {length} tokens"))
            samples += fitting
    return samples, skipped


def sample_key(model_hash: str, plan: ScalingPlan, sample: Sample) -> Key:
    return Key(model_hash, plan.fingerprint, plan.name, sample.task, sample.sha, sample.length)


def cost(sample: Sample) -> float:
    """In the unit of `Measurement.cost`."""
    return units(len(sample.ids))


def _phases(plan: ScalingPlan, samples: Sequence[Sample]) -> list[tuple[ScalingPlan, list[Sample]]]:
    """Samples by the plan to attach for them: one phase, or two where longrope's lists switch."""
    found: dict[ScalingPlan, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[plan_at(plan, sample.length)].append(sample)
    return list(found.items())


@dataclass(frozen=True)
class Asker:
    """Puts questions to one model and files the answers.

    gap: read each sample with one needle a second time without it, and record the mean loss of the answer then.
    facts: versions, dtype and the like, added to every record.
    """

    model: Any
    model_hash: str
    material: Material
    records: Records
    batch: BatchSize
    facts: Mapping[str, Any]
    gap: bool = False
    say: Say = lambda sentence: None

    def ask(self, plan: ScalingPlan, samples: Sequence[Sample], advance: Advance) -> None:
        """Read what is not on disk yet; `advance` is told the cost of each sample, read or found."""
        missing = [sample for sample in samples if sample_key(self.model_hash, plan, sample) not in self.records]
        advance(sum(map(cost, samples)) - sum(map(cost, missing)))
        for at, some in _phases(plan, missing):
            with attach(self.model, at) as attached:
                self._ask(at, plan, some, attached, advance)

    def _ask(
        self, at: ScalingPlan, plan: ScalingPlan, samples: Sequence[Sample], attached: Attached, advance: Advance
    ) -> None:
        """at: what is attached.  plan: what it is filed under."""
        exact = [sample for sample in samples if get_task(sample.task).scoring == "exact"]
        for sample, verdict, without in self._read(at, exact):
            self._file(plan, sample, verdict, float(verdict.exact), TEACHER, nll_without=without)
            advance(cost(sample))
        others = [sample for sample in samples if get_task(sample.task).scoring != "exact"]
        for _, same in groupby(others, key=lambda sample: (sample.task, sample.length)):
            for sample, verdict, score, method, text in self._generate(at, list(same), attached):
                self._file(plan, sample, verdict, score, method, written=text)
                advance(cost(sample))

    def _read(self, plan: ScalingPlan, samples: Sequence[Sample]) -> Iterator[tuple[Sample, AnswerVerdict, float | None]]:
        """(sample, verdict, mean loss without its needle) as soon as both readings are there."""
        pairs = [[s, s.without_needle()] if self.gap and s.needle is not None else [s] for s in samples]
        everything = [(owner, sample) for owner, pair in enumerate(pairs) for sample in pair]
        seen: dict[int, dict[bool, AnswerVerdict]] = defaultdict(dict)
        for i, verdict in each_answer(self.model, plan, [self._seen(plan, sample) for _, sample in everything], say=self.say):
            owner, sample = everything[i]
            self._check(plan, sample, verdict)
            seen[owner]["without_needle" in sample.metadata] = verdict
            if len(seen[owner]) == len(pairs[owner]):
                pair = seen.pop(owner)
                yield samples[owner], pair[False], float(pair[True].nll.mean()) if True in pair else None

    def _generate(
        self, plan: ScalingPlan, samples: Sequence[Sample], attached: Attached
    ) -> Iterator[tuple[Sample, AnswerVerdict, float, str, str]]:
        """(sample, verdict, score, how it was found, what was written) for tasks scored by what the model writes.

        Where teacher forcing shows that greedy decoding writes the answer to the letter, it is not decoded again.
        """
        rate = scoring(get_task(samples[0].task).scoring)
        waiting: dict[str, tuple[Sample, AnswerVerdict]] = {}
        for i, verdict in each_answer(self.model, plan, [self._seen(plan, sample) for sample in samples], say=self.say):
            sample = samples[i]
            self._check(plan, sample, verdict)
            text = cleaned(self.material.decode(sample.answer))
            if verdict.exact and is_prefix_consistent(plan) and rate(text, sample.references) == 1.0:
                yield sample, verdict, 1.0, TEACHER, text
            else:
                waiting[sample.sha] = (sample, verdict)
        rest = sorted((sample for sample, _ in waiting.values()), key=lambda sample: len(sample.prompt))
        for group in self.batch.run(rest, lambda piece: self._write(plan, piece, attached), lambda sample: sample.length):
            for sample, text, score in group:
                yield sample, waiting[sample.sha][1], score, GREEDY, text

    def _seen(self, plan: ScalingPlan, sample: Sample) -> Sample:
        return seen_of(plan, sample, self.material.start)

    def _write(self, plan: ScalingPlan, samples: Sequence[Sample], attached: Attached) -> list[tuple[Sample, str, float]]:
        name = get_task(samples[0].task).scoring
        seen = [self._seen(plan, sample) for sample in samples]
        answers = generate_answers(
            self.model, plan, seen, self.material, scoring_name=name, batch=len(samples), attached=attached
        )
        return [(sample, text, score) for sample, (text, score) in zip(samples, answers, strict=True)]

    def _check(self, plan: ScalingPlan, sample: Sample, verdict: AnswerVerdict) -> None:
        ids = sample.ids[: sample.answer_end]
        where = "" if sample.depth is None else f", depth {sample.depth:g}"
        what = f"sample {sample.index} of {sample.task} (length {sample.length}{where}) under {plan.name}"
        check_finite(self.model, verdict.nll, ids, range(sample.answer_start, len(ids)), what)

    def _file(self, plan: ScalingPlan, sample: Sample, verdict: AnswerVerdict, score: float, method: str, **more: Any) -> None:
        """more: facts that are not always there."""
        facts = {
            **self.facts,
            "task": sample.task,
            "length": sample.length,
            "depth": sample.depth,
            "index": sample.index,
            "first": sample.answer_start,
            "scoring": get_task(sample.task).scoring,
            "score": score,
            "exact": verdict.exact,
            "method": method,
            "references": list(sample.references),
            **{name: value for name, value in more.items() if value is not None},
        }
        self.records.add(Record(sample_key(self.model_hash, plan, sample), verdict.nll, facts))
