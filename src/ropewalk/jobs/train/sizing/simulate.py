"""A step's activations walked through torch's fake tensors: the model's own code, no weights, no card.

    python -m ropewalk.jobs.train.sizing.simulate < question.json
    {"config", "tokens", "cards", "checkpointing"} -> {"bytes"}

This module alone touches private parts of torch: the fake process group, FakeTensorMode and FSDPMemTracker. They change
without notice, so it runs in a process of its own (the fake process group stays for the life of a process), and whatever
goes wrong there is a NoSimulation here, for which the formula stands in.

Simulated are the layers, forward and backward, of one card's tokens. By the formula: states, gathered weights, the head's
loss, the exchange of keys and values, CUDA's context. Adapters are not simulated: their layers count as trained whole.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.engines.transformers.shape import ModelShape
from ropewalk.jobs.train.sizing.memory import Peak, Setup, peak

SECONDS = 300  # Llama-3.1-8B at 128k tokens takes half a minute on two cores
ATTENTION = "ropewalk_simulated"


class NoSimulation(Exception):
    """Why there is none, in a line."""


def simulated_peak(config: Mapping[str, Any], shape: ModelShape, setup: Setup, length: int, seconds: float = SECONDS) -> Peak:
    """As `memory.peak`, with the layers simulated; NoSimulation where that is not possible."""
    if setup.tiled_mlp or setup.fused_kernels:
        raise NoSimulation("the simulation runs the model's own layers, and knows no tiled MLP")
    tokens = -(-length // setup.context_parallel)
    question = {"config": config, "tokens": tokens, "cards": setup.cards, "checkpointing": setup.checkpointing}
    return peak(shape, setup, length, walked=_ask(question, seconds))


def _ask(question: Mapping[str, Any], seconds: float) -> float:
    command = [sys.executable, "-m", "ropewalk.jobs.train.sizing.simulate"]
    try:
        done = subprocess.run(
            command, input=json.dumps(question), capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            raise NoSimulation((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
        return float(json.loads(done.stdout.splitlines()[-1])["bytes"])
    except subprocess.TimeoutExpired:
        raise NoSimulation(f"it took more than {seconds:g} seconds") from None
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise NoSimulation(f"its answer could not be read: {error}") from None


def _walk(config: dict[str, Any], tokens: int, cards: int, checkpointing: bool) -> float:
    """Bytes of activations and temporaries at the peak of a forward and a backward pass; in this process, once."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

    mesh = _pretended_mesh(max(cards, 2))  # the tracker wants sharded modules; what they gather is not asked for
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_dtype(torch.bfloat16)  # before building: under fake tensors .to(bfloat16) fails
        model = _sharded(config, mesh, checkpointing)
        tracker = FSDPMemTracker(model)
        tracker.track_inputs(())
        ids, positions = torch.zeros(1, tokens, dtype=torch.long), torch.arange(tokens)[None]
        with tracker:
            for settled in (False, True):  # the first pass also allocates what stays
                model(input_ids=ids, position_ids=positions, attention_mask=None).last_hidden_state.sum().backward()
                model.zero_grad()
                if not settled:
                    tracker.reset_mod_stats()
        (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    named = {getattr(kind, "name", kind): size for kind, size in snapshot.items()}
    return float(named["ACT"] + named["TEMP"])


def _pretended_mesh(cards: int) -> Any:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=cards, store=FakeStore())
    return init_device_mesh("cpu", (cards,))


def _sharded(config: dict[str, Any], mesh: Any, checkpointing: bool) -> Any:
    from torch.distributed.fsdp import fully_shard
    from transformers import CONFIG_MAPPING, AttentionInterface, AttentionMaskInterface, AutoModel

    # An attention of our own: under fake tensors transformers cannot prove that documents are not packed, and would
    # allocate a mask of tokens squared.
    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)
    text = text_of(config)
    made = CONFIG_MAPPING[text["model_type"]].from_dict({**text, "use_cache": False})
    model: Any = AutoModel.from_config(made, attn_implementation=ATTENTION)  # type: ignore[no-untyped-call]
    model.train()
    if checkpointing:
        model.activation_checkpointing_enable()
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def _attend(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float | None = None, **_: Any) -> tuple[Any, None]:
    """q: (batch, heads, tokens, channels). Keeps no scores, as the kernels on a card."""
    from torch.nn.functional import scaled_dot_product_attention

    out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


if __name__ == "__main__":
    print(json.dumps({"bytes": _walk(**json.load(sys.stdin))}))
