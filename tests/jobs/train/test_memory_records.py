"""The formula against peaks that others recorded.

Source: Snowflake ArcticTraining, projects/sequence-parallelism/*.yml, comments beside max_length, read 2026-11-24 (commits
2771b4b, b8013b9). They are of the whole process ("NV" in the first). The files say GB; DeepSpeed's printer of such lines
divides by 2**30 (deepspeed/runtime/utils.py:839), so GiB.
One rank, activation checkpointing everywhere, ZeRO-3 with weights and optimizer in host memory.
"""

import pytest

from ropewalk.engines.transformers.shape import read_shape
from ropewalk.jobs.train.sizing.memory import CARDS, GIB, Setup, States, peak
from support import shapes

HOST = {"states": States.HOST}
STOCK = {"chunked_loss": False, **HOST}  # logits of all tokens, transformers' own layers
LIGER = {"fused_kernels": True, **HOST}
RECORDED = [  # (file, setup, tokens, recorded)
    ("run-h100-sp1-llama-8b-baseline", STOCK, 32_000, 71.91),
    ("run-h200-sp1-llama-8b-baseline", STOCK, 65_000, 137.36),
    ("run-h200-sp1-llama-8b-liger", LIGER, 300_000, 134.96),
    ("run-h200-sp1-llama-8b-liger-offload", {**LIGER, "offload": True}, 650_000, 126.81),
    ("run-h200-sp1-llama-8b-liger-offload-tiled-mlp", {**LIGER, "offload": True, "tiled_mlp": True}, 1_200_000, 136.15),
]


@pytest.mark.parametrize(("file", "setup", "tokens", "recorded"), RECORDED, ids=[row[0] for row in RECORDED])
def test_a_recorded_peak_lies_in_the_band(file, setup, tokens, recorded):
    found = peak(shapes.LLAMA, Setup(**setup), tokens)
    low, high = found.low / GIB, found.high / GIB
    print(f"{file}, {tokens:,}: {low:.1f} to {high:.1f} GiB, recorded {recorded}: formula {low / recorded - 1:+.1%}")
    assert low <= recorded <= high


def test_close_to_out_of_memory_is_a_maybe():
    """run-h100-sp1-llama-8b-baseline: "36_000 # w/ param offload close to oom"."""
    found = peak(shapes.LLAMA, Setup(**STOCK), 36_000)
    assert found.low < CARDS["H100-80"].gib * GIB < found.high


CP8 = {"cards": 8, "context_parallel": 8, "gather": False, "states": States.WEIGHTS, "fused_kernels": True}  # Ulysses
RAN = [  # (file, config, setup, tokens): ran on H100 with 80 GB, without a figure
    ("run-h100-sp1-llama-8b", shapes.LLAMA31_8B, {**LIGER, "offload": True, "tiled_mlp": True}, 500_000),
    ("run-h100-sp1-qwen3-32b", shapes.QWEN3_32B, {**LIGER, "offload": True, "tiled_mlp": True}, 230_000),
    ("run-h100-sp8-llama-8b-no-ulysses-no-liger-no-extras", shapes.LLAMA31_8B,
     {"cards": 8, "states": States.WEIGHTS, "chunked_loss": False}, 32_000),
    ("run-h100-sp8-llama-8b-no-ulysses-yes-liger-no-extras", shapes.LLAMA31_8B,
     {"cards": 8, "states": States.WEIGHTS, "fused_kernels": True}, 160_000),
    ("run-h100-sp8-llama-8b-no-mlp-no-act-offload", shapes.LLAMA31_8B, CP8, 1_100_000),
    ("run-h100-sp8-llama-8b-yes-mlp", shapes.LLAMA31_8B, {**CP8, "tiled_mlp": True}, 1_200_000),
    ("run-h100-sp8-llama-8b-yes-act-offload", shapes.LLAMA31_8B, {**CP8, "offload": True}, 2_400_000),
    ("run-h100-sp8-llama-8b", shapes.LLAMA31_8B, {**CP8, "offload": True, "tiled_mlp": True}, 3_800_000),
    ("run-h100-sp8-qwen3-32b", shapes.QWEN3_32B, {**CP8, "offload": True, "tiled_mlp": True}, 1_550_000),
    ("run-h100-sp8-llama-70b", shapes.LLAMA31_70B, {**CP8, "tiled_mlp": True}, 200_000),
]  # fmt: skip


@pytest.mark.parametrize(("file", "config", "setup", "tokens"), RAN, ids=[row[0] for row in RAN])
def test_what_ran_is_not_called_impossible(file, config, setup, tokens):
    """The lower end of the band is on the card; "no" is said above it alone."""
    found, card = peak(read_shape(config), Setup(**setup), tokens), CARDS["H100-80"]
    print(f"{file}, {tokens:,}: {found.low / GIB:.1f} to {found.high / GIB:.1f} GiB of {card.gib}")
    assert found.low <= card.gib * GIB


def test_the_hosts_memory_of_the_longest_run_is_what_its_node_has():
    """3.8 million tokens on 8 cards: "1.9TB CPU memory" (README.md); the checkpoints alone take 2 h L = 0.93 TiB."""
    host = 8 * peak(shapes.LLAMA, Setup(**{**CP8, "offload": True, "tiled_mlp": True}), 3_800_000).host
    assert 2 * 4096 * 32 * 3_800_000 < host < 1.9e12
