import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ropewalk.engines.transformers.shape import read_shape
from ropewalk.jobs.train.sizing.cost import TokenStage, cost, flops_per_token, tokens_per_day
from ropewalk.jobs.train.sizing.memory import CARDS, Setup
from support import shapes

PLAIN = Setup(checkpointing=False)
TOKENS = 256


@pytest.mark.parametrize("checkpointing", [False, True])
def test_flops_are_what_torch_counts(checkpointing):
    """torch counts attention whole; here it is causal: half."""
    config = shapes.small(intermediate_size=160, vocab_size=320)
    made = CONFIG_MAPPING["llama"].from_dict({**config, "use_cache": False})
    model = AutoModelForCausalLM.from_config(made, attn_implementation="sdpa").train()
    if checkpointing:
        model.activation_checkpointing_enable()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, TOKENS, dtype=torch.long)).logits.sum().backward()
    counts = counter.get_flop_counts()["Global"]
    attention = sum(n for op, n in counts.items() if "attention" in str(op))
    torch_counts = counter.get_total_flops() - attention
    shape = read_shape(config)
    ours = flops_per_token(shape, Setup(checkpointing=checkpointing), TOKENS) * TOKENS
    passes = 4 if checkpointing else 3
    ours_attention = passes * 4 * shape.q * (TOKENS / 2) * shape.layers * TOKENS
    norms = (6 + 2 * checkpointing) * 2 * 64 * 2 * TOKENS  # counted as weights here, multiplied without a product there
    assert ours - ours_attention - norms == torch_counts


def test_attention_is_half_of_what_all_pairs_would_take():
    """12 L q S^2 / 2 for forward and backward: research/training.md 4.2, from 4 q S^2 per layer and pass."""
    shape, length = shapes.LLAMA, 131_072
    far, near = flops_per_token(shape, PLAIN, length), flops_per_token(shape, PLAIN, 0)
    assert (far - near) * length == 12 * 32 * 4096 * length**2 / 2


def test_a_window_bounds_what_attention_costs():
    shape = dataclasses.replace(shapes.LLAMA, windows=(4096,) * 32)
    walked = sum(min(position, 4096) for position in range(32_768)) / 32_768
    assert shape.mean_context(32_768) / 32 == pytest.approx(walked, rel=1e-3)
    assert shape.mean_context(2048) == shapes.LLAMA.mean_context(2048) == 32 * 1024


def test_frozen_weights_get_no_gradient():
    full, lora = (flops_per_token(shapes.LLAMA, Setup(checkpointing=False, lora=lora), 0) for lora in (False, True))
    assert lora / full == pytest.approx(4 / 6)


def test_a_published_speed_asks_for_a_likely_share_of_the_peak():
    """EasyContext (6b0d310): Llama-2-7B, 8 x A100, 64k: 10,240 tokens per second, checkpointed."""
    shape = read_shape(shapes.LLAMA2_7B)
    at_peak = tokens_per_day(shape, Setup(cards=8), 65_536, CARDS["A100-80"], 1.0) / 86_400
    share = 10_240 / at_peak
    print(f"EasyContext at 64k: {share:.2f} of the peak")
    assert 0.35 < share < 0.65


def test_steps_are_whole_and_feed_every_group():
    """The paper's stage: 400 steps of 64 sequences of 64k tokens are 1.68 billion."""
    paper = cost(shapes.LLAMA, Setup(cards=8), TokenStage(65_536, 400 * 64 * 65_536, 64 * 65_536), CARDS["H100-80"], 0.4, 2.0)
    assert (paper.steps, paper.sequences, paper.tokens) == (400, 64, 1_677_721_600)
    assert paper.dollars == pytest.approx(paper.days * 24 * 8 * 2.0)
    assert paper.days == pytest.approx(paper.tokens / paper.tokens_per_day)
    odd = cost(shapes.LLAMA, Setup(cards=6), TokenStage(1000, 10_000, 7000), CARDS["H100-80"], 0.4, None)
    assert (odd.steps, odd.sequences, odd.tokens, odd.dollars) == (1, 12, 12_000, None)
