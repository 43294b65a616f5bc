"""What the plan needs of vLLM's settings, and where it lies in them."""

import json
from typing import Any

from ropewalk.errors import CannotAttach, Mismatch
from ropewalk.models.vllm_plugin.served import Served
from ropewalk.scaling.plan import ScalingPlan

KEY = "ropewalk"  # in VllmConfig.additional_config


def window_asked(overrides: Any, plan: ScalingPlan) -> Any:
    """--hf-overrides with the plan's window, unless they name one: vLLM takes no longer --max-model-len than the config's."""
    if callable(overrides):
        return overrides
    return {"max_position_embeddings": plan.target_length, **(overrides or {})}


def served_by(config: Any) -> Served:
    """The plan in a VllmConfig."""
    found = config.additional_config
    if not isinstance(found, dict) or KEY not in found:
        raise Mismatch(
            "this vLLM was configured before Ropewalk's plugin was loaded; set ROPEWALK_VLLM_PLAN before it starts."
        )
    return Served.of(ScalingPlan.from_json(json.dumps(found[KEY])), config.model_config.max_model_len)


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
