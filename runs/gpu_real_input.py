"""What runs/gpu_real.py reads, made beforehand: documents and questions as tokens, and a GGUF as a checkpoint.

A GPU's minutes are dear, and its machine may have no network, no tokenizer's files and another Python's library.

    python runs/gpu_real_input.py MODEL -o work.xz          MODEL: a checkpoint folder, or ropewalk-tiny
"""

import argparse
import hashlib
import json
import lzma
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import save_file

from ropewalk.engines.transformers.checkpoint import local_checkpoint, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.measure.documents import Document, choose, describe
from ropewalk.measure.material import Material
from ropewalk.measure.records import tokenizer_hash
from ropewalk.measure.retrieval import make_samples
from ropewalk.measure.task import Sample
from ropewalk.measure.texts import Texts
from ropewalk.models.load import load_tokenizer

TASKS = ("passkey", "needle", "random_copy", "niah_single_1", "niah_single_2")
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SOURCES = ("library", "library-train-tests")  # both sides: only the bundled model was trained on one of them
SHORT, LONG = 2, 4  # documents of so many trained windows


@dataclass(frozen=True)
class Work:
    """window: the trained length.  short, long: documents of 2 and 4 windows.  facts: where all this is from."""

    window: int
    bos: int
    short: list[Document]
    long: list[Document]
    samples: list[Sample]
    facts: dict[str, Any]


def lengths(window: int) -> list[int]:
    """Of the questions: half the window to all that a factor of 4 reaches."""
    return [window * n // 2 for n in (1, 2, 3, 4, 6, 8)]


def trained_length(folder: Path) -> int:
    return int(read(read_config(folder)).ropes[0][1].original_length)


def prepare(folder: Path, *, short: int, long: int, each: int) -> Work:
    """each: questions per task, length and depth."""
    tokenizer, window = load_tokenizer(folder), trained_length(folder)
    chosen = {
        n: choose(Texts(SOURCES), tokenizer, tokens=n * window, count=count, seed=1).documents
        for n, count in ((SHORT, short), (LONG, long))
    }
    made = [
        make_samples(Material(tokenizer), [name], lengths(window), depths=DEPTHS, count=count, seed=1)
        # RULER's tasks draw their depths: `count` is all there are, as many as the others have over theirs.
        for name, count in ((name, each * (len(DEPTHS) if name.startswith("niah") else 1)) for name in TASKS)
    ]
    samples, skipped = [one for some, _ in made for one in some], [one for _, some in made for one in some]
    facts = {
        "texts": f"single files of Python {platform.python_version()}'s standard library and its tests, cut, never joined",
        "documents": {n: describe(documents) for n, documents in chosen.items()},
        "tokenizer": tokenizer_hash(tokenizer),
        "skipped": [list(one) for one in skipped],
    }
    return Work(window, tokenizer.bos_token_id, chosen[SHORT], chosen[LONG], samples, facts)


def save(work: Work, path: Path) -> None:
    """A line of JSON, then the tokens of everything in a row; questions share their haystacks, so it shrinks to little."""
    everything = [d.ids for d in (*work.short, *work.long)] + [s.ids for s in work.samples]
    head = {
        "window": work.window, "bos": work.bos, "facts": work.facts, "sizes": [len(ids) for ids in everything],
        "short": [[d.name, d.sha] for d in work.short], "long": [[d.name, d.sha] for d in work.long],
        "samples": [{**asdict(s), "ids": None} for s in work.samples],
    }  # fmt: skip
    with lzma.open(path, "wb", preset=6) as file:
        file.write(json.dumps(head).encode() + b"\n")
        file.write(numpy.concatenate([numpy.asarray(ids, numpy.int32) for ids in everything]).tobytes())


def load(path: Path) -> Work:
    with lzma.open(path, "rb") as file:
        head = json.loads(file.readline())
        tokens = numpy.frombuffer(file.read(), numpy.int32)
    ends = numpy.cumsum(head["sizes"])[:-1]
    pieces = iter([tuple(ids.tolist()) for ids in numpy.split(tokens, ends)])
    short, long = ([Document(name, next(pieces), sha) for name, sha in head[side]] for side in ("short", "long"))
    samples = [
        Sample(**{**one, "ids": next(pieces), "references": tuple(one["references"]), "needle": None})
        for one in head["samples"]
    ]
    return Work(head["window"], head["bos"], short, long, samples, head["facts"])


def as_folder(model: str, keep: Path) -> Path:
    """The checkpoint folder of a model; a GGUF is dequantised into `keep`, once."""
    path = Path(model)
    if path.suffix != ".gguf":
        return Path(local_checkpoint(model) or model)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    folder = keep / f"{path.stem}-{sha[:12]}"
    if not (folder / "model.safetensors").exists():
        from transformers import AutoModelForCausalLM

        made = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        made.config.__dict__.pop("quantization_config", None)  # as read, it is not quantised any more
        made.config.save_pretrained(folder)
        tied = made.config.tie_word_embeddings
        kept = {n: t.contiguous() for n, t in made.state_dict().items() if not (tied and n == "lm_head.weight")}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--short", type=int, default=40, help="documents of two windows")
    parser.add_argument("--long", type=int, default=16, help="documents of four windows")
    parser.add_argument("--each", type=int, default=8, help="questions per task, length and depth")
    args = parser.parse_args()
    work = prepare(Path(local_checkpoint(args.model) or args.model), short=args.short, long=args.long, each=args.each)
    save(work, args.out)
    print(f"{len(work.short)} + {len(work.long)} documents, {len(work.samples)} questions; skipped: {work.facts['skipped']}")


if __name__ == "__main__":
    main()
