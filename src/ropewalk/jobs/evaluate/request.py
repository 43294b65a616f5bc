"""What an evaluation is asked to do, and run.json, which says so in the run's folder before anything is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ropewalk.errors import BadLength, BadOption
from ropewalk.measure.anytime import random_order
from ropewalk.measure.texts import LIBRARY, TEXT_FIELD
from ropewalk.measure.window import WindowPlan, window_size
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import is_whole
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

SCHEMA = "ropewalk.run/1"
RUN = "run.json"
UNCHANGED = "none"
OWN = "own"  # the stretch that the checkpoint's config has already


@dataclass(frozen=True)
class EvalRequest:
    """An evaluation of one model. What is left out takes a default that a person would have taken.

    methods: names as `make_plan` reads them, "own", or "window" (the model unchanged on its last L tokens).
    extra_plans: further plans by name.
    lengths: tokens to measure at; empty takes L, 2 L, ... up to `factor`.  factor: None reaches the longest length.
    protocols: how documents are read; empty reads none.  tasks: what is asked; empty asks nothing.
    data: where documents come from.  documents: how many.  samples: per cell.
    ruler_compat: RULER's prompts byte for byte as the reference generator's.
    chat: ladders in the model's chat template.
    stop_early: read documents until every plan is told from the first one, in the first protocol's last line.
    budget: seconds, in which one document after another is read under every plan, with a sample of each task; None: all.
    difference: of bits per token that a person wants to see; it is told how many documents that takes.
    """

    model: str
    methods: tuple[str, ...] = ("none", "yarn")
    extra_plans: Mapping[str, ScalingPlan] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    factor: float | None = None
    original_length: int | None = None
    protocols: tuple[str, ...] = ("position",)
    tasks: tuple[str, ...] = ()
    data: tuple[str, ...] = (LIBRARY,)
    text_field: str = TEXT_FIELD
    strict: bool = False
    documents: int = 12
    samples: int = 20
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    questions: Mapping[str, Path] = field(default_factory=dict)
    gap: bool = False
    ruler_compat: bool = False
    stop_early: bool = False
    tax: bool = True
    speed: bool = True
    difference: float | None = None
    seed: int = 0
    tokenizer: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "sdpa"
    batch: int = 4
    silence: float = 1800.0
    chat: bool = False
    budget: float | None = None


ASKED = (  # what another run must be asked to give the same records; what only says where and how fast is not here
    "methods", "lengths", "factor", "original_length", "protocols", "tasks", "data", "text_field", "strict", "documents",
    "samples", "depths", "questions", "gap", "ruler_compat", "stop_early", "tax", "speed", "seed", "tokenizer", "dtype",
    "attention",
)  # fmt: skip


MORE = ("methods", "protocols", "tasks", "documents", "samples", "tax", "speed")  # may be asked for of a run that is there
GROWS = ("plans", *MORE, *(f"asked.{name}" for name in MORE))  # as run.json has it


UNASKED = 2  # times the window, where nothing says how far to read


def check_numbers(request: EvalRequest) -> None:
    """Of what is counted, one at least: 0 documents were none, and -1 all that there are. And of what is measured."""
    if not (request.protocols or request.tasks or request.tax or request.speed):
        raise BadOption(
            "nothing is to be measured: name protocols (--protocols) or tasks (--tasks), or leave degradation (--tax) or "
            "speed (--speed) on."
        )
    for name in ("documents", "samples", "batch"):
        if not is_whole(value := getattr(request, name)) or value < 1:
            raise BadOption(f"{name} is {value!r}; it must be a whole number of 1 or more.")
    random_order(1, request.seed)  # raises for a seed that draws nothing, before a folder is begun with it


def asked(request: EvalRequest) -> dict[str, Any]:
    """As JSON."""
    found = {name: getattr(request, name) for name in ASKED}
    if request.chat:  # said only where it was asked for: runs of before it was there go on
        found["chat"] = True
    return {**found, "questions": {task: str(path) for task, path in request.questions.items()}}


def original_length(spec: ModelSpec) -> int:
    """What the model was trained at: of the layers that are stretched, where layer types differ."""
    return max(spec.rope(name).original_length for name in spec.stretchable or dict(spec.ropes))


def wanted_lengths(request: EvalRequest, spec: ModelSpec) -> list[int]:
    """As asked; else L, 2 L, ... to the factor, or as far as the saved plans reach, or to the least that shows a stretch."""
    original = original_length(spec)
    if request.lengths:
        found = sorted(set(request.lengths))
        if found[0] < 2:
            raise BadLength(f"a length of {found[0]} holds nothing to predict; ask for 2 tokens or more.")
        return found
    if request.factor is None:
        target = max((plan.target_length for plan in request.extra_plans.values()), default=original * UNASKED)
    elif request.factor < 1:
        raise BadLength(f"factor is {request.factor}; it must be a number of 1 or more.")
    else:
        target = round(original * request.factor)
    doubled = [original * 2**i for i in range(target.bit_length()) if original * 2**i < target]
    return [*doubled, target]


def make_plans(request: EvalRequest, spec: ModelSpec, lengths: list[int]) -> dict[str, ScalingPlan]:
    """The plans by name, each once. Raises BadLength for a length that no plan reaches."""
    original, longest = original_length(spec), lengths[-1]
    _check_stretches(request, original, longest)
    target = {"factor": request.factor} if request.factor is not None else {"target_length": max(longest, original)}
    made = [_plan(name, request, spec, longest, target) for name in request.methods]
    plans = dict(made)
    for name, plan in request.extra_plans.items():
        if plans.setdefault(name, plan).fingerprint != plan.fingerprint:
            raise BadOption(
                f"{name} is a method, and the name of a saved plan that says something else: both would be called {name}.\n"
                "  Rename the plan's file, or leave the method out."
            )
    if not plans:
        raise BadOption("nothing to measure: name at least one method.")
    reached = max(plan.target_length for plan in plans.values())
    if longest > reached:
        raise BadLength(
            f"the longest length, {longest:,}, is beyond the {reached:,} tokens that the plans reach.\n"
            "  Leave out factor (--factor) to stretch as far as is measured, or ask for shorter lengths."
        )
    by_fingerprint: dict[str, str] = {}
    for name, plan in plans.items():
        first = by_fingerprint.setdefault(plan.fingerprint, name)
        if first != name:
            raise BadOption(f"{first} and {name} are the same plan for this model; measure one of them.")
    return plans


def _check_stretches(request: EvalRequest, original: int, longest: int) -> None:
    """Within the window every method is the model unchanged: a table of equal rows would say nothing."""
    stretching = [name for name in request.methods if name not in (UNCHANGED, OWN) and window_size(name, original) is None]
    if request.factor is None and longest <= original and stretching:
        raise BadLength(
            f"the longest length, {longest:,}, is within the {original:,} tokens that the model was trained at: there is "
            f"nothing to stretch, and {', '.join(stretching)} would be the model unchanged.\n"
            f"  Ask for lengths beyond {original:,}; or say with factor (--factor) by how much to stretch, to see what it\n"
            "  costs inside; or measure methods (--methods) none alone. If the window is wrong, give original_length\n"
            "  (--original-length)."
        )


def _plan(
    name: str, request: EvalRequest, spec: ModelSpec, longest: int, target: Mapping[str, Any]
) -> tuple[str, ScalingPlan]:  # fmt: skip
    if name == OWN:
        return name, own_plan(spec, longest, request.model)
    if size := window_size(name, original_length(spec)):
        plan = make_plan(spec, method="none", model=request.model, **target)
        window = WindowPlan(plan.stretches, plan.target_length, plan.model, size)
        return window.name, window
    return name, make_plan(spec, method=name, model=request.model, **target)


def own_plan(spec: ModelSpec, longest: int, model: str) -> ScalingPlan:
    """What the checkpoint does as it is: its own stretch where its config has one."""
    found = dict(spec.scaling)
    stretches = tuple((name, found.get(name) or Stretch(rope)) for name, rope in spec.ropes if name in spec.stretchable)
    return ScalingPlan(stretches, max(longest, *(stretch.target_length for _, stretch in stretches)), model)
