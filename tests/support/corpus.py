"""Real published configs, 2023 to 2026: the keys that bear on the rotary embedding, and where each was taken from.

`source` says how far an entry can be trusted:
  seen: ...    compared with a copy of the config (or the named part of it) in a public source repository
  research     stated in the notes this project was planned with, which read the config or the code that defaults it
  known        written from knowledge of the published file; nothing was downloaded, and a value may be misremembered
Factor lists of longrope models are invented (the right number of them, rising): the published ones are long.

    python tests/support/corpus.py      prints the snapshot that tests/engines/corpus.txt holds
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support import published

LLM_PROF = "seen: citsjtu2020/LLM-Prof@8434c8d, sglang/Model_Config.md"
K, RESEARCH = "known", "research"


@dataclass(frozen=True)
class Entry:
    """model: its id on the hub.  date: of publication.  healthy: every engine of `doctor`'s default does what is written."""

    model: str
    date: str
    source: str
    config: Mapping[str, Any]
    healthy: bool = True


def dense(
    kind: str, hidden: int, heads: int, kv: int, layers: int, length: int, theta: float | None = None, **more: Any
) -> dict:
    config: dict[str, Any] = {
        "model_type": kind, "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv,
        "num_hidden_layers": layers, "max_position_embeddings": length,
    }  # fmt: skip
    return {**config, **({"rope_theta": theta} if theta else {}), **more}


def llama3(factor: float) -> dict:
    return {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3"}  # fmt: skip


def yarn(factor: float, length: int, **more: Any) -> dict:
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length, **more}


def mla(kind: str, heads: int, length: int, theta: float, scaling: dict | None, **more: Any) -> dict:
    return dense(kind, 7168, heads, heads, 61, length, theta, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128,
                 v_head_dim=128, rope_scaling=scaling, **more)  # fmt: skip


def deepseek_yarn(factor: float, slope: float, **more: Any) -> dict:
    return {"type": "yarn", "factor": factor, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1,
            "mscale": slope, "mscale_all_dim": slope, **more}  # fmt: skip


def longrope(pairs: int, **more: Any) -> dict:
    return {"type": "longrope", "short_factor": [1 + i / 50 for i in range(pairs)],
            "long_factor": [1 + i * 1.25 for i in range(pairs)], **more}  # fmt: skip


def v5(theta: float, **more: Any) -> dict:
    return {"rope_type": "default", "rope_theta": theta, **more}


