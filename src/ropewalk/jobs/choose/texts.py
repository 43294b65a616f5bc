"""The texts of a choice: so many of the target length that some can choose, and others be reported on."""

from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.choose.result import Needless
from ropewalk.measure.anytime import LEAST
from ropewalk.measure.documents import Document, Joined, choose
from ropewalk.measure.texts import LIBRARY, Texts
from ropewalk.progress import Progress

MOST = 160  # documents, half of which choose
FEWEST = 2 * LEAST


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
        unread = tuple(f"{problem.place}: {problem.reason}" for problem in found.problems)
        return Needless(original, target, found.found, unread=unread)
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
