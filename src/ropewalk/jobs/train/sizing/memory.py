"""What a training step holds on one card at its peak: a closed formula, no torch.

The formula counts bytes that are *allocated*. The process takes more: the allocator's slack, fragments, the parts of
libraries. So a peak is a band, from the formula to `margin` times all but the states; recorded peaks of others lie in it
(tests/jobs/train/test_memory_records.py).

Coefficients are bytes per token in bfloat16, of a Llama block in transformers 5.23 with attention that keeps no scores.
`saved` equals what autograd saves, counted by saved-tensor hooks; `working` equals the peak of torch's simulated
memory (both are tests). Older rule, with scores and without gates: 34 h + 5 a s per token and layer (2205.05198, eq. 1).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from ropewalk.engines.transformers.shape import ModelShape
from ropewalk.errors import BadOption, UnknownName

GIB = 2**30
CONTEXT = 2 * GIB  # CUDA's context, the workspaces of cuBLAS and NCCL
CHUNK = 1024  # tokens of the head's loss at a time
LOGITS = 14  # bytes per logit: 2 as they come, 4 in fp32, 4 log-softmax, 4 gradient
MARGIN, TILED_MARGIN = 1.12, 1.25  # see the module; records of tiled MLPs lie further above the formula
TRAINED = 16  # bytes per trained parameter: bf16 weight and gradient, fp32 master copy and two moments of AdamW
FROZEN = 2
LORA_RANK = 16


class States(StrEnum):
    """Where weights, gradients and optimiser live between their uses; WEIGHTS alone stay under ZeRO's offload_optimizer."""

    CARD = "card"
    WEIGHTS = "weights on the card, gradients and optimizer on the host"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Setup:
    """How a step is run. `cards` share the states (FSDP); `context_parallel` of them share each sequence.

    gather: keys and values of the whole sequence are gathered to each card (else exchanged by heads, Ulysses).
    chunked_loss: logits exist for CHUNK tokens at a time.  fused_kernels: norm and SwiGLU that save and free more (Liger).
    """

    cards: int = 1
    context_parallel: int = 1
    gather: bool = True
    chunked_loss: bool = True
    checkpointing: bool = True
    offload: bool = False
    tiled_mlp: bool = False
    fused_kernels: bool = False
    states: States = States.CARD
    lora: bool = False


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes on one card by what they are for; `host` is in the host's memory, for this card."""

    states: float
    gathered: float
    checkpoints: float
    working: float
    context: float
    host: float
    margin: float

    @property
    def low(self) -> float:
        return self.states + self.gathered + self.checkpoints + self.working + self.context

    @property
    def high(self) -> float:
        """States are counted to the byte and allocated once; the margin is on what comes and goes."""
        return self.states + (self.low - self.states) * self.margin


def peak(shape: ModelShape, setup: Setup, length: int, *, walked: float | None = None) -> Peak:
    """One sequence of `length` tokens per group of `context_parallel` cards.

    walked: bytes that the layers hold at their peak, where they were measured and need no formula (sizing/simulate.py).
    """
    tokens = length / setup.context_parallel
    on_card, on_host = _states(shape, setup)
    kept = tokens * _kept(shape, setup)
    layer = tokens * _working(shape, setup) if walked is None else walked - kept
    return Peak(
        states=on_card,
        gathered=_gathered(shape, setup),
        checkpoints=0 if setup.offload else kept,
        working=max(layer + _exchanged(shape, setup, length), _head(shape, setup, tokens)),
        context=CONTEXT,
        host=on_host + (kept if setup.offload else 0),
        margin=TILED_MARGIN if setup.tiled_mlp else MARGIN,
    )


def saved(shape: ModelShape) -> int:
    """Bytes per token that one layer saves for its backward pass when nothing is recomputed."""
    h, f, q, kv, heads = shape.hidden, shape.ffn, shape.q, shape.kv, shape.heads
    block = 16 * h + 8 * f + 4 * q + 4 * kv + 4 * heads + 8
    return block + (6 * q + 6 * kv + 4 * (heads + shape.kv_heads) if shape.qk_norm else 0)


def working(shape: ModelShape) -> int:
    """Bytes per token of one layer while its backward pass runs, its saved tensors among them.

    Two moments can be the highest: in the MLP (18 h + 12 f), and in the norm before it, whose gradient is taken in fp32.
    """
    h, q, kv = shape.hidden, shape.q, shape.kv
    return max(18 * h + 12 * shape.ffn, 34 * h) + _attention(shape, q, kv)


