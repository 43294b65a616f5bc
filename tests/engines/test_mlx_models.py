"""What doctor says of MLX-LM against MLX-LM itself: every model that it shares with transformers is built, on no weights.

Of the release that is installed, or stands first on PYTHONPATH: `make mlx-releases` goes through earlier ones.
"""

import ast
import contextlib
import copy
import functools
import importlib
import importlib.metadata
import importlib.resources
import json
import math
import re

import pytest

from ropewalk.engines.engine import get_engine, rotation
from ropewalk.engines.keys import layers_of
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import RopewalkError
from ropewalk.scaling.plan import make_plan
from support import config_oracle

mx = pytest.importorskip("mlx.core", reason="MLX-LM runs on Linux and macOS")
nn = importlib.import_module("mlx.nn")

VERSION = importlib.metadata.version("mlx-lm")
T = 54_321.0  # a base that no class has
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 4096}  # fmt: skip
OLD = {"plain": None, "linear": {"rope_type": "linear", "factor": 2.0}, "yarn": YARN, "llama3": LLAMA3}
# Keys that its classes ask for and transformers' saved configs lack; of others 8 does, or False where the name is of a switch.
FILLED = {
    "head_dim": 64, "rotary_emb_base": T, "rotary_pct": 0.25, "partial_rotary_factor": 0.5, "rotary_dim": 64,
    "topk_method": "noaux_tc", "scoring_func": "sigmoid", "attention_method": "MLA", "layernorm_epsilon": 1e-5,
    "hybrid_layer_pattern": [0, 1, 0, 1], "moe_layer_freq": [0, 1, 1, 1], "swa_rope_theta": 1e4, "swa_head_dim": 192,
    "is_moe_layer": [False, True, True, True],
}  # fmt: skip
# Not built from such a config, or of more than one table that no flat dict says.
NOT_COMPARED = set(
    "dbrx exaone4 gemma4_text glm_moe_dsa granitemoehybrid laguna lfm2_moe llama4_text mellum mimo_v2_flash nanochat olmo "
    "smollm3 step3p5".split()
)
# llama4_text: alone it is a file of its own; the released models are llama4.
# Other sizes than transformers' where the config leaves them out, or (gpt_neox) its base.
SIZES = {"phi", "recurrent_gemma", "gpt_neox", "minimax", "minimax_m2"}
FAST = {
    "llama",
    "mixtral",
    "gemma2",
    "glm",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "mistral4",
    "minicpm3",
    "gpt_oss",
    "deepseek_v2",
}


@functools.cache
def other_files():
    """MODEL_REMAPPING, unimported: an earlier mlx_lm.utils asks transformers for what is gone."""
    tree = ast.parse(importlib.resources.files("mlx_lm").joinpath("utils.py").read_text())
    found = [
        node for node in ast.walk(tree) if isinstance(node, ast.Assign) and "MODEL_REMAPPING" in ast.dump(node.targets[0])
    ]
    return ast.literal_eval(found[0].value)


def kinds():
    folder = importlib.resources.files("mlx_lm").joinpath("models")
    return [kind for kind in config_oracle.kinds() if folder.joinpath(f"{other_files().get(kind, kind)}.py").is_file()]


def configs(kind):
    """(what, config)"""
    full = json.loads(json.dumps(config_oracle.generator.CONFIG_MAPPING[kind]().to_dict(), default=str)) | {"model_type": kind}
    full = {key: value for key, value in full.items() if value is not None}
    full |= {"num_hidden_layers": min(full.get("num_hidden_layers", 4), 4), "vocab_size": 1000}
    if "head_dim" not in full and "hidden_size" in full and "qk_rope_head_dim" not in full:
        full["head_dim"] = full["hidden_size"] // full["num_attention_heads"]
    if "layer_types" in full:
        full["layer_types"] = full["layer_types"][:4]
    share = {"partial_rotary_factor": (full.get("rope_parameters") or {}).get("partial_rotary_factor", 1.0)}
    bare = share | {key: value for key, value in full.items() if key != "rope_parameters"}
    yield "new alone", full
    for what, scaling in OLD.items():
        yield f"old, {what}", {**bare, "rope_theta": T} | ({"rope_scaling": scaling} if scaling else {})
    for method in ("yarn", "linear"):
        with contextlib.suppress(RopewalkError):
            yield f"written, {method}", share | write(make_plan(read(full), factor=4, method=method), full)


