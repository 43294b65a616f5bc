"""ModelShape: the sizes of a dense decoder, which decide its parameters, its flops and its memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.engines.transformers.checkpoint import text_path
from ropewalk.engines.transformers.class_defaults import text_fields
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.layers import head_dim, read_layers
from ropewalk.errors import BadConfig


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a formula needs of a model; every field counts channels, heads, layers or tokens.

    hidden, ffn: width of the stream and of the MLP.  head_dim: channels per head.  tied: embedding and head share weights.
    gated: three MLP matrices (SwiGLU) or two.  qk_norm: queries and keys are normalised per head.
    windows: per layer, the most tokens a query sees; None sees all.
    notes: where the formula bounds this model and does not count it.
    """

    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int
    vocabulary: int
    tied: bool
    gated: bool = True
    qk_norm: bool = False
    windows: tuple[int | None, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def q(self) -> int:
        """Channels of all queries of a token."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Channels of all keys of a token; as many again for values."""
        return self.kv_heads * self.head_dim

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def layer_matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each weight matrix of a layer."""
        h, up = self.hidden, (self.hidden, self.ffn)
        attention = (h, self.q), (h, self.kv), (h, self.kv), (self.q, h)
        return (*attention, up, *((up,) if self.gated else ()), (self.ffn, h))

    @property
    def layer_parameters(self) -> int:
        """One layer's matrices and its two norms; biases, a thousandth of it at most, are left out."""
        return sum(inputs * outputs for inputs, outputs in self.layer_matrices) + 2 * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.hidden + self.embedding_parameters * (1 if self.tied else 2)

    def lora_parameters(self, rank: int) -> int:
        """Adapters on every matrix of a layer; norms and embedding trained whole, as LongLoRA does (2309.12307)."""
        adapters = sum(rank * (inputs + outputs) for inputs, outputs in self.layer_matrices)
        return self.layers * (adapters + 2 * self.hidden) + self.hidden + self.embedding_parameters

    def mean_context(self, length: int) -> float:
        """Tokens a query sees, averaged over its positions and summed over the layers; causal, one document of `length`."""
        return sum(_mean(length, window) for window in self.windows or (None,) * self.layers)


def _mean(length: int, window: int | None) -> float:
    """The mean of min(position, window), positions 0 to length."""
    if window is None or window >= length:
        return length / 2
    return window * (1 - window / (2 * length))


EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size")
# What their blocks are was read in transformers 5.23, models/*/modeling_*.py.
LIKE_LLAMA = frozenset("llama mistral ministral ministral3 qwen2 qwen3 seed_oss smollm3 granite".split())
QK_NORM = frozenset("qwen3 gemma3_text exaone4 hunyuan_v1_dense apertus".split())
UNGATED = frozenset("apertus gpt_neox gptj nemotron phi starcoder2".split())


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """The sizes of a dense decoder; BadConfig for what is none, and for a size that is not stated."""
    fields, around = text_fields(config), text_path(config)
    kind = fields.text("model_type") or ""
    _check_dense(fields, kind)
    groups, _ = read_layers(fields, kind)
    layers = _size(fields, "num_hidden_layers", "n_layer")
    if sum(group.layers for group in groups) not in (0, layers):
        raise BadConfig(f"{kind} has layers without attention (linear or recurrent); the formula is for dense decoders.")
    heads = _size(fields, "num_attention_heads", "n_head")
    return ModelShape(
        hidden=_size(fields, "hidden_size", "n_embd"),
        ffn=_size(fields, "intermediate_size", "n_inner"),
        heads=heads,
        kv_heads=fields.whole("num_key_value_heads") or heads,
        head_dim=head_dim(fields),
        layers=layers,
        vocabulary=_size(fields, "vocab_size"),
        tied=fields.yes("tie_word_embeddings", default=kind.startswith("gemma")),
        gated=kind not in UNGATED,
        qk_norm=kind in QK_NORM,
        windows=tuple(group.window for group in groups for _ in range(group.layers)),
        notes=_notes(kind, bool(around)),
    )


def _check_dense(fields: Fields, kind: str) -> None:
    if experts := [key for key in EXPERT_KEYS if (fields.whole(key) or 0) > 1]:
        raise BadConfig(
            f"{kind} is a mixture of experts ({fields.where(experts[0])}); the memory formula is for dense models.\n"
            "  Which expert a token goes to, and how experts are spread over cards, decides what it takes."
        )
    if "kv_lora_rank" in fields:
        raise BadConfig(f"{kind} compresses its keys (kv_lora_rank); the memory formula is for dense models with plain heads.")


def _size(fields: Fields, *keys: str) -> int:
    for key in keys:
        if found := fields.whole(key):
            return found
    raise BadConfig(
        f"the config states no {keys[0]}, and memory cannot be counted without it.\n"
        "  A config that transformers saved has it: is this one cut short?"
    )


def _notes(kind: str, around: bool) -> tuple[str, ...]:
    notes = []
    if kind not in LIKE_LLAMA:
        notes.append(f"a layer of {kind} is counted as one of Llama's; simulate (--simulate) walks through its own")
    if around:
        notes.append("the text model alone is counted; what encodes pictures or sound comes on top")
    return tuple(notes)