def _attention(shape: ModelShape, q: int, kv: int) -> int:
    each = 10 if shape.qk_norm else 4
    return each * (q + kv) + 4 * shape.heads + 4 * shape.head_dim + 16  # the last two: cos and sin, and positions


def _kept(shape: ModelShape, setup: Setup) -> int:
    """Bytes per token that wait for the backward pass, all layers: their inputs alone with checkpointing."""
    return 2 * shape.hidden * shape.layers if setup.checkpointing else saved(shape) * (shape.layers - 1)


def _working(shape: ModelShape, setup: Setup) -> float:
    """As `working`. With fused kernels: fitted to records, not derived."""
    h, rest = shape.hidden, _attention(shape, shape.q, shape.kv)
    if setup.fused_kernels:
        return 12 * h + rest + (6 * h if setup.tiled_mlp else 8 * shape.ffn)
    return 34 * h + rest if setup.tiled_mlp else working(shape)


def _exchanged(shape: ModelShape, setup: Setup, length: int) -> float:
    """Keys and values of all cards for one layer, and as many gradients: 2 tensors x 2 bytes x 2."""
    return 8 * shape.kv * length if setup.gather and setup.context_parallel > 1 else 0


def _head(shape: ModelShape, setup: Setup, tokens: float) -> float:
    """The logits and their loss, and the gradient of the stream that goes on from there."""
    at_once = min(tokens, CHUNK) if setup.chunked_loss else tokens
    return LOGITS * shape.vocabulary * at_once + 2 * shape.hidden * tokens


def _states(shape: ModelShape, setup: Setup) -> tuple[float, float]:
    """(on the card, in the host's memory), bytes: shared by all cards."""
    trained = shape.lora_parameters(LORA_RANK) if setup.lora else shape.parameters
    frozen = FROZEN * shape.parameters if setup.lora else 0
    everything = TRAINED * trained + frozen
    here = {States.CARD: everything, States.WEIGHTS: 2 * trained + frozen, States.HOST: 0}[setup.states]
    return here / setup.cards, (everything - here) / setup.cards


def _gathered(shape: ModelShape, setup: Setup) -> float:
    """Weights that are whole on each card while in use: the embedding, the head, two layers; and gradients of two layers.

    Where one card holds all the states, these are the states themselves.
    """
    if setup.cards == 1 and setup.states != States.HOST:
        return 0
    return 2 * (shape.embedding_parameters * (1 if shape.tied else 2) + 4 * shape.layer_parameters)


MOST_CARDS = 100_000


@dataclass(frozen=True, slots=True)
class Card:
    """gib: what torch reports as total, which is less than the name says.  tflops: bfloat16, dense, 10^12 per second."""

    name: str
    gib: float
    tflops: float
    source: str


# gib: "GPU 0 has a total capacity of ..." in public reports of torch.OutOfMemoryError, the smallest of them.
# tflops: the data sheet named. Data sheets of NVIDIA state twice as much "with sparsity"; that is halved here.
_TABLE = (
    Card("A100-40", 39.38, 312, "NVIDIA A100 data sheet"),
    Card("A100-80", 79.14, 312, "NVIDIA A100 data sheet"),
    Card("H100-80", 79.10, 989.4, "NVIDIA H100 SXM data sheet"),
    Card("H200-141", 139.72, 989.4, "NVIDIA H200 SXM data sheet"),
    Card("B200-180", 178.35, 2250, "NVIDIA B200 (HGX) data sheet"),
    Card("L40S-48", 44.34, 362, "NVIDIA L40S data sheet"),
    Card("4090-24", 23.52, 165.2, "NVIDIA Ada whitepaper 2.1, bf16 with fp32 sums"),
)
CARDS = {card.name: card for card in _TABLE}
SHORT = {"L40S": "L40S-48", "B200": "B200-180", "H200": "H200-141", "H100": "H100-80", "4090": "4090-24"}


def parse_cards(text: str) -> tuple[int, Card]:
    """8xH100-80 -> (8, the card); a name alone is one card."""
    found = re.fullmatch(r"(?:(\d+)\s*[xX*]\s*)?(\S+)", text.strip())
    if not found:
        raise BadOption(f"{text!r} does not name cards. Write COUNTxNAME, such as 8xH100-80.")
    count, name = int(found[1] or 1), found[2]
    if not 1 <= count <= MOST_CARDS:
        raise BadOption(f"{text!r} asks for {count:,} cards; write a count from 1 to {MOST_CARDS:,}.")
    upper = name.upper()
    card = CARDS.get(SHORT.get(upper, upper))
    if card is None:
        raise UnknownName("card", name, CARDS)
    return count, card
