"""Ropewalk stretches the context window of RoPE language models: plan, apply, measure, prove.

    spec = ropewalk.read("ropewalk-tiny")                     # what rotary embedding is there, and where that was read
    plan = ropewalk.plan("ropewalk-tiny", to="4k")            # pure, frozen, JSON
    with ropewalk.attach(model, plan):                        # on a live model, measured afterwards
        ...

Names of the upper floors load torch and transformers on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ropewalk.engines.transformers.write import write
from ropewalk.errors import RopewalkError, extra_parts
from ropewalk.scaling.method import Scaled, get_method, method, methods
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

if TYPE_CHECKING:  # what `__getattr__` finds on first use
    from ropewalk.api.attach import attach
    from ropewalk.api.choose import choose
    from ropewalk.api.doctor import doctor
    from ropewalk.api.evaluate import evaluate
    from ropewalk.api.explore import explore
    from ropewalk.api.export import export
    from ropewalk.api.extend import extend
    from ropewalk.api.fit import fit
    from ropewalk.api.generate import generate
    from ropewalk.api.plan import plan
    from ropewalk.api.read import read
    from ropewalk.api.report import report
    from ropewalk.api.serve import serve
    from ropewalk.api.train import train
    from ropewalk.api.verify import verify
    from ropewalk.measure.nll import token_nll
    from ropewalk.models.load import load_model, load_tokenizer
    from ropewalk.models.tables import rotation_tables

_UPPER = {
    "attach": "ropewalk.api.attach",
    "choose": "ropewalk.api.choose",
    "doctor": "ropewalk.api.doctor",
    "evaluate": "ropewalk.api.evaluate",
    "explore": "ropewalk.api.explore",
    "export": "ropewalk.api.export",
    "extend": "ropewalk.api.extend",
    "fit": "ropewalk.api.fit",
    "generate": "ropewalk.api.generate",
    "plan": "ropewalk.api.plan",
    "read": "ropewalk.api.read",
    "report": "ropewalk.api.report",
    "serve": "ropewalk.api.serve",
    "train": "ropewalk.api.train",
    "verify": "ropewalk.api.verify",
    "load_model": "ropewalk.models.load",
    "load_tokenizer": "ropewalk.models.load",
    "rotation_tables": "ropewalk.models.tables",
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
    "choose",
    "doctor",
    "evaluate",
    "explore",
    "export",
    "extend",
    "fit",
    "generate",
    "get_method",
    "load_model",
    "load_tokenizer",
    "make_plan",
    "method",
    "methods",
    "plan",
    "read",
    "report",
    "rotation_tables",
    "serve",
    "token_nll",
    "train",
    "verify",
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