GEMMA4_ROPE = {"full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
               "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
QWEN35_ROPE = {"mrope_interleaved": True, "mrope_section": [11, 11, 10], "partial_rotary_factor": 0.25}
SIX = ["sliding_attention"] * 5 + ["full_attention"]
FOUR = ["sliding_attention"] * 3 + ["full_attention"]

CORPUS = (
    # 2023
    Entry("meta-llama/Llama-2-7b-hf", "2023-07", K, published.LLAMA2_7B),
    Entry("huggyllama/llama-7b", "2023-04", K, dense("llama", 4096, 32, 32, 32, 2048)),
    Entry("EleutherAI/pythia-1.4b", "2023-03", K, published.PYTHIA_14B),
    Entry("tiiuae/falcon-7b", "2023-05", K, {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71,
          "num_hidden_layers": 32, "max_position_embeddings": 2048, "alibi": False}),
    Entry("lmsys/vicuna-7b-v1.5-16k", "2023-08", K,
          dense("llama", 4096, 32, 32, 32, 4096, rope_scaling={"factor": 4.0, "type": "linear"})),
    Entry("codellama/CodeLlama-7b-hf", "2023-08", K, dense("llama", 4096, 32, 32, 32, 16_384, 1e6)),
    Entry("NousResearch/Yarn-Llama-2-7b-128k", "2023-08", RESEARCH, dense("llama", 4096, 32, 32, 32, 131_072, rope_scaling={
        "type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "finetuned": True})),
    Entry("mistralai/Mistral-7B-v0.1", "2023-09", K, published.MISTRAL_7B_V01),
    # M is the sliding window's model; f L is 65,536: "M != f L by design" (algorithms.md 1.12)
    Entry("NousResearch/Yarn-Mistral-7b-64k", "2023-10", RESEARCH, dense("mistral", 4096, 32, 8, 32, 32_768, 1e4,
          sliding_window=65_536, rope_scaling={"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
                                               "finetuned": True}), healthy=False),
    Entry("01-ai/Yi-6B-200K", "2023-11", K, dense("llama", 4096, 32, 4, 32, 200_000, 5e6)),
    Entry("deepseek-ai/deepseek-coder-6.7b-base", "2023-11", K,
          dense("llama", 4096, 32, 32, 32, 16_384, 1e5, rope_scaling={"factor": 4.0, "type": "linear"})),
    Entry("mistralai/Mixtral-8x7B-v0.1", "2023-12", K, dense("mixtral", 4096, 32, 8, 32, 32_768, 1e6, sliding_window=None)),
    Entry("stabilityai/stablelm-3b-4e1t", "2023-09", K,
          dense("stablelm", 2560, 32, 32, 32, 4096, 1e4, partial_rotary_factor=0.25)),
    Entry("microsoft/phi-2", "2023-12", K, dense("phi", 2560, 32, 32, 32, 2048, 1e4, partial_rotary_factor=0.4)),
    # 2024
    Entry("google/gemma-2b", "2024-02", K, dense("gemma", 2048, 8, 1, 18, 8192, 1e4, head_dim=256)),
    Entry("bigcode/starcoder2-7b", "2024-02", K, dense("starcoder2", 4608, 36, 4, 32, 16_384, 1e6, sliding_window=4096)),
    Entry("CohereForAI/c4ai-command-r-v01", "2024-03", K, dense("cohere", 8192, 64, 64, 40, 8192, 8e6)),
    Entry("meta-llama/Meta-Llama-3-8B", "2024-04", K, dense("llama", 4096, 32, 8, 32, 8192, 5e5, rope_scaling=None)),
    Entry("microsoft/Phi-3-mini-4k-instruct", "2024-04", "seen: a public copy (phi3, 4096, 10000.0, 2047)",
          dense("phi3", 3072, 32, 32, 32, 4096, 1e4, original_max_position_embeddings=4096, rope_scaling=None,
                sliding_window=2047)),
    Entry("microsoft/Phi-3-mini-128k-instruct", "2024-04", K, published.PHI3_MINI_128K, healthy=False),
    Entry("deepseek-ai/DeepSeek-V2-Lite", "2024-05",
          "seen: a public copy, saved by transformers 5.7 (mscale 0.707, factor 40)",
          mla("deepseek_v2", 16, 163_840, 1e4, deepseek_yarn(40, 0.707))),
    Entry("Qwen/Qwen2-1.5B-Instruct", "2024-06", "seen: a public copy (hidden 1536, 12 heads, 1e6)",
          dense("qwen2", 1536, 12, 2, 28, 32_768, 1e6)),
    Entry("google/gemma-2-9b", "2024-06", K, dense("gemma2", 3584, 16, 8, 42, 8192, 1e4, head_dim=256, sliding_window=4096)),
    Entry("meta-llama/Llama-3.1-8B", "2024-07", LLM_PROF, published.LLAMA31_8B),
    Entry("meta-llama/Llama-3.1-70B", "2024-07", K, dense("llama", 8192, 64, 8, 80, 131_072, 5e5, rope_scaling=llama3(8.0))),
    Entry("mistralai/Mistral-Nemo-Base-2407", "2024-07", K, dense("mistral", 5120, 32, 8, 40, 131_072, 1e6, head_dim=128,
          sliding_window=None)),
    Entry("microsoft/Phi-3.5-MoE-instruct", "2024-08", RESEARCH, dense("phimoe", 4096, 32, 8, 32, 131_072, 1e4,
          original_max_position_embeddings=4096, rope_scaling=longrope(64, short_mscale=1.243163121016122,
          long_mscale=1.243163121016122, original_max_position_embeddings=4096)), healthy=False),
    Entry("Qwen/Qwen2-VL-7B-Instruct", "2024-08", K, published.QWEN2_VL_7B),
    Entry("Qwen/Qwen2.5-7B", "2024-09", LLM_PROF, dense("qwen2", 3584, 28, 4, 28, 131_072, 1e6, sliding_window=131_072,
          use_sliding_window=False)),
    Entry("Qwen/Qwen2.5-7B-Instruct", "2024-09", K, published.QWEN25_7B),
    # the card's snippet beside M = 32,768: vLLM since 0.32, SGLang and llama.cpp stop at 32,768
    Entry("Qwen/Qwen2.5-7B-Instruct, the card's YaRN", "2024-09", RESEARCH, {**published.QWEN25_7B, "rope_scaling": {
        "factor": 4.0, "original_max_position_embeddings": 32_768, "type": "yarn"}}, healthy=False),
    Entry("Qwen/Qwen2.5-14B", "2024-09", LLM_PROF, dense("qwen2", 5120, 40, 8, 48, 131_072, 1e6, sliding_window=131_072,
          use_sliding_window=False)),
    Entry("Qwen/Qwen2.5-3B", "2024-09", LLM_PROF, dense("qwen2", 2048, 16, 2, 36, 32_768, 1e6, sliding_window=32_768,
          use_sliding_window=False)),
    Entry("meta-llama/Llama-3.2-3B", "2024-09", LLM_PROF, dense("llama", 3072, 24, 8, 28, 131_072, 5e5, head_dim=128,
          rope_scaling=llama3(32.0))),
    Entry("ibm-granite/granite-3.0-8b-base", "2024-10", K, dense("granite", 4096, 32, 8, 40, 4096, 1e4)),
    Entry("tencent/Hunyuan-7B-Instruct", "2025-07", K, dense("hunyuan_v1_dense", 4096, 32, 8, 32, 32_768, 1e4,
          head_dim=128, rope_scaling={"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
                                      "mscale_all_dim": 1.0, "type": "dynamic"})),
    Entry("CohereForAI/c4ai-command-r7b-12-2024", "2024-12", K, published.COMMAND_R7B),
    Entry("deepseek-ai/DeepSeek-V3", "2024-12", RESEARCH, published.DEEPSEEK_V3),
    Entry("tiiuae/Falcon3-7B-Base", "2024-12", K, dense("llama", 3072, 12, 4, 28, 32_768, 1000042.0, head_dim=256)),
    Entry("allenai/OLMo-2-1124-7B", "2024-11", K, dense("olmo2", 4096, 32, 32, 32, 4096, 5e5)),
    # 2025
    Entry("microsoft/Phi-4-mini-instruct", "2025-02",
          "seen: a public copy (24 heads, head_dim 128, partial 0.75; lists not compared)",
          dense("phi3", 3072, 24, 8, 32, 131_072, 1e4, head_dim=128, partial_rotary_factor=0.75,
                original_max_position_embeddings=4096, rope_scaling=longrope(48), sliding_window=262_144), healthy=False),
    Entry("Qwen/QwQ-32B", "2025-03", K, dense("qwen2", 5120, 40, 8, 64, 40_960, 1e6, sliding_window=32_768,
          use_sliding_window=False)),
    Entry("google/gemma-3-4b-it", "2025-03", K, published.GEMMA3_4B),
    Entry("google/gemma-3-12b-it", "2025-03", "seen: a public copy (linear 8, window 1024, no lengths)",
          {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 3840, "num_attention_heads": 16,
           "num_key_value_heads": 8, "num_hidden_layers": 48, "head_dim": 256, "sliding_window": 1024,
           "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}}),
    Entry("google/gemma-3-1b-it", "2025-03", K, dense("gemma3_text", 1152, 4, 1, 26, 32_768, 1e6, head_dim=256,
          rope_local_base_freq=1e4, rope_scaling=None, sliding_window=512, sliding_window_pattern=6)),
    Entry("meta-llama/Llama-4-Scout-17B-16E", "2025-04", RESEARCH, {"model_type": "llama4", "text_config": dense("llama4_text",
          5120, 40, 8, 48, 10_485_760, 5e5, head_dim=128, attention_chunk_size=8192, no_rope_layer_interval=4,
          rope_scaling=llama3(8.0))}),
    Entry("Qwen/Qwen3-8B", "2025-04", LLM_PROF, published.QWEN3_8B),
    Entry("Qwen/Qwen3-8B, the card's YaRN", "2025-04", RESEARCH, published.QWEN3_8B_YARN, healthy=False),
    Entry("Qwen/Qwen3-14B", "2025-04", LLM_PROF, dense("qwen3", 5120, 40, 8, 40, 40_960, 1_000_000, head_dim=128,
          rope_scaling=None)),
    Entry("Qwen/Qwen3-30B-A3B", "2025-04", LLM_PROF, dense("qwen3_moe", 2048, 32, 4, 48, 40_960, 1e6, head_dim=128,
          rope_scaling=None)),
    Entry("Qwen/Qwen3-32B", "2025-04", LLM_PROF, dense("qwen3", 5120, 64, 8, 64, 40_960, 1_000_000, head_dim=128,
          rope_scaling=None)),
    Entry("Qwen/Qwen3-4B", "2025-04", LLM_PROF, dense("qwen3", 2560, 32, 8, 36, 40_960, 1_000_000, head_dim=128,
          rope_scaling=None)),
    Entry("THUDM/GLM-4-9B-0414", "2025-04", K, published.GLM4_9B),
    Entry("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "2025-05", RESEARCH, dense("qwen3", 4096, 32, 8, 36, 131_072, 1_000_000,
          head_dim=128, rope_scaling=yarn(4.0, 32_768, attn_factor=0.8782488562869419)), healthy=False),
    Entry("moonshotai/Kimi-K2-Instruct", "2025-07", "seen: a public copy (betas 1 and 1, factor 32, 50000)",
          mla("deepseek_v3", 64, 131_072, 50_000.0, deepseek_yarn(32.0, 1.0, beta_fast=1.0, beta_slow=1.0)), healthy=False),
    Entry("HuggingFaceTB/SmolLM3-3B", "2025-07", K, published.SMOLLM3_3B),
    Entry("LGAI-EXAONE/EXAONE-4.0-32B", "2025-07", K, dense("exaone4", 5120, 40, 8, 64, 131_072, 1_000_000, head_dim=128,
          sliding_window=4096, sliding_window_pattern="LLLG", layer_types=FOUR * 16,
          rope_scaling={**llama3(16.0)})),
    Entry("Qwen/Qwen3-4B-Instruct-2507", "2025-08", K, dense("qwen3", 2560, 32, 8, 36, 262_144, 5_000_000, head_dim=128,
          rope_scaling=None)),
    Entry("openai/gpt-oss-20b", "2025-08", "seen: a public copy, saved by transformers 5.7",
          published.GPT_OSS_20B, healthy=False),
    Entry("ByteDance-Seed/Seed-OSS-36B-Instruct", "2025-08", K, dense("seed_oss", 5120, 80, 8, 64, 524_288, 1e7, head_dim=128,
          rope_scaling={"rope_type": "default"})),
    Entry("swiss-ai/Apertus-8B-2509", "2025-09", K, dense("apertus", 4096, 32, 8, 32, 65_536, 12_000_000.0,
          rope_scaling=llama3(8.0))),
    Entry("Qwen/Qwen3-Next-80B-A3B-Instruct", "2025-09", K, dense("qwen3_next", 2048, 16, 2, 48, 262_144, 10_000_000,
          head_dim=256, partial_rotary_factor=0.25, rope_scaling=None,
          layer_types=(["linear_attention"] * 3 + ["full_attention"]) * 12)),
    Entry("MiniMaxAI/MiniMax-M2", "2025-10", RESEARCH, dense("minimax_m2", 3072, 48, 8, 62, 196_608, 5_000_000, head_dim=128,
          rotary_dim=64)),
    Entry("allenai/Olmo-3-1025-7B", "2025-11", RESEARCH, published.OLMO3_7B),
    # v5's spelling alone, with the temperature turned off by two keys. llama.cpp's converter hands mscale_all_dim on
    # (conversion/mistral3.py), and its context makes m(s, 1) / m(s, that) of it
    Entry("mistralai/Ministral-3-8B-Instruct-2512", "2025-12",
          "seen: a public copy (factor 16, 16384, 262144, beta 0.1; mscales from research)",
          {"model_type": "mistral3", "text_config": dense("ministral3", 4096, 32, 8, 34, 262_144, head_dim=128,
           rope_parameters=v5(1_000_000.0, **yarn(16.0, 16_384, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
                                                  llama_4_scaling_beta=0.1)))}),
    # 2026
    Entry("moonshotai/Kimi-K2.5", "2026-01", "seen: a public copy (factor 64, 50000); betas research",
          {"model_type": "kimi_k25", "text_config": mla("deepseek_v3", 64, 262_144, 50_000.0, deepseek_yarn(64.0, 1.0))}),
    Entry("google/gemma-4-31b-it", "2026-04", "seen: a public copy (1e6 and 1e4, partial 0.25)",
          {"model_type": "gemma4", "text_config": {"model_type": "gemma4_text", "hidden_size": 5376, "num_attention_heads": 32,
           "num_key_value_heads": 16, "num_hidden_layers": 60, "head_dim": 256, "global_head_dim": 512,
           "max_position_embeddings": 262_144, "sliding_window": 1024, "layer_types": SIX * 10,
           "rope_parameters": GEMMA4_ROPE}}),
    Entry("Qwen/Qwen3.5-27B", "2026-02", "seen: the rope_parameters of its model card, quoted publicly",
          {"model_type": "qwen3_5", "text_config": dense("qwen3_5_text", 5120, 24, 4, 64, 262_144, head_dim=256,
           layer_types=(["linear_attention"] * 3 + ["full_attention"]) * 16, rope_parameters=v5(1e7, **QWEN35_ROPE))}),
    Entry("poolside/Laguna-XS.2", "2026-06", RESEARCH, {"model_type": "laguna", **dense("laguna", 2048, 48, 8, 40, 262_144,
          head_dim=128, sliding_window=512, layer_types=FOUR * 10), "rope_parameters": {
              "full_attention": {**yarn(64.0, 4096, attention_factor=1.0), "rope_theta": 5e5, "partial_rotary_factor": 0.5},
              "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}, healthy=False),
    Entry("LLM360/K2-Horizon", "2026-08", "seen: the published rope_parameters, quoted publicly (betas 128 and 4)",
          dense("k2_horizon", 4096, 32, 8, 32, 131_072, 1_000_000.0, rope_parameters={"rope_type": "yarn", "factor": 16.0,
          "attention_factor": 1.2772588722239782, "beta_fast": 128.0, "beta_slow": 4.0,
          "original_max_position_embeddings": 8192, "truncate": True}), healthy=False),
)  # fmt: skip


def line(entry: Entry) -> str:
    """One line of the snapshot: what the reader makes of an entry."""
    from ropewalk.engines.transformers.write import read
    from ropewalk.scaling.stretch import Stretch

    spec = read(entry.config)
    parts = []
    for name, rope in spec.ropes:
        stretch = dict(spec.scaling).get(name) or Stretch(rope)
        factor = "" if stretch.method == "none" else f" x{stretch.factor:g}"
        m, softmax = stretch.scaled().attention_factor, stretch.scaled().softmax_factor
        parts.append(
            f"{name} {rope.rotary_dim}d b={rope.rope_theta:.8g} L={rope.original_length} {stretch.name}{factor}"
            f"{'' if m == 1 else f' m={m:.4f}'}{'' if softmax == 1 else f' softmax x{softmax:.4f}'}"
        )
    unrotated = f"; {spec.unrotated_layers} layers unrotated" if spec.unrotated_layers else ""
    notes = "".join(f"\n    note: {warning}" for warning in spec.warnings)
    return f"{entry.date} {entry.model}: window {spec.max_length}; {' | '.join(parts)}{unrotated}{notes}"


def snapshot() -> str:
    return "".join(f"{line(entry)}\n" for entry in CORPUS)


if __name__ == "__main__":
    print(snapshot(), end="")
