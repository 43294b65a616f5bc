"""What a person should know of a plan for a model: what it carries on, drops, and stretches without need."""

from collections.abc import Iterator

from ropewalk.scaling.carry import LISTS, M, is_formula
from ropewalk.scaling.method import Option
from ropewalk.scaling.methods.yarn import mscale
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ModelSpec, is_local
from ropewalk.scaling.stretch import Stretch


def plan_notes(spec: ModelSpec, plan: ScalingPlan) -> list[str]:
    """A sentence for each thing that is carried on or dropped of a stretch that is there already, and for shared tables."""
    found, current = list(_shared(spec, plan)), dict(spec.scaling)
    for layer_type, new in plan.stretches:
        old = current.get(layer_type)
        if old and old.method == new.method:
            found += _carried(spec, layer_type, old, new)
        elif old:
            found.append(_replaced(layer_type, old, new))
    return found


def _replaced(layer_type: str, old: Stretch, new: Stretch) -> str:
    if old.method == "rope_theta":
        theta = float(dict(old.options)["rope_theta"])  # type: ignore[arg-type]
        return (
            f"{layer_type} has a larger base already, {theta:g}, and this plan starts from {old.rope.rope_theta:g} again. If "
            "the model was trained with it, write that base into the config as rope_theta, without the old key; plan again."
        )
    return (
        f"{layer_type} is stretched already, by {described(old)}, and this plan replaces that with {new.name}. "
        f"If the model was trained with it, widen it instead: method {old.name}."
    )


def described(stretch: Stretch) -> str:
    """yarn x16; a dynamic rule of a config has no upper end, and so no factor to name."""
    if stretch.method == "rope_theta":
        return f"a base of {dict(stretch.options)['rope_theta']:g}"
    return f"{stretch.name}, without an upper end" if stretch.dynamic else f"{stretch.name} x{stretch.factor:g}"


def _carried(spec: ModelSpec, layer_type: str, old: Stretch, new: Stretch) -> Iterator[str]:
    before, now = dict(old.options), dict(new.options)
    kept = [f"{name} {_short(before[name])}" for name in before if name not in (M, *LISTS) and now.get(name) == before[name]]
    if kept:
        yield f"{layer_type} is {described(old)} already: its own {', '.join(kept)} carried on."
    if M not in before or (now == before and new.factor == old.factor):
        return
    m, formula = before[M], f"{mscale(old.factor):.4f}, the formula of its own factor {old.factor:g}"
    if is_formula(old) and M not in now:
        yield f"{layer_type}: its attention factor {_short(m)} is {formula}; computed again for factor {new.factor:g}."
    elif layer_type in dict(spec.temperatures) and M in now:
        above, below = dict(spec.temperatures)[layer_type]
        yield (
            f"{layer_type}: its attention factor is a ratio, of mscale {above:g} and mscale_all_dim {below:g}: "
            f"{_short(now[M])} at factor {new.factor:g}."
        )
    elif now.get(M) == m:
        yield f"{layer_type}: its attention factor {_short(m)} is carried on, since it is not {formula}."


def _shared(spec: ModelSpec, plan: ScalingPlan) -> Iterator[str]:
    """One table for layers that see everything and for layers that slide."""
    sliding, full = spec.sliding_layers, sum(group.layers for group in spec.cache if not group.window)
    factor = max(stretch.factor for _, stretch in plan.stretches)
    if len(spec.ropes) == 1 and not is_local(spec.ropes[0][0]) and sliding and full and factor > 1:
        window = max(group.window for group in spec.cache if group.window)
        yield (
            f"one rotary table serves {full} full-attention and {sliding} sliding-window layers: the sliding ones are "
            f"stretched too, though they never look further back than {window:,} tokens."
        )


def _short(value: Option) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower()
