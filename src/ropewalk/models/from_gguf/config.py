"""The config.json of transformers that a GGUF's header says."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ropewalk.engines import gguf
from ropewalk.engines.engine import get_engine, understood
from ropewalk.engines.gguf_bands import WORDS, bands_of
from ropewalk.engines.gguf_file import FREQS
from ropewalk.engines.keys import Keys
from ropewalk.engines.transformers import write as config_language
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.layers import FULL, SLIDING
from ropewalk.errors import BadConfig
from ropewalk.models.from_gguf.layouts import LAYOUTS, Layout, biases_of, layout_of
from ropewalk.models.from_gguf.opened import OpenedGGUF, shortest
from ropewalk.scaling.method import same
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ModelSpec, Provenance
from ropewalk.scaling.stretch import Stretch

EMBEDDINGS, HEAD = "token_embd.weight", "output.weight"
GEMMA_PATTERN, GEMMA_27B = 6, 62  # every n-th layer sees all; layers of the model with a softmax scale of its own
EXPERTS = "expert_count"
LITTLE = (
    "this is a GGUF whose header does not say how large the model is.\n"
    "  `ropewalk doctor` says what llama.cpp makes of it, and `ropewalk export` stretches it as it is."
)
FLOAT32_ROUNDING = 2e-7  # relative
MAMBA_KEYS = ("ssm.state_size", "attention.kv_lora_rank", "attention.scale", "logit_scale", "residual_scale")


def is_readable(arch: str) -> bool:
    return arch in LAYOUTS


def config_of(opened: OpenedGGUF, original_length: int | None = None) -> dict[str, Any]:
    """original_length: where the header is wrong.

    BadConfig for an architecture that is not read, and for a header that lacks what its model needs, or contradicts itself.
    """
    layout, sizes = layout_of(opened.arch), Sizes(opened)
    config = {
        "architectures": [layout.name], "model_type": layout.kind, **sizes.common(), **layout.said,
        "tie_word_embeddings": HEAD not in opened.places, **biases_of(layout, opened.tensors, sizes.layers),
        **special_tokens(opened),
    }  # fmt: skip
    if layout.kind == "gemma3_text":
        config |= sizes.gemma3()
    keys, *others = _lengthened(gguf.layers_of(opened.found), original_length)
    _check_width(layout, keys, config)
    if layout.kind == "phi3":
        config |= sizes.phi3(keys)
    config["rope_parameters"] = _plain(keys, others)
    return _stretched(config, keys, FULL if others else "all", opened)


def spec_of(opened: OpenedGGUF, original_length: int | None = None) -> ModelSpec:
    """As `ropewalk plan` reads the config, with the header's own names where it says a number."""
    spec = config_language.read(config_of(opened, original_length), original_length=original_length)
    return replace(spec, readings=tuple(_named(one, opened) for one in spec.readings))


class Sizes:
    """The header's numbers, each checked when it is taken."""

    def __init__(self, opened: OpenedGGUF):
        self.arch, self.opened, self.fields = opened.arch, opened, Fields(_levelled(opened.found))
        for key in (EXPERTS, *MAMBA_KEYS):
            if self.fields.config.get(f"{self.arch}.{key}"):
                raise BadConfig(
                    f"{self.arch}.{key} is there: this {self.arch} model computes something that is not read here "
                    "(experts, states or scales of its own).\n  Take its safetensors."
                )
        self.layers, self.heads = self.needed("block_count", 100_000), self.needed("attention.head_count", 100_000)
        self.kv_heads = self.whole("attention.head_count_kv") or self.heads
        self.hidden = self.needed("embedding_length")
        self.head = self.whole("attention.key_length") or self.hidden // self.heads
        if (values := self.whole("attention.value_length")) and values != self.head:
            raise BadConfig(
                f"keys have {self.head} channels a head and values {values}; the models read here have one number."
            )

    def whole(self, key: str, largest: int = 2**31 - 1) -> int | None:
        return self.fields.whole(f"{self.arch}.{key}", largest)

    def needed(self, key: str, largest: int = 2**31 - 1) -> int:
        found = self.whole(key, largest)
        if not found:
            raise BadConfig(f"{self.arch}.{key} is missing or 0: {LITTLE}")
        return found

    def common(self) -> dict[str, Any]:
        vocabulary = self.opened.tensors.get(EMBEDDINGS)
        if vocabulary is None or len(vocabulary.shape) != 2:
            raise BadConfig(f"it has no tensor {EMBEDDINGS}: the weights of this model are not in this file.")
        eps = self.fields.number(f"{self.arch}.attention.layer_norm_rms_epsilon")
        if eps is None:
            raise BadConfig(f"{self.arch}.attention.layer_norm_rms_epsilon is missing: {LITTLE}")
        return {
            "vocab_size": vocabulary.shape[1], "hidden_size": self.hidden, "num_hidden_layers": self.layers,
            "intermediate_size": self.needed("feed_forward_length"), "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head, "rms_norm_eps": shortest(eps),
            "max_position_embeddings": self.needed("context_length"),
        }  # fmt: skip

    def gemma3(self) -> dict[str, Any]:
        scalar = self.hidden // self.heads if self.layers == GEMMA_27B else self.head  # src/models/gemma3.cpp
        window, cap = self.whole("attention.sliding_window"), self.fields.number(f"{self.arch}.final_logit_softcapping")
        return {
            "query_pre_attn_scalar": scalar, "final_logit_softcapping": cap, "sliding_window": window or None,
            "layer_types": self._layer_types(bool(window)),
        }  # fmt: skip

    def _layer_types(self, slides: bool) -> list[str]:
        if not slides:
            return [FULL] * self.layers
        said = self.opened.found.get(f"{self.arch}.attention.sliding_window_pattern", GEMMA_PATTERN)
        if isinstance(said, list):
            if len(said) != self.layers:
                raise BadConfig(f"sliding_window_pattern has {len(said)} values for {self.layers} layers.")
            return [SLIDING if slid else FULL for slid in said]
        every = self.whole("attention.sliding_window_pattern", self.layers) or GEMMA_PATTERN
        return [SLIDING if (layer + 1) % every else FULL for layer in range(self.layers)]

    def phi3(self, keys: Keys) -> dict[str, Any]:
        """llama.cpp reads past the window, as if every layer saw all."""
        share = {} if keys.rope.rotary_dim == self.head else {"partial_rotary_factor": keys.rope.rotary_dim / self.head}
        window = self.whole("attention.sliding_window")
        return {"sliding_window": window or None, "original_max_position_embeddings": keys.rope.original_length, **share}


