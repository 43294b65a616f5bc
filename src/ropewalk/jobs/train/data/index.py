"""The index: every text tokenised once, kept as one long row of ids on disk, and read without loading it.

A folder of three files: tokens.bin (little-endian uint16, or uint32 where the vocabulary needs it), ends.npy (int64, where
each document ends) and index.json (where it all came from). It is written beside its place and renamed when whole.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy

from ropewalk.checkpoints.files import new_folder
from ropewalk.errors import BadConfig, BadOption
from ropewalk.jobs.train.data.tokenise import Encoder, Passed, Writer, batches
from ropewalk.measure.records import tokenizer_hash
from ropewalk.measure.texts import LIBRARY, TEXT_FIELD, Texts, source_files
from ropewalk.progress import SILENT, Progress

SCHEMA = "ropewalk.index/1"
TOKENS, ENDS, FACTS = "tokens.bin", "ends.npy", "index.json"
DTYPES: dict[str, numpy.dtype[Any]] = {"uint16": numpy.dtype("<u2"), "uint32": numpy.dtype("<u4")}


@dataclass(frozen=True, eq=False)
class Index:
    """tokens: (tokens,) uint16 or uint32, on disk.  ends: (documents,) int64, rising; the last is the number of tokens.

    facts: what index.json says.
    """

    folder: Path
    tokens: numpy.memmap
    ends: numpy.ndarray
    facts: dict[str, Any]

    @cached_property
    def lengths(self) -> numpy.ndarray:
        """(documents,) int64: tokens of each document, BOS and EOS included."""
        return numpy.diff(self.ends, prepend=0)

    @property
    def fingerprint(self) -> str:
        """Hash of the tokens, the document ends and the tokenizer: equal where training would see the same."""
        return str(self.facts["fingerprint"])

    def document(self, number: int) -> numpy.ndarray:
        """The ids of one document; a view, nothing is read before it is looked at."""
        return self.tokens[int(self.ends[number - 1]) if number else 0 : int(self.ends[number])]


def open_index(folder: Path) -> Index:
    """Raises BadConfig where the folder is no index, or its files do not fit together.

    The tokens themselves are not read: that would take as long as a disk does.
    """
    facts = _read_facts(folder)
    try:
        dtype, count, documents = DTYPES[facts["dtype"]], int(facts["tokens"]), int(facts["documents"])
        str(facts["fingerprint"])
        ends = numpy.lib.format.open_memmap(folder / ENDS, mode="r")  # refuses pickled arrays whatever the settings
        size = (folder / TOKENS).stat().st_size
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _broken(folder, f"{type(error).__name__}: {error}") from None
    if size != count * dtype.itemsize:
        raise _broken(
            folder, f"{TOKENS} has {size:,} bytes; {count:,} tokens of {facts['dtype']} are {count * dtype.itemsize:,}"
        )
    if ends.dtype != numpy.int64 or ends.shape != (documents,) or not documents:
        raise _broken(folder, f"{ENDS} holds {ends.dtype} {ends.shape}, not the ends of {documents:,} documents as int64")
    if ends[0] <= 0 or ends[-1] != count or not (ends[1:] > ends[:-1]).all():
        raise _broken(folder, f"the document ends of {ENDS} do not rise from above 0 to {count:,}")
    return Index(folder, numpy.memmap(folder / TOKENS, dtype=dtype, mode="r"), ends, facts)


def index_for(
    sources: Sequence[str],
    tokenizer: Any,
    cache: Path,
    progress: Progress = SILENT,
    *,
    text_field: str = TEXT_FIELD,
    strict: bool = False,
    max_tokens: int | None = None,
) -> Index:
    """The index of these sources under this tokenizer: the one in `cache`, or a new one there.

    Files are told apart by path, size and time of change, as `make` does: reading them all again would cost what the index
    saves. A file changed with its old time and size is not seen, nor is a hub data set that was changed; delete the folder
    then. Two builds at once do the work twice and no harm; with many processes, let one call first.
    """
    _refuse_held_out(sources)
    folder = cache / _name(sources, tokenizer, [text_field, strict, max_tokens])
    if not folder.exists():
        texts = Texts(tuple(sources), text_field, strict, split="train", rows=None)
        return build_index(texts, tokenizer, folder, progress, max_tokens=max_tokens)
    return open_index(folder)


def _name(sources: Sequence[str], tokenizer: Any, options: list[Any]) -> str:
    files = [path for source in sources for path in source_files(source)]
    state = [(str(path.resolve()), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    what = [SCHEMA, list(sources), state, tokenizer_hash(tokenizer), ids, options]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]


def build_index(
    texts: Texts, tokenizer: Any, out: Path, progress: Progress = SILENT, *, max_tokens: int | None = None
) -> Index:
    """A new index in the folder `out`, which must not exist. Problems move from `texts` into its index.json.

    max_tokens: stop after the document that reaches it.  progress: in bytes of the files, where their number is known.
    """
    _refuse_held_out(texts.sources)
    if max_tokens is not None and max_tokens < 1:
        raise BadOption(f"max_tokens is {max_tokens}; it must be 1 or more, or left out to take everything.")
    sizes = [[path.stat().st_size for path in source_files(source)] for source in texts.sources]
    total = sum(map(sum, sizes)) if all(sizes) else None
    limit = sys.maxsize if max_tokens is None else max_tokens
    encoder = Encoder(tokenizer)
    progress.begin("tokenising", total)
    with new_folder(out) as part:
        with (part / TOKENS).open("wb") as tokens, (part / "ends.raw").open("wb") as ends:
            writer = Writer(tokens, ends, encoder)
            for batch in batches(texts, writer.passed):
                writer.add(batch, limit)
                progress.reach(texts.read)
                progress.say(f"{writer.documents:,} documents, {writer.tokens:,} tokens")
                if writer.tokens >= limit:
                    break
        if not writer.documents:
            raise BadConfig(_nothing(texts, writer.passed))
        numpy.save(part / ENDS, numpy.memmap(part / "ends.raw", dtype="<i8", mode="r"))
        (part / "ends.raw").unlink()
        facts = {"schema": SCHEMA, **writer.facts(tokenizer, texts), "max_tokens": max_tokens}
        (part / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return open_index(out)


def _refuse_held_out(sources: Sequence[str]) -> None:
    if LIBRARY in sources:
        raise BadConfig(
            f"{LIBRARY!r} is the side of the standard library that models are measured on; trained on, it would measure "
            "memory.\n  The side to train on is 'library-train'."
        )


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    if not path.is_file():
        raise BadConfig(f"{folder} is not an index of training data: it has no {FACTS}.\n  `build_index` makes one.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(folder, f"{FACTS}: {error}") from None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        found = facts.get("schema") if isinstance(facts, dict) else type(facts).__name__
        raise BadConfig(
            f"{folder} is an index of another version: its schema is {found!r}, this one reads {SCHEMA!r}.\n"
            "  Delete the folder; the data will be tokenised anew."
        )
    return facts


def _broken(folder: Path, why: str) -> BadConfig:
    return BadConfig(
        f"the index {folder} is damaged: {why}.\n"
        "  It was changed or copied in part after it was written. Delete the folder; the data will be tokenised anew."
    )


def _nothing(texts: Texts, passed: Passed) -> str:
    lines = [f"there is nothing to train on in {', '.join(texts.sources)}: every text was passed over."]
    lines += [f"  {count:,} x {reason}" for reason, count in passed.count.most_common(5)]
    lines += [f"  such as {problem.place}: {problem.reason}" for problem in passed.first[:2]]
    return "\n".join(lines)
