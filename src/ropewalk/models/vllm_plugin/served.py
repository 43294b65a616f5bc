"""The plan that vLLM is asked to serve: read, and checked against what vLLM can carry and against the model's config."""

from dataclasses import dataclass
from pathlib import Path

from ropewalk.errors import BadConfig, CannotAttach, CannotExpress
from ropewalk.models.vllm_plugin.steps import Steps
from ropewalk.scaling.plan import ScalingPlan, Stretch
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import REQUEST, Schedule
from ropewalk.scaling.spec import ModelSpec

PLAN = "plan.json"
EXAMPLE = "ropewalk plan MODEL --to LENGTH --method dynamic-yarn-request-2 --json > plan.json"


def read_plan(place: str) -> ScalingPlan:
    """The plan in a file, or in the plan.json of a folder.

    BadConfig where there is none, CannotExpress for one that vLLM's requests cannot follow.
    """
    path = Path(place) / PLAN if Path(place).is_dir() else Path(place)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"ROPEWALK_VLLM_PLAN={place}: {path} cannot be read: {error}\n  {EXAMPLE} writes one.") from None
    plan = ScalingPlan.from_json(text)
    schedule_of(plan)
    stretch_by_rope(plan)
    return plan


def schedule_of(plan: ScalingPlan) -> Schedule:
    """The one schedule of all stretches; CannotExpress where they are not one scale per request, from a finite grid."""
    for _, stretch in plan.stretches:
        dynamic = stretch.dynamic
        if dynamic is None:
            raise CannotExpress(
                f"the plan is {stretch.name}, one scale for every request: that needs no plugin, a config can say it:\n"
                f"  ropewalk export MODEL --for vllm. For a scale per request: {EXAMPLE}"
            )
        if dynamic.semantics != REQUEST or not dynamic.grid:
            raise CannotExpress(
                f"the plan is {stretch.name}. vLLM caches rotated keys, so that a request keeps one scale for life, and each\n"
                f"  scale has a table: that is the meaning request, on a grid. For instance: {EXAMPLE}"
            )
    schedules = {stretch.schedule for _, stretch in plan.stretches}
    if len(schedules) > 1:
        raise CannotExpress(
            f"the plan's layer types ({', '.join(name for name, _ in plan.stretches)}) differ in original length, factor or "
            "grid; a request in vLLM\n  has one scale for all layers. Stretch one of them."
        )
    return schedules.pop()


def stretch_by_rope(plan: ScalingPlan) -> dict[tuple[int, float], Stretch]:
    """Stretches by what vLLM tells tables apart by: (rotary_dim, rope_theta)."""
    found: dict[tuple[int, float], Stretch] = {}
    for name, stretch in plan.stretches:
        if found.setdefault(_key(stretch.rope), stretch) != stretch:
            raise CannotExpress(
                f"the plan stretches {name} otherwise than a layer type with the same table; vLLM keeps one for both."
            )
    return found


def _key(rope: Rope) -> tuple[int, float]:
    return rope.rotary_dim, rope.rope_theta


def check_model(plan: ScalingPlan, spec: ModelSpec) -> None:
    """Raise CannotAttach unless the served model is the one that the plan was made from, and unstretched."""
    ropes, planned = dict(spec.ropes), stretch_by_rope(plan)
    for name, stretch in plan.stretches:
        if name not in ropes or _key(ropes[name]) != _key(stretch.rope):
            there = ", ".join(f"{n} (rotary_dim {r.rotary_dim}, rope_theta {r.rope_theta:g})" for n, r in spec.ropes)
            raise CannotAttach(
                f"the plan stretches {name} (rotary_dim {stretch.rope.rotary_dim}, rope_theta {stretch.rope.rope_theta:g});\n"
                f"  this {spec.model_type} model has {there}.\n  It is another model's plan: make one from this one's config."
            )
    for name, current in spec.scaling:
        if current.factor != 1:
            raise CannotAttach(
                f"the model's config stretches {name} already, by {current.name} x{current.factor:g}; that makes two.\n"
                "  Serve the original checkpoint, and leave rope parameters out of --hf-overrides."
            )
    for name, rope in spec.ropes:
        if plan.stretch(name) is None and _key(rope) in planned:
            raise CannotAttach(
                f"the plan leaves {name} alone, but it has the rotary_dim and rope_theta of a layer type that it stretches,\n"
                "  and vLLM keeps one table for both. Make a plan that names both with --layers, or use ropewalk serve."
            )


@dataclass(frozen=True, slots=True)
class Served:
    """A plan in a running vLLM, and the steps that its max_model_len leaves of it."""

    plan: ScalingPlan
    steps: Steps

    @staticmethod
    def of(plan: ScalingPlan, longest: int) -> "Served":
        schedule = schedule_of(plan)
        if not schedule.original_length < longest <= plan.target_length:
            raise CannotAttach(
                f"--max-model-len is {longest:,}; the plan stretches {schedule.original_length:,} tokens to "
                f"{plan.target_length:,}.\n  Make it more than the first and at most the second; left out, it is the second."
            )
        return Served(plan, Steps.of(schedule, longest))

    def stretch(self, rotary_dim: int, rope_theta: float) -> Stretch | None:
        """How the plan stretches a table; None leaves it alone."""
        return stretch_by_rope(self.plan).get((rotary_dim, float(rope_theta)))
