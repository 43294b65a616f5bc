"""ModelShape: the sizes of a dense decoder, which decide its parameters, its flops and its memory."""

from dataclasses import dataclass


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
