"""Three sets of documents that never mix: to fit on, to choose on, to report on."""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.corpus import read_text
from ropewalk.jobs.evaluate.documents import Document, choose, encoder
from ropewalk.jobs.evaluate.sources import Texts

LEAST = 6  # documents: two for each set


@dataclass(frozen=True)
class Sets:
    fit: tuple[Document, ...]
    choose: tuple[Document, ...]
    report: tuple[Document, ...]


def library_sets(tokenizer: Any, tokens: int, seed: int) -> Sets:
    """Held-out library files. Which twelve are reported on depends on nothing, so that no search can have seen them."""
    every = _all_long_enough(tokenizer, tokens)
    report = sorted(random.Random(0).sample(every, min(12, len(every))), key=lambda d: d.name)
    named = {document.name for document in report}
    # Left out: built from the machine's own configuration, so different on each.
    others = [d for d in every if d.name not in named and not d.name.startswith("_sysconfigdata")]
    random.Random(seed).shuffle(others)
    n = min(6, len(others) // 2)
    if not n:
        raise BadConfig(f"only {len(report)} held-out library files have {tokens} tokens; a fit needs {LEAST} and more.")
    return Sets(tuple(others[n:]), tuple(others[:n]), tuple(report))


def _all_long_enough(tokenizer: Any, tokens: int) -> list[Document]:
    return choose(Texts(), tokenizer, tokens=tokens, count=sys.maxsize).documents


def read_sets(tokenizer: Any, paths: Sequence[Path], tokens: int, seed: int) -> Sets:
    """Text files, or folders of them, one document each, cut to `tokens`: a quarter to choose, a quarter to report."""
    files = [f for path in paths for f in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])]
    documents = [d for f in files if (d := _read(tokenizer, f, tokens))]
    if len(documents) < LEAST:
        raise BadConfig(
            f"{len(documents)} of {len(files)} files have {tokens:,} tokens, the target length; a fit needs {LEAST}: two to "
            "fit on, two to choose on, two to report on.\n  Give longer documents or a smaller factor."
        )
    random.Random(seed).shuffle(documents)
    n = len(documents) // 4 if len(documents) >= 8 else 2
    return Sets(tuple(documents[2 * n :]), tuple(documents[:n]), tuple(documents[n : 2 * n]))


def _read(tokenizer: Any, path: Path, tokens: int) -> Document | None:
    encode: Callable[[str], list[int]] = encoder(tokenizer)
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    text = read_text(path)
    ids = (*start, *encode(text[: tokens * 16])) if text else ()
    return Document(str(path), tuple(ids[:tokens])) if len(ids) >= tokens else None
