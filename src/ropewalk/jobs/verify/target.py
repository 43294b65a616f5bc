"""From what a person names to what is verified: a checkpoint, a GGUF, or each part of an export."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig, BadOption
from ropewalk.jobs.export import KEYS, SUMMARY
from ropewalk.jobs.verify.gguf_subject import of_gguf
from ropewalk.jobs.verify.subject import Subject, of_checkpoint
from ropewalk.jobs.verify.witness import Witness, chosen, witnesses
from ropewalk.models.hub import checkpoint
from ropewalk.scaling.checkpoint import CONFIG
from ropewalk.scaling.gguf_header import is_gguf


def subjects(target: str, place: Path) -> Iterator[Subject]:
    """One for a checkpoint or a GGUF; of an export, one for each folder with weights.  place: for the copies."""
    path = Path(target).expanduser()
    if path.is_file() and is_gguf(path):
        yield of_gguf(path, place)
    elif (path / SUMMARY).is_file():
        yield from _of_export(path, place)
    else:
        yield of_checkpoint(checkpoint(target), place)


def _of_export(folder: Path, place: Path) -> Iterator[Subject]:
    """GGUF keys are put to the weights of a checkpoint of the same factor; a folder of keys alone has none."""
    parts = _parts(folder)
    keys = {part["target_length"]: part["folder"] for part in parts if (folder / part["folder"] / KEYS).is_file()}
    whole = [part for part in parts if (folder / part["folder"] / CONFIG).is_file()]
    if not whole:
        raise BadConfig(
            f"{folder} holds keys for a GGUF and no weights. Put them into the GGUF with `ropewalk export x.gguf`, and verify "
            "that;\n  or export for transformers too: --for transformers,llama.cpp."
        )
    for number, part in enumerate(whole):
        (inner := place / str(number)).mkdir()
        names = ("transformers", *(name for name in part["engines"] if name in witnesses()))
        said = keys.pop(part["target_length"], None)
        found = json.loads((folder / said / KEYS).read_text(encoding="utf-8")) if said is not None else None
        more = () if found is None else ("llama_cpp",)
        yield of_checkpoint(folder / part["folder"], inner, tuple(dict.fromkeys((*names, *more))), found)


def _parts(folder: Path) -> Sequence[Mapping[str, Any]]:
    try:
        parts = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["parts"]
        for part in parts:
            place = (folder / part["folder"]).resolve()
            if folder.resolve() not in (place, *place.parents) or not isinstance(part["target_length"], int):
                raise ValueError(f"{part['folder']} is not inside")
            list(part["engines"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadConfig(f"{folder / SUMMARY} is not the summary of an export: {error}. Export it again.") from None
    return list(parts)


def asked(subject: Subject, names: Sequence[str]) -> list[Witness]:
    """The named witnesses, or all that the subject is for. BadOption for a named one that it is not for."""
    wanted = chosen(names)
    if not subject.names:
        return wanted
    wrong = [witness for witness in wanted if witness.name not in subject.names]
    if names and wrong:
        raise BadOption(f"{subject.title} is for {', '.join(subject.names)}, and not for {', '.join(w.name for w in wrong)}.")
    return [witness for witness in wanted if witness.name in subject.names]
