"""Measuring every rotary table of a live model against what its config says, in numbers rather than as an error."""

from dataclasses import dataclass

import torch
from torch import nn

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.models.live import LiveTable, find_tables
from ropewalk.models.load import load_model
from ropewalk.models.tables import rotation_tables
from ropewalk.scaling.method import Scaled
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

# What float32 explains of a frequency and of its product with a position; see models/attach.py.
TOLERANCE = 2.0**-16


@dataclass(frozen=True, slots=True)
class Measured:
    """One rotary table of a live model beside the plan that its config makes.

    error: the largest |cos' - cos| or |sin' - sin|, at `position` and `pair`.  allowed: what rounding explains there.
    attention_factor, wanted: measured, and of the config.
    """

    layer_type: str
    module: str
    error: float
    allowed: float
    position: int
    pair: int
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


def checkup(model: nn.Module, spec: ModelSpec) -> list[Measured]:
    """Every rotary table of a live model, measured against `spec`; read the spec from the config on disk, not from the model.

    Raises CannotAttach where the model keeps no table that can be asked.
    """
    names = {id(module): name for name, module in model.named_modules()}
    found = []
    for layer_type, tables in find_tables(model, spec).items():
        stretch = dict(spec.scaling).get(layer_type) or Stretch(spec.rope(layer_type))
        found += [_measured(table, names.get(id(table.module), ""), stretch) for table in tables]
    return found


def _measured(table: LiveTable, name: str, stretch: Stretch) -> Measured:
    original = stretch.rope.original_length
    # One token less than L also resets transformers' dynamic rule, should it have grown before.
    length = max(original - 1, 1) if stretch.dynamic else max(stretch.target_length, original)
    wanted = stretch.scaled(length if stretch.dynamic else None)
    positions = sorted(p for p in {0, 1, 2, 7, original // 2, original - 1, original, length - 1} if 0 <= p < length)
    seen, exact = torch.stack(table.answer(positions)).double(), _exact(wanted, positions)
    if seen.shape != exact.shape:
        return Measured(table.layer_type, name, float("inf"), 0.0, 0, 0, 1.0, wanted.attention_factor)
    angles = torch.tensor(positions)[:, None] * torch.tensor(wanted.inv_freq, dtype=torch.float64)
    rounded = TOLERANCE + torch.finfo(table.inv_freq.dtype).eps
    allowed = (wanted.attention_factor * (rounded * angles + 1e-5)).expand_as(exact)
    error = (seen - exact).abs().nan_to_num(nan=torch.inf)
    _, token, pair = (int(index) for index in torch.unravel_index((error - allowed).argmax(), error.shape))
    half = int((error - allowed)[:, token, pair].argmax())
    m = float(seen.square().sum(0).sqrt().median())
    return Measured(
        table.layer_type, name, float(error[half, token, pair]), float(allowed[half, token, pair]), positions[token], pair, m,
        wanted.attention_factor,
    )  # fmt: skip


def _exact(wanted: Scaled, positions: list[int]) -> torch.Tensor:
    return torch.stack(rotation_tables(wanted, torch.tensor(positions), torch.float64))


def measure_checkpoint(model: str) -> list[Measured]:
    """Load a checkpoint with stock transformers and measure each of its rotary tables against config.json as written."""
    folder = checkpoint(model)
    spec = read(read_config(folder))
    return checkup(load_model(model), spec)
