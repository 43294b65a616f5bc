"""The plan that vLLM is asked to serve: read, and checked against what vLLM can carry and against the model's config."""

import json
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from ropewalk.errors import BadConfig, BadLength, BadOption, CannotAttach, CannotExpress, Mismatch
from ropewalk.models.tables import rotation_tables
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope, is_number
from ropewalk.scaling.schedule import REQUEST, Schedule
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

ASKED = "rope_scale"  # in SamplingParams.extra_args, or vllm_xargs over HTTP
SALT = "ropewalk:"
SAME_SCALE = 1e-3  # relative: 1.414 says sqrt 2


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps 0, 1, ... of a schedule on a grid, as many as the longest request can need; step 0 is scale 1.

    scales: of each step.
    rows: how many positions each step has, which is the tokens, prompt and answer together, of the longest request it takes.
    """

    scales: tuple[float, ...]
    rows: tuple[int, ...]

    @staticmethod
    def of(schedule: Schedule, longest: int) -> "Steps":
        """longest: tokens of a request, vLLM's max_model_len."""
        last = schedule.step(longest - 1)
        return Steps(tuple(schedule.scale(step) for step in range(last + 1)), (*schedule.starts()[:last], longest))

    @property
    def starts(self) -> tuple[int, ...]:
        """The row of each step's position 0."""
        return tuple(accumulate(self.rows[:-1], initial=0))

    def choose(self, n_tokens: int, asked: object = None) -> int:
        """The step of a request of `n_tokens`, prompt and answer together: the least that holds it, or the scale `asked` for.

        More tokens than the last step holds take the last: vLLM ends an answer there. BadOption for a scale that the plan does
        not have, BadLength for one that does not reach so far.
        """
        least = min(bisect_left(self.rows, n_tokens), len(self.rows) - 1)
        if asked is None:
            return least
        step = self._of(asked)
        if step < least:
            raise BadLength(
                f"{ASKED} is {asked!r}, which holds {self.rows[step]:,} tokens; this request has {n_tokens:,}, prompt and\n"
                f"  answer together. Ask for {self.scales[least]:.4g} or more, for fewer tokens, or leave {ASKED} out."
            )
        return step

    def _of(self, asked: object) -> int:
        for step, scale in enumerate(self.scales):
            if is_number(asked) and abs(asked - scale) <= SAME_SCALE * scale:  # type: ignore[operator]
                return step
        raise BadOption(
            f"{ASKED} is {asked!r}; the served plan has the scales {', '.join(f'{scale:.4g}' for scale in self.scales)}.\n"
            f"  Leave {ASKED} out, and the request's length chooses."
        )


def salted(given: str | None, fingerprint: str, step: int) -> str | None:
    """vLLM's cache_salt for a request: cached keys are shared only where salts are equal, and so never between scales.

    Step 0 keeps the client's own salt, or none: its keys are the unstretched model's. BadOption for a salt that could be taken
    for another step's.
    """
    if given and given.startswith(SALT):
        raise BadOption(f"cache_salt is {given!r}; salts that begin with {SALT!r} are the plan's own. Choose another.")
    if not step:
        return given
    return f"{SALT}{fingerprint}:{step}" + (f":{given}" if given else "")


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
        if stretch.near:
            stretch.scaled()  # says why vLLM's one table per scale cannot
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
        if stretch.softmax_factor != 1:
            raise CannotExpress(
                f"the plan is {stretch.name} with softmax_mscale, and vLLM fixes the softmax scale when it builds the model:\n"
                "  a request cannot change it. Serve a static plan: ropewalk export MODEL --for vllm."
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
class ServedPlan:
    """A plan in a running vLLM, and the steps that its max_model_len leaves of it."""

    plan: ScalingPlan
    steps: Steps

    @staticmethod
    def of(plan: ScalingPlan, longest: int) -> "ServedPlan":
        schedule = schedule_of(plan)
        if not schedule.original_length < longest <= plan.target_length:
            raise CannotAttach(
                f"--max-model-len is {longest:,}; the plan stretches {schedule.original_length:,} tokens to "
                f"{plan.target_length:,}.\n  Make it more than the first and at most the second; left out, it is the second."
            )
        return ServedPlan(plan, Steps.of(schedule, longest))

    def stretch(self, rotary_dim: int, rope_theta: float) -> Stretch | None:
        """How the plan stretches a table; None leaves it alone."""
        return stretch_by_rope(self.plan).get((rotary_dim, float(rope_theta)))


KEY = "ropewalk"  # in VllmConfig.additional_config


def window_asked(overrides: Any, plan: ScalingPlan) -> Any:
    """--hf-overrides with the plan's window, unless they name one: vLLM takes no longer --max-model-len than the config's."""
    if callable(overrides):
        return overrides
    return {"max_position_embeddings": plan.target_length, **(overrides or {})}


def served_by(config: Any) -> ServedPlan:
    """The plan in a VllmConfig."""
    found = config.additional_config
    if not isinstance(found, dict) or KEY not in found:
        raise Mismatch(
            "this vLLM was configured before Ropewalk's plugin was loaded; set ROPEWALK_VLLM_PLAN before it starts."
        )
    return ServedPlan.of(ScalingPlan.from_json(json.dumps(found[KEY])), config.model_config.max_model_len)


def check_engine(config: Any) -> None:
    """Raise CannotAttach for a setting under which requests would not get their own scale, or nobody has tried."""
    model, parallel = config.model_config, config.parallel_config
    refused = {
        "model runner V2, which keeps its positions elsewhere: set VLLM_USE_V2_MODEL_RUNNER=0": config.use_v2_model_runner,
        "speculative decoding, whose drafts have positions of their own": config.speculative_config is not None,
        "pictures or sound, whose positions are not one per token": model.is_multimodal_model or model.uses_mrope,
        "an encoder, or pooling instead of generating": model.is_encoder_decoder or model.runner_type != "generate",
        "multi-head latent attention": model.use_mla,
        "a KV transfer, which may share keys by tokens alone": config.kv_transfer_config is not None,
        "workers on other machines, or under Ray: they would not know of the plan":
            parallel.distributed_executor_backend not in (None, "uni", "mp") or parallel.nnodes > 1,
        "an additional_config of a class of its own": not isinstance(config.additional_config, dict),
    }  # fmt: skip
    for what, here in refused.items():
        if here:
            raise CannotAttach(
                f"a scale per request is not for {what}.\n  Unset ROPEWALK_VLLM_PLAN to serve without the plan."
            )


def stacked_table(plain: torch.Tensor, steps: Steps, stretch: Stretch | None) -> torch.Tensor:
    """(rows of all steps, rotary_dim), float32: cos of each pair, then sin of each pair.

    plain: (longest, rotary_dim), the engine's own unstretched table, which serves step 0 as it is: a request within the window
    gets the bits it would get without the plan. Without a stretch it serves every step. The other steps are computed as
    everywhere in Ropewalk: float64 angles, cast last.
    """
    tables = [plain[: steps.rows[0]]]
    for scale, rows in list(zip(steps.scales, steps.rows, strict=True))[1:]:
        if stretch is None:
            tables.append(plain[:rows])
        else:
            positions = torch.arange(rows, device=plain.device)
            tables.append(torch.cat(rotation_tables(stretch.scaled_by(scale), positions, plain.dtype), dim=-1))
    return torch.cat(tables)
