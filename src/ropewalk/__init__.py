"""Ropewalk stretches the context window of RoPE language models: plan, apply, measure, prove.

    spec = ropewalk.read(config)                              # what rotary embedding is there, and where that was read
    plan = ropewalk.make_plan(spec, factor=8, method="yarn")  # pure, frozen, JSON
    with ropewalk.attach(model, plan):                        # on a live model, measured afterwards
        ...

Names of the upper floors load torch and transformers on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import RopewalkError, extra_parts
from ropewalk.scaling.method import Scaled, get_method, method, methods
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

if TYPE_CHECKING:  # what `__getattr__` finds on first use
    from ropewalk.api.evaluate import evaluate
    from ropewalk.api.fit import fit
    from ropewalk.api.generate import generate
    from ropewalk.api.report import report
    from ropewalk.api.serve import serve
    from ropewalk.api.train import train
    from ropewalk.checkpoints.extend import extend
    from ropewalk.measure.nll import token_nll
    from ropewalk.models.attach import attach
    from ropewalk.models.load import load_model, load_tokenizer
    from ropewalk.models.tables import rotation_tables

_UPPER = {
    "evaluate": "ropewalk.api.evaluate",
    "fit": "ropewalk.api.fit",
    "generate": "ropewalk.api.generate",
    "report": "ropewalk.api.report",
    "serve": "ropewalk.api.serve",
    "train": "ropewalk.api.train",
    "attach": "ropewalk.models.attach",
    "load_model": "ropewalk.models.load",
    "load_tokenizer": "ropewalk.models.load",
    "rotation_tables": "ropewalk.models.tables",
    "extend": "ropewalk.checkpoints.extend",
    "token_nll": "ropewalk.measure.nll",
}

__all__ = [
    "ModelSpec",
    "Rope",
    "RopewalkError",
    "Scaled",
    "ScalingPlan",
    "Stretch",
    "attach",
    "evaluate",
    "extend",
    "fit",
    "generate",
    "get_method",
    "load_model",
    "load_tokenizer",
    "make_plan",
    "method",
    "methods",
    "read",
    "report",
    "rotation_tables",
    "serve",
    "token_nll",
    "train",
    "write",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _UPPER:
        raise AttributeError(f"module 'ropewalk' has no attribute {name!r}")
    with extra_parts():
        found = getattr(importlib.import_module(_UPPER[name]), name)
    if _UPPER[name].startswith("ropewalk.api."):  # what a verb lacks is known when it is called
        found = globals()[name] = extra_parts(name)(found)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
