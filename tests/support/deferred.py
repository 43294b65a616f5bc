"""A small sharp Llama, and ways to read with it, for plans that rotate keys when they are read."""

import math
from itertools import pairwise

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from ropewalk.models.caches import cache_argument
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan

L, FACTOR, N = 64, 4.0, 200
DPE = (2, 8, 1, 4)  # tokens that share a position, of two pairs each
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def llama(dtype=torch.float32, attention="sdpa", window=L):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=120, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=window, pad_token_id=0, initializer_range=0.1, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4}, attn_implementation=attention,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    inv_freq = model.model.rotary_emb.inv_freq
    model.to(dtype).model.rotary_emb.inv_freq = inv_freq  # float32, as from_pretrained leaves it
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.mul_(2)
    return model


def planned(model, method="dynamic-yarn"):
    """method: by name; of DPE's the groups are options."""
    named = {"dpe": "self_extend", "dpe, causal": "near-0.25-self_extend"}.get(method)
    return make_plan(read_live(model), factor=FACTOR, method=named or method, options={"group": DPE} if named else {})


def tokens(count=N, rows=1, seed=3):
    return torch.randint(3, 120, (rows, count), generator=torch.Generator().manual_seed(seed))


def run(model, ids, **kwargs):
    with torch.no_grad():
        return model(ids, **kwargs).logits


def in_chunks(model, ids, edges, cache=None):
    cache = DynamicCache(config=model.config) if cache is None else cache
    edges = [0, *edges, ids.shape[1]]
    return torch.cat([run(model, ids[:, a:b], **cache_argument(model, cache)) for a, b in pairwise(edges)], 1)


def largest(a, b):
    return float((a - b).detach().abs().max())


def greedy(model, ids, new=60, **kwargs):
    return model.generate(ids, max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0, **kwargs)


def yarn_by_hand(scale, dim=16, theta=1e4, window=L):
    """Frequencies and m of YaRN as its released code has them, ramp by pair index."""
    found = [dim * math.log(window / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in (32, 1)]
    low, high = max(math.floor(found[0]), 0), min(math.ceil(found[1]), dim - 1)
    frequencies = []
    for pair in range(dim // 2):
        plain = theta ** (-2 * pair / dim)
        ramp = min(max((pair - low) / (high - low), 0), 1)
        frequencies.append(plain * (1 - ramp) + plain / scale * ramp)
    return torch.tensor(frequencies, dtype=torch.float64), 0.1 * math.log(scale) + 1


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def loss_of(logits, ids):
    return torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])


# --- on many architectures

# Refused, each for its own reason; found by measuring, not by name.
LATE_REFUSALS = {
    "deepseek_v2": "complex numbers",
    "llama4_text": "complex numbers",
    "falcon": "does not go through transformers' attention interface",
    "diffllama": "DiffLlamaAttention does more to queries and keys",
    "hunyuan_v1_dense": "HunYuanDenseV1Attention does more to queries and keys",
}
# Experts' kernels, some norms and all Mamba layers know no float64.
SINGLE = (
    "afmoe bitnet deepseek_v3 dots1 ernie4_5 falcon_h1 gpt_oss granitemoe helium minimax minimax_m2 mixtral olmoe qwen2_moe "
    "qwen3_moe qwen3_next"
).split()
# Linear attention is summed in another order for chunks: stock Qwen3-Next, unattached, is 6e-5 off in float32, and so are
# we. MiniMax wants a cache of its own class.
ROUGH, OWN_CACHE = {"qwen3_next": 2e-4}, {"minimax"}
