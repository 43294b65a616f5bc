"""Pass key: hide five digits in held-out code, ask for them at the end (after Mohtashami & Jaggi 2023, arXiv:2305.16300).

Every sample is laid out in tokens, so its length is exact:

    BOS | code | "# The pass key is 48213. Remember it. ..." | code | "# What is the pass key? The pass key is " | 4 8 2 1 3
"""

import random
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from ropewalk.errors import BadLength
from ropewalk.measure.material import Material
from ropewalk.measure.task import Sample, cells, task

DIGITS = 5
NEEDLE = "\n# The pass key is {key}. Remember it. {key} is the pass key."
QUESTION = "\n# What is the pass key? The pass key is "


class Encode(Protocol):
    """Text to token ids, without special tokens."""

    def __call__(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class PassKey:
    """One sample: `ids` are the whole sequence, answer included; the last `answer_length` of them are the key."""

    ids: tuple[int, ...]
    answer_length: int
    needle_start: int
    needle_length: int


def make_passkey(
    haystack: Sequence[int],
    encode: Encode,
    *,
    length: int,
    depth: float,
    rng: random.Random,
    bos: int,
    newlines: AbstractSet[int],
) -> PassKey:
    """Hide a fresh random key at `depth` (0 = first, 1 = last) of `haystack`, cut so that the sample is `length` tokens.

    haystack: token ids, at least `length` of them.
    newlines: ids of tokens that begin a line; the needle goes before the one nearest to the wanted depth.
    """
    key = "".join(rng.choice("0123456789") for _ in range(DIGITS))
    needle, question, answer = encode(NEEDLE.format(key=key)), encode(QUESTION), encode(key)
    budget = length - 1 - len(needle) - len(question) - len(answer)
    if budget < 0:
        raise BadLength(f"a pass key of {DIGITS} digits needs {length - budget} tokens or more; {length} were asked for.")
    if len(haystack) < budget:
        raise BadLength(f"the haystack has {len(haystack)} tokens, {budget} are needed.")
    code = list(haystack[:budget])
    wanted = round(depth * budget)
    cuts = [i for i, token in enumerate(code) if token in newlines] or [wanted]
    cut = 0 if depth == 0 else budget if depth == 1 else min(cuts, key=lambda i: abs(i - wanted))
    ids = [bos, *code[:cut], *needle, *code[cut:], *question, *answer]
    return PassKey(tuple(ids), len(answer), 1 + cut, len(needle))


@task("passkey", source="after Mohtashami & Jaggi 2023, arXiv:2305.16300, in code", scoring="exact", has_depths=True)
def passkey(material: Material, *, length: int, count: int, seed: int, depths: Sequence[float]) -> Iterator[Sample]:
    """Five digits hidden in source code: the task the bundled model was trained on.

    The published prompt is English; `landmark` is that one. A model without a BOS is given its first needed token anyway.
    """
    bos = material.start[0] if material.start else material.encode("\n")[0]
    for cell in cells("passkey", length, count, seed, depths):
        code = material.slice_of(material.code_ids, int(cell.start * len(material.code_ids)), length)
        made = make_passkey(
            code, material.encode, length=length, depth=cell.depth, rng=cell.rng, bos=bos, newlines=material.newlines
        )
        start = length - made.answer_length
        needle = (made.needle_start, made.needle_start + made.needle_length)
        answer = made.ids[start:]
        yield Sample(
            "passkey", length, cell.depth, cell.index, made.ids, start, length, (material.decode(answer),), len(answer), needle
        )
