"""RULER's frequent words."""

import random
import string
from collections.abc import Iterator, Sequence

import numpy

from ropewalk.errors import BadLength
from ropewalk.measure.material import Material
from ropewalk.measure.ruler.family import SOURCE, GeneratorRow, counter, row, ruler_samples
from ropewalk.measure.ruler.fit import Draft, too_short
from ropewalk.measure.task import Sample, task

ALPHA, ZETA = 2.0, 1.6449340668482264  # zeta(2) = pi^2 / 6
LETTERS = 6
TOKENS_PER_WORD = 50  # of the vocabulary
ASKED = 3
HEAD = (
    "Read the following coded text and track the frequency of each coded word. "
    "Find the three most frequently appeared coded words."
)
QUESTION = (
    "Question: Do not provide any explanation. Please ignore the dots '....'. "
    "What are the three most frequently appeared words in the above coded text?"
)
PREFIX = " Answer: According to the coded text above, the three most frequently appeared words are:"


def coded(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=LETTERS))


def counts(total: int, ranks: int) -> list[int]:
    """How often the words of rank 1, 2, ... appear: total / (rank^2 zeta(2)), rounded down."""
    found: list[int] = (total * (numpy.arange(1, ranks + 1) ** -ALPHA) / ZETA).astype(int).tolist()
    return found


def prompt(total: int, vocabulary: Sequence[str], rng: random.Random) -> Draft:
    often = counts(total, len(vocabulary))
    words = [f" {word}" for word, times in zip(vocabulary, often, strict=True) for _ in range(times)]
    rng.shuffle(words)
    answer = tuple(vocabulary[1 : 1 + ASKED])
    return Draft([HEAD, *(words or [" "]), "\n", QUESTION, PREFIX], answer, " " + ", ".join(answer))


class FrequentWords:
    new_tokens = 50
    most = 2**40

    def __init__(self, material: Material, length: int):
        self.pieces, self.budget = counter(material), length - self.new_tokens
        self.ranks = self.budget // TOKENS_PER_WORD
        # below this the third and the fourth place are shared
        self.smallest = next(n for n in range(1, 1000) if (c := counts(n, 5))[3] > c[4] and c[2] > c[3])
        if self.ranks < ASKED + 2:
            raise BadLength(
                f"fwe needs a vocabulary of {ASKED + 2} words: {TOKENS_PER_WORD * (ASKED + 2) + 50} tokens or more."
            )

    # --- the reference's samples ---

    def reference(self, count: int, seed: int) -> Iterator[tuple[Draft, GeneratorRow]]:
        rng, step = random.Random(seed), self.budget // 32
        total = self._reference_total(self._reference_vocabulary(rng, seed), seed, step)
        for index in range(count):
            vocabulary, size = self._reference_vocabulary(rng, seed), total
            while (tokens := self.pieces.count((draft := prompt(size, vocabulary, random.Random(seed))).pieces)) > self.budget:
                if size <= 0:
                    raise too_short("fwe", self.budget)
                size -= step
            yield draft, row(index, draft, PREFIX, tokens, self.new_tokens)

    def _reference_vocabulary(self, rng: random.Random, seed: int) -> list[str]:
        found = [coded(rng) for _ in range(self.ranks)]
        while len(set(found)) < self.ranks:
            found.append(coded(rng))
        vocabulary = sorted(set(found))
        random.Random(seed).shuffle(vocabulary)
        return ["...", *vocabulary[1:]]

    def _reference_total(self, vocabulary: list[str], seed: int, step: int) -> int:
        total = self.budget // LETTERS
        while self.pieces.count(prompt(total, vocabulary, random.Random(seed)).pieces) < self.budget:
            total += step
        return total - step

    # --- ours ---

    def draft(self, size: int, rng: random.Random) -> Draft:
        """Different on purpose: see docs/ruler.md, "Frequent words"."""
        vocabulary: dict[str, None] = {"...": None}
        while len(vocabulary) < self.ranks:
            vocabulary[coded(rng)] = None
        return prompt(size, list(vocabulary), rng)


@task("fwe", source=SOURCE, scoring="all")
def fwe(material: Material, *, length: int, count: int, seed: int, depths: object, compat: bool = False) -> Iterator[Sample]:
    """Coded words, each rank rarer than the last by Zipf's law; name the three most frequent after the dots."""
    family = FrequentWords(material, length)
    return ruler_samples("fwe", family, material, length=length, count=count, seed=seed, compat=compat)
