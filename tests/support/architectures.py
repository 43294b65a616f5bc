"""Tiny random models of many architectures; run this file to print what plans do on each as a Markdown table.

Everything in the table is measured on the spot: see `measured_row`.
"""

import json
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.engines.transformers import write as dialect
from ropewalk.errors import CannotExpress, RopewalkError
from ropewalk.models.attach import attach
from ropewalk.models.live import find_tables, read_live
from ropewalk.scaling.plan import ScalingPlan, make_plan

torch.set_num_threads(1)  # these models are so small that waking a second thread takes longer than the work
transformers.logging.set_verbosity_error()

LENGTH, FACTOR, TOKENS = 128, 4.0, 200
METHODS: dict[str, dict[str, Any]] = {
    "yarn": {},
    "ntk": {},
    "linear": {},
    "ntk_by_parts": {},
    "llama3": {},
    "resonance": {},  # no config can name it: the longrope carrier
}

# Largest difference from stock transformers, as a share of what the plan changes. Its frequencies are computed in float32
# (3e-7 off, so 6e-5 radians at the last token); ours are rounded once.
TOLERANCE = 3e-5

# Sizes that every architecture is given where its config has the key. initializer_range is large so that positions matter.
SMALL = dict(
    vocab_size=120, hidden_size=64, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    head_dim=32, max_position_embeddings=LENGTH, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
    num_local_experts=2, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32, moe_num_experts=2, moe_k=1,
)  # fmt: skip
MIXED = dict(layer_types=["sliding_attention", "full_attention"], sliding_window=64)


def yarn(rope_theta: float, **more: Any) -> dict[str, Any]:
    """What gpt-oss and Ministral 3 are published with: they are stretched already, and a plan replaces that."""
    return dict(rope_type="yarn", rope_theta=rope_theta, original_max_position_embeddings=LENGTH, **more)


def llama3(rope_theta: float) -> dict[str, Any]:
    bands = dict(factor=2.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=LENGTH)
    return dict(rope_type="llama3", rope_theta=rope_theta, **bands)


MLA = dict(
    q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=16, qk_rope_head_dim=32, v_head_dim=16, num_key_value_heads=2,
    n_routed_experts=2, n_group=1, topk_group=1, first_k_dense_replace=1, head_dim=32,
)  # fmt: skip

# Architectures that a plan can stretch: model type, as people call it, what else its config needs.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "afmoe": ("Arcee Trinity", dict(MIXED, num_dense_layers=1)),
    "apertus": ("Apertus", dict(rope_parameters=llama3(12e6))),
    "arcee": ("Arcee (AFM)", {}),
    "bitnet": ("BitNet", {}),
    "cohere": ("Cohere Command R", {}),
    "cohere2": ("Cohere Command R7B", MIXED),
    "cwm": ("Code World Model", dict(MIXED, rope_parameters=llama3(1e6))),
    "deepseek_v2": ("DeepSeek-V2", MLA),
    "deepseek_v3": ("DeepSeek-V3", MLA),
    "diffllama": ("DiffLlama", dict(num_key_value_heads=2)),
    "dots1": ("dots.llm1", dict(n_routed_experts=2, n_shared_experts=1, n_group=1, topk_group=1)),
    "ernie4_5": ("Ernie 4.5", {}),
    "exaone4": ("EXAONE 4", MIXED),
    "falcon": ("Falcon", dict(alibi=False, new_decoder_architecture=True, num_kv_heads=1)),
    "falcon_h1": ("Falcon-H1", dict(mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=16)),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma 2", MIXED),
    "gemma3_text": ("Gemma 3", MIXED),
    "glm": ("GLM-4", {}),
    "glm4": ("GLM-4-0414", {}),
    "gpt_neox": ("GPT-NeoX, Pythia", {}),
    "gpt_oss": ("gpt-oss", dict(MIXED, rope_parameters=yarn(150e3, factor=2.0, truncate=False))),
    "granite": ("Granite", dict(attention_multiplier=32**-0.5)),
    "granitemoe": ("Granite MoE", dict(attention_multiplier=32**-0.5)),
    "helium": ("Helium", {}),
    "hunyuan_v1_dense": ("HunYuan Dense", {}),
    "jetmoe": ("JetMoE", dict(kv_channels=32)),
    "llama": ("Llama", {}),
    "llama4_text": ("Llama 4", dict(layer_types=["chunked_attention", "full_attention"], interleave_moe_layer_step=2)),
    "minimax": ("MiniMax", dict(layer_types=["linear_attention", "full_attention"], block_size=64)),
    "minimax_m2": ("MiniMax-M2", {}),
    "ministral": ("Ministral", MIXED),
    "ministral3": ("Ministral 3", dict(rope_parameters=yarn(1e6, factor=2.0, llama_4_scaling_beta=0.1))),
    "mistral": ("Mistral", {}),
    "mixtral": ("Mixtral", {}),
    "modernbert-decoder": ("ModernBERT decoder", dict(MIXED, local_attention=64, num_attention_heads=2)),
    "nemotron": ("Nemotron", {}),
    "olmo": ("OLMo", {}),
    "olmo2": ("OLMo 2", {}),
    "olmo3": ("OLMo 3", MIXED),
    "olmoe": ("OLMoE", {}),
    "persimmon": ("Persimmon", {}),
    "phi": ("Phi-2", {}),
    "phi3": ("Phi-3, Phi-4", dict(original_max_position_embeddings=LENGTH)),
    "qwen2": ("Qwen2, Qwen2.5", {}),
    "qwen2_moe": ("Qwen2 MoE", dict(shared_expert_intermediate_size=32)),
    "qwen3": ("Qwen3", {}),
    "qwen3_moe": ("Qwen3 MoE", {}),
    "qwen3_next": ("Qwen3-Next", dict(layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
                                      linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=16)),
    "seed_oss": ("Seed-OSS", {}),
    "smollm3": ("SmolLM3", dict(no_rope_layers=[1, 0])),
    "stablelm": ("StableLM", {}),
    "starcoder2": ("StarCoder2", {}),
}  # fmt: skip

