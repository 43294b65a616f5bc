"""The changes to vLLM, all of them. What they touch is private; `known.KNOWN` says at which versions it was read.

1. EngineArgs.create_engine_config: reads the plan, asks for its window, and puts it into the config that all processes get.
2. InputProcessor.process_inputs: gives each request its step and its cache salt.
3. RotaryEmbedding, replaced out of tree: has the rows of all steps.
4. GPUModelRunner._preprocess, which the CPU's runner inherits: moves the positions of each request to its step's rows.
5. GPUModelRunner.initialize_kv_cache: looks at the loaded model, and refuses one whose tables are not those of 3.
"""

import functools
from typing import Any

import numpy
import torch
from vllm.config import get_current_vllm_config
from vllm.engine.arg_utils import EngineArgs
from vllm.exceptions import VLLMValidationError
from vllm.logger import init_logger
from vllm.model_executor.custom_op import CustomOp, op_registry_oot
from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding
from vllm.model_executor.layers.rotary_embedding.common import ApplyRotaryEmb
from vllm.utils import length_from_prompt_token_ids_or_embeds
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadLength, BadOption, CannotAttach, Mismatch
from ropewalk.plugins.vllm.plan import (
    ASKED,
    KEY,
    ServedPlan,
    check_engine,
    check_model,
    read_plan,
    salted,
    served_by,
    stacked_table,
    window_asked,
)

STEP = "ropewalk_step"  # in extra_args, on its way from the front end to the worker
POSITIONS = 2  # in what _preprocess returns

logger = init_logger("vllm.ropewalk")


def install(place: str) -> None:
    """Make vLLM, in this process, carry the plan at `place`. A second call does nothing."""
    registered = op_registry_oot.get("RotaryEmbedding")
    if registered is StackedRotary:
        return
    if registered is not None:
        raise CannotAttach(
            f"vLLM's rotary embedding is replaced already, by {registered.__module__}.{registered.__name__}, and a scale per\n"
            "  request needs its place. Choose one of the two plugins with VLLM_PLUGINS."
        )
    CustomOp.register_oot(StackedRotary, name="RotaryEmbedding")
    StackedRotary.name = RotaryEmbedding.name  # by which custom_ops turns its kernels on and off
    _wrap(EngineArgs, "create_engine_config", functools.partial(_create_engine_config, place))
    _wrap(InputProcessor, "__init__", _init_input_processor)
    _wrap(InputProcessor, "process_inputs", _process_inputs)
    _wrap(GPUModelRunner, "initialize_kv_cache", _initialize_kv_cache)
    _wrap(GPUModelRunner, "_preprocess", _preprocess)


def _wrap(owner: type, name: str, around: Any) -> None:
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(functools.partial(inner, self), self, *args, **kwargs)

    setattr(owner, name, outer)


def _create_engine_config(place: str, inner: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    plan = read_plan(place)
    self.hf_overrides = window_asked(self.hf_overrides, plan)
    config = inner(*args, **kwargs)
    check_engine(config)
    check_model(plan, read(config.model_config.hf_config.to_dict()))
    # Part of vLLM's own hash too, so that no graph compiled for a shorter table is found again.
    config.additional_config = {**config.additional_config, KEY: plan.to_dict()}
    served = served_by(config)
    logger.info(
        "ropewalk: plan %s (%s), a scale per request: %s", plan.name, plan.fingerprint,
        ", ".join(f"{s:.4g} up to {n:,} tokens" for s, n in zip(served.steps.scales, served.steps.rows, strict=True)),
    )  # fmt: skip
    return config


def _init_input_processor(inner: Any, self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
    self.ropewalk_served = served_by(vllm_config)
    inner(vllm_config, *args, **kwargs)


def _process_inputs(inner: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    request = inner(*args, **kwargs)
    try:
        _choose(self.ropewalk_served, request)
    except (BadOption, BadLength) as error:
        raise VLLMValidationError(str(error)) from None  # which the server answers with 400
    return request


def _choose(served: ServedPlan, request: Any) -> None:
    """Give a request its step, on the way to the worker, and its cache salt."""
    if request.resumable:
        raise BadOption("a request whose prompt goes on growing has no length to choose its scale from; send it whole.")
    params = request.sampling_params
    prompt = length_from_prompt_token_ids_or_embeds(request.prompt_token_ids, request.prompt_embeds)
    given = params.extra_args or {}
    step = served.steps.choose(prompt + params.max_tokens, given.get(ASKED))
    params.extra_args = {**given, STEP: step}
    request.cache_salt = salted(request.cache_salt, served.plan.fingerprint, step)


class StackedRotary(RotaryEmbedding):  # type: ignore[misc]
    """vLLM's rotary embedding with the rows of all steps; its kernels look up rows, and do not know the difference."""

    max_position_embeddings: int

    def _compute_cos_sin_cache(self) -> torch.Tensor:
        served = served_by(get_current_vllm_config())
        self.ropewalk_plan, self.ropewalk_starts = served.plan.fingerprint, served.steps.starts
        self.ropewalk_stretch = served.stretch(self.rotary_dim, self.base)
        self.max_position_embeddings = max(self.max_position_embeddings, served.steps.rows[-1])
        return stacked_table(super()._compute_cos_sin_cache(), served.steps, self.ropewalk_stretch)


def _initialize_kv_cache(inner: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    self.ropewalk_starts = _check_tables(self.get_model(), served_by(self.vllm_config))
    return inner(*args, **kwargs)


def _check_tables(model: torch.nn.Module, served: ServedPlan) -> tuple[int, ...]:
    """Where the steps of the loaded model start; CannotAttach for a model that rotates by other means."""
    rotating: list[Any] = [m for m in model.modules() if "Rotary" in type(m).__name__ and not isinstance(m, ApplyRotaryEmb)]
    others = sorted({type(m).__name__ for m in rotating if not isinstance(m, StackedRotary)})
    if others or not rotating:
        raise CannotAttach(
            f"this model rotates with {', '.join(others) or 'code of its own'}; the plugin needs vLLM's own RotaryEmbedding.\n"
            "  Serve it with a static plan, ropewalk export MODEL --for vllm, or with ropewalk serve."
        )
    ((plan, starts), *more) = {(m.ropewalk_plan, m.ropewalk_starts) for m in rotating}
    seen = {m.ropewalk_stretch for m in rotating if m.ropewalk_stretch}
    if more or plan != served.plan.fingerprint or seen != {stretch for _, stretch in served.plan.stretches}:
        raise Mismatch("the loaded model's tables are not those of the plan. Build the engine in a fresh process.")
    return tuple(starts)


def _preprocess(inner: Any, self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
    answer = inner(scheduler_output, *args, **kwargs)
    names = self.input_batch.req_ids  # in the order of the tokens
    starts = [self.ropewalk_starts[_step(self.requests[name].sampling_params)] for name in names]
    if any(starts):
        rows = numpy.repeat(starts, [scheduler_output.num_scheduled_tokens[name] for name in names])
        positions = answer[POSITIONS]
        # In place: a captured graph reads this very buffer. Slots and masks were made from the true positions before.
        positions[: len(rows)] += torch.from_numpy(rows).to(positions.device)
    return answer


def _step(params: Any) -> int:
    try:
        return int(params.extra_args[STEP])
    except (AttributeError, TypeError, KeyError):
        raise Mismatch(
            "a request reached the worker without a scale: it did not come through vLLM's InputProcessor."
        ) from None
