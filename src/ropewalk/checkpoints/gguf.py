"""Stretch a GGUF: new metadata, the same weights, in about the time that a copy takes; read back before it has its name."""

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.gguf_edit import content, cut, is_stretched, original, stretched
from ropewalk.checkpoints.gguf_parts import read_parts, write_parts
from ropewalk.checkpoints.gguf_places import parts_of
from ropewalk.checkpoints.hub_header import size_of
from ropewalk.engines import gguf, llama_cpp
from ropewalk.engines.engine import get_engine, rotation, understood
from ropewalk.engines.gguf_bands import WORDS, bands_of
from ropewalk.engines.gguf_file import FREQS, LONG, SHORT, GGUFDocument, decoded, read
from ropewalk.engines.keys import Keys
from ropewalk.engines.own_files import only_stretch
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.layers import FULL
from ropewalk.errors import BadConfig, CannotExpress, Mismatch
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.method import same
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ALL_LAYERS, ModelSpec, Provenance
from ropewalk.scaling.stretch import Stretch

BRIEF = 65_536  # bytes of a value; vocabularies are longer, and nothing here asks for them
SWA_KEYS = ("freq_base_swa", "dimension_count_swa")
MODEL_TYPES = {"gemma3": "gemma3_text"}  # transformers' name, where a published length is known
ROPE_KEYS = frozenset({"dimension_count", "dimension_sections", "freq_base", "scale_linear"})
# Graphs with a magnitude or a local attention of their own: src/models/mistral3.cpp sets attn_factor itself, for one.
OWN_WAYS = frozenset({"mistral3", "mistral4", "grok", "llama4"})
# Sliding windows that change nothing: gpt-oss rotates all layers alike, and llama.cpp reads past phi3's.
SLIDES_ALIKE = frozenset({"gpt-oss", "phi3"})


def metadata(document: GGUFDocument, factors: bytes) -> dict[str, Any]:
    """The short keys, as engines/gguf.py reads them; rope_freqs.weight as a list of numbers where it is there."""
    found = {name: decoded(raw) for name, raw in document.keys if len(raw) <= BRIEF}
    return {**found, FREQS: list(struct.unpack(f"<{len(factors) // 4}f", factors))} if factors else found


def read_spec(found: dict[str, Any], original_length: int | None = None) -> ModelSpec:
    """The model of a GGUF's keys. original_length: overrides what they say.

    BadConfig where the keys do not tell how far the model was trained to read, and CannotExpress where llama.cpp would not
    do with other keys what they say.
    """
    keys = gguf.keys_of(found)
    check_graph(keys.kind, found)
    length, source = (original_length, "given by you") if original_length else _length(keys, found.get(FREQS))
    rope = dataclasses.replace(keys.rope, original_length=length)
    stretch = understood(get_engine("llama_cpp"), keys).stretch()  # not as written: betas, for one, are not loaded
    readings = (
        Provenance("all.rotary_dim", str(rope.rotary_dim), f"{keys.kind}.rope.dimension_count, or the head's size"),
        Provenance("all.rope_theta", f"{rope.rope_theta:g}", f"{keys.kind}.rope.freq_base"),
        Provenance("all.original_length", str(length), source),
    )
    _, *others = gguf.layers_of(found)  # sliding layers that the keys do not reach
    name = FULL if others else ALL_LAYERS
    ropes = ((name, rope), *((other.layer_type, other.rope) for other in others))
    plain = same(Stretch(stretch.rope).scaled(), stretch.scaled())
    old = () if plain else ((name, stretch),)
    return ModelSpec(keys.kind, ropes, old, keys.longest, readings=readings)


def _length(keys: Keys, factors: Sequence[float] | None) -> tuple[int, str]:
    where = f"{keys.kind}.rope.scaling.original_context_length"
    if keys.states_length:
        return keys.rope.original_length, where
    config = {
        "model_type": MODEL_TYPES.get(keys.kind, keys.kind.replace("moe", "_moe")),
        "max_position_embeddings": keys.longest,
    }
    fact = known.published_length(config, keys.rope.rope_theta)
    if factors and not fact and (bands := bands_of(factors, keys.rope)):
        return bands.original_length, WORDS
    if keys.rope_type != "default" and not fact:  # factors are read as longrope
        raise BadConfig(
            f"the window is stretched already ({FREQS if factors else keys.rope_type}), and {where} is missing:\n"
            "  the file does not say from what. Give original_length (--original-length), as in the model's card: 8192 for\n"
            "  Llama 3.1."
        )
    if fact:
        return fact.original_length, fact.source
    return keys.longest, f"{keys.kind}.context_length"


def check_graph(arch: str, found: dict[str, Any]) -> None:
    """CannotExpress for models whose rotation llama.cpp takes from more than the keys that are written here."""
    if f"{arch}.attention.kv_lora_rank" in found:
        raise CannotExpress(
            f"{arch} has latent attention (MLA), whose temperature llama.cpp computes from keys of its own; not written here."
        )
    if arch in OWN_WAYS:
        raise CannotExpress(f"llama.cpp's graph of {arch} sets a magnitude or a window of its own, beside the keys.")
    slides = not gguf.slides_apart(found) and any(
        f"{arch}.{key}" in found for key in ("rope.freq_base_swa", "rope.dimension_count_swa")
    )
    window = not gguf.slides_apart(found) and found.get(f"{arch}.attention.sliding_window")
    if slides or (window and arch not in SLIDES_ALIKE):
        raise CannotExpress(
            f"{arch} has sliding-window layers that llama.cpp does not keep apart: the base, the scale or both would be "
            "stretched along with the others."
        )
    for name in found:
        key = name.removeprefix(f"{arch}.rope.")
        if (
            key != name
            and key not in (*ROPE_KEYS, *(SWA_KEYS if gguf.slides_apart(found) else ()))
            and not key.startswith("scaling.")
        ):
            raise CannotExpress(f"the key {name} is not known, and it may change the rotation.")


