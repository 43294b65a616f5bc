"""config.json of well-known models, written from their published values; only the keys that matter here.

The Phi-3 factor lists are invented (the right number of them, rising); everything else is as released.
"""

LLAMA2_7B = {
    "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32,
    "num_hidden_layers": 32, "max_position_embeddings": 4096, "rope_scaling": None,
}  # fmt: skip

LLAMA31_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_hidden_layers": 32, "max_position_embeddings": 131_072, "rope_theta": 500_000.0,
    "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    },
}  # fmt: skip

QWEN25_7B = {
    "model_type": "qwen2", "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
    "num_hidden_layers": 28, "max_position_embeddings": 32_768, "rope_theta": 1_000_000.0,
    "sliding_window": 131_072, "use_sliding_window": False, "max_window_layers": 28,
}  # fmt: skip

QWEN3_8B = {
    "model_type": "qwen3", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "num_hidden_layers": 36, "max_position_embeddings": 40_960, "rope_theta": 1_000_000, "rope_scaling": None,
    "sliding_window": None, "use_sliding_window": False, "max_window_layers": 36,
}  # fmt: skip

# The model card's snippet, pasted as it says.
QWEN3_8B_YARN = {
    **QWEN3_8B,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768},
}

PHI3_MINI_128K = {
    "model_type": "phi3", "hidden_size": 3072, "num_attention_heads": 32, "num_key_value_heads": 32,
    "num_hidden_layers": 32, "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096,
    "rope_theta": 10_000.0, "sliding_window": 262_144,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1 + i / 50 for i in range(48)],
        "long_factor": [1 + i * 1.25 for i in range(48)],
    },
}  # fmt: skip

GEMMA3_4B_TEXT = {
    "model_type": "gemma3_text", "hidden_size": 2560, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 256, "num_hidden_layers": 34, "max_position_embeddings": 131_072, "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024, "sliding_window_pattern": 6,
}  # fmt: skip

GEMMA3_4B = {"model_type": "gemma3", "text_config": GEMMA3_4B_TEXT, "vision_config": {"hidden_size": 1152}}

OLMO3_7B = {
    "model_type": "olmo3", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32,
    "num_hidden_layers": 32, "max_position_embeddings": 65_536, "rope_theta": 500_000, "sliding_window": 4096,
    "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 8,
    "rope_scaling": {
        "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0,
        "original_max_position_embeddings": 8192, "rope_type": "yarn",
    },
}  # fmt: skip

GPT_OSS_20B = {
    "model_type": "gpt_oss", "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "num_hidden_layers": 24, "max_position_embeddings": 131_072, "initial_context_length": 4096, "rope_theta": 150_000,
    "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12,
    "rope_scaling": {
        "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
        "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": False,
    },
}  # fmt: skip

DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128,
    "num_hidden_layers": 61, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
    "v_head_dim": 128, "max_position_embeddings": 163_840, "rope_theta": 10_000,
    "rope_scaling": {
        "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096, "type": "yarn",
    },
}  # fmt: skip

PYTHIA_14B = {
    "model_type": "gpt_neox", "hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 24,
    "max_position_embeddings": 2048, "rotary_pct": 0.25, "rotary_emb_base": 10_000,
}  # fmt: skip

GLM4_9B = {
    "model_type": "glm4", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128,
    "num_hidden_layers": 40, "max_position_embeddings": 32_768, "partial_rotary_factor": 0.5, "rope_theta": 10_000.0,
}  # fmt: skip

QWEN2_VL_7B = {
    "model_type": "qwen2_vl", "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
    "num_hidden_layers": 28, "max_position_embeddings": 32_768, "rope_theta": 1_000_000.0,
    "sliding_window": 32_768, "use_sliding_window": False, "max_window_layers": 28,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}  # fmt: skip

SMOLLM3_3B = {
    "model_type": "smollm3", "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 4,
    "num_hidden_layers": 36, "max_position_embeddings": 65_536, "rope_theta": 5_000_000.0, "rope_scaling": None,
    "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0] * 9, "use_sliding_window": False,
}  # fmt: skip

COMMAND_R7B = {
    "model_type": "cohere2", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "num_hidden_layers": 32, "max_position_embeddings": 8192, "rope_theta": 50_000, "sliding_window": 4096,
    "sliding_window_pattern": 4,
}  # fmt: skip

MISTRAL_7B_V01 = {
    "model_type": "mistral", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_hidden_layers": 32, "max_position_embeddings": 32_768, "rope_theta": 10_000.0, "sliding_window": 4096,
}  # fmt: skip

CONFIGS = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, dict)}
