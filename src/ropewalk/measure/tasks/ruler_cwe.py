"""RULER's common words."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property

from ropewalk.errors import BadConfig
from ropewalk.measure.material import Material
from ropewalk.measure.ruler.family import SHORT, SOURCE, GeneratorRow, counter, row, ruler_samples
from ropewalk.measure.ruler.fit import Draft, reference_draft, reference_size
from ropewalk.measure.ruler.words import single_words, word_pairs
from ropewalk.measure.task import Sample, task

COMMON = 10
HEAD = (
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often."
)
QUESTION = "Question: What are the 10 most common words in the above list?"
PREFIX = " Answer: The top 10 words that appear most often in the list are:"
PROBE = 4096  # words, from which the reference estimates tokens per word
STEP = 10


class CommonWords:
    new_tokens = 120
    smallest = COMMON + 1
    most = 2**40

    def __init__(self, material: Material, length: int):
        self.pieces, self.length, self.material = counter(material), length, material
        short = length < SHORT
        self.example = (20, 3, 1) if short else (40, 10, 3)  # words, repeats of common and of other words
        self.repeats = (6, 1) if short else (30, 3)
        self._numbers: list[str] = []

    # --- the reference's samples ---

    def reference(self, count: int, seed: int) -> Iterator[tuple[Draft, GeneratorRow]]:
        rng, budget = random.Random(seed), self.length - self.new_tokens
        words = list(single_words())
        random.Random(seed).shuffle(words)

        def one(n: int, common: int, other: int) -> tuple[list[str], list[str]]:
            chosen = rng.sample(words if n <= len(words) else self._spare, n)
            listed = chosen[:COMMON] * common + chosen[COMMON:] * other
            random.Random(seed).shuffle(listed)
            return listed, chosen[:COMMON]

        def build(size: int) -> Draft:
            return self._prompt(*one(*self.example), *one(size, *self.repeats))

        each = self.pieces.count(build(PROBE).pieces) / PROBE
        upper = int(self.length // each) * 2
        size = reference_size(build, self.pieces.count, budget, step=STEP, upper=upper)
        for index in range(count):
            draft, tokens = reference_draft("cwe", build, self.pieces.count, budget, size=size, step=STEP)
            yield draft, row(index, draft, PREFIX, tokens, self.new_tokens)

    @cached_property
    def _spare(self) -> Sequence[str]:
        if not self.material.spare_words:
            raise BadConfig(
                f"cwe at {self.length} tokens needs more words than wonderwords has; the reference then reads its"
                " english_words.json.\n  Pass those words as spare_words, or leave compat mode, which makes pairs of words."
            )
        return self.material.spare_words

    # --- ours ---

    def draft(self, size: int, rng: random.Random) -> Draft:
        """Different on purpose: see docs/ruler.md, "Common words"."""
        first, *others = self.example
        words = list(single_words())
        rng.shuffle(words)
        shown, words = words[:first], words[first:]
        while len(words) < size:
            words.append(rng.choice(word_pairs()))
        example = _listed(shown, others[0], others[1], rng)
        # the shuffle comes last, so that a longer sample holds the words of a shorter one
        return self._prompt(example, shown[:COMMON], _listed(words[:size], *self.repeats, rng), words[:COMMON])

    def _prompt(self, example: Sequence[str], told: Sequence[str], words: Sequence[str], answer: Sequence[str]) -> Draft:
        after = self._numbered(told)
        pieces = [HEAD, "\n", *self._numbered(example, first=True), "\n", QUESTION, PREFIX, *after, "\n"]
        pieces += [HEAD, "\n", *self._numbered(words, first=True), "\n", QUESTION, PREFIX]
        return Draft(pieces, tuple(answer), "".join(self._numbered(answer)))

    def _numbered(self, words: Sequence[str], first: bool = False) -> list[str]:
        """ " 1.", " rope", " 2.", ...; without the first space where a line begins."""
        while len(self._numbers) < len(words):
            self._numbers.append(f" {len(self._numbers) + 1}.")
        pieces = [""] * (2 * len(words))
        pieces[::2] = self._numbers[: len(words)]
        pieces[1::2] = [f" {word}" for word in words]
        if first:
            pieces[0] = pieces[0].lstrip()
        return pieces


def _listed(words: Sequence[str], common: int, other: int, rng: random.Random) -> list[str]:
    listed = list(words[:COMMON]) * common + list(words[COMMON:]) * other
    rng.shuffle(listed)
    return listed


@task("cwe", source=SOURCE, scoring="all")
def cwe(material: Material, *, length: int, count: int, seed: int, depths: object, compat: bool = False) -> Iterator[Sample]:
    """A numbered list of words, ten of them ten times as often as the rest; name the ten."""
    family = CommonWords(material, length)
    return ruler_samples("cwe", family, material, length=length, count=count, seed=seed, compat=compat)