def rotations(kind, config):
    """(frequencies, m) of each layer's rotation; None where MLX-LM stops at what the config says of the rotation."""
    file, config = importlib.import_module(f"mlx_lm.models.{other_files().get(kind, kind)}"), copy.deepcopy(config)
    for _ in range(5):
        try:
            model = file.Model(file.ModelArgs.from_dict(config))
            return [found for module in model.modules() if (found := frequencies(module))]
        except TypeError as error:
            missing = re.findall(r"'(\w+)'", str(error)) if "missing" in str(error) else []
            if not missing or "rope_theta" in missing:
                return None
            config |= {name: FILLED.get(name, False if "norm" in name or "bias" in name else 8) for name in missing}
        except (AttributeError, KeyError, ValueError):
            return None
    return None


def frequencies(module):
    if isinstance(module, nn.RoPE):
        pairs = range(module.dims // 2)
        return [module.scale * module.base ** (-2 * i / module.dims) for i in pairs], 1.0
    if not type(module).__name__.endswith(("RoPE", "RotaryEmbedding")):
        return None
    periods = next(
        (made for name in ("_freqs", "freqs", "_long_freqs") if (made := getattr(module, name, None)) is not None), None
    )
    if periods is None:  # made at each call
        return None
    scales = (getattr(module, name, None) for name in ("mscale", "_scale", "scale", "_long_scale"))
    return [1 / period for period in periods.tolist()], float(next((scale for scale in scales if scale is not None), 1.0))


def alike(ours, theirs):
    (mine, m), (wanted, n) = (ours.inv_freq, ours.attention_factor), theirs
    close = len(mine) == len(wanted) and all(
        math.isclose(a, b, rel_tol=2e-4, abs_tol=1e-9) for a, b in zip(mine, wanted, strict=True)
    )
    return close and math.isclose(m, n, rel_tol=1e-3)


def misjudged(kind):
    for what, config in configs(kind):
        try:
            said = [rotation(get_engine("mlx_lm"), keys, VERSION).scaled for keys in layers_of(config)]
        except RopewalkError:
            continue
        found = rotations(kind, config)
        if found is None or None in said:
            if found is not None or None not in said:
                yield what, "stops" if found is None else "is said to stop"
        elif not all(any(alike(ours, theirs) for ours in said) for theirs in found):
            yield what, [(ours.inv_freq[1], ours.inv_freq[-1], ours.attention_factor) for ours in said], found[0][0][-1]


@pytest.mark.parametrize("kind", sorted(FAST))
def test_doctor_says_what_mlx_lm_makes_of_a_config(kind):
    assert list(misjudged(kind)) == []


def test_internlm_3_runs_with_the_dynamic_that_it_was_published_with():
    """internlm/internlm3-8b-instruct: rope_scaling {"factor": 6.0, "rope_type": "dynamic"}."""
    config = dict(configs("internlm3"))["old, plain"] | {"rope_scaling": {"factor": 6.0, "rope_type": "dynamic"}}
    (keys,) = layers_of(config)

    assert importlib.import_module("mlx_lm.models.internlm3").ModelArgs.from_dict(config).rope_scaling["factor"] == 6
    losses = rotation(get_engine("mlx_lm"), keys).losses
    assert not [loss for loss in losses if "whose file takes" in loss.what]


def test_a_stretched_phi_3_runs_in_mlx_lm():
    """Its file asks for `type`, and transformers 5 writes rope_type alone."""
    written = dict(configs("phi3"))["written, yarn"]

    assert written["rope_scaling"]["type"] == written["rope_scaling"]["rope_type"] == "longrope"
    (first, _), *_ = rotations("phi3", written)
    assert first == pytest.approx(read(written).scaling[0][1].scaled(10**6).inv_freq, rel=1e-4)


@pytest.mark.slow
def test_doctor_says_what_mlx_lm_makes_of_every_model():
    compared = [kind for kind in kinds() if kind not in NOT_COMPARED | SIZES]

    assert len(compared) > (45 if VERSION >= "0.32" else 15)
    assert {kind: found for kind in compared if (found := list(misjudged(kind)))} == {}
