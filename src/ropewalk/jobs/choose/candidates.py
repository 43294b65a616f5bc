"""Which plans take part: every stretch of the registry that needs no parameters, the config's own, saved ones, and none."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ropewalk.engines.engine import get_engine
from ropewalk.errors import BadOption, CannotExpress, RopewalkError, first_line
from ropewalk.measure.window import METHOD, WindowPlan
from ropewalk.scaling.method import methods as registered
from ropewalk.scaling.method import same
from ropewalk.scaling.names import PRESETS
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.schedule import REQUEST
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

NONE, OWN, WINDOW, FITTED = "none", "own", METHOD, "fitted"
# Read first, and so never without a turn where the budget is small: what did well on the models measured (docs/choosing.md).
FIRST = (
    NONE, "near-0.25-linear-log_n", "dynamic-yarn", "yarn", WINDOW, "near-linear", "ntk", "near-0.375-self_extend-log_n",
    "dynamic-ntk_by_parts", "self_extend",
)  # fmt: skip
NEAR = ("near-linear", "near-0.25-linear-log_n", "near-0.375-self_extend-log_n", "near-rerope", "near-yarn")


@dataclass(frozen=True)
class Candidate:
    """One plan that could be chosen.

    reads: the plan under which a text of the target length is read; of one whose scale goes with the request, the static
    plan that it then is.
    refused: why an engine that is wanted cannot carry it, by the engine's title.  alike: others that read such texts alike.
    """

    name: str
    plan: ScalingPlan
    reads: ScalingPlan
    refused: Mapping[str, str] = field(default_factory=dict)
    alike: tuple[str, ...] = ()

    @property
    def stretches(self) -> bool:
        return self.name != NONE and not isinstance(self.plan, WindowPlan)


def candidates(
    spec: ModelSpec, target: int, config: Mapping[str, Any], *, methods: Sequence[str] = (), engines: Sequence[str] = (),
    saved: Mapping[str, ScalingPlan] | None = None, model: str = "",
) -> list[Candidate]:  # fmt: skip
    """Every plan at the smallest factor that reaches `target`, in the order in which they are read first.

    methods: only these, by name, beside no stretch and the config's own; without, every stretch of the registry.
    engines: that must carry it.  config: what they would read.  saved: plans of the user, by name; they come first.
    """
    wanted = [get_engine(name) for name in engines]
    found: list[Candidate] = []
    named: dict[str, ScalingPlan] = {}
    for name, plan in _plans(spec, target, methods, saved or {}, model):
        if named.setdefault(name, plan).fingerprint != plan.fingerprint:
            raise BadOption(
                f"{name} is a stretch that takes part, and the name of a saved plan that says something else: one would stand "
                "for both.\n  Rename the plan's file; in Python a mapping names it: {'mine': plan}."
            )
        refused = {}
        for engine in wanted if name not in (NONE, OWN) and not isinstance(plan, WindowPlan) else ():
            try:
                engine.write(plan, config, "")
            except CannotExpress as error:
                refused[engine.title] = first_line(error)
        _add(found, Candidate(name, plan, _at_target(plan), refused))
    return found


def _add(found: list[Candidate], new: Candidate) -> None:
    """Of those that read alike one takes part: the one that is carried, or the one that leaves short texts alone."""
    for i, old in enumerate(found):
        if _alike(old.reads, new.reads):
            kept, other = (new, old) if _goes_before(new, old) else (old, new)
            found[i] = replace(kept, alike=(*old.alike, *new.alike, other.name))
            return
    found.append(new)


def _goes_before(new: Candidate, old: Candidate) -> bool:
    if bool(new.refused) != bool(old.refused):
        return not new.refused
    if old.name == FITTED:  # a search that ended where it began found nothing new
        return True
    return old.name in names() and _follows_requests(new.plan) and not _follows_requests(old.plan)


def _plans(
    spec: ModelSpec, target: int, methods: Sequence[str], saved: Mapping[str, ScalingPlan], model: str
) -> Iterator[tuple[str, ScalingPlan]]:  # fmt: skip
    for name, plan in saved.items():
        if plan.target_length < target:
            raise BadOption(
                f"the plan {name} reaches {plan.target_length:,} tokens, and {target:,} are asked for.\n"
                "  Leave it out, or ask for a target (--to) that it reaches."
            )
    if OWN in methods and not spec.scaling:
        raise BadOption(f"{OWN} is the stretch that a config has already, and this one has none: leave it out.")
    if spec.scaling:
        yield OWN, _own(spec, target, model)
    yield NONE, make_plan(spec, target_length=target, method=NONE, model=model)
    yield from saved.items()
    if methods:
        yield from ((name, _made(spec, target, name, model)) for name in dict.fromkeys(methods) if name not in (NONE, OWN))
        return
    stretches, why = 0, None
    for name in dict.fromkeys([*FIRST[1:], *names()]):
        try:
            plan = _made(spec, target, name, model)
        except RopewalkError as error:  # such as lists that were searched for another factor: not of this model
            why = error
        else:
            stretches += name != WINDOW
            yield name, plan
    if why is not None and not stretches:
        raise why


def names() -> list[str]:
    """Every stretch of the registry that needs no parameters: static, causal, by request, near and far."""
    plain = [name for name, method in registered().items() if not method.required and name != NONE]
    return [*PRESETS, *NEAR, *plain, *(_dynamic(m) for m in plain), *(f"{_dynamic(m)}-{REQUEST}" for m in plain)]


def _dynamic(method: str) -> str:
    return "dynamic" if method == "ntk" else f"dynamic-{method}"


def _made(spec: ModelSpec, target: int, name: str, model: str) -> ScalingPlan:
    if name != WINDOW:
        return make_plan(spec, target_length=target, method=name, model=model)
    plan = make_plan(spec, target_length=target, method=NONE, model=model)
    return WindowPlan(plan.stretches, plan.target_length, plan.model, min(s.rope.original_length for _, s in plan.stretches))


def _own(spec: ModelSpec, target: int, model: str) -> ScalingPlan:
    found = dict(spec.scaling)
    return ScalingPlan(
        tuple((name, found.get(name) or Stretch(rope)) for name, rope in spec.ropes if name in spec.stretchable), target, model
    )


def _follows_requests(plan: ScalingPlan) -> bool:
    return any(stretch.dynamic and stretch.dynamic.semantics == REQUEST for _, stretch in plan.stretches)


def _at_target(plan: ScalingPlan) -> ScalingPlan:
    """What a request of the target length gets, as a static plan has it for every text. A config's own `dynamic` says a factor
    of any size: it is the request's length that counts."""
    if not _follows_requests(plan):
        return plan
    return replace(plan, stretches=tuple((name, _whole(stretch, plan.target_length)) for name, stretch in plan.stretches))


def _whole(stretch: Stretch, length: int) -> Stretch:
    if not stretch.dynamic or stretch.dynamic.semantics != REQUEST:
        return stretch
    return replace(stretch, dynamic=None, factor=stretch.scale_at(length))


def _alike(a: ScalingPlan, b: ScalingPlan) -> bool:
    """Whether both turn everything alike, at their whole scale and half way there."""
    ours, theirs = dict(a.stretches), dict(b.stretches)
    if isinstance(a, WindowPlan) or isinstance(b, WindowPlan) or ours.keys() != theirs.keys():
        return False
    return all(_turn_alike(stretch, theirs[name]) for name, stretch in ours.items())


def _turn_alike(a: Stretch, b: Stretch) -> bool:
    if (a.rope, a.dynamic, a.near, a.log_n, a.largest_scale) != (b.rope, b.dynamic, b.near, b.log_n, b.largest_scale):
        return False
    pairs = [(a.scaled_by(s), b.scaled_by(s)) for s in (a.largest_scale, math.sqrt(a.largest_scale))]
    return all(same(ours, theirs) and ours.group == theirs.group for ours, theirs in pairs)
