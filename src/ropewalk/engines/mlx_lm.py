"""MLX-LM: config.json. Run in 47 releases on a CPU, 0.21.0 to 0.32.2, and read at d78bf58."""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines import mlx_lm_models as models
from ropewalk.engines.config_files import written
from ropewalk.engines.engine import Engine, Quirk, Verb, Written, register
from ropewalk.engines.keys import deepseek_ratio
from ropewalk.engines.longrope import long_lists_always, phimoe_mscale
from ropewalk.engines.quirks import (
    BASE_ALONE,
    INSIDE,
    NOT_NULL,
    STRETCH_IT,
    WRITE_FACTOR,
    always_plain,
    drops,
    outside,
    past_the_window,
    stops,
    temperature,
    whole_heads,
)
from ropewalk.scaling.plan import ScalingPlan

AT = "mlx-lm 0.32.2"
ROPE_UTILS, OLD_ROPE_UTILS = "mlx-lm d78bf58, models/rope_utils.py", "mlx-lm 0.26.2, models/rope_utils.py"
REPOSITORY = "https://github.com/ml-explore/mlx-lm"
V5, DYNAMIC, TOGETHER = "0.32", "0.32", "0.28.4"  # TOGETHER: DeepSeek-V3's file takes rope_utils.py up
YARN, YARN_FACTOR, LONGROPE = "0.22.1", "0.26.3", "0.25.3"
BY_CALL = ("0.29", "0.30.2")  # longrope's list was chosen at each call from, and before
OWN = models.OWN_YARN | models.OWN_LISTS