def check_sliding(found: dict[str, Any], method: str) -> None:
    """CannotExpress for what would reach sliding layers too; where they are kept apart, a base and a linear factor do not."""
    if gguf.slides_apart(found) and method not in ("none", "linear", "ntk", "rope_theta"):
        raise CannotExpress(
            f"{found['general.architecture']} has sliding-window layers of another base, and llama.cpp has one ramp and one "
            "temperature for all layers.\n"
            "  A linear factor and a base reach the full-attention layers alone: method (--method linear, or ntk)."
        )


def check_factors(arch: str, document: GGUFDocument, others: Sequence[GGUFDocument], needed: bool) -> None:
    """CannotExpress where llama.cpp would read other factors than are written, or would not load the file."""
    for name in (LONG, SHORT):
        if any(part.tensor(name) is not None for part in (document, *others)):
            raise CannotExpress(
                f"the file has {name}, and llama.cpp takes the factors from there; only rope_freqs.weight is written."
            )
    if any(part.tensor(FREQS) is not None for part in others):
        raise CannotExpress(
            f"{FREQS} is in a later part of the model, and only the first is changed. Join the parts first:\n"
            "  `llama-gguf-split --merge FIRST WHOLE.gguf`"
        )
    if needed and document.tensor(FREQS) is None and arch not in gguf.ROPE_FACTORS:
        raise CannotExpress(
            f"only a list of factors can say this, and llama.cpp does not load {FREQS} for {arch}.\n"
            f"  Plain yarn, linear and ntk need no list."
        )


@dataclass(frozen=True, slots=True)
class GGUFModel:
    """A GGUF as it was before any stretch of ours; of one in parts document is of the first, others of the later ones.

    found: its short keys, and rope_freqs.weight.  factors: that one's bytes.
    """

    parts: tuple[Path, ...]
    document: GGUFDocument
    others: tuple[GGUFDocument, ...]
    found: Mapping[str, Any]
    factors: bytes

    @property
    def path(self) -> Path:
        return self.parts[0]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(size_of(part) or part.stat().st_size for part in self.parts)

    def spec(self, original_length: int | None = None) -> ModelSpec:
        return read_spec(dict(self.found), original_length)


@dataclass(frozen=True, slots=True)
class Patched:
    """carrier: "GGUF keys" or "rope_freqs.weight".  changed: key -> (before, after); None where there was or is none."""

    out: Path
    carrier: str
    changed: Mapping[str, tuple[Any, Any]]


def open_gguf(path: Path) -> GGUFModel:
    parts, (first, *others) = read_parts(path)
    document = original(first)
    factors = next(filter(None, map(factors_of, (document, *others), parts)), b"")
    return GGUFModel(parts, document, tuple(others), metadata(document, factors), factors)


def factors_of(document: GGUFDocument, path: Path) -> bytes:
    """The bytes of rope_freqs.weight; none where it is not there."""
    tensor = document.tensor(FREQS)
    if tensor is None:
        return b""
    with path.open("rb") as origin:
        return content(cut(document.data, tensor.offset, tensor.offset + tensor.size), origin)


def stretch_gguf(
    source: GGUFModel,
    plan: ScalingPlan,
    out: Path | None = None,
    *,
    version: str = "",
    force: bool = False,
    progress: Progress = SILENT,
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
    written = write_parts(new, source.parts, out, check, force=force, progress=progress)
    return Patched(written, carrier, _changed(source, arch, new))


def keys_for(source: GGUFModel, plan: ScalingPlan, version: str = "") -> tuple[dict[str, Any], str]:
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
    said = written.files.get(llama_cpp.KEYS_FILE)
    if not isinstance(said, Mapping):
        raise CannotExpress(
            f"no key of a GGUF says this to llama.cpp; its command line does, with the file as it is:\n  {written.commands[0]}"
        )
    keys = {name: value for name, value in said.items() if name.startswith(f"{arch}.") or name == FREQS}
    del keys[f"{arch}.rope.dimension_count"]
    check_factors(arch, source.document, source.others, FREQS in keys)
    return keys, written.carrier


def restore_gguf(path: Path, out: Path | None = None, *, force: bool = False, progress: Progress = SILENT) -> Path:
    """Write the file as it was before Ropewalk stretched it, bit for bit: as a copy, or, without `out`, in its place."""
    parts = parts_of(path)
    document = read(parts[0])
    if not is_stretched(document):
        raise BadConfig(f"{parts[0]} was not stretched by Ropewalk: there is nothing to undo.")
    back = original(document)

    def check(written: Path) -> None:
        if read(written).header() != back.header():
            raise Mismatch(f"{written} does not read back as it was. Nothing was left behind.")

    return write_parts(back, parts, out, check, force=force, progress=progress)


def _check(path: Path, new: GGUFDocument, source: GGUFModel, plan: ScalingPlan, version: str) -> None:
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


def _changed(source: GGUFModel, arch: str, new: GGUFDocument) -> dict[str, tuple[Any, Any]]:
    before = {name: value for name, value in source.found.items() if name.startswith(f"{arch}.")}
    after = {name: value for name, value in metadata(new, b"").items() if name.startswith(f"{arch}.")}
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    return {name: (before.get(name), after.get(name)) for name in names}
