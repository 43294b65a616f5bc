"""A ladder is one task at several difficulties, its rungs: `keys-0`, `keys-1`, `keys-2`, ... each a task of its own.

A single task that every plan solves, or none, tells no two plans apart. On a ladder there is a rung between. A ladder is a
function in one file of `tasks/`: it says what is hidden and asked at a rung (`Hidden`), and this file lays it out, for base
models and in a chat template. Every answer is one exact text, so that teacher forcing and generation give one verdict.
The random numbers of a sample do not depend on its rung: rungs share their haystack, and what they hide as far as it goes.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from ropewalk.errors import BadOption
from ropewalk.measure.material import Material
from ropewalk.measure.task import Ladder, Sample, Task, add_ladder, cells, lay_out

NAMES = (  # short nouns that no name of RULER's or of the library's code is likely to be
    "acorn anchor apple arrow badger bamboo barley basket beetle bell bonnet bottle branch bridge bucket butter cabin camel "
    "candle canyon carpet castle cherry clover cloud cobra comet copper coral cotton crater dragon drum eagle ember falcon "
    "feather fern fiddle flute forest fossil garden ginger glacier grape hammer harbor hazel helmet heron island ivory "
    "jacket jungle kettle kitten ladder lantern lemon lily lizard lobster magnet mango maple marble meadow melon mirror "
    "mitten monkey mountain needle nutmeg olive onion orange orchid otter oyster parrot peach pebble pencil pepper piano "
    "pigeon pillow pine planet plum pony poppy prairie pumpkin puppet quilt rabbit raven ribbon river rocket saddle salmon "
    "shadow silver spider squirrel stone sugar temple thistle thunder tiger tulip turnip turtle valley velvet violin walnut "
    "whale willow window winter wolf yarn zebra"
).split()


@dataclass(frozen=True)
class Scene:
    """What a ladder's function may use: its text, its length, and random numbers.

    haystack: the tokens that surround what is hidden; some of its last ones are cut off to make room.
    """

    material: Material
    length: int
    start: int
    rng: random.Random

    @cached_property
    def haystack(self) -> list[int]:
        return self.material.slice_of(self.material.code_ids, self.start, self.length)

    def digits(self, count: int) -> str:
        return "".join(self.rng.choice("0123456789") for _ in range(count))


@dataclass(frozen=True)
class Hidden:
    """One sample as a ladder tells it, in texts or in tokens.

    needle: at the wanted depth.  others: anywhere.  question, begin, answer: what follows the haystack; `begin` is the
    beginning of the answer that a base model goes on from, and a chat model's reply begins with it.
    instruction: for a chat model, instead of the question.
    """

    needle: str | Sequence[int]
    question: str
    begin: str | Sequence[int]
    answer: str | Sequence[int]
    others: Sequence[str] = ()
    instruction: str | None = None


Tell = Callable[[Scene, int], Hidden]


def ladder(name: str, *, rungs: Sequence[int], most: int, source: str, least: int = 1) -> Callable[[Tell], Tell]:
    """Register `name`-0, `name`-1, ... for the rungs that are run where the ladder is named alone.

    least, most: other rungs, asked for by name, may lie between them.
    """

    def register(tell: Tell) -> Tell:
        def task_of(rung: int) -> Task:
            if not least <= rung <= most:
                raise BadOption(f"{name}-{rung}: the rungs of {name} go from {least} to {most}.")
            function = partial(_samples, f"{name}-{rung}", tell, rung)
            function.__doc__ = inspect.getdoc(tell)
            return Task(f"{name}-{rung}", function, source, "exact", True, {"chat": False})

        add_ladder(Ladder(name, tuple(rungs), task_of))
        return tell

    return register


def _samples(
    name: str, tell: Tell, rung: int, material: Material, *, length: int, count: int, seed: int, depths: Sequence[float],
    chat: bool = False,
) -> Iterator[Sample]:  # fmt: skip
    """chat: the context and the question are the user's turn in the model's chat template, and the reply is begun."""
    head, turn = material.chat if chat else (material.start, ())
    stem = name.rpartition("-")[0]
    for cell in cells(stem, length, count, seed, depths):
        scene = Scene(material, length, int(cell.start * len(material.code_ids)), cell.rng)
        hidden = tell(scene, rung)
        asked = hidden.question if not chat or hidden.instruction is None else hidden.instruction
        begin = _ids(material, hidden.begin.lstrip() if chat and isinstance(hidden.begin, str) else hidden.begin)
        answer = _ids(material, hidden.answer)
        yield lay_out(
            name, material, material.code_ids, cell, length=length, needle=_ids(material, hidden.needle),
            question=[*_ids(material, asked), *turn, *begin], answer=answer, reference=material.decode(answer),
            others=[_ids(material, other) for other in hidden.others], head=head,
        )  # fmt: skip


def _ids(material: Material, piece: str | Sequence[int]) -> list[int]:
    return material.encode(piece) if isinstance(piece, str) else list(piece)
