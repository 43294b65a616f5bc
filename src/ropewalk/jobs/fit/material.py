"""Three sets of documents that never mix: to fit on, to choose on, to report on."""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.documents import Choice, Document, Joined, choose
from ropewalk.jobs.evaluate.sources import TEXT_FIELD, Texts

LEAST = 6  # documents: two for each set
MANY = 18  # documents of which twelve may be reported on


@dataclass(frozen=True)
class Sets:
    fit: tuple[Document, ...]
    choose: tuple[Document, ...]
    report: tuple[Document, ...]


def library_sets(tokenizer: Any, tokens: int, seed: int) -> Sets:
    """Held-out library files. Which twelve are reported on depends on nothing, so that no search can have seen them.

    Where too few are so long, several in a row make one text; of fewer than `MANY` texts a quarter is reported on.
    """
    every = _long_enough(Texts(), tokenizer, tokens).documents
    if len(every) < MANY:
        every = max(every, choose(Joined(tokens), tokenizer, tokens=tokens, count=sys.maxsize).documents, key=len)
    if len(every) < LEAST:
        raise BadConfig(
            f"{len(every)} texts of the held-out library, files in a row included, have {tokens:,} tokens, the target length; "
            f"a fit needs {LEAST}: two to fit on, two to choose on, two to report on.\n"
            "  Give long texts of your own with --data (ten or more for each of the three), or a smaller factor."
        )
    report = random.Random(0).sample(every, 12 if len(every) >= MANY else _quarter(len(every)))
    named = {document.name for document in report}
    # Left out: built from the machine's own configuration, so different on each.
    others = [d for d in every if d.name not in named and not d.name.startswith("_sysconfigdata")]
    random.Random(seed).shuffle(others)
    n = min(6, len(others) // 2) if len(every) >= MANY else _quarter(len(every))
    return Sets(tuple(others[n:]), tuple(others[:n]), tuple(sorted(report, key=lambda d: d.name)))


def _quarter(documents: int) -> int:
    return documents // 4 if documents >= 8 else 2


def read_sets(tokenizer: Any, sources: Sequence[str], tokens: int, seed: int, text_field: str = TEXT_FIELD) -> Sets:
    """Texts from wherever `Texts` takes them, cut to `tokens`: a quarter to choose, a quarter to report, no text twice."""
    choice = _long_enough(Texts(tuple(sources), text_field), tokenizer, tokens)
    documents = choice.documents
    if len(documents) < LEAST:
        unread = "".join(f"\n  {problem.place}: {problem.reason}" for problem in choice.problems[:3])
        raise BadConfig(
            f"{len(documents)} of {choice.found} texts have {tokens:,} tokens, the target length; a fit needs {LEAST}: two to "
            f"fit on, two to choose on, two to report on.{unread}\n  Give more or longer documents, or a smaller factor."
        )
    random.Random(seed).shuffle(documents)
    n = _quarter(len(documents))
    return Sets(tuple(documents[2 * n :]), tuple(documents[:n]), tuple(documents[n : 2 * n]))


def _long_enough(texts: Texts, tokenizer: Any, tokens: int) -> Choice:
    """All of them, in name order."""
    return choose(texts, tokenizer, tokens=tokens, count=sys.maxsize)