# Architectures that a plan cannot stretch, each for its own reason: see test_refusals in test_architectures.py.
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT-2", {}),
    "bloom": ("BLOOM", {}),
    "mpt": ("MPT", {}),
    "mamba": ("Mamba", {}),
    "gptj": ("GPT-J", dict(rotary_dim=16)),
    "codegen": ("CodeGen", dict(rotary_dim=16, num_attention_heads=4)),
    "phimoe": ("Phi-3.5-MoE", {}),
    "falcon": ("Falcon with ALiBi", dict(alibi=True)),
}


def tiny_config(family: str, more: dict[str, Any] | None = None) -> Any:
    kind = type(AutoConfig.for_model(family))
    known = set(kind().to_dict()) | {"num_hidden_layers", "num_attention_heads", "hidden_size"} | set(kind.attribute_map)
    wanted = {**SMALL, **(FAMILIES[family][1] if more is None else more)}
    return kind(**{key: value for key, value in wanted.items() if key in known})


def build(config: Any) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval().float()


def tokens(count: int = TOKENS) -> torch.Tensor:
    return torch.randint(3, 120, (1, count), generator=torch.Generator().manual_seed(3))


def logits(model: nn.Module, count: int = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens(count), use_cache=False).logits


def plan_of(model: nn.Module, method: str = "yarn", **kwargs: Any) -> ScalingPlan:
    """Stretch everything that rotates, local layers too, so that tables which no plan would touch by default are tested."""
    spec = read_live(model)
    return make_plan(spec, factor=FACTOR, method=method, layer_types=spec.stretchable or [n for n, _ in spec.ropes], **kwargs)


def stock(model: nn.Module, plan: ScalingPlan) -> nn.Module:
    """A fresh transformers model with the same weights, from the config that the plan is written to, through a file."""
    written = dialect.write(plan, model.config.to_dict())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(written, default=str))
        fresh = build(AutoConfig.from_pretrained(folder))
    fresh.load_state_dict(model.state_dict())
    return fresh


@cache
def tiny(family: str) -> tuple[nn.Module, torch.Tensor]:
    """A model and its logits before anything was attached; built once."""
    model = build(tiny_config(family))
    return model, logits(model)


def difference(family: str, method: str) -> tuple[float, float]:
    """(largest change of a logit past the original length by attach, largest difference from the stock model)."""
    model, before = tiny(family)
    plan = plan_of(model, method)
    with attach(model, plan):
        attached = logits(model)
    changed = float((attached - before)[:, LENGTH:].abs().max())
    return changed, float((attached - logits(stock(model, plan))).abs().max())


def describe(model: nn.Module) -> tuple[str, str]:
    """The rotary tables in words: how they are laid out in the live module, and what the reader made of the config."""
    spec = read_live(model)
    tables = find_tables(model, spec)
    layout = tables[spec.ropes[0][0]][0].layout()
    names = ", ".join(f"{name} {rope.rotary_dim // 2}" for name, rope in spec.ropes)
    layers = model.config.num_hidden_layers
    still = f"; {spec.unrotated_layers} of {layers} layers do not rotate" if spec.unrotated_layers else ""
    return layout, f"{names} pairs{still}"


def measured_row(family: str) -> str:
    """One row: every cell is what happened just now."""
    name = FAMILIES[family][0]
    model, before = tiny(family)
    layout, reads = describe(model)
    with attach(model, plan_of(model)):
        past = float((logits(model) - before)[:, LENGTH:].abs().max())
    undone = "undo exact" if torch.equal(logits(model), before) else "UNDO DIFFERS"
    verdict = f"yes, {undone}" if past > 1e-2 else "NO EFFECT"
    return f"| {name} | {layout} | {reads} | {verdict} | {', '.join(_verdicts(family))} |"


def refused_row(family: str) -> str:
    name, more = REFUSED[family]
    model = build(tiny_config(family, more))
    try:
        attach(model, plan_of(model)).undo()
    except RopewalkError as error:
        return f"| {name} | | | {type(error).__name__}: {str(error).splitlines()[0]} | |"
    return f"| {name} | | | ATTACHED | |"


def _verdicts(family: str) -> list[str]:
    agreeing, other = [], []
    for method in METHODS:
        try:
            changed, apart = difference(family, method)
            same = apart < TOLERANCE * changed
            (agreeing if same else other).append(method if same else f"{method} DIFFERS by {apart:.1e}")
        except CannotExpress:
            other.append(f"{method}: no spelling")
    return (["all six"] if len(agreeing) == len(METHODS) else agreeing) + other


def short_table(rows: list[str]) -> str:
    """The rows of the long table, gathered by their verdict: what the README shows."""
    names: dict[str, list[str]] = {}
    for row in rows:
        name, _, _, attached, agreeing = (cell.strip() for cell in row.strip("|").split("|"))
        names.setdefault(f"{attached} | {agreeing or '-'}", []).append(name)
    lines = ["| architectures | attach | stock config equals attach, of six methods |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {', '.join(who)} | {verdict} |" for verdict, who in names.items())])


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    carried = [measured_row(family) for family in FAMILIES]
    refused = [refused_row(family) for family in REFUSED]
    if "--short" in sys.argv:
        print(short_table([*carried, *refused]))
    else:
        print("| architecture | rotary table | plan reads | attach | stock config equals attach |\n|---|---|---|---|---|")
        print("\n".join([*carried, *refused]))
