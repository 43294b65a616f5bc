"""What a GGUF says about its model, and why some of them are not stretched here."""

import dataclasses
import struct
from typing import Any

from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.jobs.gguf.document import Document, decoded
from ropewalk.scaling.dialects import gguf, known
from ropewalk.scaling.dialects.fields import Fields
from ropewalk.scaling.dialects.transformers_layers import FULL
from ropewalk.scaling.engine import get_engine, same, understood
from ropewalk.scaling.gguf_header import FREQS, LONG, SHORT
from ropewalk.scaling.keys import Keys
from ropewalk.scaling.plan import Stretch
from ropewalk.scaling.spec import ALL_LAYERS, ModelSpec, Reading

BRIEF = 65_536  # bytes of a value; vocabularies are longer, and nothing here asks for them
SWA_KEYS = ("freq_base_swa", "dimension_count_swa")
MODEL_TYPES = {"gemma3": "gemma3_text"}  # transformers' name, where a published length is known
ROPE_KEYS = frozenset({"dimension_count", "dimension_sections", "freq_base", "scale_linear"})
# Graphs with a magnitude or a local attention of their own: src/models/mistral3.cpp sets attn_factor itself, for one.
OWN_WAYS = frozenset({"mistral3", "mistral4", "grok", "llama4"})
# Sliding windows that change nothing: gpt-oss rotates all layers alike, and llama.cpp reads past phi3's.
SLIDES_ALIKE = frozenset({"gpt-oss", "phi3"})


def metadata(document: Document, factors: bytes) -> dict[str, Any]:
    """The short keys, as `dialects.gguf` reads them; rope_freqs.weight as a list of numbers where it is there."""
    found = {name: decoded(raw) for name, raw in document.keys if len(raw) <= BRIEF}
    return {**found, FREQS: list(struct.unpack(f"<{len(factors) // 4}f", factors))} if factors else found


def read_spec(found: dict[str, Any], original_length: int | None = None) -> ModelSpec:
    """The model of a GGUF's keys. original_length: overrides what they say.

    BadConfig where the keys do not tell how far the model was trained to read, and CannotExpress where llama.cpp would not
    do with other keys what they say.
    """
    keys = gguf.keys_of(found)
    check_graph(keys.kind, found)
    length, source = (original_length, "given by you") if original_length else _length(keys, FREQS in found)
    rope = dataclasses.replace(keys.rope, original_length=length)
    stretch = understood(get_engine("llama_cpp"), keys).stretch()  # not as written: betas, for one, are not loaded
    readings = (
        Reading("all.rotary_dim", str(rope.rotary_dim), f"{keys.kind}.rope.dimension_count, or the head's size"),
        Reading("all.rope_theta", f"{rope.rope_theta:g}", f"{keys.kind}.rope.freq_base"),
        Reading("all.original_length", str(length), source),
    )
    _, *others = gguf.layers_of(found)  # sliding layers that the keys do not reach
    name = FULL if others else ALL_LAYERS
    ropes = ((name, rope), *((other.layer_type, other.rope) for other in others))
    plain = same(Stretch(stretch.rope).scaled(), stretch.scaled())
    old = () if plain else ((name, stretch),)
    return ModelSpec(keys.kind, ropes, old, keys.longest, readings=readings)


def _length(keys: Keys, has_factors: bool) -> tuple[int, str]:
    where = f"{keys.kind}.rope.scaling.original_context_length"
    if keys.states_length:
        return keys.rope.original_length, where
    config = {
        "model_type": MODEL_TYPES.get(keys.kind, keys.kind.replace("moe", "_moe")),
        "max_position_embeddings": keys.longest,
    }
    fact = known.published_length(config, keys.rope.rope_theta)
    if keys.rope_type != "default" and not fact:  # factors are read as longrope
        raise BadConfig(
            f"the window is stretched already ({FREQS if has_factors else keys.rope_type}), and {where} is missing:\n"
            "  the file does not say from what. Give --original-length, as in the model's card: 8192 for Llama 3.1."
        )
    if fact:
        return fact.original_length, fact.source
    return keys.longest, f"{keys.kind}.context_length"


def check_graph(arch: str, found: dict[str, Any]) -> None:
    """CannotExpress for models whose rotation llama.cpp takes from more than the keys that are written here."""
    if (Fields(found).whole("split.count") or 1) > 1:
        raise CannotExpress("this is one part of a model in several files. Join them with `llama-gguf-split --merge` first.")
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
            "  A linear factor and a base reach the full-attention layers alone: --method linear, or ntk."
        )


def check_factors(arch: str, document: Document, needed: bool) -> None:
    """CannotExpress where llama.cpp would read other factors than are written, or would not load the file."""
    for name in (LONG, SHORT):
        if document.tensor(name) is not None:
            raise CannotExpress(
                f"the file has {name}, and llama.cpp takes the factors from there; only rope_freqs.weight is written."
            )
    if needed and document.tensor(FREQS) is None and arch not in gguf.ROPE_FACTORS:
        raise CannotExpress(
            f"only a list of factors can say this, and llama.cpp does not load {FREQS} for {arch}.\n"
            f"  Plain yarn, linear and ntk need no list."
        )
