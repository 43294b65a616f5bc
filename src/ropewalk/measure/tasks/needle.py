"""One fact in prose, on a grid of depths and lengths."""

from collections.abc import Iterator, Sequence

from ropewalk.measure.material import Material
from ropewalk.measure.task import Sample, cells, lay_out, task

PLACES = "Lisbon Bergen Kyoto Quito Accra Hobart Galway Odessa Tunis Varna Cusco Malmo Surat Leipzig Perth Dakar".split()
NEEDLE = "\nThe secret number of {place} is {number}."
QUESTION = "\nThe secret number of {place} is"


@task("needle", source="after Kamradt 2023 (gkamradt/LLMTest_NeedleInAHaystack@7b90d28), scored as in "
      "jzhang38/EasyContext@6b0d310", scoring="exact", has_depths=True)  # fmt: skip
def needle(material: Material, *, length: int, count: int, seed: int, depths: Sequence[float]) -> Iterator[Sample]:
    """A number told once in running text, asked for by beginning the same sentence again.

    The answer is read by teacher forcing: it counts when every token of it is the one greedy decoding would write, which
    is the verdict of greedy exact match at the price of one pass. No judge grades the wording. A base model can do it,
    because the question is a sentence to go on with. Cells hold 20 samples by default; the original has one.
    """
    for cell in cells("needle", length, count, seed, depths):
        place, number = cell.rng.choice(PLACES), str(cell.rng.randrange(100_000, 1_000_000))
        yield lay_out(
            "needle",
            material,
            material.prose_ids,
            cell,
            length=length,
            needle=material.encode(NEEDLE.format(place=place, number=number)),
            question=material.encode(QUESTION.format(place=place)),
            answer=material.encode(f" {number}"),
            reference=number,
        )
