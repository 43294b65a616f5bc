"""RULER's variable tracking."""

import itertools
import random
import string
from collections.abc import Callable, Iterator, Sequence

import numpy

from ropewalk.measure.material import Material
from ropewalk.measure.ruler.family import SHORT, SOURCE, GeneratorRow, counter, row, ruler_samples
from ropewalk.measure.ruler.fit import Draft, reference_draft, reference_size
from ropewalk.measure.task import Sample, task
from ropewalk.measure.tasks.ruler_niah import NOISE

HOPS = 4
HEAD = "Memorize and track the chain(s) of variable assignment hidden in the following text."
QUESTION = "Question: Find all variables that are assigned the value {value} in the text above."
PREFIX = (
    " Answer: According to the chain(s) of variable assignment in the text above, "
    "{n} variables are assigned the value {value}, they are: "
)
EXAMPLE_VALUE = "12345"


def name(rng: random.Random, letters: int) -> str:
    return "".join(rng.choices(string.ascii_uppercase, k=letters))


def prompt(size: int, names: Sequence[str], value: str, places: Sequence[int], tail: str = " ") -> Draft:
    """`size` lines of noise with the chain's assignments at `places`, in order."""
    chain = [f"VAR {names[0]} = {value}"]
    chain += [f"VAR {b} = VAR {a}{tail}" for a, b in itertools.pairwise(names)]
    lines = [NOISE] * size
    for number, (place, link) in enumerate(zip(places, chain, strict=False)):
        lines.insert(place + number, link)
    context = [piece for line in lines for piece in (line, "\n")]
    end = PREFIX.format(n=len(chain), value=value)
    pieces = [HEAD, "\n", "\n", *context, QUESTION.format(value=value), end.rstrip(" "), end[len(end.rstrip(" ")) :]]
    return Draft(pieces, tuple(names), " ".join(names))


class VariableTracking:
    new_tokens = 30
    smallest = HOPS + 1
    most = 2**40

    def __init__(self, material: Material, length: int):
        self.pieces, self.length = counter(material), length

    # --- the reference's samples ---

    def reference(self, count: int, seed: int) -> Iterator[tuple[Draft, GeneratorRow]]:
        rng, numbers = random.Random(seed), numpy.random.RandomState(seed)
        example = self._reference_example(rng)
        example_tokens = self.pieces.count([example])
        step, budget = 5 if self.length < SHORT else 10, self.length - self.new_tokens

        def build(size: int) -> Draft:
            return self._reference_draft(size, rng, lambda: str(numbers.randint(10000, 99999)), 5)

        def build_with_example(size: int) -> Draft:
            draft = build(size)
            shown = _randomised(example, rng, numbers)
            return Draft([shown, "\n", *draft.pieces], draft.references, draft.answer)

        each = self.pieces.count(build(step).pieces) / step
        upper = int((self.length / each) * 3)
        size = reference_size(build, self.pieces.count, budget - example_tokens, step=step, upper=upper)
        for index in range(count):
            draft, tokens = reference_draft("vt", build_with_example, self.pieces.count, budget, size=size, step=step)
            yield draft, row(index, draft, PREFIX, tokens, self.new_tokens)

    def _reference_draft(self, size: int, rng: random.Random, value: Callable[[], str], letters: int) -> Draft:
        names = [name(rng, letters) for _ in range(HOPS + 1)]
        while len(set(names)) < HOPS + 1:
            names.append(name(rng, letters))
        told = value()
        if len(names) % (HOPS + 1):  # two of a name: the reference begins a second chain that it has no names for
            if letters == 5 and len(names) > HOPS + 1:
                value()
            raise IndexError("the reference runs out of names here, and tries again")
        return prompt(size, names, told, sorted(rng.sample(range(size), HOPS + 1)))

    def _reference_example(self, rng: random.Random) -> str:
        """The worked example of at most 500 tokens that stands before every question."""

        def build(size: int) -> Draft:
            return self._reference_draft(size, rng, lambda: EXAMPLE_VALUE, 3)

        step = 5
        each = self.pieces.count(build(step).pieces) / step
        size = reference_size(build, self.pieces.count, 500, step=step, upper=int((500 / each) * 3))
        draft, _ = reference_draft("vt's example", build, self.pieces.count, 500, size=size, step=step)
        return draft.text + " " + " ".join(draft.references) + "\n"

    # --- ours ---

    def draft(self, size: int, rng: random.Random) -> Draft:
        """Different on purpose: see docs/ruler.md, "Variable tracking"."""
        names = _distinct_names(rng, 2 * (HOPS + 1))
        values = rng.sample(range(10000, 100000), 2)
        example = prompt(self.smallest + 1, names[: HOPS + 1], str(values[0]), range(HOPS + 1), tail="")
        places = sorted(int(rng.random() * size) for _ in range(HOPS + 1))
        asked = prompt(size, names[HOPS + 1 :], str(values[1]), places, tail="")
        shown = [*example.pieces, example.answer, "\n", "\n"]
        return Draft([*shown, *asked.pieces], asked.references, asked.answer)


def _distinct_names(rng: random.Random, n: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < n:
        found[name(rng, 5)] = None
    return list(found)


def _randomised(example: str, rng: random.Random, numbers: numpy.random.RandomState) -> str:
    """New names and a new value, put in by replacing text as the reference does, wherever it stands."""
    for item in example.strip().split()[-HOPS - 1 :]:
        example = example.replace(item, name(rng, len(item)))
    return example.replace(EXAMPLE_VALUE, str(numbers.randint(10000, 99999)))


@task("vt", source=SOURCE, scoring="all")
def vt(material: Material, *, length: int, count: int, seed: int, depths: object, compat: bool = False) -> Iterator[Sample]:
    """A chain of five variables that are assigned one another, scattered in noise; name them all."""
    family = VariableTracking(material, length)
    return ruler_samples("vt", family, material, length=length, count=count, seed=seed, compat=compat)
