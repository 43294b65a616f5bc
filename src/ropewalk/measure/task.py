"""A retrieval task is one function in one file of `tasks/`; that folder is the registry.

A task lays out samples: a context with something hidden in it, a question, and the answer. It is called with
(material, length=, count=, seed=, depths=) and yields `count` samples for each depth. Further keyword-only arguments are
its options; names and defaults come from the function, and nothing else lists them.
"""

import hashlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.measure.material import Material
from ropewalk.registry import Registry

DEPTHS = tuple(i / 10 for i in range(11))
COUNT = 20  # 20 of 20 has a 95 % Wilson interval of [0.84, 1]; 10 of 10 only [0.72, 1]


@dataclass(frozen=True)
class Sample:
    """One question with its context, in tokens.

    length: tokens asked for; len(ids) and answer_start + new_tokens are never above it.
    depth: where the needle is, 0 = first, 1 = last; None where nothing has one place.
    index: number of the sample within (length, depth).
    ids: the whole sequence, answer included; ids[answer_start:answer_end] is the answer.
    references: the answer as text, one or several.
    new_tokens: what may be generated after ids[:answer_start].
    needle: ids[needle[0]:needle[1]] is what was hidden, where that is one piece.
    """

    task: str
    length: int
    depth: float | None
    index: int
    ids: tuple[int, ...]
    answer_start: int
    answer_end: int
    references: tuple[str, ...]
    new_tokens: int
    needle: tuple[int, int] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.ids[: self.answer_start]

    @property
    def answer(self) -> tuple[int, ...]:
        return self.ids[self.answer_start : self.answer_end]

    @property
    def sha(self) -> str:
        """Names the sample by its tokens and by where its answer is."""
        numbers = numpy.asarray([self.answer_start, self.answer_end, *self.ids], dtype=numpy.int64)
        return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]

    def without_needle(self) -> "Sample":
        """The same question with nothing to find: what the model would have guessed."""
        if self.needle is None:
            raise BadOption(f"{self.task} hides more than one piece; there is no sample without its needle.")
        start, end = self.needle
        cut = end - start
        ids = self.ids[:start] + self.ids[end:]
        return Sample(
            self.task, self.length, self.depth, self.index, ids, self.answer_start - cut, self.answer_end - cut,
            self.references, self.new_tokens, None, {**self.metadata, "without_needle": True},
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """A registered task: call it with (material, length=, count=, seed=, depths=, **options).

    scoring: "exact", "all" or "part", a name in `scoring.SCORINGS`.
    has_depths: samples are made for each depth; otherwise depths are not looked at.
    """

    name: str
    function: Callable[..., Iterator[Sample]]
    source: str
    scoring: str
    has_depths: bool
    defaults: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What is asked, in one line: the first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def __call__(
        self,
        material: Material,
        *,
        length: int,
        count: int = COUNT,
        seed: int = 0,
        depths: Sequence[float] = DEPTHS,
        **options: Any,
    ) -> Iterator[Sample]:
        for option in options:
            if option not in self.defaults:
                raise UnknownName(f"option of the task {self.name}", option, self.defaults)
        check_request(length, count, depths)
        return self.function(material, length=length, count=count, seed=seed, depths=tuple(depths), **options)


def known_task(name: str) -> Task | None:
    """None for the name of a task that is gone, in a record of an older version."""
    return get_task(name) if name in tasks() or split_rung(name) else None


def by_rung(name: str) -> tuple[str, int]:
    """Sorts tasks by name, and the rungs of a ladder by number."""
    return split_rung(name) or (name, -1)


def check_request(length: int, count: int, depths: Sequence[float]) -> None:
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise BadLength(f"length is {length!r}; it must be a whole number of tokens above 0.")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise BadOption(f"count is {count!r}; it must be a whole number of samples above 0.")
    for depth in depths:
        if not 0 <= depth <= 1:
            raise BadOption(f"depth is {depth!r}; it must be from 0 (the beginning) to 1 (the end).")
    if not depths:
        raise BadOption("depths is empty; name at least one, from 0 to 1.")


STANDARD = {"length", "count", "seed", "depths"}


_TASKS: Registry[Task] = Registry("task", "ropewalk.measure.tasks")
_LADDERS: dict[str, "Ladder"] = {}


@dataclass(frozen=True, slots=True)
class Ladder:
    """Tasks that differ in one number.  rungs: those that are run where the ladder is named alone."""

    name: str
    rungs: tuple[int, ...]
    task_of: Callable[[int], Task]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{rung}" for rung in self.rungs)


def add_ladder(ladder: Ladder) -> None:
    _LADDERS[ladder.name] = ladder
    for rung, name in zip(ladder.rungs, ladder.tasks, strict=True):
        _TASKS.add(name, ladder.task_of(rung))


def task(name: str, *, source: str, scoring: str, has_depths: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Register a task under `name`; `source` says where it was published."""

    def register(function: Callable[..., Iterator[Sample]]) -> Callable[..., Iterator[Sample]]:
        keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        defaults = {p.name: p.default for p in keywords if p.name not in STANDARD}
        _TASKS.add(name, Task(name, function, source, scoring, has_depths, defaults))
        return function

    return register


def tasks() -> Mapping[str, Task]:
    """Every registered task by name, in name order."""
    return _TASKS.known()


def ladders() -> Mapping[str, Ladder]:
    tasks()
    return _LADDERS


def split_rung(name: str) -> tuple[str, int] | None:
    """`keys-8` as ("keys", 8); None for a task that is no rung."""
    stem, _, rung = name.rpartition("-")
    return (stem, int(rung)) if stem in ladders() and rung.isdecimal() else None


def get_task(name: str) -> Task:
    """By name. A rung that is not among a ladder's usual ones is made when it is asked for."""
    found = split_rung(name)
    return _TASKS.get(name) if found is None or name in tasks() else _LADDERS[found[0]].task_of(found[1])


@dataclass(frozen=True, slots=True)
class SampleCell:
    """One sample to make. start: of its slice of the haystack, in 0 to 1; rng: for everything else in it."""

    depth: float
    index: int
    start: float
    rng: random.Random


def cells(task: str, length: int, count: int, seed: int, depths: Sequence[float]) -> Iterator[SampleCell]:
    """`count` cells for each depth; a cell's random numbers depend on what it is, not on what was made before it."""
    for depth in depths:
        for index in range(count):
            start = random.Random(f"{seed}/{task}/{index}").random()
            yield SampleCell(depth, index, start, random.Random(f"{seed}/{task}/{length}/{depth}/{index}"))


def lay_out(
    task: str,
    material: Material,
    haystack: tuple[int, ...],
    cell: SampleCell,
    *,
    length: int,
    needle: Sequence[int],
    question: Sequence[int],
    answer: Sequence[int],
    reference: str,
    others: Sequence[Sequence[int]] = (),
    head: Sequence[int] | None = None,
) -> Sample:
    """Hide `needle` at the cell's depth, and `others` at random places, before lines where the haystack has any.

    head: what a prompt begins with, instead of BOS.
    """
    head = material.start if head is None else head
    budget = length - len(head) - len(needle) - len(question) - len(answer) - sum(map(len, others))
    if budget < 0:
        raise BadLength(
            f"{task} does not fit into {length} tokens: needle, question and answer alone take {length - budget}.\n"
            f"  Ask for {length - budget} tokens or more."
        )
    text = material.slice_of(haystack, int(cell.start * len(haystack)), budget)
    placed = [(cut_at(text, cell.rng.random(), material.newlines), i + 1, piece) for i, piece in enumerate(others)]
    placed.append((cut_at(text, cell.depth, material.newlines), 0, needle))
    ids, last, found = list(head), 0, 0
    for cut, number, piece in sorted(placed, key=lambda item: item[:2]):
        ids += text[last:cut]
        if number == 0:
            found = len(ids)
        ids += piece
        last = cut
    ids += text[last:]
    ids += question
    span = (found, found + len(needle))
    start = len(ids)
    ids += answer
    return Sample(
        task, length, cell.depth, cell.index, tuple(ids), start, len(ids), (reference,), len(answer),
        span if not others else None,
    )  # fmt: skip


def cut_at(text: Sequence[int], depth: float, newlines: frozenset[int]) -> int:
    """Where to cut: the beginning of the line nearest to `depth`; in text without lines, `depth` to the token.

    The nearest line is looked for outwards from the wanted place, and at most an eighth of the haystack away.
    """
    wanted = round(depth * len(text))
    if depth in (0, 1):
        return wanted
    for distance in range(len(text) // 8 + 1):
        for cut in (wanted - distance, wanted + distance):
            if 0 <= cut < len(text) and text[cut] in newlines:
                return cut
    return wanted
