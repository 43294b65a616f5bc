"""Laying out one sample in tokens, so that its length is exact.

    BOS | haystack | needle | haystack | question | answer

The haystack of sample i is the same stretch of text at every length and depth: a grid then shares long prefixes, whose
keys and values `reuse` computes once, and cells differ by length and depth only.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ropewalk.errors import BadLength
from ropewalk.jobs.evaluate.material import Material
from ropewalk.jobs.evaluate.task import Sample


@dataclass(frozen=True, slots=True)
class Cell:
    """One sample to make. hay: where its haystack starts, in 0 to 1; rng: for everything else in it."""

    depth: float
    index: int
    hay: float
    rng: random.Random


def cells(task: str, length: int, count: int, seed: int, depths: Sequence[float]) -> Iterator[Cell]:
    """`count` cells for each depth; a cell's random numbers depend on what it is, not on what was made before it."""
    for depth in depths:
        for index in range(count):
            hay = random.Random(f"{seed}/{task}/{index}").random()
            yield Cell(depth, index, hay, random.Random(f"{seed}/{task}/{length}/{depth}/{index}"))


def lay_out(
    task: str,
    material: Material,
    haystack: tuple[int, ...],
    cell: Cell,
    *,
    length: int,
    needle: Sequence[int],
    question: Sequence[int],
    answer: Sequence[int],
    reference: str,
    others: Sequence[Sequence[int]] = (),
) -> Sample:
    """Hide `needle` at the cell's depth, and `others` at random places, before lines where the haystack has any."""
    room = length - len(material.start) - len(needle) - len(question) - len(answer) - sum(map(len, others))
    if room < 0:
        raise BadLength(
            f"{task} does not fit into {length} tokens: needle, question and answer alone take {length - room}.\n"
            f"  Ask for {length - room} tokens or more."
        )
    hay = material.stretch_of(haystack, int(cell.hay * len(haystack)), room)
    placed = [(place(hay, cell.rng.random(), material.newlines), i + 1, piece) for i, piece in enumerate(others)]
    placed.append((place(hay, cell.depth, material.newlines), 0, needle))
    ids, last, found = list(material.start), 0, 0
    for cut, number, piece in sorted(placed, key=lambda item: item[:2]):
        ids += hay[last:cut]
        if number == 0:
            found = len(ids)
        ids += piece
        last = cut
    ids += hay[last:]
    ids += question
    span = (found, found + len(needle))
    start = len(ids)
    ids += answer
    return Sample(
        task, length, cell.depth, cell.index, tuple(ids), start, len(ids), (reference,), len(answer),
        span if not others else None,
    )  # fmt: skip


def place(hay: Sequence[int], depth: float, newlines: frozenset[int]) -> int:
    """Where to cut: the beginning of the line nearest to `depth`; in text without lines, `depth` to the token.

    The nearest line is looked for outwards from the wanted place, and at most an eighth of the haystack away.
    """
    wanted = round(depth * len(hay))
    if depth in (0, 1):
        return wanted
    for distance in range(len(hay) // 8 + 1):
        for cut in (wanted - distance, wanted + distance):
            if 0 <= cut < len(hay) and hay[cut] in newlines:
                return cut
    return wanted
