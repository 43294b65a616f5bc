"""A recipe: everything that decides a training run, checked at the border. Every field is a key of the YAML and a flag."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ropewalk.errors import BadConfig, BadLength, BadOption, UnknownName
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.spec import ModelSpec


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Stage(_Strict):
    """One stretch of training under one plan. A run is one or more of them, each from the weights of the one before."""

    method: str = Field("yarn", description="As for `ropewalk plan`: yarn, linear, ntk, dynamic-yarn-causal-2, ...")
    factor: float | None = Field(None, gt=0, description="s = target length / original length.")
    to: int | None = Field(None, gt=0, description="The target length in tokens, instead of a factor.")
    options: dict[str, float | bool | str] = Field(
        default_factory=dict, description="Options of the method, such as beta_fast=16; comma-separated on the command line."
    )
    length: int | None = Field(None, ge=8, description="Tokens in a row of training; the target length unless said.")
    steps: int = Field(400, ge=1, description="Optimiser steps.")
    batch: int = Field(64, ge=1, description="Rows in a step, over all processes.")
    micro: int = Field(1, ge=1, description="Rows that one process puts through the model at a time.")
    rate: float = Field(2e-5, gt=0, lt=1, description="The highest learning rate.")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="How the rate falls after the warm-up.")
    warm_up: int = Field(20, ge=0, description="Steps in which the rate rises from zero.")
    floor: float = Field(0.0, ge=0, le=1, description="The last rate, as a share of the highest.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's, on matrices.")
    clip: float = Field(1.0, gt=0, description="The largest gradient norm.")
    long_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of rows that are one piece of a document of at least a row; none mixes as the data are.",
    )
    pose: bool = Field(False, description="Train positions up to the target length on rows of `length` tokens, by skipping.")


class Lora(_Strict):
    """Low-rank adapters, with the norms and the embedding trained besides as LongLoRA found necessary (arXiv:2309.12307)."""

    rank: int = Field(8, ge=1, description="Of the adapters.")
    alpha: float = Field(16.0, gt=0, description="The adapters count alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of the adapters' inputs.")
    targets: str = Field("attention", description="attention (q, k, v, o), all-linear, or names by commas.")
    also: bool = Field(True, description="Train the norms and the embedding too, and keep them inside the adapter.")


class Recipe(_Strict):
    """A run. Fields of stages given as flags count for every stage."""

    model: str = Field(description="A checkpoint's folder, a hub id, or ropewalk-tiny.")
    data: tuple[str, ...] = Field(min_length=1, description="Files, folders, globs, owner/name:split.")
    text_field: str = Field("text", description="The key of the text in rows; several with commas between them are joined.")
    held_out: tuple[str, ...] = Field((), description="Documents for the evaluation on the way; none evaluates nothing.")
    stages: tuple[Stage, ...] = Field((Stage.model_validate({"factor": 8}),), min_length=1, description="One after the other.")
    original_length: int | None = Field(None, gt=0, description="What the model was trained at, if the config is wrong.")
    seed: int = Field(0, ge=0, description="Of the order of the documents, of PoSE's jumps and of dropout.")
    lora: Lora | None = Field(None, description="Adapters instead of all weights.")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32", description="Of the arithmetic; the weights stay float32. auto: bfloat16 on accelerators."
    )
    device: str = Field("auto", description="cpu or cuda; auto takes an accelerator where there is one.")
    checkpointing: bool = Field(True, description="Recompute each layer in the backward pass instead of keeping it.")
    offload: bool = Field(False, description="Keep what checkpointing keeps in the host's memory.")
    tiles: int = Field(1, ge=1, description="Pieces that an MLP sees its row in.")
    context: int = Field(1, ge=1, description="Processes that share each row (context parallelism).")
    exchange: Literal["gather", "ulysses"] = Field("gather", description="How they share it.")
    replicate: int = Field(1, ge=1, description="Copies of the sharded model (hybrid sharding): the number of hosts.")
    evaluate_every: int = Field(50, ge=0, description="Steps between evaluations; 0 evaluates at the end of a stage only.")
    held_out_documents: int = Field(8, ge=2, description="How many documents the evaluation reads.")
    passkeys: int = Field(8, ge=0, description="Pass keys that the evaluation hides at the target length.")
    alarm: float = Field(0.02, gt=0, description="Rise of the loss inside the original window that is worth an alarm.")
    stop_when_flat: bool = Field(
        False, description="End a stage when three evaluations in a row gain nothing in the far bucket."
    )
    save_every: int = Field(50, ge=1, description="Steps between checkpoints.")
    keep: int = Field(2, ge=1, description="Checkpoints kept.")
    track: tuple[str, ...] = Field((), description="Besides log.jsonl: tensorboard, trackio, wandb.")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        for number, stage in enumerate(self.stages):
            if (stage.factor is None) == (stage.to is None):
                raise ValueError(f"stages.{number}: give factor or to, and not both")
        return self

    def row_length(self, stage: Stage, plan: ScalingPlan, groups: int) -> int:
        """Tokens of a stage's rows. Raises BadLength or BadOption for what processes cannot share.  groups: of processes."""
        length = stage.length or plan.target_length
        if length > plan.target_length:
            raise BadLength(
                f"rows of {length:,} tokens do not fit a plan that reaches {plan.target_length:,}: raise the factor."
            )
        divides = 2 * self.context if self.context > 1 else 1
        if length % divides:
            raise BadLength(
                f"rows of {length:,} tokens do not divide by {divides}: {self.context} processes hold two pieces each."
            )
        if stage.batch % groups:
            raise BadOption(
                f"a step of {stage.batch} rows does not divide over {groups} groups of processes: change batch (--batch)."
            )
        if not plan.is_one_table and self.context > 1:
            raise BadOption(
                f"{plan.name} rotates keys when their query reads them, and cannot share a row between processes yet.\n"
                "  Use 1 as context (--context): more processes then hold more rows."
            )
        return length

    def plan(self, stage: Stage, spec: ModelSpec) -> ScalingPlan:
        return make_plan(
            spec, factor=stage.factor, target_length=stage.to, method=stage.method, options=dict(stage.options),
            model=self.model,
        )  # fmt: skip


