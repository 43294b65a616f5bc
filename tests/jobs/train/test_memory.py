"""The parts of the formula against what torch really saves, and the laws that it must keep."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from transformers import CONFIG_MAPPING, AutoModel

from ropewalk.engines.transformers.shape import read_shape
from ropewalk.jobs.train.sizing.memory import CHUNK, GIB, Setup, States, peak, saved
from support import shapes

TOKENS = 64
SIZES = [
    {},
    {"hidden_size": 128},  # h and q apart
    {"intermediate_size": 192},
    {"num_attention_heads": 8},
    {"num_key_value_heads": 4},
    {"head_dim": 32},
    {"model_type": "qwen3"},
    {"model_type": "qwen3", "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 96},
    {"model_type": "qwen2", "head_dim": None},
]


def bytes_saved(config, layers, checkpointing=False):
    """Bytes of the storages that autograd keeps of a forward pass in bfloat16, weights and tables aside."""
    made = CONFIG_MAPPING[config["model_type"]].from_dict({**config, "num_hidden_layers": layers, "use_cache": False})
    model = AutoModel.from_config(made, attn_implementation="sdpa").to(torch.bfloat16).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model(torch.zeros(1, TOKENS, dtype=torch.long)).last_hidden_state
    assert out.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_saved_is_what_autograd_saves(sizes):
    config = {key: value for key, value in shapes.small(**sizes).items() if value is not None}
    assert bytes_saved(config, 3) - bytes_saved(config, 2) == TOKENS * saved(read_shape(config))


def test_with_checkpointing_a_layer_keeps_its_input():
    per_layer = bytes_saved(shapes.small(), 3, True) - bytes_saved(shapes.small(), 2, True)
    shape = read_shape(shapes.small())
    assert per_layer == TOKENS * 2 * 64
    three = peak(dataclasses.replace(shape, layers=3), Setup(), TOKENS).checkpoints
    assert three - peak(shape, Setup(), TOKENS).checkpoints == per_layer


def test_the_parts_of_a_llama_at_128k():
    """By hand: 2 x 4096 x 32 bytes of checkpoints per token, 12 x 14336 + 18 x 4096 + ... while a layer works."""
    found = peak(shapes.LLAMA, Setup(), 131_072)
    assert found.checkpoints == 32 * GIB
    assert found.working / 131_072 == 12 * 14_336 + 18 * 4096 + 4 * (4096 + 1024) + 4 * 32 + 4 * 128 + 16
    assert found.states == 16 * 8_030_261_248  # the published number of parameters
    assert peak(shapes.LLAMA, Setup(chunked_loss=False), 131_072).working / GIB == pytest.approx(220.2, abs=0.1)  # 14 V + 2 h


def test_logits_in_chunks_do_not_grow_with_the_length():
    narrow = dataclasses.replace(shapes.LLAMA, hidden=1, ffn=1, heads=1, kv_heads=1, head_dim=1)
    one, two = (peak(narrow, Setup(), n * CHUNK).working for n in (1, 2))
    assert two - one == 2 * CHUNK


def test_states_are_shared_and_moved():
    card, host = peak(shapes.LLAMA, Setup(cards=8), 1024), peak(shapes.LLAMA, Setup(cards=8, states=States.HOST), 1024)
    assert card.states == 2 * 8_030_261_248
    assert (card.host, host.states, host.host) == (0, 0, card.states)
    lora = peak(shapes.LLAMA, Setup(cards=8, lora=True), 1024)
    assert card.states / 8 < lora.states < card.states / 3


def test_offload_moves_checkpoints_to_the_host():
    here, there = peak(shapes.LLAMA, Setup(), 131_072), peak(shapes.LLAMA, Setup(offload=True), 131_072)
    assert (there.host, there.checkpoints) == (here.checkpoints, 0)


def test_more_cards_alone_leave_the_activations():
    one, many = peak(shapes.LLAMA, Setup(cards=2), 131_072), peak(shapes.LLAMA, Setup(cards=64), 131_072)
    assert (many.checkpoints, many.working) == (one.checkpoints, one.working)
    assert many.states < one.states


def test_states_carry_no_margin():
    found = peak(shapes.LLAMA, Setup(cards=2), 1024)
    assert found.high - found.low == pytest.approx((found.low - found.states) * 0.12)


SETUPS = st.builds(
    Setup,
    cards=st.just(8),
    context_parallel=st.sampled_from([1, 2, 4]),
    gather=st.booleans(),
    chunked_loss=st.booleans(),
    checkpointing=st.booleans(),
    tiled_mlp=st.booleans(),
    lora=st.booleans(),
)


@settings(deadline=None)
@given(SETUPS, st.integers(2**12, 2**22))
def test_longer_takes_more_and_sharing_it_less(setup, length):
    found = peak(shapes.LLAMA, setup, length)
    assert found.low < peak(shapes.LLAMA, setup, length + 1024).low
    assert peak(shapes.LLAMA, dataclasses.replace(setup, context_parallel=2 * setup.context_parallel), length).low < found.low
