"""`ropewalk.attach`: a plan on a live model, proved by measuring."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ropewalk.api.arguments import Length, Names, Options, Plan, is_method, plan_from
from ropewalk.api.running import DYNAMIC_FACTOR
from ropewalk.errors import CannotAttach
from ropewalk.models.source import Source
from ropewalk.scaling.names import read_name

if TYPE_CHECKING:
    from ropewalk.models.attach import Attached


def attach(
    model: Any,
    plan: Plan = "dynamic-yarn",
    *,
    to: Length | None = None,
    factor: float | None = None,
    options: Options | None = None,
    original_length: Length | None = None,
    layers: Names | None = None,
) -> "Attached":
    """Make a live transformers model rotate as a plan says, and measure that it does. Weights are not touched.

    plan: a ScalingPlan, its file, or the name of a method that reaches `to` tokens, or `factor` times as far; a dynamic one
    without either reaches 8 times as far.

    The answer is a context manager: its end, like `undo()`, restores the model bit for bit. See
    `models.attach.attach` for what each kind of plan means, and `Attached.request` for one scale per request. What the model's
    `save_pretrained` writes meanwhile says a static plan in its config; other plans are in ropewalk.json beside it, alone.

    Raises NoRope or CannotAttach where the model cannot carry the plan, and Mismatch, after undoing everything, where its own
    cos and sin turn out to be something else than the plan's.

        model = ropewalk.load_model("ropewalk-tiny")
        with ropewalk.attach(model, "yarn", to="4k") as attached:
            attached.plan, attached.check()
    """
    if isinstance(model, str | Path):
        raise CannotAttach(f"{model} is a name, and a plan is attached to a live model: ropewalk.load_model({str(model)!r}).")
    from ropewalk.models.attach import attach as put
    from ropewalk.models.live import read_live

    read_live(model)  # what is no model of transformers is told in the words of attaching
    if isinstance(plan, str) and is_method(plan) and read_name(plan).dynamic and to is None and factor is None:
        factor = DYNAMIC_FACTOR
    source = Source(model, original_length=original_length)
    return put(model, plan_from(source.spec, source.name, plan, to=to, factor=factor, options=options, layers=layers))
