"""Copying random tokens: retrieval without language, which tells methods apart on models too small to follow a question."""

import itertools
import random
from collections.abc import Iterator, Sequence

from ropewalk.errors import BadOption
from ropewalk.measure.material import Material
from ropewalk.measure.task import Sample, SampleCell, cells, lay_out, task

SOURCE = "token-level probes after Olsson et al. 2022, arXiv:2209.11895 (induction); no published prompt"


def _random_tokens(rng: random.Random, material: Material, n: int) -> list[int]:
    if len(material.plain_tokens) < n:
        raise BadOption(f"the tokenizer has {len(material.plain_tokens)} ordinary tokens; {n} different ones are needed.")
    return rng.sample(material.plain_tokens, n)


def _lay(name: str, material: Material, cell: SampleCell, length: int, needle: list[int], question: list[int],
         answer: list[int], others: Sequence[list[int]] = ()) -> Sample:  # fmt: skip
    return lay_out(
        name, material, material.code_ids, cell, length=length, needle=needle, question=question, answer=answer,
        reference=material.decode(answer), others=others,
    )  # fmt: skip


@task("random_copy", source=SOURCE, scoring="exact", has_depths=True)
def random_copy(
    material: Material, *, length: int, count: int, seed: int, depths: Sequence[float], shown: int = 4, copied: int = 8
) -> Iterator[Sample]:
    """Random tokens planted in text; the first few are repeated at the end, and the rest is to follow.

    shown, copied: tokens repeated, and tokens to be written.
    """
    for cell in cells("random_copy", length, count, seed, depths):
        planted = _random_tokens(cell.rng, material, shown + copied)
        yield _lay("random_copy", material, cell, length, planted, planted[:shown], planted[shown:])


@task("multikey_copy", source=SOURCE, scoring="exact", has_depths=True)
def multikey_copy(
    material: Material, *, length: int, count: int, seed: int, depths: Sequence[float], keys: int = 4, copied: int = 4
) -> Iterator[Sample]:
    """Several planted pairs of key and value; one key is repeated at the end, and its value is to follow.

    All keys begin with the same two tokens and end with two of their own, so that the last pair planted is no answer.
    """
    for cell in cells("multikey_copy", length, count, seed, depths):
        tokens = _random_tokens(cell.rng, material, 2 + keys * (2 + copied))
        shared, rest = tokens[:2], tokens[2:]
        pairs = [(shared + rest[i : i + 2], rest[i + 2 : i + 2 + copied]) for i in range(0, len(rest), 2 + copied)]
        (key, value), others = pairs[0], [k + v for k, v in pairs[1:]]
        yield _lay("multikey_copy", material, cell, length, key + value, key, value, others)


@task("chained_copy", source=SOURCE, scoring="exact", has_depths=True)
def chained_copy(
    material: Material, *, length: int, count: int, seed: int, depths: Sequence[float], hops: int = 2, size: int = 3
) -> Iterator[Sample]:
    """Links k0 k1, k1 k2, ... planted apart; the walk from k0 to the last is to be written, one link a line.

    Another chain is planted too and its walk written out before the question, so that the form of the answer is known.
    Each key stands twice in the text, once as a value and once as a key: the right one goes on, the other ends its line.
    The first link is at the wanted depth; the others are anywhere.
    """
    newline = material.encode("\n")
    for cell in cells("chained_copy", length, count, seed, depths):
        tokens = _random_tokens(cell.rng, material, 2 * (hops + 1) * size)
        keys = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        chains = [keys[: hops + 1], keys[hops + 1 :]]
        links = [[newline + a + b + newline for a, b in itertools.pairwise(c)] for c in chains]
        walks = [[t for a, b in itertools.pairwise(c) for t in newline + a + b] for c in chains]
        start = len(newline) + size
        question = walks[1] + newline + walks[0][:start]
        yield _lay("chained_copy", material, cell, length, links[0][0], question, walks[0][start:], links[0][1:] + links[1])