QUIRKS = (
    Quirk(Verb.IGNORES, outside, f"{AT}, models", way_out=INSIDE),
    Quirk(Verb.CRASHES, models.null_theta, f"{AT}, models", way_out=NOT_NULL),
    *(
        Quirk(Verb.CRASHES, models.needs_theta(kinds), f"{AT}, models", versions, "Write rope_theta beside it.")
        for kinds, versions in (
            (models.NEEDS_THETA, ""), ({"qwen3", "granitemoehybrid"}, f"< {V5}"), ({"lfm2", "lfm2_moe"}, "< 0.31")
        )
    ),
    Quirk(Verb.IGNORES, models.no_dict, f"{AT}, models/gpt_oss.py", way_out="Write rope_scaling."),
    *(
        Quirk(Verb.CRASHES, models.needs_dict(kinds), f"{AT}, models", versions, "Write rope_scaling.")
        for kinds, versions in ((models.NEEDS_DICT, ""), ({"phimoe"}, "< 0.32.1"), (models.DEEPSEEK_3, "< 0.22"))
    ),
    *(
        Quirk(Verb.CRASHES, models.needs_own_factor(kinds), f"{AT}, models/deepseek_v2.py", versions, WRITE_FACTOR)
        for kinds, versions in ((models.OWN_YARN, ""), (models.DEEPSEEK_3, f"< {TOGETHER}"))
    ),
    Quirk(Verb.CRASHES, models.old_spelling_stops, f"{AT}, models", way_out="Write rope_parameters."),
    Quirk(Verb.IGNORES, models.old_spelling, f"{AT}, models/mistral4.py", way_out="Write rope_parameters."),
    Quirk(Verb.CRASHES, models.takes(models.TAKES, models.WORD), f"{AT}, models", way_out=BASE_ALONE),
    Quirk(Verb.CRASHES, models.takes({"qwen2": ("linear",)}, {"qwen2": "type"}), "mlx-lm 0.22.0, models/qwen2.py", f"< {YARN}",
          BASE_ALONE),
    Quirk(Verb.CRASHES, models.whole_factor, f"{AT}, models/nemotron.py", way_out="Write it with one: 2.0."),
    Quirk(Verb.CRASHES, phimoe_mscale("KeyError"), f"{AT}, models/phimoe.py", way_out="Write both: m."),
    Quirk(Verb.CRASHES, models.needs_window, f"{AT}, models/gpt_oss.py", way_out="Write yarn."),
    Quirk(Verb.CRASHES, models.own_spelling, f"{AT}, models/olmo.py", way_out="Use another engine."),
    Quirk(Verb.CRASHES, models.needs_lists_of_pairs, "mlx-lm 0.21.4, models/phi3.py", "< 0.21.5", "Use 0.21.5."),
    Quirk(Verb.IGNORES, always_plain(models.ALWAYS_PLAIN), f"{AT}, models", way_out=BASE_ALONE),
    Quirk(Verb.IGNORES, always_plain({"gemma3_text"}), "mlx-lm 0.28.4, models/gemma3_text.py:55", "< 0.29", "Use 0.29.1."),
    Quirk(Verb.IGNORES, models.global_base, "mlx-lm 0.28.4, models/gemma3_text.py:25", "< 0.29", "Use 0.29.1."),
    *(
        Quirk(Verb.IGNORES, models.linear_alone(kinds), source, versions, BASE_ALONE)
        for kinds, source, versions in (
            ({"deepseek"}, f"{AT}, models/deepseek.py:70", ""),
            ({"minicpm"}, "mlx-lm 0.25.2, models/minicpm.py:70", f"< {LONGROPE}"),
        )
    ),
    Quirk(Verb.IGNORES, always_plain({"longcat_flash"}), "mlx-lm 0.30.2, models/longcat_flash.py", "< 0.30.4", BASE_ALONE),
    Quirk(Verb.IGNORES, models.new_spelling(but_by=models.READS_V5), f"{REPOSITORY}/pull/953",
          way_out="Write rope_scaling and rope_theta beside it."),
    Quirk(Verb.IGNORES, models.new_spelling(kinds={"qwen3"}), "mlx-lm 0.31.3, models/qwen3.py", f"< {V5}",
          "Write rope_scaling and rope_theta beside it."),
    Quirk(Verb.REPLACES, models.one_base, f"{AT}, models/olmo3.py", way_out="Write the base that both were trained with."),
    Quirk(Verb.REPLACES, models.lists_alone, f"{AT}, models/minicpm3.py", way_out="Write longrope lists."),
    *(
        Quirk(Verb.REPLACES, models.own_yarn(kinds), f"{AT}, models/deepseek_v2.py", versions, "Write yarn.")
        for kinds, versions in ((models.OWN_YARN, ""), (models.DEEPSEEK_3, f"< {TOGETHER}"))
    ),
    *(
        Quirk(Verb.REPLACES, whole_heads(kinds), source, versions)
        for kinds, source, versions in (
            (models.WHOLE_HEADS, f"{AT}, models/glm.py:58", ""),
            ({"glm4"}, "mlx-lm 0.23.0, models/glm4.py", ">= 0.23, < 0.23.1"),
            ({"phi3"}, "mlx-lm 0.21.4, models/phi3.py", "< 0.21.5"),
        )
    ),
    Quirk(Verb.REPLACES, models.doubled, "mlx-lm 0.31.3, models/internlm3.py", f"< {DYNAMIC}", f"Use {DYNAMIC}."),
    Quirk(Verb.CRASHES, models.needs_factor, f"{AT}, models", way_out=WRITE_FACTOR),
    Quirk(Verb.CRASHES, models.unknown("yarn", but_by=OWN | models.DEEPSEEK_3), "mlx-lm 0.22.0, models/rope_utils.py",
          f"< {YARN}", f"Use {YARN_FACTOR}."),
    Quirk(Verb.IGNORES, models.yarn_of_1(but_by=OWN | models.DEEPSEEK_3), f"{OLD_ROPE_UTILS}:221",
          f">= {YARN}, < {YARN_FACTOR}", f"Use {YARN_FACTOR}."),
    Quirk(Verb.CRASHES, models.unknown("longrope", but_by=OWN), "mlx-lm 0.25.2, models/rope_utils.py", f"< {LONGROPE}",
          f"Use {LONGROPE}."),
    Quirk(Verb.CRASHES, models.unknown("dynamic", but_by=OWN | models.DOUBLED), "mlx-lm 0.31.3, models/rope_utils.py",
          f"< {DYNAMIC}", "Use a static factor."),
    Quirk(Verb.REPLACES, models.length_inside, f"{ROPE_UTILS}, initialize_rope",
          way_out="Write original_max_position_embeddings inside the dict."),
    Quirk(Verb.CRASHES, models.needs_length, f"{ROPE_UTILS}:347", f">= {LONGROPE}", "Write it inside the dict."),
    Quirk(Verb.IGNORES, temperature(deepseek_ratio, "mscale", "mscale_all_dim"), f"{REPOSITORY}/pull/1507",
          way_out="Add mscale and mscale_all_dim: 1 with m = (0.1 mscale ln s + 1) / (0.1 ln s + 1)."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{ROPE_UTILS}:152"),
    Quirk(Verb.DRIFTS, models.chunks, f"{ROPE_UTILS}:259", way_out="Use a static factor."),
    Quirk(Verb.CRASHES, stops("ntk", because="ValueError"), ROPE_UTILS),
    Quirk(Verb.CRASHES, models.unknown("su", but_by=OWN), ROPE_UTILS, way_out="Write longrope."),
    *(
        Quirk(Verb.IGNORES, long_lists_always, f"{ROPE_UTILS}:50", versions)
        for versions in (f"< {BY_CALL[0]}", f">= {BY_CALL[1]}")
    ),
    Quirk(Verb.DRIFTS, models.short_then_long, "mlx-lm 0.30.0, models/rope_utils.py:67", f">= {BY_CALL[0]}, < {BY_CALL[1]}",
          f"Use {BY_CALL[1]}."),
    Quirk(Verb.IGNORES, models.formula, f"{ROPE_UTILS}:50"),
    Quirk(Verb.PASSES, past_the_window, f"{AT}, tuner/trainer.py", way_out=STRETCH_IT),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    return (f"mlx_lm.generate --model {folder} --prompt PROMPT",)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(Engine("mlx_lm", "MLX-LM", "0.32.2", "config.json", QUIRKS, write, commands=commands, oldest="0.21"))
