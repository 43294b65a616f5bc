"""The texts of a choice, some to choose on, others to report on, a few to fit on; and what is asked about them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.choose.result import Needless
from ropewalk.measure.anytime import LEAST, random_order
from ropewalk.measure.documents import Document, Joined, choose
from ropewalk.measure.material import Material
from ropewalk.measure.retrieval import make_samples
from ropewalk.measure.task import Sample
from ropewalk.measure.texts import LIBRARY, Texts
from ropewalk.progress import Progress

MOST = 160  # documents, half of which choose
FEWEST = 2 * LEAST
QUARTER, MOST_FITTED = 4, 16  # a fit sees one document in so many, and no more than that
FEWEST_OF_THREE = 16  # then four are fitted on, two of which choose among points, and six are left for either of the others
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of what is hidden


@dataclass(frozen=True)
class Shares:
    """No document is in two of them."""

    choosing: list[Document]
    reporting: list[Document]
    fitting: list[Document]


def share_out(documents: Sequence[Document], seed: int, *, fit: bool) -> Shares:
    """Drawn before anything is read, from their number and the seed alone."""
    order = [documents[i] for i in random_order(len(documents), seed)]
    n = len(order) - (min(len(order) // QUARTER, MOST_FITTED) if fit else 0)
    return Shares(order[:n:2], order[1:n:2], order[n:])


def questions(material: Material, kinds: Sequence[str], length: int, count: int, seed: int) -> list[tuple[Sample, ...]]:
    """For each of so many rounds one question of each kind, in an order that is drawn; none where none fits."""
    rows = []
    for kind in kinds:
        made, _ = make_samples(material, [kind], [length], depths=DEPTHS, count=math.ceil(count / len(DEPTHS)), seed=seed)
        rows.append([made[i] for i in random_order(len(made), seed)])
    rows = [row for row in rows if len(row) >= count]
    return [tuple(row[i] for row in rows) for i in range(count)]


def documents_of(
    target: int, original: int, tokenizer: Any, data: tuple[str, ...], text_field: str, seed: int, progress: Progress
) -> list[Document] | Needless:
    """Texts of the target length; Needless where no text of the user is longer than the window."""
    texts = Texts(data, text_field, seed=seed)
    found = choose(texts, tokenizer, tokens=target, count=MOST, seed=seed)
    if data == (LIBRARY,) and len(found.documents) < 4 * LEAST:
        joined = choose(Joined(target), tokenizer, tokens=target, count=MOST, seed=seed)
        if len(joined.documents) > max(len(found.documents), FEWEST - 1):
            progress.note(f"few library files have {target:,} tokens: texts of several files in a row are read.")
            found = joined
    if len(found.documents) >= FEWEST:
        return found.documents

    def enough(tokens: int, count: int = FEWEST) -> bool:
        return len(choose(texts, tokenizer, tokens=tokens, count=count, seed=seed).documents) >= count

    if found.found and not enough(original + 1, 1):
        passed_over = tuple(f"{problem.place}: {problem.reason}" for problem in found.problems)
        return Needless(original, target, found.found, unread=passed_over)
    shorter = next((n for n in _halves(target, original) if enough(n)), None)
    unread = "".join(f"\n  {problem.place}: {problem.reason}" for problem in found.problems[:3])
    way = f"ask for a target that they reach (--to {shorter}), or give" if shorter else "give"
    raise BadConfig(
        f"{len(found.documents)} of {found.found} documents have {target:,} tokens, the target length, and a choice needs "
        f"{FEWEST}: {LEAST} to choose on, {LEAST} others to report on.{unread}\n  Longer texts are needed: {way} more as data "
        "(--data)."
    )


def _halves(target: int, original: int) -> list[int]:
    return [target >> k for k in range(1, target.bit_length()) if target >> k > original]
