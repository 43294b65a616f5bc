"""The one primitive of evaluation: the negative log-likelihood of every token, without holding every logit."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Head = Callable[[torch.Tensor], torch.Tensor]

LOGITS = 2**25  # numbers that exist at one time: 128 MiB of float32, and little more than that again for the softmax
CACHED = 2**22  # on a CPU: blocks from 32 MiB on are mapped page by page each time, which takes as long as the softmax
ENOUGH = 64  # positions: with fewer a CPU reads the head's weights for longer than it multiplies
SELF_TEST_LENGTH = 48

_heads: "weakref.WeakKeyDictionary[Any, Head | None]" = weakref.WeakKeyDictionary()


class Scores(NamedTuple):
    """What the model made of each scored token, both (batch, scored tokens).

    nll: -ln p, nats, float32.  greedy: is it the token that greedy decoding would have written?
    """

    nll: torch.Tensor
    greedy: torch.Tensor


def token_nll(
    model: Any, ids: torch.Tensor, *, first: int = 1, positions: torch.Tensor | None = None, chunk: int | None = None
) -> torch.Tensor:
    """-ln p(ids[:, i] | ids[:, :i]), nats, for i from `first` to the end or in `positions`: (batch, scored). See `score`."""
    return score(model, ids, first=first, positions=positions, chunk=chunk).nll


@torch.inference_mode()
def score(
    model: Any, ids: torch.Tensor, *, first: int = 1, positions: torch.Tensor | None = None, chunk: int | None = None
) -> Scores:
    """Score tokens of a sequence, each given all before it, in one forward pass.

    ids: (batch, tokens) of token ids, without padding.
    first: the first token to score, at least 1; all after it are scored too.
    positions: (scored,) whole numbers from 1 to tokens - 1, rising: the tokens to score, instead of `first`.
    chunk: positions per call of the head. None: as `positions_at_once` says.

    The head is run only on scored positions; log-softmax is float32 whatever the model's dtype. Before its first use on
    a model the head is compared with the model's own logits; heads that cap or scale are recognised, and any other makes
    this fall back to the model's own logits at the scored positions, which then exist all at once.
    Time grows as one forward pass; memory for logits does not grow with the length.
    """
    before = _positions(ids, first, positions) - 1
    head, targets = head_of(model, ids), ids[:, before + 1]
    if head is None:
        return _score(_own_logits(model, ids, before), targets)
    hidden = model.base_model(ids, use_cache=False).last_hidden_state[:, before]
    size = chunk or positions_at_once(model, len(ids))
    pieces = [_score(head(h), t) for h, t in zip(torch.split(hidden, size, 1), torch.split(targets, size, 1), strict=True)]
    return Scores(torch.cat([piece.nll for piece in pieces], 1), torch.cat([piece.greedy for piece in pieces], 1))


def _positions(ids: torch.Tensor, first: int, positions: torch.Tensor | None) -> torch.Tensor:
    tokens = ids.shape[1]
    if positions is None:
        if not 1 <= first < tokens:
            raise ValueError(f"first is {first}; it must be from 1 to tokens - 1 = {tokens - 1}.")
        return torch.arange(first, tokens, device=ids.device)
    if not len(positions) or positions.min() < 1 or positions.max() >= tokens:
        raise ValueError(f"positions must be at least one, from 1 to tokens - 1 = {tokens - 1}.")
    return positions.to(ids.device)


def _own_logits(model: Any, ids: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """The model's logits at some positions, by transformers' own option where the model takes it."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        kept: torch.Tensor = model(ids, use_cache=False, logits_to_keep=where).logits
        return kept
    logits: torch.Tensor = model(ids, use_cache=False).logits
    return logits[:, where]


def positions_at_once(model: Any, rows: int) -> int:
    """How many positions of so many rows have logits at one time: `LOGITS` numbers; a CPU `CACHED`, where that is `ENOUGH`."""
    one = rows * int(model.get_input_embeddings().num_embeddings)
    most = max(LOGITS // one, 1)
    return min(most, max(CACHED // one, ENOUGH)) if model.device.type == "cpu" else most


def _score(logits: torch.Tensor, targets: torch.Tensor) -> Scores:
    numbers = logits.float()  # once: to search bfloat16 for the largest takes longer
    nll = torch.nn.functional.cross_entropy(numbers.flatten(0, 1), targets.flatten(), reduction="none")
    return Scores(nll.view(targets.shape), numbers.argmax(-1) == targets)


def head_of(model: Any, ids: torch.Tensor) -> Head | None:
    """Hidden states to logits, as this model does it; None where only the whole model can."""
    if model not in _heads:
        _heads[model] = _find_head(model, ids[:1, :SELF_TEST_LENGTH])
    return _heads[model]


def _find_head(model: Any, ids: torch.Tensor) -> Head | None:
    linear = model.get_output_embeddings()
    if linear is None or model.base_model is model:
        return None
    after = ending_of(model, ids)
    if after is None:
        return None

    def head(states: torch.Tensor) -> torch.Tensor:
        return after(linear(states))

    wanted = model(ids, use_cache=False).logits
    return head if _same(head(model.base_model(ids, use_cache=False).last_hidden_state), wanted) else None


def ending_of(model: Any, ids: torch.Tensor, **more: Any) -> Head | None:
    """What the model does to its logits after its linear head; None where that is none of the known things.

    ids: (rows, tokens), a few, to try it with.  more: for the model's call.
    """
    linear, seen = model.get_output_embeddings(), []
    hook = linear.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        wanted = model(ids, use_cache=False, **more).logits
    finally:
        hook.remove()
    fitting = [after for after in _endings(model.config) if len(seen) == 1 and _same(after(seen[0]), wanted)]
    # Small logits are hardly capped: of several that fit a few tokens the nearest is the model's, and not the first.
    return min(fitting, key=lambda after: (after(seen[0]) - wanted).abs().max().item(), default=None)


def _same(seen: torch.Tensor, wanted: torch.Tensor) -> bool:
    tolerance = 1e-5 if wanted.dtype == torch.float32 else 2e-2
    return seen.shape == wanted.shape and bool((seen - wanted).abs().max() <= tolerance * max(1.0, wanted.abs().max().item()))


def _endings(config: Any) -> list[Head]:
    """What known architectures do after the linear head: nothing, a soft cap (Gemma 2), a scale (Cohere, Granite)."""
    endings: list[Head] = [lambda x: x]
    if cap := getattr(config, "final_logit_softcapping", None):
        endings.append(lambda x: torch.tanh(x / cap) * cap)
    if scale := getattr(config, "logit_scale", None):
        endings.append(lambda x: x * scale)
    if divisor := getattr(config, "logits_scaling", None):
        endings.append(lambda x: x / divisor)
    return endings
