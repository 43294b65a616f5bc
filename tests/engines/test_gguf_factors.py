"""rope_freqs.weight beside a scaling type, architectures that cannot carry it, and the temperature of latent attention."""

import math

import pytest

from ropewalk.engines import gguf
from ropewalk.engines.engine import get_engine, rotation
from ropewalk.engines.gguf_file import FREQS
from ropewalk.engines.keys import layers_of
from ropewalk.engines.llama_cpp import metadata
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.scaling.plan import make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch
from support.published import DEEPSEEK_V3

BASE = {
    "general.architecture": "llama", "llama.context_length": 4096, "llama.rope.dimension_count": 8,
    "llama.rope.freq_base": 10_000.0, "llama.rope.scaling.factor": 4.0, "llama.rope.scaling.original_context_length": 1024,
}  # fmt: skip
FACTORS = [1.0, 1.5, 2.0, 3.0]


def test_linear_and_factors_multiply():
    """ggml_rope_cache_init: theta / freq_factor, and rope_yarn: freq_scale times that."""
    scaled = gguf.keys_of({**BASE, "llama.rope.scaling.type": "linear", FREQS: FACTORS}).scaled()

    expected = [10_000.0 ** (-2 * i / 8) / f / 4 for i, f in enumerate(FACTORS)]
    assert scaled.inv_freq == pytest.approx(expected)
    assert scaled.attention_factor == pytest.approx(1.0)


