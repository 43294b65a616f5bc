"""Three sets of documents that never mix: to fit on, to choose on, to report on."""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.documents import Choice, Document, choose
from ropewalk.jobs.evaluate.sources import TEXT_FIELD, Texts

LEAST = 6  # documents: two for each set


@dataclass(frozen=True)
class Sets:
    fit: tuple[Document, ...]
    choose: tuple[Document, ...]
    report: tuple[Document, ...]


def library_sets(tokenizer: Any, tokens: int, seed: int) -> Sets:
    """Held-out library files. Which twelve are reported on depends on nothing, so that no search can have seen them."""
    every = _long_enough(Texts(), tokenizer, tokens).documents
    report = sorted(random.Random(0).sample(every, min(12, len(every))), key=lambda d: d.name)
    named = {document.name for document in report}
    # Left out: built from the machine's own configuration, so different on each.
    others = [d for d in every if d.name not in named and not d.name.startswith("_sysconfigdata")]
    random.Random(seed).shuffle(others)
    n = min(6, len(others) // 2)
    if not n:
        raise BadConfig(f"only {len(report)} held-out library files have {tokens} tokens; a fit needs {LEAST} and more.")
    return Sets(tuple(others[n:]), tuple(others[:n]), tuple(report))


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
    n = len(documents) // 4 if len(documents) >= 8 else 2
    return Sets(tuple(documents[2 * n :]), tuple(documents[:n]), tuple(documents[n : 2 * n]))


def _long_enough(texts: Texts, tokenizer: Any, tokens: int) -> Choice:
    """All of them, in name order."""
    return choose(texts, tokenizer, tokens=tokens, count=sys.maxsize)
