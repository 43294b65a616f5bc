"""TensorRT-LLM: config.json of the PyTorch backend. One stored version was read (000a01d), an old one; nothing was run."""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.config_files import written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import RAMPED, Keys, deepseek_ratio
from ropewalk.engines.longrope import longrope_formula
from ropewalk.engines.quirks import (
    INSIDE,
    NOT_NULL,
    STRETCH_IT,
    WRITE_FACTOR,
    drops,
    missing_length,
    new_spelling,
    no_factor,
    null_theta,
    outside,
    past_the_window,
    stops,
    temperature,
)
from ropewalk.scaling.plan import ScalingPlan

INTERFACE = "TensorRT-LLM 000a01d, _torch/attention_backend/interface.py"
REPOSITORY = "https://github.com/NVIDIA/TensorRT-LLM"


def _no_factor(keys: Keys) -> Says | None:
    """rope_scaling.get("factor", 1.0): nothing is stretched."""
    if (found := no_factor(keys)) is None or keys.rope_type != "yarn":
        return None
    return Says(f"{found.what.partition(' (')[0]}: it takes 1", keys.but(factor=1.0))


def _interleaved(keys: Keys) -> Says | None:
    if keys.kind != "gpt_oss" or keys.rope_type != "yarn":
        return None
    return Says("gpt-oss's yarn: rotated twice and paired wrongly in affected builds")


QUIRKS = (
    Quirk(Verb.CRASHES, null_theta, f"{INTERFACE}, RopeParams.from_config", way_out=NOT_NULL),
    Quirk(Verb.IGNORES, outside, INTERFACE, way_out=INSIDE),
    Quirk(Verb.IGNORES, new_spelling, INTERFACE, way_out="Write rope_scaling and rope_theta beside rope_parameters."),
    Quirk(Verb.REPLACES, missing_length(lambda keys: 1024, *RAMPED), f"{INTERFACE}, RopeParams.from_config",
          way_out="Write original_max_position_embeddings."),
    Quirk(Verb.REPLACES, _no_factor, f"{INTERFACE}, RopeParams.from_config", way_out=WRITE_FACTOR),
    Quirk(Verb.IGNORES, temperature(deepseek_ratio, "mscale", "mscale_all_dim"), INTERFACE,
          way_out="Add mscale and mscale_all_dim: 1 with m = (0.1 mscale ln s + 1) / (0.1 ln s + 1)."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{REPOSITORY}/pull/16379"),
    Quirk(Verb.IGNORES, longrope_formula(), INTERFACE),
    Quirk(Verb.REPLACES, _interleaved, f"{REPOSITORY}/issues/16378"),
    Quirk(Verb.CRASHES, stops("ntk", "proportional"), INTERFACE),
    Quirk(Verb.PASSES, past_the_window, INTERFACE, way_out=STRETCH_IT),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    return (f"trtllm-serve {folder} --max_seq_len {plan.target_length}",)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(Engine("tensorrt_llm", "TensorRT-LLM", "000a01d", "config.json", QUIRKS, write, commands=commands))
