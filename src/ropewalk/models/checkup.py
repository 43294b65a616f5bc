"""Measuring every rotary table of a live model against what its config says, in numbers rather than as an error."""

from dataclasses import replace

from torch import nn

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.models.live import Measured, beside_its_config, find_tables
from ropewalk.models.load import load_model
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch


def checkup(model: nn.Module, spec: ModelSpec) -> list[Measured]:
    """Every rotary table of a live model, measured against `spec`; read the spec from the config on disk, not from the model.

    Raises CannotAttach where the model keeps no table that can be asked.
    """
    names = {id(module): name for name, module in model.named_modules()}
    found: list[Measured] = []
    for layer_type, tables in find_tables(model, spec).items():
        stretch = dict(spec.scaling).get(layer_type) or Stretch(spec.rope(layer_type))
        measured = [(table, beside_its_config(table, stretch)) for table in tables]
        found += [replace(each, module=names.get(id(table.module), "")) for table, each in measured]
    return found


def measure_checkpoint(model: str) -> list[Measured]:
    """Load a checkpoint with stock transformers and measure each of its rotary tables against config.json as written."""
    folder = checkpoint(model)
    spec = read(read_config(folder))
    return checkup(load_model(model), spec)
