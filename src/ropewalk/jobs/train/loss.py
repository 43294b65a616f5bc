"""The loss of every token without the logits of every token: the head works in chunks, and again in the backward pass.

Logits of 32k tokens and 128k words take 16 GiB in float32, and three times that with their gradients. Chunks of `LOGITS`
numbers exist one at a time, are recomputed when the gradient needs them, and log-softmax is float32 whatever the model is.
torch's own `linear_cross_entropy` is not used: under bfloat16 the loss it returns is bfloat16 too (9.01 becomes 8.94).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ropewalk.errors import CannotAttach
from ropewalk.jobs.train.data.layout import IGNORED
from ropewalk.measure.nll import LOGITS, Head, ending_of


class Scoring:
    """While installed, model(ids, positions, labels) answers (rows, columns, 2): the nats of each label, and whether it is
    the most likely word; zeros where the label is IGNORED.

    It answers through the model's own call, and the head's through the head's: so sharded weights are gathered by the hooks
    that sharding has put there. The nats carry the gradient.
    """

    def __init__(self, model: Any, ending: Head):
        self.model, self._ending = model, ending
        self.linear = model.get_output_embeddings()
        self._labels: torch.Tensor

    @contextmanager
    def installed(self) -> Iterator[None]:
        def forward(model: Any, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, **more: Any) -> Any:
            hidden = model.base_model(input_ids=ids, position_ids=positions, use_cache=False, **more).last_hidden_state
            self._labels = labels
            return self.linear(hidden)

        before = self.linear.forward
        self.model.forward = MethodType(forward, self.model)
        self.linear.forward = lambda hidden: token_losses(hidden, self._labels, lambda h: self._ending(before(h)))
        try:
            yield
        finally:
            del self.model.forward, self.linear.forward


def find_ending(model: Any) -> Head:
    """What this model does to its logits after the linear head. Raises CannotAttach where that is none of the known things.

    Every process of a sharded model has to call it.
    """
    ids = torch.arange(16, device=model.device)[None] % model.get_input_embeddings().weight.shape[0]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        known = ending_of(model, ids)
    model.train(was_training)
    if known is None:
        raise CannotAttach(
            f"{type(model).__name__} makes its logits in a way Ropewalk does not know: the loss cannot be taken in chunks."
        )
    return known


def token_losses(hidden: torch.Tensor, labels: torch.Tensor, head: Head, chunk: int | None = None) -> torch.Tensor:
    """(rows, columns, 2), float32: nats and hits of `labels` (rows, columns).  hidden: (rows, columns, channels).

    chunk: tokens whose logits exist at one time; None: as many as make LOGITS numbers.
    """
    flat, wanted = hidden.flatten(0, 1), labels.flatten()
    size = chunk or _chunk(head, flat)
    pieces = []
    for h, y in zip(torch.split(flat, size), torch.split(wanted, size), strict=True):
        again = len(flat) > size and torch.is_grad_enabled()
        pieces.append(checkpoint(_losses, head, h, y, use_reentrant=False) if again else _losses(head, h, y))
    # Stacked last: FSDP warns of outputs that are views.
    return torch.stack([part.view(labels.shape) for part in torch.cat(pieces).unbind(-1)], dim=-1)


def _chunk(head: Head, flat: torch.Tensor) -> int:
    with torch.no_grad():
        words = head(flat[:1]).shape[-1]
    return max(LOGITS // words, 1)


def _losses(head: Head, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = head(hidden).float()
    nll = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
    hits = (logits.detach().argmax(-1) == labels).float()
    return torch.stack([nll, hits], dim=-1)
