"""A live transformers model against its own config."""

from ropewalk.models.checkup import Measured, checkup
from ropewalk.models.hub import checkpoint
from ropewalk.models.load import load_model
from ropewalk.scaling.checkpoint import read_config
from ropewalk.scaling.dialects.transformers import read


def measure_checkpoint(model: str) -> list[Measured]:
    """Load a checkpoint with stock transformers and measure each of its rotary tables against config.json as written."""
    folder = checkpoint(model)
    spec = read(read_config(folder))
    return checkup(load_model(model), spec)
