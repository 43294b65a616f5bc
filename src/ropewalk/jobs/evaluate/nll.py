"""The one primitive of evaluation: the negative log-likelihood of every token, without holding every logit."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Head = Callable[[torch.Tensor], torch.Tensor]

CHUNK = 1024  # positions whose logits exist at one time
SELF_TEST_LENGTH = 48

_heads: "weakref.WeakKeyDictionary[Any, Head | None]" = weakref.WeakKeyDictionary()


class Scores(NamedTuple):
    """What the model made of each scored token, both (batch, scored tokens).

    nll: -ln p, nats, float32.  greedy: is it the token that greedy decoding would have written?
    """

    nll: torch.Tensor
    greedy: torch.Tensor


def token_nll(model: Any, ids: torch.Tensor, *, first: int = 1, chunk: int = CHUNK) -> torch.Tensor:
    """-ln p(ids[:, i] | ids[:, :i]) for i from `first` to the end: (batch, tokens - first) float32, nats. See `score`."""
    return score(model, ids, first=first, chunk=chunk).nll


@torch.inference_mode()
def score(model: Any, ids: torch.Tensor, *, first: int = 1, chunk: int = CHUNK) -> Scores:
    """Score every token from `first` on, given all before it, in one forward pass.

    ids: (batch, tokens) of token ids, without padding.
    first: the first token to score, at least 1.
    chunk: positions per call of the head; logits never take more than batch x chunk x vocabulary floats.

    The head is run only on scored positions; log-softmax is float32 whatever the model's dtype. Before its first use on
    a model the head is compared with the model's own logits; heads that cap or scale are recognised, and any other makes
    this fall back to the model's full logits.
    Time grows as one forward pass; memory for logits does not grow with the length.
    """
    if not 1 <= first < ids.shape[1]:
        raise ValueError(f"first is {first}; it must be from 1 to tokens - 1 = {ids.shape[1] - 1}.")
    head, targets = head_of(model, ids), ids[:, first:]
    if head is None:
        return _score(model(ids, use_cache=False).logits[:, first - 1 : -1], targets)
    hidden = model.base_model(ids, use_cache=False).last_hidden_state[:, first - 1 : -1]
    pieces = [_score(head(h), t) for h, t in zip(torch.split(hidden, chunk, 1), torch.split(targets, chunk, 1), strict=True)]
    return Scores(torch.cat([piece.nll for piece in pieces], 1), torch.cat([piece.greedy for piece in pieces], 1))


def _score(logits: torch.Tensor, targets: torch.Tensor) -> Scores:
    nll = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return Scores(nll.view(targets.shape), logits.argmax(-1) == targets)


def head_of(model: Any, ids: torch.Tensor) -> Head | None:
    """Hidden states to logits, as this model does it; None where only the whole model can."""
    if model not in _heads:
        _heads[model] = _find_head(model, ids[:1, :SELF_TEST_LENGTH])
    return _heads[model]


def _find_head(model: Any, ids: torch.Tensor) -> Head | None:
    linear = model.get_output_embeddings()
    if linear is None or model.base_model is model:
        return None
    wanted = model(ids, use_cache=False).logits
    hidden = model.base_model(ids, use_cache=False).last_hidden_state
    tolerance = 1e-5 if wanted.dtype == torch.float32 else 2e-2
    for after in _endings(model.config):

        def head(states: torch.Tensor, after: Head = after) -> torch.Tensor:
            return after(linear(states))

        seen = head(hidden)
        if seen.shape == wanted.shape and (seen - wanted).abs().max() <= tolerance * max(1.0, wanted.abs().max().item()):
            return head
    return None


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
