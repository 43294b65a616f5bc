"""How arguments may be given: as Python's own objects, or in the words of the command line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from ropewalk.errors import BadConfig, BadOption, UnknownName
from ropewalk.scaling.method import Option, methods
from ropewalk.scaling.names import read_name
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import is_number
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.units import as_length

Length = int | str  # tokens: 4096, "4096", "4k" (k = 1024) or "1m"
Lengths = int | str | Sequence[int | str]  # several, or "4k,8k"
Time = float | str  # seconds, or "90s", "5m", "1h"
Names = str | Sequence[str]  # several, or "none,yarn"
Numbers = float | str | Sequence[float]  # several, or "0,0.5,1"
Place = str | Path
Options = Mapping[str, Option] | Sequence[str]  # {"beta_fast": 16}, or ["beta_fast=16"]
Pairs = Mapping[str, Any] | Names  # {"vllm": "0.31"}, or "vllm=0.31,sglang=0.5.19"
Plan = ScalingPlan | str | Path  # a plan, or the file that holds one
Plans = Plan | Sequence[Plan] | Mapping[str, Plan]
Chat = bool | Literal["auto"]
Model = Any  # a folder, a GGUF, a hub id, ropewalk-tiny, or a live transformers model


@dataclass(frozen=True)
class Flag:
    """What the command line says of a parameter, and how it is spelt there where that is not `--the-parameter`.

    spelt: such as ("-o", "--out"), or ("--to",).  A parameter without a Flag is Python's alone.
    """

    help: str
    spelt: tuple[str, ...] = ()
    metavar: str | None = None
    least: int | None = None
    many: bool = False  # given again for more


# Parameters that several verbs have.
OneModel = Annotated[Model, Flag("A checkpoint's folder, a config.json, a GGUF, a hub id, or ropewalk-tiny.", metavar="MODEL")]
Method = Annotated[str, Flag(f"One of {', '.join(methods())}, dynamic (over ntk), dynamic-METHOD or near-METHOD.")]
To = Annotated[Length | None, Flag("Target length: 131072, 128k or 1m (k = 1024).", metavar="TOKENS")]
Factor = Annotated[float | None, Flag("s = target length / original length.")]
MethodOptions = Annotated[
    Options | None,
    Flag("An option of the method, such as beta_fast=16 or ramp=turns.", ("--option",), metavar="NAME=VALUE", many=True),
]
OriginalLength = Annotated[Length | None, Flag("What the model was trained at, if the config is wrong.", metavar="TOKENS")]
Layers = Annotated[Names | None, Flag("Layer types to stretch, by commas (default: those that see all).", metavar="TYPES")]
Data = Annotated[
    Names, Flag("File, folder, glob, .jsonl, .parquet or hub id; again for more (default: held-out library files).", many=True)
]
TextField = Annotated[str, Flag("Key or column of the text in rows of data; a,b joins several.")]
PlanOrFile = Annotated[Plan | None, Flag("A saved plan, instead of the options that make one.", ("--plan",))]
Versions = Annotated[Pairs | None, Flag("Of engines, by commas: vllm=0.31,sglang=0.5.19.", metavar="ENGINE=VERSION")]
Device = Annotated[str, Flag("cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one.")]
Dtype = Annotated[str, Flag("float32, bfloat16 or float16; auto: float32 on a CPU, bfloat16 on accelerators.")]
Force = Annotated[bool, Flag("Replace the output if it exists.", ("--force",))]


def as_names(value: Names) -> tuple[str, ...]:
    """ "none, yarn" -> ("none", "yarn"); "-" is none at all."""
    if not isinstance(value, str | Sequence):
        raise BadOption(f"{value!r} is neither a name nor a list of names.")
    parts = value.split(",") if isinstance(value, str) else map(str, value)
    return tuple(part.strip() for part in parts if part.strip() and part.strip() != "-")


def as_texts(value: Names | None) -> tuple[str, ...]:
    """Each whole: a path may hold a comma."""
    if value is not None and not isinstance(value, str | Path | Sequence):
        raise BadOption(f"{value!r} is neither a text nor a list of texts.")
    return () if value is None else (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))


def as_place(value: Place) -> Path:
    if not isinstance(value, str | Path):
        raise BadOption(f"{value!r} is no place to write to: give a path.")
    return Path(value)


def as_numbers(value: Numbers, what: str) -> tuple[float, ...]:
    try:
        parts = as_names(value) if isinstance(value, str) else value if isinstance(value, Sequence) else (value,)
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise BadOption(f"{what} is {value!r}; it must be numbers, such as 0,0.5,1.") from None


def as_options(value: Options | None) -> dict[str, Option]:
    """Of a method: {"beta_fast": 16.0}, or ["beta_fast=16"]; lists are numbers with commas between them."""
    if value is None or isinstance(value, Mapping):
        return dict(value or {})
    if not isinstance(value, str | Sequence):
        raise BadOption(f"options are {value!r}; write them as {{'beta_fast': 16}}, or as [\"beta_fast=16\"].")
    return dict(_option(str(text)) for text in ((value,) if isinstance(value, str) else value))


def _option(text: str) -> tuple[str, Option]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise BadOption(f"{text!r} is not an option. Write NAME=VALUE, such as beta_fast=16.")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    if value.lower() == "none":
        return name, None
    try:
        numbers = tuple(float(item) for item in value.split(","))
    except ValueError:
        return name, value
    return name, numbers if "," in value else numbers[0]


def as_pairs(value: Pairs | None, what: str, form: str) -> dict[str, str]:
    """ "vllm=0.31,sglang=0.5.19" -> {"vllm": "0.31", "sglang": "0.5.19"}.  what, form: of one, such as "ENGINE=VERSION"."""
    if isinstance(value, Mapping):
        return {name: str(of) for name, of in value.items()}
    found = {}
    for part in as_names(value or ()):
        name, equals, of = part.partition("=")
        if not equals or not name.strip() or not of.strip():
            raise BadOption(f"{part!r} is not {what}. Write {form}.")
        found[name.strip()] = of.strip()
    return found


def as_versions(value: Pairs | None) -> dict[str, str]:
    return as_pairs(value, "a version", "ENGINE=VERSION, such as vllm=0.31")


def as_plan(plan: Plan) -> ScalingPlan:
    """A plan, or the one that a file holds. Raises BadConfig, which names the file, for what is none."""
    if isinstance(plan, ScalingPlan):
        return plan
    if not isinstance(plan, str | Path):
        raise BadOption(
            f"this is no plan, but of type {type(plan).__name__}: give a ScalingPlan (ropewalk.plan makes one), or its file."
        )
    try:
        return ScalingPlan.from_json(Path(plan).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{plan} cannot be read: {error}") from None


def plan_from(
    spec: ModelSpec,
    name: str,
    plan: Plan | None = None,
    *,
    to: Length | None = None,
    factor: float | None = None,
    method: str = "yarn",
    options: Options | None = None,
    layers: Names | None = None,
) -> ScalingPlan:
    """The plan that arguments ask for: one that is there, or one that is made for `spec`.

    plan: instead of the others; a method's name stands for `method`.  name: of the model, for people.
    """
    if isinstance(plan, str) and is_method(plan) and not Path(plan).exists():
        method, plan = plan, None
    if plan is not None:
        if any(value is not None for value in (to, factor, options, layers)):
            raise BadOption(
                "the plan (--plan) already says what to stretch and how far; leave out to, factor, options and layers."
            )
        return as_plan(plan)
    return make_plan(
        spec,
        factor=as_factor(factor),
        target_length=None if to is None else as_length(to),
        method=method,
        options=as_options(options),
        layer_types=as_names(layers) if layers else None,
        model=name,
    )


def is_method(name: str) -> bool:
    """Whether it is how a method is written, a dynamic one too."""
    try:
        read_name(name)
    except UnknownName:
        return False
    return True


def as_plans(plans: Plans) -> dict[str, ScalingPlan]:
    """By name: that of its file, of its method, or the one that a mapping gives it. Raises BadOption for two of one name."""
    if isinstance(plans, Mapping):
        for name in plans:
            if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0.][^/\\\0]*", name):
                raise BadOption(f"a plan is called {name!r}; its file has that name: no slashes, and no dot at the beginning.")
        return {name: as_plan(plan) for name, plan in plans.items()}
    if not isinstance(plans, ScalingPlan | str | Path | Sequence):
        raise BadOption(f"{plans!r} is neither a plan nor several: give a ScalingPlan, its file, a list or a mapping of them.")
    found: dict[str, ScalingPlan] = {}
    for plan in [plans] if isinstance(plans, ScalingPlan | str | Path) else plans:
        name = plan.name if isinstance(plan, ScalingPlan) else Path(plan).stem
        if name in found:
            raise BadOption(
                f"two plans are called {name}, and one would stand for both: a plan has the name of its file, without the "
                "folder, or of its method.\n  Rename one of the files; in Python give a mapping, such as {'mine': plan}."
            )
        found[name] = as_plan(plan)
    return found


def as_lengths(value: Lengths) -> tuple[int, ...]:
    """ "4k,8k" or [4096, "8k"] -> (4096, 8192)"""
    several = as_names(value) if isinstance(value, str) else value if isinstance(value, Sequence) else (value,)
    return tuple(map(as_length, several))


def as_factor(value: float | None) -> float | None:
    if value is not None and not is_number(value):
        raise BadOption(f"factor is {value!r}; it must be a number, such as 4.")
    return value


def as_protocols(value: Names) -> tuple[str, ...]:
    """ "position,sliding:1024,256" holds two: a comma before a letter separates."""
    parts = re.split(r",(?=\s*[A-Za-z_])", value) if isinstance(value, str) else as_texts(value)
    return tuple(part for part in parts if part.strip() and part.strip() != "-")
