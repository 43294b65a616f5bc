"""What engines compute from a text, written a second time: numpy, float64, from their sources as each docstring says.

None of it comes from Ropewalk. Each function takes what the engine would be given; it answers inv_freq and the factor of cos
and sin.
"""

import math

import numpy as np


def _plain(d, base):
    return 1.0 / base ** (np.arange(0, d, 2, dtype=np.float64) / d)


def _correction_range(d, base, length, fast, slow, truncate):
    """jquesnelle/yarn@995db5b, find_correction_range, which vLLM, SGLang, MLX-LM, DeepSeek and Megatron have copied."""

    def dim(rotations):
        return d * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = dim(fast), dim(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    return low, high + 0.001 if low == high else high


def _yarn(d, base, said, truncate):
    """inv = inter (1 - mask) + extra mask, mask = 1 - ramp: YaRNScalingRotaryEmbedding._compute_inv_freq of vLLM 0.33."""
    low, high = _correction_range(
        d, base, said["original_max_position_embeddings"], said.get("beta_fast", 32), said.get("beta_slow", 1), truncate
    )
    ramp = np.clip((np.arange(d // 2, dtype=np.float64) - low) / (high - low), 0, 1)
    extra = _plain(d, base)
    return extra / said["factor"] * ramp + extra * (1 - ramp)


def _llama3(d, base, said):
    """Llama3RotaryEmbedding of vLLM 0.33, with numpy's where."""
    inv, s, length = _plain(d, base), said["factor"], said["original_max_position_embeddings"]
    low, high = said["low_freq_factor"], said["high_freq_factor"]
    wave = 2 * math.pi / inv
    smooth = (length / wave - low) / (high - low)
    between = (1 - smooth) * inv / s + smooth * inv
    return np.where(wave < length / high, inv, np.where(wave > length / low, inv / s, between))


def _mscale(s, slope=1.0):
    return 1.0 if s <= 1 else 0.1 * slope * math.log(s) + 1.0


def _config_engine(part, theta, d, window, temperature, truncate=lambda said: said.get("truncate", True), longrope=None):
    kind = part.get("rope_type") or part.get("type") or "default"
    if kind == "default":
        return _plain(d, theta), 1.0
    if kind == "linear":
        return _plain(d, theta) / part["factor"], 1.0
    if kind == "llama3":
        return _llama3(d, theta, part), 1.0
    if kind == "longrope":
        s = window / part["original_max_position_embeddings"]
        natural = math.sqrt(1 + math.log(s) / math.log(part["original_max_position_embeddings"]))
        return _plain(d, theta) / np.array(part["long_factor"]), (longrope or (lambda said, n: n))(part, natural)
    if kind == "yarn":
        return _yarn(d, theta, part, truncate(part)), temperature(part)
    if kind == "proportional":  # MLX-LM and transformers; vLLM and SGLang drop the factor
        turning = np.arange(d // 2) < int(part["partial_rotary_factor"] * d // 2)
        return np.where(turning, _plain(d, theta) / part["factor"], 0.0), 1.0
    raise KeyError(kind)


def vllm(config, d, version):
    """get_rope: 0.32 and later take attention_factor; before, m(s) attn_factor. longrope's m from long_mscale."""
    part = config["rope_parameters"]

    def old(said):
        return _mscale(said["factor"]) * said.get("attn_factor", 1.0)

    def new(said):
        if said.get("attention_factor") is not None:
            return said["attention_factor"]
        if said.get("mscale") and said.get("mscale_all_dim"):
            return _mscale(said["factor"], said["mscale"]) / _mscale(said["factor"], said["mscale_all_dim"])
        return _mscale(said["factor"])

    return _config_engine(
        part, part["rope_theta"], d, config["max_position_embeddings"], new if version >= (0, 32) else old,
        longrope=lambda said, natural: said.get("long_mscale", natural),
    )  # fmt: skip


def sglang(config, d):
    """factory.py:319: both mscale keys make a ratio, else m(s); times attn_factor; attention_factor is never read."""

    def m(said):
        both = said.get("mscale") is not None and said.get("mscale_all_dim") is not None
        own = _mscale(said["factor"], said["mscale"]) / _mscale(said["factor"], said["mscale_all_dim"]) if both else None
        return (own if both else _mscale(said["factor"])) * said.get("attn_factor", 1.0)

    part = config["rope_parameters"]
    return _config_engine(
        part, part["rope_theta"], d, config["max_position_embeddings"], m,
        longrope=lambda said, natural: said.get("long_mscale", natural),
    )  # fmt: skip


def _deepseek_ratio(said):
    return _mscale(said["factor"], said.get("mscale", 1)) / _mscale(said["factor"], said.get("mscale_all_dim", 0))


def mlx_lm(config, d):
    """rope_utils.py, initialize_rope: rope_scaling and rope_theta alone; YarnRoPE holds wavelengths, and always rounds."""
    part, base = config.get("rope_scaling") or {}, config["rope_theta"]
    kind = part.get("rope_type", "default")
    if kind != "yarn":
        return _config_engine(part, base, d, config["max_position_embeddings"], None)
    length = part.get("original_max_position_embeddings", 4096)
    low, high = _correction_range(d, base, length, part.get("beta_fast", 32), part.get("beta_slow", 1), True)
    extra = base ** (np.arange(0, d, 2) / d)
    inter = part["factor"] * extra
    mask = 1.0 - np.clip((np.arange(d // 2) - low) / (high - low), 0, 1)
    return 1.0 / ((inter * extra) / (inter * mask + extra * (1 - mask))), _deepseek_ratio(part)


def tensorrt_llm(config, d):
    """RopeParams.from_config: rope_scaling, an original length of 1024 unless said, always rounded."""
    part = {"original_max_position_embeddings": 1024, **(config.get("rope_scaling") or {})}
    return _config_engine(part, config["rope_theta"], d, config["max_position_embeddings"], _deepseek_ratio, lambda said: True)


def ggml(keys, flags=None):
    """rope_yarn, rope_yarn_ramp and ggml_rope_yarn_corr_dims of ggml, and llama-context.cpp:177 for the magnitude.

    With ext_factor 1 (yarn) the magnitude is (1 + 0.1 ln s) x rope.scaling.attn_factor, without it attn_factor alone.
    flags: {"rope-scaling": "yarn", ...}, which go before the file's keys.
    """
    arch, flags = keys["general.architecture"], flags or {}

    def key(name, default=None):
        return keys.get(f"{arch}.{name}", default)

    d = key("rope.dimension_count")
    base = float(flags.get("rope-freq-base", key("rope.freq_base", 10_000.0)))
    kind = flags.get("rope-scaling", key("rope.scaling.type", "linear"))
    s = float(flags.get("rope-scale", key("rope.scaling.factor", 1.0)))
    freq_scale = 1.0 / s if kind in ("linear", "yarn") else 1.0
    ext = 1.0 if kind == "yarn" else 0.0
    length = int(flags.get("yarn-orig-ctx", key("rope.scaling.original_context_length", key("context_length"))))
    fast, slow = float(flags.get("yarn-beta-fast", 32.0)), float(flags.get("yarn-beta-slow", 1.0))

    def corr_dim(rotations):
        return d * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(base))

    start, end = max(0.0, math.floor(corr_dim(fast))), min(d - 1.0, math.ceil(corr_dim(slow)))
    factors = keys.get("rope_freqs.weight", [1.0] * (d // 2))
    inv, theta = [], 1.0
    for i0 in range(0, d, 2):
        extrapolated = theta / factors[i0 // 2]
        y = (i0 / 2 - start) / max(0.001, end - start)
        mix = (1 - min(1, max(0, y))) * ext
        inv.append(freq_scale * extrapolated * (1 - mix) + extrapolated * mix)
        theta *= base ** (-2.0 / d)
    attn = key("rope.scaling.attn_factor", 1.0)
    return np.array(inv), attn * (1 + 0.1 * math.log(1 / freq_scale) if ext else 1.0)


def gpt_oss(config):
    """RotaryEmbedding._compute_concentration_and_inv_freq of gpt_oss/torch/model.py."""
    d, base, s = config["head_dim"], config["rope_theta"], config["rope_scaling_factor"]
    freq = base ** (np.arange(0, d, 2) / d)
    if s <= 1:
        return 1.0 / freq, 1.0
    half, context = d / 2, config["initial_context_length"]
    low = half * math.log(context / (config["rope_ntk_beta"] * 2 * math.pi)) / math.log(base)
    high = half * math.log(context / (config["rope_ntk_alpha"] * 2 * math.pi)) / math.log(base)
    assert 0 < low < high < half - 1
    mask = 1 - np.clip((np.arange(half) - low) / (high - low), 0, 1)
    return 1.0 / (s * freq) * (1 - mask) + 1.0 / freq * mask, 0.1 * math.log(s) + 1.0


def deepseek(config):
    """precompute_freqs_cis of inference/model.py: the rotation is pure; (0.1 mscale ln s + 1)^2 goes to the softmax."""
    d, base = config["qk_rope_head_dim"], config["rope_theta"]
    if config["max_seq_len"] <= config["original_seq_len"]:
        return _plain(d, base), 1.0
    said = {**config, "original_max_position_embeddings": config["original_seq_len"], "factor": config["rope_factor"]}
    return _yarn(d, base, said, True), 0.1 * config["mscale"] * math.log(config["rope_factor"]) + 1.0


def mistral(params):
    """vLLM's and SGLang's adapters of params.json: beta, alpha and apply_scale of `yarn`."""
    d, yarn = params["head_dim"], params.get("yarn")
    if not yarn:
        return _plain(d, params["rope_theta"]), 1.0
    said = {**yarn, "beta_fast": yarn["beta"], "beta_slow": yarn["alpha"]}
    return _yarn(d, params["rope_theta"], said, True), _mscale(yarn["factor"]) if yarn["apply_scale"] else 1.0


def megatron(config):
    """RotaryEmbedding and YarnRotaryEmbedding of Megatron core; _get_concentration_factor from the two mscales."""
    share = config.get("rotary_percent", 1.0)
    d, base = config["kv_channels"], config["rotary_base"]
    if config["position_embedding_type"] == "yarn":
        said = {
            "factor": config["yarn_rotary_scaling_factor"], "beta_fast": config["yarn_beta_fast"],
            "beta_slow": config["yarn_beta_slow"], "mscale": config["yarn_mscale"],
            "original_max_position_embeddings": config["yarn_original_max_position_embeddings"],
            "mscale_all_dim": config["yarn_mscale_all_dim"],
        }  # fmt: skip
        return _yarn(d, base, said, config["yarn_correction_range_round_to_int"]), _deepseek_ratio(said)
    inv = _plain(int(d * share), base)
    if config.get("use_rope_scaling"):
        bands = {"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
        return _llama3(int(d * share), base, {**bands, "factor": config["rope_scaling_factor"]}), 1.0
    return inv / config.get("seq_len_interpolation_factor", 1.0), 1.0
