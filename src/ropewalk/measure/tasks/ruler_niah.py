"""RULER's eight needle tasks."""

import random
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy

from ropewalk.errors import BadConfig
from ropewalk.measure.material import Material
from ropewalk.measure.ruler.family import SHORT, SOURCE, GeneratorRow, counter, row, ruler_samples
from ropewalk.measure.ruler.fit import Draft, reference_draft, reference_size
from ropewalk.measure.ruler.words import word_pairs
from ropewalk.measure.task import Sample, task

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
DEPTHS = [int(depth) for depth in numpy.round(numpy.linspace(0, 100, num=40))]
HEAD = (
    "{some} special magic {kind} {are} hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the {kind} afterwards."
)
QUESTION = "What {are_all} the special magic {kind} for {query} mentioned in the provided text?"
PREFIX = " The special magic {kind} for {query} mentioned in the provided text {are}"


@dataclass(frozen=True)
class Shape:
    """What is hidden where: the columns of RULER's synthetic.yaml."""

    haystack: str  # "noise", "essay" or "needle": every line another needle
    keys: int = 1
    values: int = 1
    queries: int = 1
    key_kind: str = "words"
    value_kind: str = "numbers"
    summary: str = ""


SHAPES = {
    "niah_single_1": Shape("noise", summary="One number for one word, in repeated noise."),
    "niah_single_2": Shape("essay", summary="One number for one word, in prose."),
    "niah_single_3": Shape("essay", value_kind="uuids", summary="One uuid for one word, in prose."),
    "niah_multikey_1": Shape("essay", keys=4, summary="One number for one word, in prose with three other needles."),
    "niah_multikey_2": Shape("needle", summary="One number for one word, where every line is a needle."),
    "niah_multikey_3": Shape(
        "needle", key_kind="uuids", value_kind="uuids", summary="One uuid for one uuid, where every line is a needle."
    ),
    "niah_multivalue": Shape("essay", values=4, summary="Four numbers for one word, in prose."),
    "niah_multiquery": Shape("essay", keys=4, queries=4, summary="Four numbers for four words, in prose."),
}


def draw(kind: str, rng: random.Random) -> str:
    if kind == "numbers":
        return str(rng.randint(10**6, 10**7 - 1))
    if kind == "words":
        return str(rng.choice(word_pairs()))
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def needle(value_kind: str, key: str, value: str) -> list[str]:
    """One needle in pieces: words and their hyphens apart, as each is seen again."""
    start, *rest = key.split("-") if len(key) < 36 else [key]
    return [f"One of the special magic {value_kind} for", f" {start}", *(f"-{part}" for part in rest), " is:", f" {value}."]


