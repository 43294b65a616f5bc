"""Every row of the ledger: the text that shows it, the version that has it, one that does not, and the size by hand.

Sizes come from the sources named in the rows and from arithmetic in the comments, not from the code under test.
"""

import dataclasses
import math

import pytest

from ropewalk.engines import gguf
from ropewalk.engines.engine import Verb, engines, get_engine, parse_version, rotation, within
from ropewalk.engines.keys import layers_of
from ropewalk.errors import BadConfig
from support.published import (
    GEMMA3_4B_TEXT,
    GPT_OSS_20B,
    LLAMA2_7B,
    OLMO3_7B,
    PHI3_MINI_128K,
    QWEN2_VL_7B,
    QWEN3_8B,
    QWEN25_7B,
)


def llama(scaling, **more):
    return {**LLAMA2_7B, "rope_theta": 1e4, "rope_scaling": scaling, **more}


def yarn(factor=4.0, **more):
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": 4096, **more}


def v5(config):
    """The spelling of transformers 5 alone."""
    new = {k: v for k, v in config.items() if k not in ("rope_scaling", "rope_theta")}
    return {
        **new,
        "rope_parameters": {**(config["rope_scaling"] or {"rope_type": "default"}), "rope_theta": config["rope_theta"]},
    }


M = {s: 0.1 * math.log(s) + 1 for s in (4, 8, 32, 64, 128)}
LISTS = {"short_factor": [1.0] * 64, "long_factor": [4.0] * 64, "original_max_position_embeddings": 4096}
LONGROPE = {"rope_type": "longrope", "factor": 4.0, **LISTS}
WIDE = {"max_position_embeddings": 16_384}
AT_THE_TOP = {**WIDE, "original_max_position_embeddings": 4096}
FORMULA = {s: 1 + math.log(s) / math.log(4096) for s in (2, 4)}  # m^2 of longrope
LATENT_LISTS = {"rope_type": "longrope", "short_factor": [1.0] * 32, "long_factor": [4.0] * 32,
                "original_max_position_embeddings": 4096}  # fmt: skip
PHI3_LISTS = {"short_factor": [1.0] * 48, "long_factor": [4.0] * 48}
PHI4_LISTS = {"short_factor": [1.0] * 64, "long_factor": [4.0] * 64}
PHI4_MINI = {**PHI3_MINI_128K, "num_attention_heads": 24, "partial_rotary_factor": 0.75,
             "rope_scaling": {"type": "longrope", **PHI3_LISTS}}  # fmt: skip
