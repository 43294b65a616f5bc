"""The model as it is trained: loaded, with adapters where asked, checkpointed, tiled, sharded."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint
from transformers.distributed.configuration_utils import DistributedConfig

from ropewalk.engines.engine import parse_version
from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.errors import BadConfig, BadOption, extra_parts, first_line
from ropewalk.jobs.train import attention
from ropewalk.jobs.train.loss import Scoring, find_ending
from ropewalk.jobs.train.parallel import Parallel
from ropewalk.jobs.train.recipe import Lora, Recipe
from ropewalk.models.load import load_model

# What brought activation checkpointing that can be offloaded and FSDP2 with replicas, and the gradients of gathered keys.
NEEDS = {"transformers": "5.23", "torch": "2.13"}
ATTENTION_NAMES = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "query_key_value", "dense")


@dataclass(frozen=True)
class Trained:
    """model: transformers' own, adapters inside where there are any.  adapted: peft's wrapper of it, or None."""

    model: Any
    scoring: Scoring
    parallel: Parallel
    adapted: Any = None

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """What is trained, by name, in shards: reading leaves the last group of a sharded model whole."""
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def check_libraries() -> None:
    """Raises BadConfig where a library is older than what training calls."""
    for name, least in NEEDS.items():
        installed = version(name)
        if parse_version(installed) < parse_version(least):
            raise BadConfig(
                f"training needs {name} {least} or newer, and {installed} is installed: pip install 'ropewalk[train]'.\n"
                "  Everything else works with it."
            )


def check_unpacked(model: str, config: Mapping[str, Any]) -> None:
    """Raises BadConfig for weights that transformers packs again when it saves them, and with them what was trained."""
    packed = text_of(config).get("quantization_config") or config.get("quantization_config")
    if packed:
        how = packed.get("quant_method") if isinstance(packed, Mapping) else None
        raise BadConfig(
            f"{model} has packed weights (quantization_config{f': {how}' if how else ''}): what a step of training moves is\n"
            "  less than what packing rounds away, so the export would have lost it. Train the model that it was packed from."
        )


def set_up(source: Path, recipe: Recipe, parallel: Parallel) -> Trained:
    """Load and prepare. Weights are float32, the optimiser's copy and the model's in one; `precision` is of the arithmetic.

    Full weights on several processes are loaded sharded, by transformers' own FSDP2. Adapters have to be put in before
    sharding (afterwards they would be plain tensors that no one keeps in step): then each process loads all and shards it.
    """
    adapted = None
    if parallel.world > 1 and recipe.lora is None:
        model = _load_sharded(source, recipe, parallel)
        ending = find_ending(model)
    else:
        model = load_model(source)
        ending = find_ending(model)
        if recipe.lora:
            torch.manual_seed(recipe.seed)  # adapters begin at random, on every process alike
            adapted = adapt(model, recipe.lora)
        if parallel.world > 1:
            _shard(model, recipe, parallel)
        else:
            model.to(parallel.device)
    model.train()
    if recipe.checkpointing or recipe.offload:
        model.activation_checkpointing_enable(offload=recipe.offload)
    if recipe.tiles > 1:
        tile_mlps(model, recipe.tiles)
    return Trained(model, Scoring(model, ending), parallel, adapted)


def _load_sharded(source: Path, recipe: Recipe, parallel: Parallel) -> Any:
    config = DistributedConfig(
        fsdp_size=parallel.world // parallel.replicate,
        dp_replicate_size=parallel.replicate,
        fsdp_mixed_precision=recipe.precision == "bfloat16",
    )
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, distributed_config=config,
            attn_implementation="sdpa",
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadConfig(f"{source} cannot be loaded in shards: {first_line(error)}") from error


def _shard(model: Any, recipe: Recipe, parallel: Parallel) -> None:
    """FSDP2, a group per decoder layer and one for the rest."""
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if recipe.precision == "bfloat16" else MixedPrecisionPolicy()
    mesh = parallel.sharding()
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def decoder_layers(model: Any) -> list[nn.Module]:
    """The largest list of alike modules: what every decoder-only model of transformers keeps its layers in."""
    lists: list[Any] = [
        m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) and len({type(layer) for layer in m}) == 1
    ]
    if not lists:
        raise BadConfig(f"{type(model).__name__} keeps its layers in no list: it cannot be sharded by layer.")
    largest = max(lists, key=lambda found: sum(p.numel() for p in found.parameters()))
    return list(largest)


def adapt(model: Any, lora: Lora) -> Any:
    """Low-rank adapters inside the model; peft's wrapper, to save and to merge them with."""
    with extra_parts():
        from peft import LoraConfig, get_peft_model
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    targets: Any = lora.targets
    if targets != "all-linear":
        wanted = ATTENTION_NAMES if targets == "attention" else tuple(targets.split(","))
        targets = sorted(names & set(wanted))
        if not targets:
            raise BadOption(f"no linear layer of this model is called {', '.join(wanted)}: it has {', '.join(sorted(names))}.")
    alpha: Any = lora.alpha  # a float is as good as peft's int
    config = LoraConfig(
        r=lora.rank, lora_alpha=alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM",
        modules_to_save=_also(model) if lora.also else None, ensure_weight_tying=lora.also,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft's business with transformers
        return get_peft_model(model, config)


def _also(model: Any) -> list[str]:
    """The last parts of the names of the norms and the embedding."""
    embedding = model.get_input_embeddings()
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if module is embedding or type(module).__name__.endswith(("Norm", "LayerNorm"))
    }
    return sorted(found)


def tile_mlps(model: Any, tiles: int) -> None:
    """Every MLP sees its row in pieces, which are recomputed one by one: its widest activations exist for one piece only."""
    for layer in decoder_layers(model):
        if (mlp := getattr(layer, "mlp", None)) is not None:
            mlp.forward = MethodType(_tiled(type(mlp).forward, tiles), mlp)


def _tiled(whole: Any, tiles: int) -> Any:
    def forward(mlp: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        pieces = hidden.chunk(tiles, dim=1)
        if torch.is_grad_enabled():
            return torch.cat([checkpoint(whole, mlp, piece, use_reentrant=False) for piece in pieces], dim=1)
        return torch.cat([whole(mlp, piece) for piece in pieces], dim=1)

    return forward


@contextmanager
def attending_by_layout(model: Any) -> Iterator[None]:
    """The model's attention works by spans, or, under a plan that rotates keys on read, as it is, with masks of the layout."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if before.startswith("ropewalk_"):  # on read
        with attention.masks_of_layouts(before):
            yield
        return
    config._attn_implementation = attention.register()
    try:
        attention.check_attends(model)
        yield
    finally:
        config._attn_implementation = before
