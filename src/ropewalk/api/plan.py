"""`ropewalk.plan`: which layers of a model get which stretch, without touching a weight."""

from ropewalk.api.arguments import Factor, Layers, Method, MethodOptions, OneModel, OriginalLength, To, plan_from
from ropewalk.models.source import Source
from ropewalk.scaling.plan import ScalingPlan


def plan(
    model: OneModel,
    *,
    to: To = None,
    factor: Factor = None,
    method: Method = "yarn",
    options: MethodOptions = None,
    original_length: OriginalLength = None,
    layers: Layers = None,
) -> ScalingPlan:
    """Stretch a model by `factor`, or by the smallest factor that reaches `to` tokens.

    model: a folder, a config.json, a GGUF, a hub id, ropewalk-tiny, a live transformers model, its config, or a ModelSpec.

    Raises NoRope where nothing rotates, and RopewalkError for lengths, options and layers that cannot be.

        made = ropewalk.plan("ropewalk-tiny", to="4k", method="yarn", options={"beta_fast": 16})
        made.fingerprint, made.table, made.to_json()
    """
    source = model if isinstance(model, Source) else Source(model, original_length=original_length, weights=False)
    return plan_from(source.any_spec, source.name, to=to, factor=factor, method=method, options=options, layers=layers)
