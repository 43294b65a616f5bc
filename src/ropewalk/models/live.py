"""The rotary tables of a live model: where they are, what they answer, and how to set them."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.write import read
from ropewalk.errors import CannotAttach, Mismatch, UnknownName
from ropewalk.models.tables import rotation_tables
from ropewalk.scaling.method import Scaled
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

MISSING = object()
# Relative error of an angle: position, frequency and their product are rounded to float32 once each.
ROUNDINGS = 3 * 2.0**-24
# Frequencies that transformers computes in float32 are up to 2.6e-6 off (yarn, factor 40, where its ramp ends); a
# config that was misread is off by far more than this.
COMPUTED_IN_FLOAT32 = 2.0**-16


@dataclass(frozen=True, slots=True, eq=False)
class LiveTable:
    """One rotary table of a live model: buffers and a scalar of `module`, whose names start with `prefix`.

    layer_type: the name a plan gives it.  prefix: "" where the module has one table, "<layer type>_" where it has several.
    latent: the attention modules (MLA) whose softmax scale a stretch sets besides.
    """

    module: nn.Module
    layer_type: str
    prefix: str = ""
    latent: tuple[nn.Module, ...] = ()

    @property
    def inv_freq(self) -> torch.Tensor:
        tensor: torch.Tensor = getattr(self.module, f"{self.prefix}inv_freq")
        return tensor

    def set(self, scaled: Scaled) -> None:
        """Frequencies as float32, whatever the model's dtype: bfloat16 is off by 0.4 radians at token 200."""
        device = self.inv_freq.device
        for name in (f"{self.prefix}inv_freq", f"{self.prefix}original_inv_freq"):
            if hasattr(self.module, name):
                setattr(self.module, name, torch.tensor(scaled.inv_freq, dtype=torch.float32, device=device))
        setattr(self.module, f"{self.prefix}attention_scaling", scaled.attention_factor)
        self.set_softmax(scaled.softmax_factor)

    def set_softmax(self, factor: float) -> None:
        """factor: of 1 / sqrt(width), what attention has without a stretch."""
        for module in self.latent:
            setattr(module, SCALING, plain_softmax(module) * factor)

    def softmax_factors(self) -> list[float]:
        """What each attention module multiplies its softmax scale by."""
        return [getattr(module, SCALING) / plain_softmax(module) for module in self.latent]

    def set_plain(self) -> None:
        """Stop transformers from choosing frequencies by itself (its dynamic and longrope rules)."""
        rope_type: Any = getattr(self.module, "rope_type", None)
        plain = {**rope_type, self.layer_type: "default"} if isinstance(rope_type, dict) else "default"
        if rope_type is not None:
            setattr(self.module, "rope_type", plain)  # noqa: B010  (mypy takes attributes of a Module for tensors)

    def layout(self) -> str:
        """How the module's output holds each pair: "once", "halves" (GPT-NeoX), "in turn" (GPT-J), "complex" or "unknown"."""
        return self._layout(self._forward(range(3)))

    def answer(self, positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The module's own (cos, sin) for one row of positions, each (tokens, pairs), float32, on the CPU."""
        output = self._forward(positions)
        layout = self._layout(output)
        if layout == "unknown":
            raise Mismatch(
                f"{type(self.module).__name__} answers for {self.inv_freq.numel()} pairs in an order Ropewalk does not know:\n"
                "  its rotation cannot be checked, so it is not touched."
            )
        cos, sin = (output.real, output.imag) if isinstance(output, torch.Tensor) else output
        pick = slice(0, None, 2) if layout == "in turn" else slice(0, self.inv_freq.numel())
        cos, sin = (half.detach().float().cpu().reshape(len(positions), -1)[:, pick] for half in (cos, sin))
        return cos, sin

    def _layout(self, output: Any) -> str:
        if isinstance(output, torch.Tensor):
            return "complex"
        table, pairs = output[0].flatten(0, -2).nan_to_num(), self.inv_freq.numel()
        if table.shape[-1] == pairs:
            return "once"
        if table.shape[-1] == 2 * pairs:
            if torch.equal(table[:, :pairs], table[:, pairs:]):
                return "halves"
            if torch.equal(table[:, 0::2], table[:, 1::2]):
                return "in turn"
        return "unknown"

    def _forward(self, positions: Sequence[int]) -> Any:
        device = self.inv_freq.device
        row = torch.tensor([list(positions)], dtype=torch.int64, device=device)
        like = torch.zeros(1, dtype=torch.float32, device=device)  # modules cast to the dtype of their first argument
        extra = {"layer_type": self.layer_type} if self.prefix else {}
        with torch.no_grad():
            return self.module(like, row, **extra)


SCALING = "scaling"  # of an attention module: its softmax scale


def latent_attention(model: nn.Module) -> tuple[nn.Module, ...]:
    """The modules of multi-head latent attention, whose softmax scale is a number that is set when they are built."""
    found = (module for module in model.modules() if isinstance(getattr(module, "qk_head_dim", None), int))
    return tuple(module for module in found if isinstance(getattr(module, SCALING, None), float))


def plain_softmax(module: Any) -> float:
    scale: float = module.qk_head_dim ** (-0.5)
    return scale


class Saved:
    """What a rotary module held before it was changed; `restore` puts the same tensors back."""

    NAMES = ("inv_freq", "original_inv_freq", "attention_scaling", "max_seq_len_cached")

    def __init__(self, table: LiveTable):
        self.table = table
        names = [*(f"{table.prefix}{name}" for name in self.NAMES), "rope_type"]
        self.values = {name: value for name in names if (value := getattr(table.module, name, MISSING)) is not MISSING}
        self.softmax = [getattr(module, SCALING) for module in table.latent]
        for name, value in self.values.items():
            if isinstance(value, torch.Tensor):  # transformers' longrope writes into its buffers in place
                setattr(table.module, name, value.clone())

    def restore(self) -> None:
        device = self.table.inv_freq.device
        for name, value in self.values.items():
            setattr(self.table.module, name, value.to(device) if isinstance(value, torch.Tensor) else value)
        for module, scale in zip(self.table.latent, self.softmax, strict=True):
            setattr(module, SCALING, scale)


def keep_float32(table: LiveTable) -> None:
    """Make `model.to(bfloat16)`, `.half()` and the like move this module's frequencies without rounding them."""

    def _apply(module: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
        kept = {name: buffer for name, buffer in module.named_buffers(recurse=False) if name.endswith("inv_freq")}
        type(module)._apply(module, fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in kept.items():
            setattr(module, name, buffer.to(getattr(module, name).device))
        return module

    # A bound method, so that a deep copy of the model binds its own copy of the module.
    table.module._apply = MethodType(_apply, table.module)  # type: ignore[method-assign]


def let_cast(table: LiveTable) -> None:
    table.module.__dict__.pop("_apply", None)


def read_live(model: nn.Module) -> ModelSpec:
    """The spec of a live model's own config. Raises CannotAttach without a config, NoRope where nothing rotates."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        raise CannotAttach(
            f"{type(model).__name__} has no transformers config. Ropewalk attaches to models of the transformers library;\n"
            "  for others use ropewalk.models.tables.rotation_tables where the model builds its cos and sin."
        )
    return read(config.to_dict())


def find_tables(model: nn.Module, spec: ModelSpec) -> dict[str, list[LiveTable]]:
    """The live rotary tables by layer type. Raises CannotAttach where the model keeps none that can be set."""
    if spec.model_type in known.FIXED_IN_CODE:
        raise CannotAttach(
            f"{spec.model_type} computes its rotation inside its attention code, from constants: there is no table to set."
        )
    tables: dict[str, list[LiveTable]] = {}
    latent = latent_attention(model)
    for module in model.modules():
        if _config_type(module, spec.model_type) == spec.model_type:
            for table in _tables_of(module, spec, latent):
                tables.setdefault(table.layer_type, []).append(table)
    if not tables:
        raise CannotAttach(
            f"no rotary module found in {type(model).__name__}: none has inv_freq and attention_scaling.\n"
            "  The model may compute its rotation in its own code; only its author's way of scaling can stretch it."
        )
    return tables


def _config_type(module: nn.Module, default: str) -> str:
    """Which model a rotary module belongs to: a vision tower has one too, and its positions are pixels."""
    return getattr(getattr(module, "config", None), "model_type", default)


def _tables_of(module: nn.Module, spec: ModelSpec, latent: tuple[nn.Module, ...]) -> Iterator[LiveTable]:
    if hasattr(module, "inv_freq") and hasattr(module, "attention_scaling"):
        # One table serves whatever rotates: all layers, or (Cohere 2) the sliding-window ones.
        yield LiveTable(module, spec.ropes[0][0], latent=latent)
    for layer_type, _ in spec.ropes:
        if hasattr(module, f"{layer_type}_inv_freq") and hasattr(module, f"{layer_type}_attention_scaling"):
            yield LiveTable(module, layer_type, f"{layer_type}_")


def measure(model: nn.Module, layer_type: str, positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the live model's own rotary module answers: (cos, sin), each (tokens, pairs), float32, on the CPU.

    layer_type: as in the model's spec; "all" where one table serves every layer.
    positions: whole numbers of tokens, in one row.

    Nothing is computed here, so it shows what the model really does, attached or not. On a model whose own config is
    dynamic it counts as a call and may move transformers' state, as any forward would.
    """
    tables = find_tables(model, read_live(model))
    if layer_type not in tables:
        raise UnknownName("rotary layer type of this model", layer_type, tables)
    return tables[layer_type][0].answer(positions)


@dataclass(frozen=True, slots=True)
class Measured:
    """A live table where it is furthest from a wanted one, beyond what rounding explains.

    half: "cos" or "sin"; seen and exact are what it is and should be.  error: between the two, infinite for NaN.
    allowed: what rounding explains.  attention_factor, wanted: measured, and as it should be.
    """

    layer_type: str
    module: str
    half: str
    position: int
    pair: int
    seen: float
    exact: float
    error: float
    allowed: float
    attention_factor: float
    wanted: float

    @property
    def right(self) -> bool:
        return self.error <= self.allowed

    @property
    def said(self) -> str:
        where = "" if self.layer_type == "all" else f" ({self.layer_type})"
        logits = (self.attention_factor / self.wanted) ** 2
        sharper = "" if abs(logits - 1) < 1e-5 else f"; logits x{logits:.3g}"
        return (
            f"{self.module}{where}: cos and sin within {self.error:.1e} of the config's, at position {self.position:,}, pair "
            f"{self.pair}; attention factor {self.attention_factor:.4f}, of the config {self.wanted:.4f}{sharper}"
        )


def furthest(table: LiveTable, wanted: Scaled, positions: Sequence[int], tolerance: float = ROUNDINGS) -> Measured:
    """A live table's own cos and sin beside those of `wanted`.

    tolerance: relative, of each angle; cos, sin and m add 1e-6.
    """
    name, row = type(table.module).__name__, torch.tensor(positions)
    seen = torch.stack(table.answer(positions)).double()
    exact = torch.stack(rotation_tables(wanted, row, torch.float64))
    m = wanted.attention_factor
    if seen.shape != exact.shape:
        return Measured(table.layer_type, name, "cos", 0, 0, math.nan, m, math.inf, 0.0, 1.0, m)
    angles = row[:, None] * torch.tensor(wanted.inv_freq, dtype=torch.float64)
    allowed = (m * (tolerance * angles + 1e-6)).expand_as(exact)
    error = (seen - exact).abs().nan_to_num(nan=torch.inf)
    at = torch.unravel_index((error - allowed).argmax(), error.shape)
    half, token, pair = map(int, at)
    return Measured(
        table.layer_type, name, ("cos", "sin")[half], positions[token], pair, float(seen[at]), float(exact[at]),
        float(error[at]), float(allowed[at]), float(seen.square().sum(0).sqrt().median()), m,
    )  # fmt: skip


def beside_its_config(table: LiveTable, stretch: Stretch) -> Measured:
    """A table that the model computed itself beside the stretch that its config was read to mean."""
    # One token less than the original length also resets transformers' dynamic rule, should it have grown before.
    length = max(stretch.rope.original_length - 1, 1) if stretch.dynamic else None
    # A bfloat16 buffer is rounded, not wrong.
    tolerance = COMPUTED_IN_FLOAT32 + torch.finfo(table.inv_freq.dtype).eps
    return furthest(table, stretch.scaled(length), looked_at(stretch, length or stretch.target_length), tolerance)


def looked_at(stretch: Stretch, length: int) -> list[int]:
    """Positions: the start, around the original length, and the end."""
    original = stretch.rope.original_length
    wanted = {0, 1, 2, 7, original // 2, original - 1, original, original + 1, length // 2, length - 1}
    return sorted(position for position in wanted if position < max(length, 1))


def live_fingerprint(model: nn.Module) -> str:
    """Of every weight's name and bytes, and of the config: the first 16 hex digits of their SHA-256."""
    config: Any = model.config
    digest = hashlib.sha256(config.to_json_string().encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