PHI4_MINI_V5 = {**{k: v for k, v in PHI4_MINI.items() if k not in ("rope_scaling", "rope_theta", "partial_rotary_factor")},
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}}  # fmt: skip
BY_PARTS = llama(yarn(64.0, attention_factor=1.0), max_position_embeddings=262_144)
R1_QWEN3 = {**QWEN3_8B, "max_position_embeddings": 131_072, "rope_scaling": {
    "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768, "attn_factor": 0.8782488562869419,
}}  # fmt: skip
LAGUNA = {**{key: value for key, value in LLAMA2_7B.items() if key not in ("rope_scaling", "rope_theta")},
          "model_type": "laguna", "max_position_embeddings": 524_288, "rope_parameters": {
              "full_attention": {**yarn(128.0, attention_factor=M[128]), "rope_theta": 1e4},
              "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}  # fmt: skip
QWEN3_YARN_131K = {**QWEN3_8B, "max_position_embeddings": 131_072, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
NESTED = {**v5(GPT_OSS_20B), "rope_parameters": {"full_attention": {**GPT_OSS_20B["rope_scaling"], "rope_theta": 150_000.0}}}
FLAT_OLMO = {**{k: v for k, v in OLMO3_7B.items() if k not in ("rope_scaling", "rope_theta")},
             "rope_parameters": {**OLMO3_7B["rope_scaling"], "rope_theta": 5e5}}  # fmt: skip
GEMMA3_V5 = {
    **{k: v for k, v in GEMMA3_4B_TEXT.items() if k not in ("rope_theta", "rope_local_base_freq", "rope_scaling")},
    "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
}  # fmt: skip
DYNAMIC = llama({"rope_type": "dynamic", "factor": 4.0})
NTK = llama({"rope_type": "ntk", "factor": 4.0})
STRETCHED_LINEAR = llama({"rope_type": "linear", "factor": 4.0, "original_max_position_embeddings": 4096},
                         max_position_embeddings=16_384)  # fmt: skip
PHIMOE = {**PHI3_MINI_128K, "model_type": "phimoe", "hidden_size": 4096,
          "rope_scaling": {"type": "longrope", **LISTS, "long_mscale": 1.243, "short_mscale": 1.243},
          "original_max_position_embeddings": 4096}  # fmt: skip
GEMMA4 = {**LLAMA2_7B, "rope_parameters": {"rope_type": "proportional", "factor": 8.0, "partial_rotary_factor": 0.25,
                                           "rope_theta": 1e6}, "rope_theta": 1e6}  # fmt: skip
GEMMA4_V4 = {**GEMMA4, "rope_scaling": {k: v for k, v in GEMMA4["rope_parameters"].items() if k != "rope_theta"}}
MLA = {"model_type": "deepseek_v3", "hidden_size": 7168, "num_attention_heads": 128, "kv_lora_rank": 512,
       "qk_rope_head_dim": 64, "max_position_embeddings": 163_840, "rope_theta": 1e4}  # fmt: skip
MROPE = {**QWEN2_VL_7B, "max_position_embeddings": 131_072, "rope_scaling": {
    **yarn(), "original_max_position_embeddings": 32_768, "mscale": 1.0, "mscale_all_dim": 1.0,
    "mrope_section": [16, 24, 24],
}}  # fmt: skip
M_RAMP = {**QWEN2_VL_7B, "max_position_embeddings": 131_072, "rope_scaling": {
    **yarn(), "original_max_position_embeddings": 32_768, "mrope_section": [16, 24, 24]}}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}  # fmt: skip

# nomic-embed-text-v1
NOMIC = {"model_type": "nomic_bert", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 8192, "rotary_emb_base": 1000,
         "max_trained_positions": 2048, "rotary_emb_fraction": 1.0, "rotary_scaling_factor": 2}  # fmt: skip
# (engine, version, config, verb, words, {size}, version without it or None)
ROWS = [
    # temperature: logits are (m' / m)^2; m(64)^2 = 2.005, the "x2.0" of Laguna XS.2 (vllm#46280)
    ("vllm", "0.29", BY_PARTS, Verb.IGNORES, "attention_factor", {"logits": 2.005}, "0.30"),
    ("vllm", "0.33", R1_QWEN3, Verb.IGNORES, "attn_factor", {"logits": 1.2965}, "0.29"),  # 1.1386^2
    ("transformers", "5.23", R1_QWEN3, Verb.IGNORES, "attn_factor", {"logits": 1.2965}, None),
    ("sglang", "0.5.23", BY_PARTS, Verb.IGNORES, "attention_factor", {"logits": 2.005}, None),
    # 1.4852 -> 2.2058, "squared" (sglang#33558): logits x 1.4852^2
    ("sglang", "0.5.17", LAGUNA, Verb.REPLACES, "attention_factor of Laguna", {"logits": 2.2058}, "0.5.18"),
    # by its sources: yarn's class takes mscale from 0.5.16 on (m is 1 then, and was 1.1386), truncate from 0.5.7 on
    ("sglang", "0.5.15", BY_PARTS, Verb.IGNORES, "attention_factor", {"logits": 2.005}, None),
    ("sglang", "0.5.15", llama(yarn(mscale=1.0, mscale_all_dim=1.0), max_position_embeddings=16_384), Verb.IGNORES,
     "mscale", {"logits": 1.2965}, "0.5.16"),
    ("sglang", "0.5.6", GPT_OSS_20B, Verb.IGNORES, "truncate: false", {"frequency": 1.763}, "0.5.7"),
    ("mlx_lm", "0.32.2", BY_PARTS, Verb.IGNORES, "attention_factor", {"logits": 2.005}, None),
    ("tensorrt_llm", "1", BY_PARTS, Verb.IGNORES, "attention_factor", {"logits": 2.005}, None),
    ("llama_cpp", "b10488", BY_PARTS, Verb.IGNORES, "attention_factor", {"logits": 2.005}, None),
    # DeepSeek without its two keys: the softmax has m(40)^2 besides, (0.1 ln 40 + 1)^2 = 1.36889^2 = 1.8739
    ("llama_cpp", "b10488", {**MLA, "rope_scaling": yarn(40.0)}, Verb.REPLACES, "takes m(s), and for the softmax too",
     {"logits": 1.8739}, None),
    # {"mscale": 0.707} alone: transformers 1.3689, DeepSeek 1.2608 (algorithms.md 1.6)
    ("transformers", "5.23", llama(yarn(40.0, mscale=0.707), max_position_embeddings=163_840), Verb.IGNORES, "mscale",
     {"logits": (1.3689 / 1.2608) ** 2}, None),
    # ramp
    ("mlx_lm", "0.32.2", GPT_OSS_20B, Verb.IGNORES, "truncate: false", {"frequency": 1.763}, None),
    ("llama_cpp", "b10488", GPT_OSS_20B, Verb.IGNORES, "truncate: false", {"frequency": 1.763}, None),
    ("tensorrt_llm", "1", GPT_OSS_20B, Verb.IGNORES, "truncate: false", {"frequency": 1.763}, None),
    ("tensorrt_llm", "1", GPT_OSS_20B, Verb.REPLACES, "rotated twice", {}, None),
    ("transformers", "5.23", NESTED, Verb.IGNORES, "truncate: false inside", {"frequency": 1.763}, None),
    ("llama_cpp", "b10488", llama(yarn(beta_fast=8.0, beta_slow=0.5), max_position_embeddings=16_384), Verb.IGNORES,
     "beta_fast: 8.0 and beta_slow: 0.5", {"over": 1.1}, None),
    # the original length that is not written: 131,072 instead of Qwen3's 32,768, and the engines' own defaults
    ("vllm", "0.33", llama({"rope_type": "yarn", "factor": 4.0}), Verb.CRASHES, "without original_max", {}, None),
    ("transformers", "5.23", llama({"rope_type": "yarn", "factor": 4.0}), Verb.REPLACES, "it takes 4,096", {}, None),
    ("sglang", "0.5.23", llama({"rope_type": "yarn", "factor": 4.0}), Verb.REPLACES, "it takes 4,096", {}, None),
    ("llama_cpp", "b10488", llama({"rope_type": "yarn", "factor": 4.0}), Verb.REPLACES, "it takes 4,096", {}, None),
    # with the true length 8192 known, 4096 is a default: one step of the ramp (64 ln 2 / ln 1e4 = 4.8 pairs) apart
    ("mlx_lm", "0.32.2", {**llama({"rope_type": "yarn", "factor": 4.0}), "max_position_embeddings": 16_384}, Verb.REPLACES,
     "it takes 4,096", {"over": 1.3}, None),
    ("tensorrt_llm", "1", llama({"rope_type": "yarn", "factor": 4.0}), Verb.REPLACES, "it takes 1,024", {"over": 1.3}, None),
    # dynamic, meant s = 4 at 4 L. vLLM before the fix and SGLang: 4^2 - 4 + 1 = 13, last pair 13 / 4; after it: plain
    ("vllm", "0.15", DYNAMIC, Verb.REPLACES, "ntk at s = 13", {"frequency": 3.25}, "0.33"),
    ("vllm", "0.33", DYNAMIC, Verb.IGNORES, "ntk at s = 1", {"frequency": 4.0}, "0.15"),
    ("sglang", "0.5.23", DYNAMIC, Verb.REPLACES, "ntk at s = 13", {"frequency": 3.25}, None),
    # transformers at 4 L: 4 x 4 - 3 = 13 too, but only there
    ("transformers", "5.23", DYNAMIC, Verb.REPLACES, "s is 13 at 16,384 tokens", {"frequency": 3.25}, None),
    ("transformers", "5.23", llama({"rope_type": "dynamic", "factor": 1.0}), Verb.DRIFTS, "dynamic", {}, None),
    ("mlx_lm", "0.32.2", DYNAMIC, Verb.DRIFTS, "chunks of one prompt", {}, None),
    ("llama_cpp", "b10488", DYNAMIC, Verb.IGNORES, 'rope_type "dynamic"', {"frequency": 4.0}, None),
    # ntk: vLLM's is another formula, first pair 1 / 4^(2/128) = 0.9786 of its speed (algorithms.md 1.3)
    ("vllm", "0.33", NTK, Verb.REPLACES, "another formula", {"frequency": 1 / 0.97857}, None),
    ("transformers", "5.23", NTK, Verb.CRASHES, "KeyError", {}, None),
    ("sglang", "0.5.23", NTK, Verb.CRASHES, "ValueError", {}, None),
    ("mlx_lm", "0.32.2", NTK, Verb.CRASHES, "ValueError", {}, None),
    ("tensorrt_llm", "1", NTK, Verb.CRASHES, '"ntk"', {}, None),
    ("llama_cpp", "b10488", NTK, Verb.IGNORES, '"ntk"', {"frequency": 4.0}, None),
    ("sglang", "0.5.23", llama({"type": "su", **LISTS}, max_position_embeddings=16_384), Verb.CRASHES, '"su"', {}, None),
    # linear
    ("vllm", "0.33", llama({"rope_type": "linear", "factor": 4}), Verb.CRASHES, "int' object is not iterable", {}, None),
    ("vllm", "0.33", STRETCHED_LINEAR, Verb.REPLACES, "multiplied by factor again", {"window": 65_536}, None),
    ("sglang", "0.5.23", {**llama({"rope_type": "linear", "factor": 4.0}, max_position_embeddings=16_384),
                          "original_max_position_embeddings": 4096}, Verb.REPLACES, "multiplied by factor again",
     {"window": 65_536}, None),
    # longrope
    ("vllm", "0.33", llama({**LONGROPE, "attention_factor": 1.5}, max_position_embeddings=16_384), Verb.IGNORES,
     "attention_factor of longrope", {"logits": (1 + math.log(4) / math.log(4096)) / 2.25}, None),  # sqrt formula, squared
    ("sglang", "0.5.23", llama({**LONGROPE, "attention_factor": 1.5}, max_position_embeddings=16_384), Verb.IGNORES,
     "attention_factor of longrope", {"logits": (1 + math.log(4) / math.log(4096)) / 2.25}, None),
    ("mlx_lm", "0.32.2", llama({**LONGROPE, "attention_factor": 1.5}, max_position_embeddings=16_384), Verb.IGNORES,
     "attention_factor", {"logits": (1 + math.log(4) / math.log(4096)) / 2.25}, None),
    ("tensorrt_llm", "1", llama({**LONGROPE, "attention_factor": 1.5}, max_position_embeddings=16_384), Verb.IGNORES,
     "attention_factor", {"logits": (1 + math.log(4) / math.log(4096)) / 2.25}, None),
    ("vllm", "0.33", llama(LONGROPE, **WIDE), Verb.IGNORES, "short_factor: inputs within", {}, "0.11"),
    # config/model.py: "For LongRoPE, default to original_max_position_embeddings"
    ("vllm", "0.33", PHI3_MINI_128K, Verb.CLAMPS, "at original_max_position_embeddings", {"window": 4096}, "0.11"),
    ("mlx_lm", "0.32.2", PHI3_MINI_128K, Verb.IGNORES, "short_factor", {}, None),
    ("llama_cpp", "", PHI3_MINI_128K, Verb.IGNORES, "short_factor", {}, None),
    # transformers 4.57.3 run: its class's table is that of short_factor up to 16,384, and m is by ln 4 / ln 16,384
    ("transformers", "4.57", llama(LONGROPE, **WIDE), Verb.IGNORES, "original_max_position_embeddings inside",
     {"frequency": 4.0, "logits": (1 + math.log(4) / math.log(16_384)) / FORMULA[4]}, "5.23"),
    ("transformers", "4.57", llama({**LONGROPE, "factor": None}, **WIDE), Verb.CRASHES, "longrope without factor", {}, "5.23"),
    # by its sources: expanded_max_position_embeddings = max_position_embeddings * factor, and the long list beyond it
    ("transformers", "4.47", llama({**LONGROPE, "factor": None, "attention_factor": 1.0}, **WIDE), Verb.CRASHES,
     "longrope without factor", {}, "4.57"),
    ("transformers", "4.47", llama(LONGROPE, **WIDE), Verb.IGNORES, "long_factor is read up to there",
     {"logits": (1 + math.log(4) / math.log(16_384)) / FORMULA[4]}, "5.23"),
    ("transformers", "4.50", llama(LONGROPE, **AT_THE_TOP), Verb.IGNORES, "long_factor", {"frequency": 4.0}, "4.51"),
    ("transformers", "4.47", llama(LONGROPE, **AT_THE_TOP), Verb.IGNORES, "short_factor: inputs within", {}, "4.48"),
    ("transformers", "4.57", llama({**LONGROPE, "factor": 2.0}, **AT_THE_TOP), Verb.IGNORES, "factor of longrope",
     {"logits": FORMULA[4] / FORMULA[2]}, "5.23"),
    # 5.23.0 run: m is 1.118 with L = 256 and M = 1,024, whatever these say; 1.2 for PhiMoE
    ("transformers", "5.23", llama({**LONGROPE, "short_mscale": 1.1, "long_mscale": 1.2}, **WIDE), Verb.IGNORES,
     "long_mscale: 1.2", {"logits": FORMULA[4] / 1.44}, None),
    # run: "`rope_scaling` must be a dictionary with three fields, `type`, `short_factor` and `long_factor`"
    ("transformers", "4.57", {**PHI3_MINI_128K, "rope_scaling": {**PHI3_LISTS, "type": "longrope", "attention_factor": 1.0}},
     Verb.CRASHES, "any other keys than type", {}, "5.23"),
    ("transformers", "5.23", {**PHI3_MINI_128K, "model_type": "phimoe"}, Verb.CRASHES, "longrope of phimoe without", {}, None),
    ("transformers", "5.23", llama({**LONGROPE, "rope_type": "su"}, **WIDE), Verb.CRASHES, '"su"', {}, None),
    # rotary modules of 4.57.3, 4.47.1 and 5.23.0 built from these
    ("transformers", "4.57", {**llama(yarn(), **WIDE), "model_type": "nemotron"}, Verb.IGNORES, "every scaling of nemotron",
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "5.23"),
    ("transformers", "4.47", {**llama(yarn(), **WIDE), "model_type": "mistral"}, Verb.IGNORES, "every scaling of mistral",
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "4.48"),
    ("transformers", "4.57", {**llama(yarn(), **WIDE), "model_type": "olmo2"}, Verb.CRASHES, "linear or dynamic", {}, "5.23"),
    ("transformers", "4.57", {**llama({"type": "linear", "factor": 2.0}), "model_type": "granite"}, Verb.CRASHES,
     "without the word `rope_type`", {}, "5.23"),
    ("transformers", "4.57", {**llama(yarn(), **WIDE), "model_type": "llama4_text"}, Verb.CRASHES, "takes for llama3", {},
     "5.23"),
    ("transformers", "4.57", {**llama(None), "model_type": "qwen3_vl_text"}, Verb.CRASHES, "without rope_scaling", {}, "5.23"),
    ("transformers", "4.57", {**llama({"rope_type": "dynamic", "factor": 2.0}), "model_type": "hunyuan_v1_dense"},
     Verb.CRASHES, "without alpha", {}, "5.23"),
    ("transformers", "5.23", {**llama(yarn(), **WIDE), "model_type": "ernie4_5_vl_moe_text"}, Verb.CRASHES,
     "of Ernie 4.5 VL, which takes none", {}, "4.57"),
    # rope_parameters alone: Cohere's class has 10,000 in version 4, and 500,000 in 5. 50^(126/128) = 47
    ("transformers", "4.57", {**v5({**llama(None), "rope_theta": 5e5}), "model_type": "cohere"}, Verb.IGNORES,
     "rope_parameters", {"frequency": 50 ** (126 / 128)}, "5.23"),
    # and Apertus' has llama3 by 8
    ("transformers", "4.57", {**v5(llama(None)), "rope_parameters": {"rope_type": "default", "rope_theta": 1.2e7},
                              "model_type": "apertus"}, Verb.IGNORES, "rope_parameters", {"frequency": 8.0}, "5.23"),
    # by their sources: phi3/configuration_phi3.py:207 (64 factors, whatever turns), "mscale" stands in no
    # deepseek_v2/modeling_deepseek_v2.py before 5.15
    ("transformers", "4.48", PHI4_MINI, Verb.CRASHES, "longrope lists of a share of 0.75", {}, "4.49"),
    ("transformers", "5.14", {**MLA, "model_type": "deepseek_v2",
                              "rope_scaling": yarn(40.0, mscale=0.707, mscale_all_dim=0.707)}, Verb.IGNORES,
     "mscale_all_dim of the softmax", {"logits": 1 / (0.0707 * math.log(40) + 1) ** 2}, "5.23"),
    # built in 5.0.0 to 5.12.1: 64 pairs for 32; the share stands in bamba/modeling_bamba.py from 5.15 on
    ("transformers", "5.14", {**llama(None), "model_type": "bamba", "partial_rotary_factor": 0.5}, Verb.REPLACES,
     "all 128 channels turn", {}, "5.15"),
    # its class has both bases as trained, and no linear
    ("transformers", "4.57", GEMMA3_V5, Verb.IGNORES, "rope_parameters", {"frequency": 8.0}, "5.23"),
    # gemma3_causal.py:576 of 0.5.11: "rope_type": "default"; :582 of 0.5.13: linear, by a factor that 1B does not have
    ("sglang", "0.5.11", GEMMA3_4B_TEXT, Verb.IGNORES, "every scaling of gemma3_text", {"frequency": 8.0}, "0.5.14"),
    ("sglang", "0.5.13", {**GEMMA3_4B_TEXT, "rope_scaling": None}, Verb.CRASHES, "gemma3_text without factor", {}, "0.5.14"),
    ("sglang", "0.5.13", {**GEMMA3_4B_TEXT, "rope_scaling": yarn(8.0)}, Verb.REPLACES, "it becomes linear", {"over": 2},
     "0.5.14"),
    # another factor than M / L, which stands in phi3_long_rope_scaled_rope.py, rope_variant.py, rope_utils.py, phi.py alone
    ("vllm", "0.33", llama({**LONGROPE, "factor": 2.0}, **WIDE), Verb.IGNORES, "factor of longrope",
     {"logits": FORMULA[4] / FORMULA[2]}, None),
    ("sglang", "0.5.23", llama({**LONGROPE, "factor": 2.0}, **WIDE), Verb.IGNORES, "factor of longrope",
     {"logits": FORMULA[4] / FORMULA[2]}, None),
    ("mlx_lm", "0.32.2", llama({**LONGROPE, "factor": 2.0}, **WIDE), Verb.IGNORES, "factor of longrope",
     {"logits": FORMULA[4] / FORMULA[2]}, None),
    ("llama_cpp", "", {**PHI3_MINI_128K, "rope_scaling": {**PHI3_LISTS, "type": "longrope", "attention_factor": 1.0}},
     Verb.IGNORES, "attention_factor of longrope", {"logits": 1 + math.log(32) / math.log(4096)}, None),
    # minicpm.py writes the two lists and the type: n_ctx_orig_yarn is then context_length, and rope_attn_factor 1
    ("llama_cpp", "", llama(LONGROPE, **WIDE, model_type="minicpm"), Verb.IGNORES, "short_factor is read, and m is 1",
     {"frequency": 4.0, "logits": 1 / FORMULA[4]}, None),
    # mlx_lm, each run at both versions
    ("mlx_lm", "0.26.2", llama(yarn(), **WIDE), Verb.IGNORES, "its factor is read and not handed on",
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "0.26.3"),
    ("mlx_lm", "0.22", llama(yarn(), **WIDE), Verb.CRASHES, "yarn", {}, "0.22.1"),
    ("mlx_lm", "0.25.2", llama(LONGROPE, **WIDE), Verb.CRASHES, "longrope", {}, "0.25.3"),
    ("mlx_lm", "0.31.3", llama({"rope_type": "dynamic", "factor": 4.0}), Verb.CRASHES, "dynamic", {}, "0.32"),
    ("mlx_lm", "0.30", llama(LONGROPE, **WIDE), Verb.DRIFTS, "cached with short_factor", {}, "0.30.2"),
    ("mlx_lm", "0.31.3", v5(QWEN3_8B), Verb.CRASHES, "without rope_theta beside it", {}, "0.32"),
    ("mlx_lm", "0.31.3", {**v5(llama(yarn(), **WIDE)), "model_type": "qwen3", "rope_theta": 1e4}, Verb.IGNORES,
     "rope_parameters", {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "0.32"),
    ("mlx_lm", "0.30.7", {**v5(llama(None)), "model_type": "lfm2"}, Verb.CRASHES, "without rope_theta beside it", {}, "0.31"),
    ("mlx_lm", "0.32", {**llama(None), "model_type": "phimoe"}, Verb.CRASHES, "phimoe without rope_scaling", {}, "0.32.1"),
    ("mlx_lm", "0.21.5", MLA, Verb.CRASHES, "deepseek_v3 without rope_scaling", {}, "0.22"),
    ("mlx_lm", "0.28.3", {**MLA, "rope_scaling": {"rope_type": "linear", "factor": 40.0}}, Verb.REPLACES, "becomes yarn",
     {"over": 2}, "0.28.4"),
    ("mlx_lm", "0.28.3", {**MLA, "rope_scaling": LATENT_LISTS}, Verb.CRASHES,
     "rope_scaling of deepseek_v3 without factor", {}, "0.28.4"),
    ("mlx_lm", "0.30.2", {**MLA, "model_type": "longcat_flash", "rope_scaling": yarn()}, Verb.IGNORES,
     "every scaling of longcat_flash", {"frequency": 4.0}, "0.30.4"),
    ("mlx_lm", "0.22", {**QWEN25_7B, "rope_scaling": yarn()}, Verb.CRASHES, "without the word `type`", {}, "0.22.1"),
    ("mlx_lm", "0.23.0", {**llama(None), "model_type": "glm4", "partial_rotary_factor": 0.5}, Verb.REPLACES,
     "all 128 channels turn", {}, "0.23.1"),
    ("mlx_lm", "0.31.3", {**llama(None), "model_type": "internlm3"}, Verb.REPLACES, "multiplied by 2", {}, "0.32"),
    # gemma3_text.py of 0.28.4: nn.RoPE alone, and rope_global_base_freq, 1e6
    ("mlx_lm", "0.28.4", GEMMA3_4B_TEXT, Verb.IGNORES, "every scaling of gemma3_text", {"frequency": 8.0}, "0.29.1"),
    ("mlx_lm", "0.28.4", {**GEMMA3_4B_TEXT, "rope_theta": 8e6}, Verb.IGNORES, "it takes 1e6",
     {"frequency": 8 ** (254 / 256)}, "0.29.1"),
    # rope_utils.py:347 opens it inside the dict; YarnRoPE's default is 4,096 and Llama3RoPE's 8,192
    ("mlx_lm", "0.32.2", llama({"rope_type": "longrope", **PHI4_LISTS}, **AT_THE_TOP), Verb.CRASHES, "inside the dict", {},
     None),
    ("mlx_lm", "0.32.2", {**QWEN3_8B, "max_position_embeddings": 131_072, "original_max_position_embeddings": 32_768,
                          "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, Verb.REPLACES,
     "outside the dict: it takes 4,096", {"over": 1.5}, None),
    ("mlx_lm", "0.31.3", {**llama(None), "model_type": "internlm2"}, Verb.REPLACES, "multiplied by 2", {}, "0.32"),
    ("mlx_lm", "0.32.2", {**llama(None), "model_type": "olmo"}, Verb.CRASHES, "transformers' spelling", {}, None),
    ("mlx_lm", "0.32.2", {**llama(yarn(), **WIDE), "model_type": "deepseek"}, Verb.IGNORES, 'rope_type "yarn" of deepseek',
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, None),
    ("mlx_lm", "0.25.2", {**llama(yarn(), **WIDE), "model_type": "minicpm"}, Verb.IGNORES, 'rope_type "yarn" of minicpm',
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "0.25.3"),
    ("mlx_lm", "0.21.4", PHI4_MINI, Verb.CRASHES, "lists of a share", {}, "0.21.5"),
    ("mlx_lm", "0.21.4", {**PHI4_MINI, "rope_scaling": None}, Verb.REPLACES, "all 128 channels turn", {}, "0.21.5"),
    # 5.23's Phi3Config saves its share inside rope_parameters alone; phi3.py:27 has 1.0
    ("mlx_lm", "0.32.2", PHI4_MINI_V5, Verb.IGNORES, "rope_parameters", {}, None),
    ("mlx_lm", "0.32.2", {**llama({"type": "linear", "factor": 2}), "model_type": "nemotron"}, Verb.CRASHES,
     "without a decimal point", {}, None),
    ("mlx_lm", "0.32.2", {**PHI3_MINI_128K, "model_type": "phimoe"}, Verb.CRASHES, "longrope of phimoe without", {}, None),
    ("mlx_lm", "0.32.2", {**GPT_OSS_20B, "rope_scaling": LATENT_LISTS}, Verb.CRASHES, "longrope", {}, None),
    ("mlx_lm", "0.32.2", llama({**LONGROPE, "rope_type": "su"}, **WIDE), Verb.CRASHES, '"su"', {}, None),
    ("mlx_lm", "0.32.2", {**llama({"rope_type": "default"}), "model_type": "qwen2_moe"}, Verb.CRASHES,
     "without the word `type`", {}, None),
    ("mlx_lm", "0.32.2", {**llama(yarn(), **WIDE), "model_type": "lfm2_moe"}, Verb.IGNORES, "every scaling of lfm2_moe",
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, None),
    # Qwen2.5-VL at factor 4: its own MRotaryEmbedding, run at 0.32.0, turns pair 40 x2.235 (field case 12); x1.412 at factor 2
    ("vllm", "0.33", M_RAMP, Verb.REPLACES, "the ramp, placed for 131,072 tokens", {"frequency": 2.235}, None),
    ("sglang", "0.5.23", PHI3_MINI_128K, Verb.REPLACES, "position 4,096 is rotated as position 0", {}, None),
    ("transformers", "5.23", llama(LONGROPE, max_position_embeddings=16_384), Verb.DRIFTS, "keys cached with short", {}, None),
    ("transformers", "5.23", PHIMOE, Verb.IGNORES, "long_factor", {"frequency": 4.0}, None),
    ("transformers", "5.23", {**PHI3_MINI_128K, "rope_scaling": yarn()}, Verb.CRASHES, "nothing but longrope", {}, None),
    ("llama_cpp", "b10488", llama(LONGROPE, max_position_embeddings=16_384), Verb.IGNORES, "the converter writes plain",
     {"frequency": 4.0}, None),
    # llama3 without rope factors in the graph: the slow pairs are 8 times too fast
    ("llama_cpp", "b10488", {**QWEN25_7B, "rope_scaling": LLAMA3}, Verb.IGNORES, "no rope factors", {"frequency": 8.0}, None),
    # proportional: the factor, 8, or all of it
    ("vllm", "0.33", GEMMA4, Verb.IGNORES, "factor: 8 of proportional", {"frequency": 8.0}, None),
    ("sglang", "0.5.23", GEMMA4, Verb.IGNORES, "factor: 8 of proportional", {"frequency": 8.0}, None),
    ("llama_cpp", "b10488", GEMMA4, Verb.IGNORES, '"proportional"', {"frequency": math.inf}, None),
    ("tensorrt_llm", "1", GEMMA4_V4, Verb.CRASHES, '"proportional"', {}, None),
    # spellings
    # _compute_yarn_parameters of 4.45, 4.50, 4.51, 4.53, 4.55 and 4.57 run for this config (base 1e6, 128 channels)
    ("transformers", "4.50", {**QWEN3_8B, "max_position_embeddings": 131_072,
                              "rope_scaling": {**yarn(), "original_max_position_embeddings": 32_768}}, Verb.IGNORES,
     "its ramp is placed for 131,072 tokens", {"frequency": 2.2353}, "4.51"),
    ("transformers", "4.50", {**QWEN3_8B, "max_position_embeddings": 131_072, "rope_scaling": {
        **yarn(), "original_max_position_embeddings": 32_768, "mscale": 1.0, "mscale_all_dim": 1.0}}, Verb.IGNORES,
     "mscale", {"logits": 1.1386**2}, "4.51"),
    ("transformers", "4.53", {**QWEN3_8B, "max_position_embeddings": 131_072, "rope_scaling": {
        **yarn(), "original_max_position_embeddings": 32_768, "truncate": False}}, Verb.IGNORES,
     "truncate: false", {"frequency": 1.0489}, "4.55"),
    ("transformers", "4.57", v5(llama(yarn(), max_position_embeddings=16_384)), Verb.IGNORES, "rope_parameters",
     {"frequency": 4.0, "logits": 1 / 1.2965}, "5.23"),
    ("transformers", "5.23", FLAT_OLMO, Verb.IGNORES, "flat rope_parameters", {"frequency": 8.0, "logits": 1 / M[8] ** 2},
     None),
    ("mlx_lm", "0.32.2", v5(llama(yarn(), max_position_embeddings=16_384)), Verb.IGNORES, "rope_parameters",
     {"frequency": 4.0, "logits": 1 / 1.2965}, None),
    # qwen2 without a base at the top: its own default of 1e6 for 1e4; last pair of 64: 100^(126/128)
    ("mlx_lm", "0.32.2", v5({**QWEN25_7B, "rope_theta": 1e4, "rope_scaling": None}), Verb.IGNORES, "rope_parameters",
     {"frequency": 100 ** (126 / 128)}, None),
    # Gemma 3: MLX-LM's file has the keys of transformers 4 (a witness found it: docs/verify.md)
    ("mlx_lm", "0.32.2", GEMMA3_V5, Verb.IGNORES, "rope_parameters", {"frequency": 8.0}, None),
    ("mlx_lm", "0.32.2", {**v5(llama(yarn(), max_position_embeddings=16_384)), "model_type": "qwen3_moe"}, Verb.CRASHES,
     "without rope_theta beside it", {}, None),
    # get_rope(head_dim, rotary_dim, max_position, base, is_neox_style) in the sources of 0.11.2, 0.10.2 and 0.9.2
    *(("vllm", old, {**llama(yarn(), max_position_embeddings=16_384), "model_type": kind}, Verb.IGNORES,
       f"every scaling of {kind}", {"frequency": 4.0, "logits": 1 / M[4] ** 2}, new)
      for kind, old, new in (("mixtral", "0.11.2", "0.12"), ("olmo2", "0.10.2", "0.11"), ("granitemoe", "0.9.2", "0.10"))),
    ("vllm", "0.11.2", v5(llama(yarn(), max_position_embeddings=16_384)), Verb.IGNORES, "rope_parameters, and what is in it",
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "0.12"),
    # patch_rope_parameters of 0.12, 0.16 and 0.19 run with transformers 4.57: base 1e6 came out as 10,000 of Qwen3's class
    ("vllm", "0.12", v5(R1_QWEN3), Verb.IGNORES, "the class's own 10000", {"frequency": 100 ** (126 / 128)}, "0.19.1"),
    ("vllm", "0.19", GEMMA3_V5, Verb.CRASHES, "one dict per layer type in rope_parameters alone", {}, "0.19.1"),
    # truncate stands nowhere in rotary_embedding of 0.6.6 to 0.11.2: x1.763 as for MLX-LM above
    ("vllm", "0.11.2", GPT_OSS_20B, Verb.IGNORES, "truncate: false", {"frequency": 1.763}, "0.12"),
    # get_rope of 26 releases of vLLM and 21 of SGLang run on a CPU: 0.12 to 0.16 have no self.truncate there
    ("vllm", "0.16", M_RAMP, Verb.CRASHES, "mrope_section beside yarn (AttributeError", {}, "0.17"),
    ("vllm", "0.8.5", llama({"rope_type": "dynamic", "factor": 1.0, "alpha": 1000.0}), Verb.IGNORES, "alpha of dynamic",
     {"frequency": 1000.0}, "0.9"),  # the last pair: a base of 1000^(128/126) times 10,000, to the power of 126/128
    ("sglang", "0.4.6", llama({"rope_type": "dynamic", "factor": 1.0, "alpha": 1000.0}), Verb.IGNORES, "alpha of dynamic",
     {"frequency": 1000.0}, "0.4.9"),
    ("sglang", "0.5.23", {**PHI3_MINI_128K, "rope_scaling": {**PHI3_LISTS, "type": "su"}}, Verb.REPLACES,
     "position 4,096 is rotated as position 0", {}, None),  # transformers' config class has made longrope of it
    ("sglang", "0.5.23", llama({**LONGROPE, "rope_type": "su"}, **WIDE), Verb.CRASHES, '"su"', {}, None),
    ("sglang", "0.5.23", llama({"rope_type": "linear", "factor": 4}), Verb.CRASHES, "without a decimal point", {}, None),
    ("vllm", "0.18", GEMMA4_V4, Verb.CRASHES, "proportional", {}, "0.19"),
    ("sglang", "0.5.9", GEMMA4_V4, Verb.CRASHES, "proportional", {}, "0.5.11"),
    ("vllm", "0.10.2", M_RAMP, Verb.IGNORES, "mrope_section beside yarn", {}, "0.11"),
    ("vllm", "0.8.5", NTK, Verb.CRASHES, 'rope_type "ntk"', {}, "0.9"),
    ("vllm", "0.11", PHI3_MINI_128K, Verb.DRIFTS, "takes its whole batch to the long lists", {}, "0.11.1"),
    # nothing in 0.5.6 mentions rope_parameters; glm4 reads the base from 0.5.7 on, DeepSeek all in 0.5.9
    ("sglang", "0.5.6", v5({**MLA, "rope_scaling": yarn()}), Verb.IGNORES, "rope_parameters, and what is in it", {}, "0.5.9"),
    ("sglang", "0.5.8", {**v5(llama(yarn(), max_position_embeddings=16_384)), "model_type": "glm4"}, Verb.IGNORES,
     "the scaling in rope_parameters, where it reads the base", {"frequency": 4.0}, "0.5.6"),
    ("sglang", "0.5.9", {**v5({**QWEN3_8B, "rope_scaling": yarn()}), "model_type": "qwen3_next"}, Verb.IGNORES,
     "the base in rope_parameters", {}, "0.5.10"),
    ("sglang", "0.5.9", llama({"rope_type": "yarn", "factor": 4.0}), Verb.CRASHES, "without original_max_position_embeddings",
     {}, "0.5.10"),
    ("sglang", "0.5.8", M_RAMP, Verb.IGNORES, "mrope_section beside yarn", {}, "0.5.9"),
    # in the sources of 0.5.9, which asks for transformers 4.57.1, and of 0.5.3
    ("sglang", "0.5.9", v5(llama(yarn(), max_position_embeddings=16_384)), Verb.IGNORES, "rope_parameters, and what is in it",
     {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "0.5.10"),
    ("sglang", "0.5.3", {**llama(yarn(), max_position_embeddings=16_384), "model_type": "olmo2"}, Verb.IGNORES,
     "every scaling of olmo2", {"frequency": 4.0, "logits": 1 / M[4] ** 2}, "0.5.4"),
    # MixtralAttention: get_rope(head_dim, rotary_dim, max_position, base, is_neox_style)
    ("sglang", "0.5.23", {**llama(yarn(), max_position_embeddings=16_384), "model_type": "mixtral"}, Verb.IGNORES,
     "every scaling of mixtral", {"frequency": 4.0, "logits": 1 / M[4] ** 2}, None),
    ("mlx_lm", "0.32.2", {**llama(yarn(), max_position_embeddings=16_384), "model_type": "qwen3_moe"}, Verb.IGNORES,
     "every scaling of qwen3_moe", {"frequency": 4.0, "logits": 1 / 1.2965}, None),
    ("tensorrt_llm", "1", v5(llama(yarn(), max_position_embeddings=16_384)), Verb.IGNORES, "rope_parameters",
     {"frequency": 4.0}, None),
    # lfm2_moe.py reads rope_theta there; from 0.5.10 on transformers 5 gives that dict as rope_scaling (0.5.12: its class run)
    ("sglang", "0.5.9", {**v5(llama(yarn(), max_position_embeddings=16_384)), "model_type": "lfm2_moe"}, Verb.IGNORES,
     "the scaling in rope_parameters", {"frequency": 4.0}, "0.5.12"),
    ("transformers", "5.23", {**QWEN25_7B, "max_position_embeddings": 1_010_000,
                              "dual_chunk_attention_config": {"original_max_position_embeddings": 262_144}},
     Verb.IGNORES, "dual_chunk_attention_config: tokens beyond 262,144", {}, None),
    # modeling_internlm2.py, _init_rope: linear and dynamic, else ValueError
    ("transformers", "5.23", {**llama(yarn()), "model_type": "internlm2"}, Verb.CRASHES, "knows dynamic and linear", {}, None),
    # DBRX as published: DbrxRotaryEmbedding built from it has base 10,000; vLLM and 4.57 take 500,000. 50^(126/128) = 47
    ("transformers", "5.23", {"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32_768,
                              "attn_config": {"kv_n_heads": 8, "rope_theta": 500_000}},
     Verb.IGNORES, "attn_config.rope_theta", {"frequency": 50 ** (126 / 128)}, "4.57"),
    # CONTEXT_LENGTH_KEYS; _get_and_verify_max_len: the smallest of them, or model_max_length
    ("sglang", "0.5.23", {**LLAMA2_7B, "max_sequence_length": 2048}, Verb.CLAMPS, "at max_sequence_length", {"window": 2048},
     None),
    ("vllm", "0.33", {**LLAMA2_7B, "max_sequence_length": 2048}, Verb.CLAMPS, "at max_sequence_length", {"window": 2048},
     None),
    ("vllm", "0.33", {**LLAMA2_7B, "seq_length": 1024, "model_max_length": 2048}, Verb.CLAMPS, "at model_max_length",
     {"window": 2048}, None),
    ("transformers", "5.23", {**v5(llama(yarn())), "rope_parameters": yarn()}, Verb.REPLACES, "without rope_theta", {},
     "4.57"),
    # factor 4 with M = 40,960: 1.25 by the ratio (transformers#38224)
    ("transformers", "4.51", {**QWEN3_8B, "rope_scaling": {**yarn(), "original_max_position_embeddings": 32_768}},
     Verb.REPLACES, "max / original = 1.25", {"frequency": 3.2}, "5.23"),
    # DeepSeek's attention
    ("vllm", "0.33", {**MLA, "rope_scaling": {**yarn(40.0), "rope_type": "linear"}}, Verb.REPLACES, "becomes yarn",
     {"over": 2}, None),
    ("vllm", "0.33", {**MLA, "rope_scaling": {"rope_type": "linear", "factor": 40.0}}, Verb.CRASHES,
     "linear without original_max_position_embeddings", {}, None),
    # a witness's 2.7 nats; m(64)^2, and with the carrier of others, attn_factor, too
    ("vllm", "0.33", {**MLA, "rope_scaling": yarn(64.0, attention_factor=1.0, attn_factor=1 / M[64])}, Verb.REPLACES,
     "attention_factor and attn_factor", {"logits": 2.005}, None),
    ("vllm", "0.33", {**MLA, "rope_scaling": yarn(64.0, attention_factor=1.0)}, Verb.REPLACES, "attention_factor",
     {"logits": 2.005}, None),
    ("sglang", "0.5.23", {**MLA, "rope_scaling": {"rope_type": "linear", "factor": 40.0}}, Verb.REPLACES, "becomes yarn",
     {"over": 2}, None),
    ("vllm", "0.33", {**MLA, "rope_scaling": {**yarn(40.0), "truncate": False}}, Verb.IGNORES, "truncate",
     {"frequency": 1.502}, None),  # 0.50 (algorithms.md 1.4)
    ("sglang", "0.5.23", {**MLA, "rope_scaling": {**yarn(40.0), "truncate": False}}, Verb.IGNORES, "truncate",
     {"frequency": 1.502}, None),
    ("sglang", "0.5.23", MROPE, Verb.CRASHES, "mrope_section", {}, None),
    # windows
    ("vllm", "0.33", llama(yarn()), Verb.CLAMPS, "below the 16,384", {"window": 4096}, "0.29"),
    ("sglang", "0.5.23", llama(yarn()), Verb.CLAMPS, "below the 16,384", {"window": 4096}, None),
    ("llama_cpp", "b10488", llama(yarn()), Verb.CLAMPS, "below the 16,384", {"window": 4096}, None),
    # nomic-embed-text-v1 as published: the class of transformers has no such key; vLLM since its pull request 41277
    ("transformers", "5.23", NOMIC, Verb.IGNORES, "rotary_scaling_factor: 2", {}, "4.57"),
    ("vllm", "0.33", NOMIC, Verb.REPLACES, "one table, of the served length", {}, "0.12"),
    ("vllm", "0.12", NOMIC, Verb.IGNORES, "rotary_scaling_factor: 2", {}, "0.33"),
    # its converter: "the HF config claims n_ctx=8192, but it uses RoPE scaling", and 2048 is written
    ("llama_cpp", "b10488", NOMIC, Verb.CLAMPS, "which its converter writes", {"window": 2048}, None),
    # Ollama: its converter, the cap, the shift: m(4) = 1.1386 each time
    ("ollama", "0.12", {**QWEN3_8B, "rope_scaling": {**yarn(), "original_max_position_embeddings": 32_768}}, Verb.IGNORES,
     "when it converts safetensors itself", {"over": 1.05}, None),
    ("ollama", "0.12", llama(yarn(), max_position_embeddings=16_384), Verb.DRIFTS, "by 1.1386", {}, None),
]  # fmt: skip


def row_id(row):
    return f"{row[0]}-{row[3].name.lower()}-{row[4][:24]}"


def found(engine, version, config):
    return [loss for keys in layers_of(config) for loss in rotation(get_engine(engine), keys, version).losses]


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_a_row_of_the_ledger_is_found_and_measured(row):
    engine, version, config, verb, words, size, without = row

    losses = [loss for loss in found(engine, version, config) if loss.verb is verb and words in loss.what]
    assert losses, [loss.said for loss in found(engine, version, config)]
    loss = losses[0]
    if "logits" in size:
        assert loss.logits == pytest.approx(size["logits"], rel=1e-3)
    if "frequency" in size:
        assert loss.frequency == pytest.approx(size["frequency"], rel=1e-3)
    if "over" in size:
        assert loss.frequency > size["over"]
    assert loss.window == size.get("window")
    assert loss.source
    assert loss.said.startswith(get_engine(engine).title)
    if without is not None:
        assert not [other for other in found(engine, without, config) if other.verb is verb and words in other.what]


@pytest.mark.parametrize(
    ("engine", "version", "config"),
    [
        ("transformers", "4.53", PHIMOE),  # its class asks for both lists at each forward, and has m of these keys
        ("mlx_lm", "0.26.2", {**MLA, "model_type": "kimi_k2", "rope_scaling": yarn(32.0, mscale=1.0, mscale_all_dim=1.0)}),
        ("mlx_lm", "0.32.2", {**PHI3_MINI_128K, "rope_scaling": {**PHI3_MINI_128K["rope_scaling"], "factor": 32.0}}),
    ],
    ids=["phimoe", "kimi", "phi3"],
)
def test_what_runs_as_written_is_not_alarmed_about(engine, version, config):
    """Each by its file of that version: phimoe/modeling_phimoe.py, models/deepseek_v3.py (MODEL_REMAPPING), models/phi3.py."""
    losses = [loss for loss in found(engine, version, config) if "short_factor" not in loss.what]

    assert [loss.said for loss in losses if loss.verb in (Verb.CRASHES, Verb.IGNORES, Verb.REPLACES)] == []


def test_a_missing_length_of_a_known_model_moves_the_ramp():
    """Qwen3 at max 131,072 without the key: transformers and llama.cpp ramp at 131,072, and the card means 32,768."""
    card = {**QWEN3_YARN_131K, "rope_scaling": {**QWEN3_YARN_131K["rope_scaling"], "original_max_position_embeddings": 32_768}}
    (meant,) = layers_of(card)
    missing = dataclasses.replace(meant, said={k: v for k, v in meant.said.items() if not k.startswith("original")})
    for engine in ("transformers", "sglang", "llama_cpp"):
        losses = rotation(get_engine(engine), missing).losses
        assert any("it takes 131,072" in loss.what and loss.frequency > 1.5 for loss in losses), engine
        assert rotation(get_engine(engine), meant).losses == ()


def gguf_keys(**more):
    keys = {"general.architecture": "qwen3", "qwen3.context_length": 131_072, "qwen3.rope.dimension_count": 128,
            "qwen3.rope.freq_base": 1e6, "qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 4.0,
            "qwen3.rope.scaling.original_context_length": 32_768}  # fmt: skip
    return {**keys, **{f"qwen3.{name}": value for name, value in more.items()}}


@pytest.mark.parametrize(
    ("more", "words", "size"),
    [
        ({"rope.scaling.yarn_attn_factor": 1.0}, "attention_factor", {"logits": 1.2965}),
        ({"rope.scaling.yarn_beta_fast": 8.0}, "beta_fast: 8.0", {}),
        ({"rope.scaling.original_context_length": None}, "it takes 131,072", {}),
    ],
    ids=str,
)
def test_dead_keys_of_a_gguf(more, words, size):
    (keys,) = get_engine("llama_cpp").read({k: v for k, v in gguf_keys(**more).items() if v is not None})
    if "original_context_length" in str(more):
        keys = keys.with_length(32_768)  # as the model's card says
    losses = rotation(get_engine("llama_cpp"), keys).losses

    (loss,) = [loss for loss in losses if words in loss.what]
    assert loss.frequency > 1.01 or loss.logits == pytest.approx(size["logits"], rel=1e-3)


def test_the_key_of_a_gguf_that_works():
    """rope.scaling.attn_factor multiplies m(s): 1 / 1.1386 turns the temperature off (serving.md 1.2)."""
    (keys,) = get_engine("llama_cpp").read(gguf_keys(**{"rope.scaling.attn_factor": 1 / M[4]}))
    result = rotation(get_engine("llama_cpp"), keys)

    assert result.losses == ()
    assert result.scaled.attention_factor == pytest.approx(1.0)
    assert gguf.keys_of(gguf_keys()).stretch().factor == 4


def test_code_of_their_own():
    deepseek = {"qk_rope_head_dim": 64, "rope_theta": 1e4, "rope_factor": 40.0, "original_seq_len": 4096, "max_seq_len": 4096}
    (keys,) = get_engine("deepseek").read(deepseek)
    (off,) = rotation(get_engine("deepseek"), keys).losses
    assert (off.verb, off.frequency) == (Verb.IGNORES, pytest.approx(40.0))
    (keys,) = get_engine("deepseek").read({**deepseek, "max_seq_len": 4097})
    assert rotation(get_engine("deepseek"), keys).losses == ()

    short = {"head_dim": 64, "rope_theta": 150_000.0, "initial_context_length": 128, "rope_scaling_factor": 2.0}
    (keys,) = get_engine("gpt_oss").read(short)  # 128 tokens are 20 turns: low is below 0
    (crash,) = rotation(get_engine("gpt_oss"), keys).losses
    assert crash.verb is Verb.CRASHES

    preset = {"kv_channels": 64, "rotary_base": 150_000.0, "max_position_embeddings": 131_072,
              "position_embedding_type": "yarn", "yarn_rotary_scaling_factor": 32.0,
              "yarn_correction_range_round_to_int": False}  # fmt: skip
    (keys,) = get_engine("megatron").read({**preset, "yarn_original_max_position_embeddings": 4096})
    assert rotation(get_engine("megatron"), keys).losses == ()
    (keys,) = get_engine("megatron").read(preset)
    (missing,) = rotation(get_engine("megatron"), keys.with_length(4096)).losses
    assert "it takes 131,072" in missing.what
    # the code's ramp runs from pair 8.09 to 17.40, the preset's from 17.4 to 26.7 (algorithms.md 1.11): pair 17 is kept by one
    # and wholly slowed by the other
    assert missing.frequency > 20
    (keys,) = get_engine("megatron").read({**preset, "rotary_percent": 0.5, "yarn_original_max_position_embeddings": 4096})
    assert [loss.frequency for loss in rotation(get_engine("megatron"), keys).losses] == [math.inf]
    for share in (0, -1, 1.5, 1e306):
        with pytest.raises(BadConfig, match="rotary_percent is"):
            get_engine("megatron").read({**preset, "rotary_percent": share})


def test_every_quirk_has_a_row():
    """A quirk that no test shows is a claim: each source of each engine is named by a loss that some text produces."""
    shown = {(engine, loss.source) for engine, version, config, *_ in ROWS for loss in found(engine, version, config)}
    # commands and GGUF: tests/jobs/doctor, and above
    elsewhere = {
        "transformers": {"configuration_utils.py:724", "modeling_rope_utils.py:836", "from its text_config", "validate_rope"},
        "vllm": {"issues/37886", "recipes/issues/856", "_get_and_verify_max_len", "issues/8793", "_apply_dict_overrides",
                 "NaN beyond its table", "config.py:826", "config.py:305", "rotary_embedding/__init__.py"},
        "sglang": {"issues/2108", "factory.py", "config.py:411", "key by key", "model_config.py:1302", "get_rope_config"},
        "llama_cpp": {"llama-context.cpp", "llama-kv-cache.cpp:1944", "over the rest", "load_hparams", "context overflow",
                      "server-context.cpp", "set_gguf_parameters", "deepseek2.cpp was", "server/settings.py"},
        "mlx_lm": {"models", "tuner/trainer.py",  # and each model's own file: tests/engines/test_mlx_models.py
                   "deepseek_v2.py", "glm.py:58", "minicpm3.py", "gpt_oss.py", "olmo3.py", "mistral4.py"},
        "tensorrt_llm": {"interface.py"},
    }  # fmt: skip
    for name in ("transformers", "vllm", "sglang", "mlx_lm", "tensorrt_llm", "llama_cpp"):
        missing = {quirk.source for quirk in get_engine(name).quirks} - {source for engine, source in shown if engine == name}
        assert not [source for source in missing if not any(source.endswith(end) for end in elsewhere.get(name, ()))]


@pytest.mark.parametrize("name", engines())
def test_every_quirk_says_where_it_was_seen_and_in_which_versions(name):
    for quirk in engines()[name].quirks:
        assert quirk.source
        within(parse_version("1"), quirk.versions)


def test_the_ntk_of_vllm_is_su_jianlins():
    """Ratios to the plain frequencies at pairs 0, 32 and 63, for s = 4 and d = 128 (algorithms.md 1.3, its own class run)."""
    (keys,) = layers_of(NTK)
    found = rotation(get_engine("vllm"), keys).scaled

    ratios = [found.inv_freq[i] / keys.rope.inv_freq[i] for i in (0, 32, 63)]
    assert ratios == pytest.approx([0.9786, 0.4893, 0.25], abs=1e-4)


def test_who_reads_the_multiplier():
    """R1-0528-Qwen3-8B turns the temperature off with attn_factor: SGLang and vLLM before 0.30 follow, newer ones do not."""
    (keys,) = layers_of(R1_QWEN3)
    factors = {
        name: rotation(get_engine(name), keys, version).scaled.attention_factor
        for name, version in (("sglang", "0.5.23"), ("vllm", "0.29"))
    }
    assert factors == {"sglang": pytest.approx(1.0), "vllm": pytest.approx(1.0)}
    assert rotation(get_engine("vllm"), keys, "0.33").scaled.attention_factor == pytest.approx(M[4])
    both = keys.but(mscale=1.0, mscale_all_dim=1.0)  # SGLang multiplies the ratio too
    assert rotation(get_engine("sglang"), both).scaled.attention_factor == pytest.approx(1 / M[4])