class Niah:
    new_tokens = 128
    most = 2**40

    def __init__(self, shape: Shape, material: Material, length: int):
        self.shape, self.material, self.length = shape, material, length
        self.pieces = counter(material)
        hidden = shape.keys * shape.values
        self.smallest = hidden if shape.haystack == "essay" else hidden + 1
        self._split: dict[int, list[str]] = {}

    # --- the reference's samples ---

    def reference(self, count: int, seed: int) -> Iterator[tuple[Draft, GeneratorRow]]:
        budget = self.length - self.new_tokens
        essay = self.shape.haystack == "essay"
        step = 500 if essay else 5 if self.length < SHORT else 25
        rng = random.Random(seed)

        def build(size: int) -> Draft:
            return self._reference_draft(size, rng, seed)

        each = self.pieces.count(build(step).pieces) / step
        size = reference_size(build, self.pieces.count, budget, step=step, upper=int((self.length / each) * 3))
        for _ in range(count):
            draft, tokens = reference_draft("RULER's needle task", build, self.pieces.count, budget, size=size, step=step)
            line = row(0, draft, PREFIX, tokens, self.new_tokens)
            line["index"] = line["input"].find(draft.references[0])  # the reference overwrites the sample's number
            line["token_position_answer"] = self.pieces.count(_first(draft.pieces, line["index"]))
            yield draft, line

    def _reference_draft(self, size: int, rng: random.Random, seed: int) -> Draft:
        shape = self.shape
        keys, values, needles = [], [], []
        for _ in range(shape.keys):
            keys.append(draw(shape.key_kind, rng))
            values.append([draw(shape.value_kind, rng) for _ in range(shape.values)])
            needles += [needle(shape.value_kind, keys[-1], value) for value in values[-1]]
        random.Random(seed).shuffle(needles)
        if shape.haystack == "essay":
            sentences = self._reference_sentences(size)
            depths = sorted(rng.sample(DEPTHS, len(needles)))
            context = in_prose(sentences, [int(len(sentences) * (depth / 100)) for depth in depths], needles)
        else:
            lines = self._lines(size, rng)
            for place, hidden in zip(sorted(rng.sample(range(size), len(needles)), reverse=True), needles, strict=False):
                lines.insert(place, hidden)
            context = _on_lines(lines)
        asked = rng.sample(range(shape.keys), shape.queries)
        return self._prompt(context, [keys[i] for i in asked], [value for i in asked for value in values[i]])

    def _reference_sentences(self, words: int) -> list[str]:
        """The first `words` words of the text as sentences, each after the first with the space before it."""
        if words not in self._split:
            found = self.material.split(" ".join(_first_words(self._words, words)).strip())
            self._split[words] = [f" {sentence}" for sentence in found]
        return self._split[words]

    @cached_property
    def _words(self) -> list[str]:
        return re.sub(r"\s+", " ", self.material.prose).split(" ")

    def _lines(self, size: int, rng: random.Random) -> list[list[str]]:
        if self.shape.haystack == "noise":
            return [[NOISE]] * size
        kinds = self.shape.key_kind, self.shape.value_kind
        return [needle(kinds[1], draw(kinds[0], rng), draw(kinds[1], rng)) for _ in range(size)]

    # --- ours ---

    def draft(self, size: int, rng: random.Random) -> Draft:
        """Different on purpose: see docs/ruler.md, "Needles"."""
        shape = self.shape
        hidden = shape.keys * shape.values
        depths = sorted(rng.sample(DEPTHS, hidden))
        keys = _distinct(shape.key_kind, shape.keys, rng)
        values = _distinct(shape.value_kind, hidden, rng)
        pairs = [(keys[i // shape.values], values[i]) for i in range(hidden)]
        needles = [needle(shape.value_kind, key, value) for key, value in rng.sample(pairs, hidden)]
        asked = rng.sample(range(shape.keys), shape.queries)
        if shape.haystack == "essay":
            sentences = self._sentences(rng.randrange(len(self._prose)), size)
            context = in_prose(sentences, [size * depth // 100 for depth in depths], needles)
        else:
            lines = self._distinct_lines(size, rng, keys, values)
            for depth, one in zip(reversed(depths), reversed(needles), strict=True):
                lines.insert(size * depth // 100, one)
            context = _on_lines(lines)
        told = [values[i * shape.values + j] for i in asked for j in range(shape.values)]
        prompt = self._prompt(context, [keys[i] for i in asked], told)
        return Draft(prompt.pieces, prompt.references, prompt.answer, {"depth": depths[0] / 100 if hidden == 1 else None})

    @cached_property
    def _prose(self) -> list[str]:
        found = [" " + " ".join(one.split()) for one in self.material.split(self.material.prose) if one.strip()]
        if not found:
            raise BadConfig("the haystack text has no sentences; pass a text with something in it.")
        return found

    def _sentences(self, start: int, size: int) -> list[str]:
        around = self._prose[start:] + self._prose[: start if size < len(self._prose) else len(self._prose)]
        while len(around) < size:
            around += self._prose
        return around[:size]

    def _distinct_lines(self, size: int, rng: random.Random, keys: Sequence[str], values: Sequence[str]) -> list[list[str]]:
        if self.shape.haystack == "noise":
            return [[NOISE]] * size
        seen = {*keys, *values}
        lines: list[list[str]] = []
        while len(lines) < size:
            key, value = draw(self.shape.key_kind, rng), draw(self.shape.value_kind, rng)
            if len({key, value} - seen) == 2:
                seen |= {key, value}
                lines.append(needle(self.shape.value_kind, key, value))
        return lines

    def _prompt(self, context: list[str], asked: list[str], values: list[str]) -> Draft:
        one = len(values) == 1 and len(asked) == 1
        kind = self.shape.value_kind
        words = {
            "some": "A" if one else "Some",
            "are": "is" if one else "are",
            "are_all": "is" if one else "are all",
            "kind": kind[:-1] if one else kind,
            "query": ", ".join(asked[:-1]) + ", and " + asked[-1] if len(asked) > 1 else asked[0],
        }
        pieces = [HEAD.format(**words), "\n", *context, "\n", QUESTION.format(**words), PREFIX.format(**words)]
        return Draft(pieces, tuple(values), " " + ", ".join(values))


def in_prose(sentences: list[str], cuts: list[int], needles: list[list[str]]) -> list[str]:
    """Needles before the sentences numbered by `cuts`; between two needles with nothing between them, two spaces."""
    parts: list[str] = []
    for start, end, hidden in zip([0, *cuts], [*cuts, len(sentences)], [*needles, None], strict=True):
        parts += sentences[start:end] or [" "]
        if hidden is not None:
            parts += [f" {hidden[0]}", *hidden[1:]]
    return [parts[0][1:], *parts[1:]]


def _on_lines(lines: list[list[str]]) -> list[str]:
    pieces = [piece for line in lines for piece in (*line, "\n")]
    return pieces[:-1]


def _first_words(words: list[str], n: int) -> list[str]:
    return words[:n] if n <= len(words) else (words * -(-n // len(words)))[:n]


def _first(pieces: Sequence[str], characters: int) -> list[str]:
    """The pieces of the first characters of a text."""
    found: list[str] = []
    for piece in pieces:
        found.append(piece[:characters])
        characters -= len(piece)
        if characters <= 0:
            break
    return found


def _distinct(kind: str, n: int, rng: random.Random) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < n:
        found[draw(kind, rng)] = None
    return list(found)


def _register(name: str, shape: Shape) -> None:
    def samples(
        material: Material, *, length: int, count: int, seed: int, depths: Any, compat: bool = False
    ) -> Iterator[Sample]:
        family = Niah(shape, material, length)
        return ruler_samples(name, family, material, length=length, count=count, seed=seed, compat=compat)

    samples.__doc__ = shape.summary
    task(name, source=SOURCE, scoring="all")(samples)


for _name, _shape in SHAPES.items():
    _register(_name, _shape)
