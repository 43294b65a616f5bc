"""Asking a server about every passage at every length, and what it answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isfinite
from typing import Any

from ropewalk.errors import BadAnswer, BadLength
from ropewalk.jobs.doctor.live.client import Late, RequestRefused
from ropewalk.jobs.doctor.live.endpoint import Endpoint
from ropewalk.jobs.doctor.live.passages import PassageSource, depths
from ropewalk.progress import SILENT, Progress

NEW = 8  # tokens that are written in answer to a pass key: five digits, in whatever pieces
ROOM = 16  # tokens left free at the end of the window: what is written, and a start token
NEAR = 0.75  # of the length wanted: shorter prompts are asked again, longer
TRIES = 5
SHARE = 0.06  # of the wanted length that a prompt is made shorter by, where a server refuses it


@dataclass(frozen=True)
class PassageCell:
    """One passage at one length. position: tokens up to its end, as the server counts.

    loss: mean over the passage's tokens, nats; None where not asked.  found: the pass key; None where not asked.
    trouble: what kept it from being measured.
    """

    passage: int
    length: int
    position: int = 0
    loss: float | None = None
    tokens: int = 0
    depth: float | None = None
    found: bool | None = None
    trouble: str = ""


def lengths_for(original: int, target: int) -> list[int]:
    """L / 2 and L inside the original window, then doubled up to the target."""
    if target <= original:
        raise BadLength(
            f"the server reads {target:,} tokens and the model was made for {original:,}: there is nothing beyond to test.\n"
            "  to (--to) says how far it should read, original_length (--original-length) what it was trained at."
        )
    found, length = [original // 2, original], 2 * original
    while length < target:
        found.append(length)
        length *= 2
    return [*found, target]


def cost(length: int) -> float:
    return float(length)


@dataclass
class Round:
    """What is asked of one server. gone: lengths at which it refused or fell silent once; it is not asked there again."""

    endpoint: Endpoint
    source: PassageSource
    lengths: Sequence[int]
    original: int
    progress: Progress = SILENT
    gone: set[int] = field(default_factory=set)

    def over(self, one: Callable[[int, int], PassageCell]) -> list[PassageCell]:
        """Every passage at every length. Raises BadAnswer for trouble inside the original window: nothing can be judged."""
        cells = []
        for passage, length in product(range(self.source.count), self.lengths):
            if length not in self.gone:
                cells.append(one(passage, length))
                self._look(cells[-1])
            self.progress.advance(cost(length))
        return cells

    def _look(self, cell: PassageCell) -> None:
        if not cell.trouble:
            return
        if cell.length <= self.original:
            raise BadAnswer(f"inside the original window, with {cell.length:,} tokens: {cell.trouble}")
        if cell.loss is None:
            self.gone.add(cell.length)


def measure_loss(asked: Round) -> list[PassageCell]:
    """The same last tokens of each passage, with ever more text before them. Raises BadAnswer where the tokens differ."""
    known: dict[int, tuple[str, ...]] = {}

    def one(passage: int, length: int) -> PassageCell:
        cell, tokens = _loss(asked.endpoint, asked.source, passage, length, asked.original)
        if tokens and known.setdefault(passage, tokens) != tokens:
            raise BadAnswer(
                f"{asked.endpoint.client.root} cuts the same passage into other tokens at {length:,} than before: "
                "its log-probabilities are not those of the text that was sent."
            )
        return cell

    return asked.over(one)


def _loss(
    endpoint: Endpoint, source: PassageSource, passage: int, length: int, original: int
) -> tuple[PassageCell, tuple[str, ...]]:
    assert endpoint.reader is not None
    last = min(endpoint.reader.most, original // 8)

    def ask(tokens: int) -> tuple[Any, int, int]:
        text = source.before(passage, tokens)
        reading = endpoint.read(text, last)
        return reading, len(text), reading.count

    found = fitting(ask, source, passage, length)
    if isinstance(found, str):
        return PassageCell(passage, length, trouble=found), ()
    reading, position = found
    finite = all(map(isfinite, reading.logprobs))
    loss = -sum(reading.logprobs) / len(reading.logprobs) if finite else float("nan")
    trouble = "" if finite else f"its log-probabilities at {length:,} tokens are not numbers (NaN or infinite)"
    return PassageCell(passage, length, position, loss, len(reading.logprobs), trouble=trouble), reading.tokens


def fits(count: int, length: int) -> bool:
    """Whether a prompt of so many tokens is one of nearly `length`."""
    return NEAR * (length - ROOM) <= count <= length - ROOM


def measure_keys(asked: Round) -> list[PassageCell]:
    """One pass key for each passage, the same at every length, each at a depth of its own."""
    places = depths(asked.source.count)
    return asked.over(lambda passage, length: _key(asked.endpoint, asked.source, passage, length, places[passage]))


def _key(endpoint: Endpoint, source: PassageSource, passage: int, length: int, depth: float) -> PassageCell:
    def ask(tokens: int) -> tuple[Any, int, int]:
        prompt, key = source.with_key(passage, tokens, depth)
        text, count = endpoint.write(prompt, NEW)
        return text.strip().startswith(key), len(prompt), count

    found = fitting(ask, source, passage, length)
    if isinstance(found, str):
        return PassageCell(passage, length, depth=depth, trouble=found)
    return PassageCell(passage, length, found[1], depth=depth, found=found[0])


def fitting(
    ask: Callable[[int], tuple[Any, int, int]], source: PassageSource, passage: int, length: int
) -> tuple[Any, int] | str:
    """Ask with a prompt of nearly `length` tokens: (what it found, tokens of the prompt), or the words of a refusal.

    How many tokens a text has, the server alone knows: where it was too many or far too few, the next try knows better.
    Within the window that a server claims, a refusal is a finding; so are answers that do not come and failures of the server.
    """
    limit, refused = length - ROOM, ""
    aim = limit
    for _ in range(TRIES):
        try:
            found, characters, count = ask(aim)
        except RequestRefused as error:
            if error.status in (401, 403, 404):
                raise
            aim, refused = int(aim * (1 - SHARE)), str(error)
            continue
        except Late as error:
            return str(error)
        if fits(count, length):
            source.learn(passage, characters, count)
            return found, count
        if not refused:
            source.learn(passage, characters, count)
    return refused or f"no prompt of about {length:,} tokens could be made: the server counts from call to call otherwise"
