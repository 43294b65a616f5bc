"""Stretch a GGUF: new metadata, the same weights, in about the time that a copy takes; read back before it has its name."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig, BadOption, CannotExpress, Mismatch
from ropewalk.jobs.gguf.document import Document, read
from ropewalk.jobs.gguf.edit import cut, is_stretched, original, stretched
from ropewalk.jobs.gguf.model import check_factors, check_sliding, metadata, read_spec
from ropewalk.jobs.gguf.splice import Progress, content, write
from ropewalk.scaling.dialects import gguf
from ropewalk.scaling.dialects.own_files import only_stretch
from ropewalk.scaling.engine import get_engine, rotation, same
from ropewalk.scaling.gguf_header import FREQS
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ModelSpec

KEYS = "gguf-keys.json"  # what llama.cpp's dialect calls them


@dataclass(frozen=True, slots=True)
class Source:
    """A GGUF as it was before any stretch of ours.

    found: its short keys, and rope_freqs.weight.  factors: that one's bytes.
    """

    path: Path
    document: Document
    found: Mapping[str, Any]
    factors: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    def spec(self, original_length: int | None = None) -> ModelSpec:
        return read_spec(dict(self.found), original_length)


@dataclass(frozen=True, slots=True)
class Patched:
    """carrier: "GGUF keys" or "rope_freqs.weight".  changed: key -> (before, after); None where there was or is none."""

    out: Path
    carrier: str
    changed: Mapping[str, tuple[Any, Any]]


def open_gguf(path: Path) -> Source:
    document = original(read(path))
    factors = factors_of(document, path)
    return Source(path, document, metadata(document, factors), factors)


def factors_of(document: Document, path: Path) -> bytes:
    """The bytes of rope_freqs.weight; none where it is not there."""
    tensor = document.tensor(FREQS)
    if tensor is None:
        return b""
    with path.open("rb") as origin:
        return content(cut(document.data, tensor.offset, tensor.offset + tensor.size), origin)


def stretch_gguf(
    source: Source,
    plan: ScalingPlan,
    out: Path | None = None,
    *,
    version: str = "",
    force: bool = False,
    progress: Progress = lambda count: None,
) -> Patched:
    """Write the plan into a copy of the GGUF, or, without `out`, into itself. Nothing is written that does not say the plan.

    Every other key and tensor stays bit for bit. A file that Ropewalk stretched before is stretched from what it was.
    version: of llama.cpp, for what it is known to read.
    """
    arch = str(source.found["general.architecture"])
    keys, carrier = keys_for(source, plan, version)
    factors = keys.pop(FREQS, [])
    text = dataclasses.replace(plan, model="").to_json()  # a path of this machine is nobody's business
    new = stretched(source.document, arch, keys, factors, text, source.factors)

    def check(path: Path) -> None:
        _check(path, new, source, plan, version)

    back = original(new)
    if back.header() != source.document.header() or back.data_length != source.document.data_length:
        raise Mismatch("this stretch could not be taken back, so it is not made. Nothing was written.")
    _write(new, source.path, out, check, force=force, progress=progress)
    return Patched(out or source.path, carrier, _changed(source, arch, new))


def keys_for(source: Source, plan: ScalingPlan, version: str = "") -> tuple[dict[str, Any], str]:
    """(the keys to write, in full; rope_freqs.weight among them, where it is needed), and what carries the plan."""
    arch, stretch = str(source.found["general.architecture"]), only_stretch(plan, "llama.cpp")
    check_sliding(dict(source.found), stretch.method)
    rope = gguf.keys_of(source.found).rope
    if (rope.rotary_dim, f"{rope.rope_theta:.5g}") != (stretch.rope.rotary_dim, f"{stretch.rope.rope_theta:.5g}"):
        raise BadConfig(
            f"the plan is for {stretch.rope.rotary_dim} channels at base {stretch.rope.rope_theta:g}; "
            f"{source.path} has {rope.rotary_dim} at {rope.rope_theta:g}. It was made for another model."
        )
    written = get_engine("llama_cpp").write(plan, {"general.architecture": arch}, version)
    said = written.files.get(KEYS)
    if not isinstance(said, Mapping):
        raise CannotExpress(
            f"no key of a GGUF says this to llama.cpp; its command line does, with the file as it is:\n  {written.commands[0]}"
        )
    keys = {name: value for name, value in said.items() if name.startswith(f"{arch}.") or name == FREQS}
    del keys[f"{arch}.rope.dimension_count"]
    check_factors(arch, source.document, FREQS in keys)
    return keys, written.carrier


def restore_gguf(path: Path, out: Path | None = None, *, force: bool = False, progress: Progress = lambda count: None) -> Path:
    """Write the file as it was before Ropewalk stretched it, bit for bit: as a copy, or, without `out`, in its place."""
    document = read(path)
    if not is_stretched(document):
        raise BadConfig(f"{path} was not stretched by Ropewalk: there is nothing to undo.")
    back = original(document)

    def check(written: Path) -> None:
        if read(written).header() != back.header():
            raise Mismatch(f"{written} does not read back as it was. Nothing was left behind.")

    _write(back, path, out, check, force=force, progress=progress)
    return out or path


def _write(
    document: Document, path: Path, out: Path | None, check: Callable[[Path], None], *, force: bool, progress: Progress
) -> None:
    if out is None and path.is_symlink():
        raise BadOption(f"{path} is a link, as in a cache that others read: it is not changed in place. Name a copy with -o.")
    if out is not None and out.is_dir():
        raise BadOption(f"{out} is a folder. Name the file to write.")
    if out is not None and out.exists() and out.samefile(path):
        raise BadOption(f"{out} is the file itself. To change it, say --in-place.")
    write(document, path, out or path, check, force=force or out is None, durable=out is None, progress=progress)


def _check(path: Path, new: Document, source: Source, plan: ScalingPlan, version: str) -> None:
    """What was written is read back and looked at twice: as bytes, and as llama.cpp's keys."""
    again = read(path)
    if again.header() != new.header() or original(again).header() != source.document.header():
        raise Mismatch(f"{path.name} does not read back as it was written. Nothing was left behind.")
    written = metadata(again, factors_of(again, path))
    found = rotation(get_engine("llama_cpp"), gguf.keys_of(written), version)
    others = [keys.scaled() for keys in gguf.layers_of(written)[1:]]
    kept = others == [keys.scaled() for keys in gguf.layers_of(source.found)[1:]]
    if not kept or not same(only_stretch(plan, "llama.cpp").scaled(), found.scaled):
        raise Mismatch(f"{path.name} does not say {plan.name} when it is read back. Nothing was left behind.")


def _changed(source: Source, arch: str, new: Document) -> dict[str, tuple[Any, Any]]:
    before = {name: value for name, value in source.found.items() if name.startswith(f"{arch}.")}
    after = {name: value for name, value in metadata(new, b"").items() if name.startswith(f"{arch}.")}
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    return {name: (before.get(name), after.get(name)) for name in names}
