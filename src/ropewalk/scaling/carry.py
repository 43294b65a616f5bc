"""Widening a model that is stretched already: which options of its own stretch a plan of the same method carries on.

A model was trained with its own ramp and temperature; a wider window that changes them would be another model.
"""

import math
from collections.abc import Mapping

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Option
from ropewalk.scaling.methods.yarn import mscale
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

M = "attention_factor"
LISTS = ("long_factor", "short_factor")
ROUNDED = 1e-3  # relative: published factors are written with three digits and more


def carried(spec: ModelSpec, layer_type: str, method: str, factor: float, given: Mapping[str, Option]) -> dict[str, Option]:
    """The options of the layer type's own stretch that hold at `factor`; what a person gives goes before them."""
    own = dict(spec.scaling).get(layer_type)
    if own is None or own.dynamic or own.method != method:
        return {}
    options = dict(own.options)
    if factor == own.factor and not given:
        return options
    if method == "longrope" and factor != own.factor:
        if LISTS[0] in given:
            return {}
        raise BadOption(
            f"longrope's lists of this model were searched for factor {own.factor:g}, and say nothing of factor {factor:g}.\n"
            "  Give lists of your own (--option long_factor=...), let `ropewalk fit` search them, or widen with yarn."
        )
    if "temperature_slope" in given or is_formula(own):
        options.pop(M, None)
    elif ratio := dict(spec.temperatures).get(layer_type):
        options[M] = mscale(factor, ratio[0]) / mscale(factor, ratio[1])
    return options


def is_formula(own: Stretch) -> bool:
    """Whether a stated attention factor is what its own factor gives anyway: then another factor gives another."""
    stated = dict(own.options).get(M)
    if own.method != "yarn" or not isinstance(stated, float):
        return False
    return math.isclose(stated, mscale(own.factor), rel_tol=ROUNDED)