STAGE_KEYS, LORA_KEYS = tuple(Stage.model_fields), tuple(Lora.model_fields)


def shipped() -> tuple[str, ...]:
    """The names of the recipes that come with Ropewalk."""
    return tuple(sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml")))


def fields() -> dict[str, Any]:
    """Whatever may be given beside a recipe, by name: its own fields, those of all stages, and those of the adapters."""
    own = {k: v for k, v in Recipe.model_fields.items() if k not in ("model", "stages", "lora")}
    return {**own, **Stage.model_fields, **{f"lora_{k}": v for k, v in Lora.model_fields.items()}}


def check_fields(given: Mapping[str, Any]) -> None:
    known = (*fields(), *Recipe.model_fields)
    for name in given:
        if name not in known:
            raise UnknownName("field of a recipe", name, known)


def read_recipe(name: str | Path | Mapping[str, Any] | Recipe, given: Mapping[str, Any]) -> Recipe:
    """A shipped recipe, a file or an object, with `given` in place of what it says. An empty name is the default recipe.

    given: by field; fields of stages count for every stage, those of adapters for the adapters.
    """
    raw, name = (_raw(str(name)) if name else {}, str(name)) if isinstance(name, str | Path) else (_as_mapping(name), "")
    given = {key: _as_mapping(value) if isinstance(value, BaseModel) else value for key, value in given.items()}
    raw = raw | ({"stages": given.pop("stages")} if "stages" in given else {})
    stages = raw.get("stages") or [{}]
    if isinstance(stages, list | tuple):
        stages = [_as_mapping(stage) if isinstance(stage, BaseModel) else stage for stage in stages]
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise BadConfig(f"{name}: stages: a list of stages is wanted, each with keys such as factor and steps.")
    for key, value in given.items():
        if key in STAGE_KEYS:
            other = {"factor": "to", "to": "factor"}.get(key)
            stages = [{k: v for k, v in stage.items() if k != other} | {key: value} for stage in stages]
        elif key.startswith("lora_"):
            raw["lora"] = _adapters(raw, name) | {key.removeprefix("lora_"): value}
        elif key == "lora":
            if not isinstance(value, bool | Mapping):
                raise BadConfig(f"lora is {value!r}; it must be true, false, or keys such as rank and alpha.")
            raw["lora"] = value if isinstance(value, Mapping) else _adapters(raw, name) if value else None
        else:
            raw[key] = value
    if any(stages):
        raw["stages"] = [stage if stage.get("factor") or stage.get("to") else {"factor": 8.0} | stage for stage in stages]
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise BadConfig(f"the recipe {name or 'that was asked for'} is not one:\n" + _explain(error)) from None


def _as_mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if not isinstance(value, Mapping):
        raise BadConfig(f"{value!r} is no recipe: give a name, a YAML file, a mapping or a Recipe.")
    return dict(value)


def _adapters(raw: dict[str, Any], name: str) -> dict[str, Any]:
    found = raw.get("lora") or {}
    if not isinstance(found, dict):
        raise BadConfig(f"{name}: lora: keys such as rank and alpha are wanted (it is {found!r}).")
    return found


def _explain(error: ValidationError) -> str:
    lines, errors = [], error.errors()
    places = [found["loc"] for found in errors]
    for found in errors:
        if any(len(place) > len(found["loc"]) and place[: len(found["loc"])] == found["loc"] for place in places):
            continue  # a list is called too short where an item of it is wrong
        path = ".".join(map(str, found["loc"])) or "recipe"
        seen = "" if found["type"] == "missing" else f" (it is {found['input']!r})"
        lines.append(f"  {path}: {_in_yaml(found)}{seen if path != 'recipe' else ''}")
    return "\n".join(lines)


def _in_yaml(found: Any) -> str:
    """YAML has neither tuples nor instances."""
    wanted = {"tuple_type": "a list is wanted", "model_type": "keys and values are wanted"}
    said: str = wanted.get(found["type"]) or found["msg"].removeprefix("Value error, ")
    return said


def _raw(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfig(f"the recipe {name} cannot be read: {error}") from None
    elif name in shipped():
        text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise UnknownName("recipe", name, shipped())
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 13th month; brackets without end
        raise BadConfig(f"the recipe {name} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise BadConfig(f"the recipe {name} holds {type(raw).__name__}; keys and values are wanted, such as steps: 400.")
    return raw


def _folder() -> Any:
    return files("ropewalk.jobs.train") / "recipes"
