"""A model in several GGUFs: keys in the first alone, tensors in all. Read together, and copied beside a changed first one."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ropewalk.checkpoints.files import check_free
from ropewalk.checkpoints.gguf_edit import TENSORS, write
from ropewalk.checkpoints.gguf_names import SPLIT
from ropewalk.checkpoints.gguf_places import parts_of
from ropewalk.checkpoints.hub_header import size_of
from ropewalk.engines.gguf_file import GGUFDocument, read
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig, BadOption
from ropewalk.progress import Progress


def read_parts(path: Path) -> tuple[tuple[Path, ...], tuple[GGUFDocument, ...]]:
    """All files of the model that `path` is a part of; of one in one file that one.

    BadConfig where a file is damaged, or the parts are not of one model.
    """
    parts = parts_of(path)
    documents = tuple(read(part, size_of(part)) for part in parts)
    said = Fields({name: documents[0].value(name) for name in ("split.count", TENSORS)})
    count = said.whole("split.count") or 1
    if count != len(parts):
        raise BadConfig(
            f"{path} says that its model is in {count} files, and it is {len(parts)} by its name.\n"
            "  Files of a model in parts are called NAME-00001-of-00003.gguf and so on: give them their names back."
        )
    found: set[str] = set()
    for number, document in enumerate(documents):
        if number and document.value("split.no") != number:
            raise BadConfig(f"{parts[number]} says that it is part {document.value('split.no')}, and its name says {number}.")
        for tensor in document.tensors:
            if tensor.name in found:
                raise BadConfig(f"the tensor {tensor.name} is in {parts[number]} and in another part of the same model.")
            found.add(tensor.name)
    stated = said.whole(TENSORS) if count > 1 else None
    if stated not in (None, len(found)):
        raise BadConfig(
            f"{path} and its other parts have {len(found)} tensors, and should have {stated}: are they of one model?"
        )
    return parts, documents


def write_parts(
    document: GGUFDocument, parts: Sequence[Path], out: Path | None, check: Callable[[Path], None], *, force: bool,
    progress: Progress,
) -> Path:  # fmt: skip
    """`document` as the first part; its place. Without `out` it alone is written, in place; to a copy the others go first."""
    path = parts[0]
    if out is None:
        if path.is_symlink():
            raise BadOption(
                f"{path} is a link, as in a cache that others read: it is not changed in place. Name a copy with -o."
            )
        write(document, path, path, check, force=True, durable=True, progress=progress)
        return path
    if out.is_dir():
        raise BadOption(f"{out} is a folder. Name the file to write.")
    places = _places(out, parts)
    for place in places:
        if place.exists() and any(place.samefile(part) for part in parts):
            raise BadOption(f"{place} is the file itself. To change it, ask for that: in_place (--in-place).")
    _copy_others(parts, places, force=force, progress=progress)
    write(document, path, places[0], check, force=force, progress=progress)
    return places[0]


def _places(out: Path, parts: Sequence[Path]) -> tuple[Path, ...]:
    """What the parts of a copy are called: `out` itself where there is one, else OUT-00001-of-00003.gguf and so on."""
    if len(parts) == 1:
        return (out,)
    split = SPLIT.fullmatch(out.name)
    if split and (int(split["number"]), int(split["count"])) != (1, len(parts)):
        raise BadOption(f"{out.name} would be a part of another model: this one is in {len(parts)} files. Name it x.gguf.")
    stem = split["stem"] if split else out.stem if out.suffix.lower() == ".gguf" else out.name
    return tuple(out.with_name(f"{stem}-{i + 1:05d}-of-{len(parts):05d}.gguf") for i in range(len(parts)))


def _copy_others(parts: Sequence[Path], places: Sequence[Path], *, force: bool, progress: Progress) -> None:
    """All but the first, which follows when they are whole: without it the others are no model."""
    if len(parts) == 1:
        return
    for place in places:
        check_free(place, force=force)
    places[0].unlink(missing_ok=True)
    for part, place in zip(parts[1:], places[1:], strict=True):
        write(read(part), part, place, lambda path: None, force=force, progress=progress)
