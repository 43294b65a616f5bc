"""What the verbs that run a model under a plan share: how the plan is asked for, and which it is."""

from typing import Annotated

from ropewalk.api.arguments import Flag, Length, Options, Plan, as_numbers, as_plan, plan_from
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.scaling.plan import ScalingPlan

RunMethod = Annotated[str | None, Flag("As for `ropewalk plan`; needs --factor or --to.")]
Dynamic = Annotated[str | None, Flag("The scale grows with the position: yarn is --method dynamic-yarn.", metavar="METHOD")]

DYNAMIC_FACTOR = 8.0


def plan_to_run(
    source: Source, plan: Plan | None = None, *, method: str | None = None, dynamic: str | None = None,
    to: Length | None = None, factor: float | None = None, options: Options | None = None,
) -> ScalingPlan | None:  # fmt: skip
    """The plan that arguments ask for; None runs the model as it is.

    A dynamic plan leaves short texts alone however far it reaches, so it has a factor of its own: DYNAMIC_FACTOR.
    The model's config is looked at whatever is asked for: what is not there is told before anything heavy is imported.
    """
    spec = source.spec
    if plan is not None:
        if any(value is not None for value in (dynamic, method, to, factor, options, source.original_length)):
            raise BadOption("the plan (--plan) already says how to stretch; leave out the other options of the plan.")
        return as_plan(plan)
    for name, value in (("dynamic", dynamic), ("method", method)):
        if value is not None and not isinstance(value, str):
            raise BadOption(f"{name} is {value!r}; it must be the name of a method, such as yarn.")
    if dynamic and method:
        raise BadOption(f"give dynamic (--dynamic {dynamic}) or method (--method {method}), and not both.")
    if dynamic is None and method is None and to is None and factor is None:
        if options:
            raise BadOption("options are of a method: say which, and how far (factor or to).")
        return None
    name = f"dynamic-{dynamic}" if dynamic else method or "yarn"
    if name.startswith("dynamic") and to is None and factor is None:
        factor = DYNAMIC_FACTOR
    scale = None if factor is None else as_numbers(factor, "factor")[0]
    return plan_from(spec, source.name, to=to, factor=scale, method=name, options=options)
