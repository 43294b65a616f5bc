"""gpt-oss's own config (ModelConfig of gpt_oss/torch/model.py). Read at 7b58334: yarn whose ramp is never rounded."""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import LENGTH, Keys
from ropewalk.engines.own_files import is_ramped, needed, needed_whole, only_stretch, options, prove
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import CannotExpress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS

AT = "gpt-oss 7b58334, gpt_oss/torch/model.py"


def read(data: Mapping[str, Any]) -> tuple[Keys, ...]:
    fields = Fields(data)
    original = needed_whole(fields, "initial_context_length")
    factor = needed(fields, "rope_scaling_factor")
    rope = Rope(needed_whole(fields, "head_dim"), needed(fields, "rope_theta"), original)
    said: dict[str, Any] = {"rope_type": "default"}
    if factor > 1:
        said = {
            "rope_type": "yarn", "factor": factor, LENGTH: original, "truncate": False,
            "beta_fast": fields.number("rope_ntk_beta") or 32.0, "beta_slow": fields.number("rope_ntk_alpha") or 1.0,
        }  # fmt: skip
    return (Keys(ALL_LAYERS, said, rope, {"max_position_embeddings": round(original * factor)}, "ModelConfig"),)


def _bounds(keys: Keys) -> Says | None:
    """The code asserts 0 < low < high < d / 2 - 1."""
    if keys.rope_type != "yarn":
        return None
    low, high = (
        keys.rope.pair_turning(float(keys.said.get(name, turns))) for name, turns in (("beta_fast", 32), ("beta_slow", 1))
    )
    if 0 < low < high < keys.rope.rotary_dim / 2 - 1:
        return None
    return Says(f"a ramp from pair {low:.2f} to {high:.2f} (AssertionError)", runs=False)


QUIRKS = (Quirk(Verb.CRASHES, _bounds, f"{AT}:105"),)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    stretch = only_stretch(plan, "gpt-oss's code")
    if stretch.method != "none" and not is_ramped(stretch):
        raise CannotExpress(f"gpt-oss's code computes yarn alone; it has no setting for {stretch.name}.")
    fast, slow, _ = options(stretch)
    factor = stretch.factor if stretch.method != "none" else 1.0
    new = {
        "head_dim": stretch.rope.rotary_dim, "rope_theta": stretch.rope.rope_theta,
        "initial_context_length": stretch.rope.original_length, "rope_scaling_factor": factor,
        "rope_ntk_alpha": slow, "rope_ntk_beta": fast,
    }  # fmt: skip
    prove(ENGINE, plan, new, version)
    return Written({"config.json": new}, (), "ModelConfig")


ENGINE = register(Engine("gpt_oss", "gpt-oss's code", "7b58334", "ModelConfig", QUIRKS, write, read))
