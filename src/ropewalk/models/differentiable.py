"""A live model whose rotary frequencies take part in the graph: what a fit differentiates."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.dynamic.ladder import Ladder, Pair
from ropewalk.models.live import LiveTable
from ropewalk.scaling.plan import ScalingPlan

# A scale -> (inv_freq (pairs,), attention factor ()), float64, with a graph.
Frequencies = Callable[[float], tuple[torch.Tensor, torch.Tensor]]


def differentiable_tables(
    frequencies: Frequencies, scale: float, positions: torch.Tensor, layout: str, like: torch.Tensor
) -> Pair:
    """(cos, sin) in the module's layout and the dtype of `like`, differentiable in what `frequencies` returns.

    positions: (..., tokens), whole numbers. Angles are float64 and the cast comes last, as in `rotary.tables`.
    """
    inv_freq, m = frequencies(scale)
    return _laid_out(positions[..., None] * inv_freq.to(positions.device), m, layout, like)


def _laid_out(angles: torch.Tensor, m: torch.Tensor | float, layout: str, like: torch.Tensor) -> Pair:
    cos, sin = (angles.cos() * m).to(like.dtype), (angles.sin() * m).to(like.dtype)
    if layout == "halves":
        return torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)
    if layout == "in turn":
        return cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
    return cos, sin


class DifferentiableTables(Ladder):
    """A ladder whose every step is differentiable.

    The tables of all steps are made before the first layer and only cut afterwards: a cut saves nothing for the backward
    pass, so a layer that a checkpoint runs again saves what it saved before.
    """

    def __init__(
        self, ladder: Ladder, frequencies: Frequencies, tokens: int, like: torch.Tensor, near: torch.Tensor | None = None
    ):
        self.__dict__.update(ladder.__dict__)
        positions, self._layout = torch.arange(tokens, device=like.device), ladder.table.layout()
        steps = range(int(self.steps(positions[None]).max()) + 1)
        self._full: dict[str, list[Pair]] = {"tables": []}
        if self.near:
            self._make_near(frequencies, self.near if near is None else near, positions, steps, like)
            return
        for step in steps:
            made = differentiable_tables(frequencies, self.schedule.scale(step), positions, self._layout, like)
            self._full["tables"].append(made)

    def _make_near(
        self, frequencies: Frequencies, w: torch.Tensor | int, positions: torch.Tensor, steps: range, like: torch.Tensor
    ) -> None:
        """What `Ladder` makes of near and far, in a graph: keys without m, queries with its square and, if far, ahead by w."""
        trained, plain = frequencies(1.0)
        as_trained = positions[:, None] * trained.to(positions.device)
        self._full = {"tables": [_laid_out(as_trained, plain, self._layout, like)]}
        for step in steps:
            inv_freq, m = frequencies(self.schedule.scale(step))
            group = torch.tensor(self.scaled(step).group, device=positions.device)
            far = positions[:, None] // group * group * inv_freq.to(positions.device)
            ahead = ((trained - inv_freq) * w).to(positions.device)
            for compute, angles, factor in (
                ("of_queries", far + ahead, m * m), ("of_near_queries", as_trained, m * m), ("of_keys", far, 1.0)
            ):  # fmt: skip
                self._full.setdefault(compute, []).append(_laid_out(angles, factor, self._layout, like))

    def tables(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        return self._cut("tables", step, positions, like)

    def of_queries(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        return self._cut("of_queries" if self.near and step else "tables", step, positions, like)

    def of_near_queries(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        return self._cut("of_near_queries", step, positions, like)

    def of_keys(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        return self._cut("of_keys" if self.near and step else "tables", step, positions, like)

    def _cut(self, compute: str, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        first, tokens = int(positions[0, 0]), positions.shape[-1]
        cos, sin = (half.narrow(0, first, tokens)[None].to(like.dtype) for half in self._full[compute][step])
        return cos, sin


@contextmanager
def rotating_by(
    model: Any, plan: ScalingPlan, frequencies: Frequencies, tokens: int, near: torch.Tensor | None = None
) -> Iterator[None]:
    """For as long as the block lasts, the layers that `plan` stretches rotate as `frequencies` says, in a graph.

    plan: says which layers, and whether `frequencies` is asked for one scale (static) or for every step of a causal schedule;
    its own numbers are measured first, as by every attach, and then not used. One document, positions 0 to `tokens` - 1.
    near: w () in a graph, of a plan with near distances whose w moves too. Which keys are near, and where the steps of the
    schedule begin, the plan says all the same.

    Activations are checkpointed per layer where the model can; weights are frozen meanwhile.
    """
    with attach(model, plan) as attached, _checkpointed(model), _frozen(model):
        hooks = []
        like = torch.zeros(1, dtype=model.dtype, device=model.device)
        tables = attached._deferred.tables if attached._deferred else []
        before = [deferred.ladder for deferred, _ in tables]
        for deferred, _ in tables:
            deferred.ladder = DifferentiableTables(deferred.ladder, frequencies, tokens, like, near)
        for table, stretch in [] if tables else attached.tables:
            hooks.append(table.module.register_forward_hook(_answer(table, frequencies, stretch.factor), with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for (deferred, _), ladder in zip(tables, before, strict=True):
                deferred.ladder = ladder


def _answer(table: LiveTable, frequencies: Frequencies, scale: float) -> Callable[..., Any]:
    layout = table.layout()
    if layout in ("complex", "unknown"):
        raise CannotAttach(
            f"{type(table.module).__name__} answers in an order ({layout}) through which no gradient is taken here.\n"
            '  The search without gradients needs none: optimiser="cma" (--optimiser cma).'
        )

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Pair) -> Any:
        given = (*args, *(None,) * 3)
        if table.prefix and kwargs.get("layer_type", given[2]) != table.layer_type:
            return None
        positions = kwargs.get("position_ids", given[1])
        return differentiable_tables(frequencies, scale, positions, layout, output[0])

    return hook


@contextmanager
def _checkpointed(model: Any) -> Iterator[None]:
    """Layers forget their activations and compute them again. Only the layers are told that they train: dropout stays off.

    Set on the layers themselves: the model's own switch has one name in transformers 5.17 and another from 5.23 on.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.__dict__.update(training=True, gradient_checkpointing=True, _gradient_checkpointing_func=_again)
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
            for name in ("gradient_checkpointing", "_gradient_checkpointing_func"):
                layer.__dict__.pop(name, None)


_again = partial(checkpoint, use_reentrant=False)


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