def special_tokens(opened: OpenedGGUF) -> dict[str, Any]:
    names = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    fields = Fields(opened.found)
    return {ours: fields.whole(f"tokenizer.ggml.{theirs}") for ours, theirs in names.items()}


def _levelled(found: Mapping[str, Any]) -> dict[str, Any]:
    """A list of one number for every layer as that number."""
    return {
        name: value[0] if isinstance(value, list) and value and all(item == value[0] for item in value) else value
        for name, value in found.items()
    }


def _lengthened(layers: tuple[Keys, ...], original_length: int | None) -> tuple[Keys, ...]:
    return tuple(keys.with_length(original_length) for keys in layers) if original_length else layers


def _check_width(layout: Layout, keys: Keys, config: Mapping[str, Any]) -> None:
    if layout.kind != "phi3" and keys.rope.rotary_dim != config["head_dim"]:
        raise BadConfig(
            f"{keys.rope.rotary_dim} of {config['head_dim']} channels rotate, and {layout.kind} rotates all.\n"
            "  The header contradicts itself, or is of a model that is not read here."
        )


def _plain(keys: Keys, others: list[Keys]) -> dict[str, Any]:
    full = {"rope_type": "default", "rope_theta": keys.rope.rope_theta}
    if not others:
        return full
    return {FULL: full, SLIDING: {"rope_type": "default", "rope_theta": others[0].rope.rope_theta}}


def _stretched(config: dict[str, Any], keys: Keys, layer_type: str, opened: OpenedGGUF) -> dict[str, Any]:
    """The scaling that llama.cpp makes of the keys, in a config's words."""
    stretch = _stretch(keys, opened)
    if same(Stretch(stretch.rope).scaled(), stretch.scaled()):
        return config
    plan = ScalingPlan(((layer_type, stretch),), keys.longest)
    new = config_language.write(plan, config)
    if "attention_factor" not in dict(stretch.options):  # it is the method's own, which transformers computes
        for name in ("rope_parameters", "rope_scaling"):
            part = new.get(name)
            for inner in (part, *part.values()) if isinstance(part, dict) else ():
                if isinstance(inner, dict):
                    inner.pop("attention_factor", None)
        config_language.prove(plan, new)
    return new


def _stretch(keys: Keys, opened: OpenedGGUF) -> Stretch:
    stretch = understood(get_engine("llama_cpp"), keys).stretch()  # not as written: betas, for one, are not loaded
    alone = FREQS in opened.found and keys.said.get("attention_factor") == 1.0 and stretch.method == "longrope"
    bands = bands_of(opened.found[FREQS], keys.rope) if alone else None
    if bands is None:
        return _own_factor_left_out(stretch)
    length = keys.rope.original_length if keys.states_length else bands.original_length
    return (
        Stretch(replace(keys.rope, original_length=length), "llama3", bands.factor)
        if length == bands.original_length
        else stretch
    )


def _own_factor_left_out(stretch: Stretch) -> Stretch:
    """An attention factor in float32 that is the method's own is none that was chosen."""
    options = dict(stretch.options)
    m = options.pop("attention_factor", None)
    if not isinstance(m, float) or (stretch.method == "longrope" and stretch.factor == 1):
        return stretch
    own = replace(stretch, options=tuple(sorted(options.items())))
    return own if math.isclose(own.scaled().attention_factor, m, rel_tol=FLOAT32_ROUNDING) else stretch


NAMES = {
    "max_length": "context_length", "rope_theta": "rope.freq_base", "original_length": "rope.scaling.original_context_length",
    "rotary_dim": "rope.dimension_count",
}  # fmt: skip


def _named(one: Provenance, opened: OpenedGGUF) -> Provenance:
    """Where the header has the number; else what a config's reader says, or the tensor that it was taken from."""
    key = NAMES.get(one.name.rpartition(".")[2])
    if key and f"{opened.arch}.{key}" in opened.found and not one.name.startswith("sliding"):
        return replace(one, source=f"{opened.arch}.{key}")
    if key == NAMES["original_length"] and FREQS in opened.found:
        return replace(one, source=WORDS)
    return replace(one, source=one.source.replace("max_position_embeddings", f"{opened.arch}.{NAMES['max_length']}"))
