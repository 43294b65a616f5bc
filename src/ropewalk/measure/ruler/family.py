"""What the thirteen tasks share: from a family's drafts to samples, in NVIDIA's way or in ours.

Source: NVIDIA/RULER@c3f5e3b, scripts/data/synthetic. Its choices and what is different here are listed in docs/ruler.md.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from ropewalk.measure.material import Material
from ropewalk.measure.ruler.fit import Draft, largest
from ropewalk.measure.ruler.pieces import Pieces
from ropewalk.measure.task import Sample

SOURCE = "Hsieh et al. 2024, arXiv:2404.06654; NVIDIA/RULER@c3f5e3b"
REFERENCE_SEED = 42
SHORT = 4096  # below this many tokens the reference's step and word counts are smaller

_counters: "WeakKeyDictionary[Any, Pieces]" = WeakKeyDictionary()


class GeneratorRow(dict[str, Any]):
    """One line of the reference generator's file, keys in its order."""


class RulerFamily(Protocol):
    """One of RULER's five generators, for one task, text and length.

    new_tokens: what a model may write.  smallest, most: sizes a sample can have; the unit of size is the family's own.
    """

    new_tokens: int
    smallest: int
    most: int

    def draft(self, size: int, rng: random.Random) -> Draft:
        """A sample of `size`, made better than the reference's; the same random numbers give the same sample."""
        ...

    def reference(self, count: int, seed: int) -> Iterator[tuple[Draft, GeneratorRow]]:
        """The reference generator's samples."""
        ...


def counter(material: Material) -> Pieces:
    """The token counter of a tokenizer; what it has learnt is kept as long as the tokenizer is."""
    if material.tokenizer not in _counters:
        _counters[material.tokenizer] = Pieces(material.encode)
    return _counters[material.tokenizer]


def ruler_samples(
    name: str, family: RulerFamily, material: Material, *, length: int, count: int, seed: int, compat: bool
) -> Iterator[Sample]:
    """`count` samples of a family.

    compat: the reference generator's, text for text, made with seed 42 + seed; BOS is not counted there, so that a sample
        with what is generated may be one token longer than `length`.
    """
    pieces = counter(material)
    made = _drafts(name, family, material, pieces, length, count, seed, compat)
    first = next(made)
    if not pieces.verify(first[0].pieces):  # then nothing that was counted so far can be trusted
        made = _drafts(name, family, material, pieces, length, count, seed, compat)
        first = next(made)
    for index, (draft, facts) in enumerate(itertools.chain([first], made)):
        yield _sample(name, draft, material, pieces, length, index, family.new_tokens, facts)


def _drafts(
    name: str, family: RulerFamily, material: Material, pieces: Pieces, length: int, count: int, seed: int, compat: bool
) -> Iterator[tuple[Draft, dict[str, Any]]]:
    if compat:
        for draft, line in family.reference(count, REFERENCE_SEED + seed):
            yield draft, {"row": line}
        return
    budget = length - len(material.start) - family.new_tokens
    for index in range(count):

        def build(size: int, key: str = f"{seed}/{name}/{length}/{index}") -> Draft:
            return family.draft(size, random.Random(key))

        yield largest(name, build, pieces.count, budget, smallest=family.smallest, most=family.most), {}


def _sample(
    name: str, draft: Draft, material: Material, pieces: Pieces, length: int, index: int, new_tokens: int, more: dict[str, Any]
) -> Sample:
    prompt = [*material.start, *pieces.ids(draft.pieces)]
    answer = material.encode(draft.answer)[:new_tokens]
    facts = {key: value for key, value in draft.facts.items() if key != "depth"}
    return Sample(
        name, length, draft.facts.get("depth"), index, (*prompt, *answer), len(prompt), len(prompt) + len(answer),
        draft.references, new_tokens, None, {**facts, **more},
    )  # fmt: skip


def row(index: int, draft: Draft, prefix: str, tokens: int, new_tokens: int) -> GeneratorRow:
    """A line as the reference writes it: the prompt without the answer's beginning, and that apart."""
    text = draft.text
    cut = text.rfind(prefix[:10])
    return GeneratorRow(
        index=index,
        input=text[:cut],
        outputs=list(draft.references),
        length=tokens + new_tokens,
        length_w_model_temp=tokens + new_tokens,
        answer_prefix=text[cut:],
    )
