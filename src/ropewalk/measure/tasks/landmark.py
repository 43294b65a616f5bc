"""The pass key as published: five lines of English."""

from collections.abc import Iterator, Sequence

from ropewalk.errors import BadLength
from ropewalk.measure.material import Material
from ropewalk.measure.task import Sample, cells, task

DESCRIPTION = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there.\n"
)
GARBAGE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NEEDLE = "\nThe pass key is {key}. Remember it. {key} is the pass key.\n"
QUESTION = "\nWhat is the pass key? The pass key is"


@task("landmark", source="Mohtashami & Jaggi 2023, arXiv:2305.16300; prompt as in jquesnelle/yarn@995db5b", scoring="exact",
      has_depths=True)  # fmt: skip
def landmark(material: Material, *, length: int, count: int, seed: int, depths: Sequence[float]) -> Iterator[Sample]:
    """The pass key prompt of the long-context papers, for models that read English.

    As published: task description, garbage, the key told twice, garbage, the question; both stretches of garbage start
    with its first sentence. Different on purpose: garbage is cut by tokens, so that the length is exact (published: by
    characters, lengths vary); depths are a grid (published: uniform); keys are 10000 to 50000 (published: 1 to 50000), so
    that reading back a prefix of the key is never right.
    """
    description, question = material.encode(DESCRIPTION), material.encode(QUESTION)
    garbage = material.encode(" ".join([GARBAGE] * (length // 8 + 1)))  # a garbage line is more than eight tokens
    for cell in cells("landmark", length, count, seed, depths):
        key = str(cell.rng.randint(10000, 50000))
        needle, answer = material.encode(NEEDLE.format(key=key)), material.encode(f" {key}")
        head = [*material.start, *description]
        budget = length - len(head) - len(needle) - len(question) - len(answer)
        if budget < 0:
            raise BadLength(f"the pass key prompt alone takes {length - budget} tokens; {length} were asked for.")
        before = round(cell.depth * budget)
        ids = [*head, *garbage[:before]]
        span = (len(ids), len(ids) + len(needle))
        ids += [*needle, *garbage[: budget - before], *question]
        start = len(ids)
        ids += answer
        yield Sample("landmark", length, cell.depth, cell.index, tuple(ids), start, len(ids), (key,), len(answer), span)