def test_yarn_and_factors_multiply_and_keep_the_temperature_of_yarn():
    kinds = {**BASE, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.attn_factor": 0.5}
    alone, both = gguf.keys_of(kinds).scaled(), gguf.keys_of({**kinds, FREQS: FACTORS}).scaled()

    assert both.inv_freq == pytest.approx([f / by for f, by in zip(alone.inv_freq, FACTORS, strict=True)])
    assert both.attention_factor == pytest.approx(0.5 * (1 + 0.1 * math.log(4)))


def test_factors_for_another_number_of_pairs_are_refused():
    with pytest.raises(BadConfig, match="3 factors for 4 pairs"):
        gguf.keys_of({**BASE, "llama.rope.scaling.type": "linear", FREQS: FACTORS[:3]})


@pytest.mark.parametrize("arch", ["phi3", "smollm3", "mistral3"])
def test_graphs_that_do_not_multiply_carry_no_factors(arch):
    """src/models: phi3.cpp loads rope_long and rope_short alone, smollm3.cpp hands nullptr to ggml_rope_ext, and mistral3.cpp
    computes attn_factor itself."""
    stretch = Stretch(Rope(64, 10_000.0, 512), "resonance", 4.0)
    assert FREQS in metadata(stretch, "llama", 2048)
    with pytest.raises(CannotExpress, match=f"the graph of {arch} has no rope factors"):
        metadata(stretch, arch, 2048)


def test_a_pair_that_does_not_turn_has_no_factor():
    stretch = Stretch(Rope(64, 10_000.0, 512), "proportional", 1.0, (("proportion", 0.25),))
    with pytest.raises(CannotExpress, match="they cannot make the 0 of a pair that does not turn"):
        metadata(stretch, "llama", 512)


def deepseek(**more):
    """DeepSeek-V3's keys but for its temperature."""
    return {
        "general.architecture": "deepseek2", "deepseek2.context_length": 163_840, "deepseek2.rope.dimension_count": 64,
        "deepseek2.rope.freq_base": 1e4, "deepseek2.rope.scaling.type": "yarn", "deepseek2.rope.scaling.factor": 40.0,
        "deepseek2.rope.scaling.original_context_length": 4096,
        **{f"deepseek2.rope.scaling.{name}": value for name, value in more.items()},
    }  # fmt: skip


def read_by_llama_cpp(metadata):
    (keys,) = get_engine("llama_cpp").read(metadata)
    return rotation(get_engine("llama_cpp"), keys)


def test_a_gguf_of_deepseek_scales_its_softmax_and_not_its_rotation():
    """algorithms.md 1.6: "DeepSeek2 is immune (factor cancels to 1)"."""
    result = read_by_llama_cpp(deepseek(yarn_log_multiplier=0.1))

    assert (result.losses, result.scaled.attention_factor) == ((), 1.0)


@pytest.mark.parametrize(
    ("multiplier", "softmax"),
    [
        (0.10000000149011612, 1.873854),  # V3: mscale_all_dim 1, so (0.1 ln 40 + 1)^2 = 1.3688879^2; 0.1 as float32
        (0.07069999724626541, 1.589626),  # V2: 0.707, (0.0707 x 3.6888795 + 1)^2 = 1.2608038^2
    ],
)
def test_yarn_log_multiplier_is_a_tenth_of_what_scales_the_softmax(multiplier, softmax):
    """conversion/deepseek.py writes 0.1 mscale_all_dim, and src/models/deepseek2.cpp divides by 0.1 (llama.cpp 17945)."""
    result = read_by_llama_cpp(deepseek(yarn_log_multiplier=multiplier))

    assert (result.losses, result.scaled.attention_factor) == ((), 1.0)
    assert result.scaled.softmax_factor == pytest.approx(softmax, rel=1e-6)


def test_a_gguf_of_deepseek_says_what_its_config_says():
    (config,) = layers_of(DEEPSEEK_V3)
    config, gguf_ = config.scaled(), read_by_llama_cpp(deepseek(yarn_log_multiplier=0.10000000149011612)).scaled

    assert gguf_.inv_freq == pytest.approx(config.inv_freq, rel=1e-12)
    assert (gguf_.attention_factor, gguf_.softmax_factor) == pytest.approx((config.attention_factor, config.softmax_factor))


def test_without_the_multiplier_llama_cpp_scales_rotation_and_softmax():
    """llama-context.cpp: m(s, 1) where the key is 0 or missing, and deepseek2.cpp: its square on the softmax as well."""
    for more in ({}, {"yarn_log_multiplier": 0.0}):
        result = read_by_llama_cpp(deepseek(**more))

        assert result.scaled.attention_factor == pytest.approx(1.3688879)
        assert result.scaled.softmax_factor == pytest.approx(1.873854)
        (loss,) = result.losses
        assert loss.logits == pytest.approx(1.873854)


def test_attn_factor_scales_rotation_and_softmax_of_latent_attention():
    """1.1 on cos and sin, and (1.1 x 1.3688879)^2 = 2.267364 on the softmax; below 1 / 1.3688879 no option says it."""
    result = read_by_llama_cpp(deepseek(yarn_log_multiplier=0.1, attn_factor=1.1))

    assert (result.scaled.attention_factor, result.scaled.softmax_factor) == pytest.approx((1.1, 2.267364))
    (loss,) = read_by_llama_cpp(deepseek(yarn_log_multiplier=0.1, attn_factor=0.5)).losses
    assert "its square, 0.25, multiplies the softmax scale" in loss.what


@pytest.mark.parametrize(
    ("more", "m"),
    [
        ({"yarn_log_multiplier": 1.0}, 1.0),  # Ministral 3 as published: mscale = mscale_all_dim = 1, whose ratio is 1
        ({}, 1.2772589),  # 0.1 ln 16 + 1
        ({"yarn_log_multiplier": 0.5}, 1.1217511),  # (0.1 ln 16 + 1) / (0.05 ln 16 + 1)
        ({"yarn_log_multiplier": 1.0, "attn_factor": 1.1}, 1.1),
    ],
)
def test_ministrals_multiplier_is_its_mscale_all_dim(more, m):
    """conversion/mistral3.py writes mscale_all_dim as it is; llama-context.cpp: get_mscale(s, 1) / get_mscale(s, that)."""
    keys = {"type": "yarn", "factor": 16.0, "original_context_length": 16_384, **more}
    found = {"general.architecture": "mistral3", "mistral3.context_length": 262_144, "mistral3.rope.dimension_count": 128,
             "mistral3.rope.freq_base": 1e6}  # fmt: skip
    found |= {f"mistral3.rope.scaling.{name}": value for name, value in keys.items()}
    result = read_by_llama_cpp(found)

    assert (result.losses, result.scaled.attention_factor) == ((), pytest.approx(m))


def test_a_graph_of_latent_attention_that_was_not_looked_at_is_said():
    """mistral4 is a class of its own in llama-model.cpp, of which DeepSeek's temperature is not known to hold."""
    name = "mistral4"
    found = {"general.architecture": name, f"{name}.context_length": 1_048_576, f"{name}.rope.dimension_count": 64,
             f"{name}.rope.freq_base": 1e4, f"{name}.attention.kv_lora_rank": 256}  # fmt: skip
    plain = read_by_llama_cpp(found)
    scaled = read_by_llama_cpp(found | {f"{name}.rope.scaling.{key}": value for key, value in {
        "type": "yarn", "factor": 128.0, "original_context_length": 8192, "yarn_log_multiplier": 0.1}.items()})  # fmt: skip
    assert plain.losses == ()
    (loss,) = scaled.losses
    assert loss.what.endswith("what the graph of mistral4 makes of it was not looked at")


def test_linear_of_latent_attention_scales_its_softmax_too():
    """deepseek2.cpp multiplies by 1 + 0.1 ln s to undo what yarn alone had divided by; (0.1 ln 40 + 1)^2 = 1.874."""
    result = read_by_llama_cpp({**deepseek(), "deepseek2.rope.scaling.type": "linear"})

    (loss,) = [loss for loss in result.losses if "softmax" in loss.what]
    assert loss.said.endswith("linear: it multiplies the softmax scale of latent attention by 1.874")


def test_no_flags_are_offered_that_would_scale_the_softmax_of_latent_attention():
    config = {**DEEPSEEK_V3, "max_position_embeddings": 4096, "rope_scaling": None}
    for method in ("yarn", "linear"):
        with pytest.raises(CannotExpress, match="the temperature of DeepSeek's attention"):
            get_engine("llama.cpp").write(make_plan(read(config), factor=4, method=method), config, "")
    (command,) = get_engine("llama.cpp").write(make_plan(read(config), factor=4, method="ntk"), config, "").commands
    assert "--rope-scaling none --rope-freq-base" in command
