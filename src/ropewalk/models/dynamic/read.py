"""Rotate on read: the model's cache holds keys without rotation, and its attention rotates them at the query's scale."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ropewalk.errors import CannotAttach
from ropewalk.models.caches import Entrance
from ropewalk.models.dynamic.cache import CacheState, bind, keeps, rotated_keys
from ropewalk.models.dynamic.call import Call, Rotate, in_order
from ropewalk.models.dynamic.kernels import attend, by_key_head, can_merge, causal
from ropewalk.models.dynamic.ladder import Ladder, Pair, Steps
from ropewalk.models.dynamic.near import NearReading
from ropewalk.models.dynamic.traced import TracedCall, TracedReading, check_unseen, is_traced

READING = "_ropewalk_reading"
CALL = "_ropewalk_call"
FLASH = ("flash_attention_2", "flash_attention_3", "flash_attention_4")
BASES = ("sdpa", "eager", *FLASH)
OURS = "ropewalk_"  # what the names of attention functions that rotate on read begin with
# On a CPU, queries whose mask must be spelt out are attended in blocks of this many: less of the masked half is computed.
# On accelerators kernels know what is masked, and short calls starve them: in blocks, a prefill of 16k tokens on an H100 took
# seven times as long (runs/gpu_real.py).
BLOCK = 256

# What transformers' attention functions are: (module, query, key, value, mask, **more) -> (output, weights).
Stock = Callable[..., Any]


class Watching:
    """While a model is probed, what looks at its attention instead of computing it."""

    now: Stock | None = None


def attention_of(module: nn.Module, base: str) -> Stock:
    """The stock attention function that the module would call under the implementation `base`."""
    if base != "eager":
        stock: Stock = ALL_ATTENTION_FUNCTIONS[base]
        return _named(base, stock) if base in FLASH else stock
    for home in homes(module):
        if found := getattr(home, "eager_attention_forward", None):
            eager: Stock = found
            return eager
    raise CannotAttach(f"{type(module).__name__} has no eager attention function.")


def _named(base: str, stock: Stock) -> Stock:
    """Flash attention looks up in the config which of its packages to load: let it find its own name there."""

    def call(module: Any, *args: Any, **kwargs: Any) -> Any:
        config, ours = module.config, module.config._attn_implementation
        config._attn_implementation_internal = base
        try:
            return stock(module, *args, **kwargs)
        finally:
            config._attn_implementation_internal = ours

    return call


def homes(module: nn.Module) -> Iterator[Any]:
    """The Python modules that a module's classes were written in, its own first."""
    for kind in type(module).__mro__:
        if kind is nn.Module:
            return
        yield sys.modules[kind.__module__]


def registered(base: str) -> str:
    """Register the attention function that rotates on read and then calls `base`; its name."""
    name = f"{OURS}{base}"

    def attend(module: nn.Module, query: Any, key: Any, value: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        mask = attention_mask  # some models pass it by name
        stock = attention_of(module, base)
        if Watching.now is not None:
            return Watching.now(stock, module, query, key, value, mask, **kwargs)
        reading: AttentionCall | TracedReading | None = module.__dict__.pop(READING, None)
        if reading is None:
            return stock(module, query, key, value, mask, **kwargs)
        return reading.attend(stock, module, reading.call.sharpened(query), key, value, mask, kwargs, base in FLASH)

    ALL_ATTENTION_FUNCTIONS.register(name, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def check_ours(module: Any) -> None:
    """Raises CannotAttach where somebody has set another attention function since the plan was attached: keys and queries
    that are handed to it are not rotated.
    """
    found = getattr(getattr(module, "config", None), "_attn_implementation", OURS)
    if not str(found).startswith(OURS):
        raise CannotAttach(
            f"the model's attention was set to {found!r} while a plan is attached whose keys are rotated when they are read:\n"
            "  it would attend without any rotation. Leave the plan (.undo(), or its `with` block), set the attention, and\n"
            "  attach again."
        )


def block_of(query: torch.Tensor) -> int:
    """How many queries are attended at a time where their mask must be spelt out."""
    return BLOCK if query.device.type == "cpu" else query.shape[2]


class AttentionCall:
    """One layer's part in one call, from its forward pre-hook to its attention function."""

    def __init__(self, call: Call, state: CacheState | None, layer: int, rotate: Rotate):
        self.call, self.state, self.layer, self.rotate = call, state, layer, rotate

    def attend(
        self, stock: Any, module: nn.Module, query: Any, key: Any, value: Any, mask: Any, kwargs: Any, flash: bool
    ) -> Any:
        """Attention with every query, and the keys it reads, rotated at the query's step.

        query: (rows, heads, tokens, channels).  key, value: as the cache gave them, keys unrotated.
        flash: the kernel counts causality from the last query and the last key, and is told of padding by (rows, keys).
        """
        call, groups = self.call, self.call.groups
        if self.state is None:
            check_unseen(module, key.shape[2], call.tokens)
        if call.ladder.near and not call.is_plain:
            reading = NearReading(call, self.state, self.layer, self.rotate)
            return reading.attend(stock, module, query, key, value, mask, kwargs, flash)
        if len(groups) == 1:
            rotated, keys = self._single(query, key, groups[0][0])
            alone = call.tokens == 1 and mask is None and not call.is_plain and keys.shape[2] == call.total
            if alone and query.device.type == "cpu" and can_merge(stock, module, query, key, value, kwargs):
                out, _ = attend(by_key_head(rotated, keys), keys, value, kwargs.get("scaling"))
                return out.reshape(query.shape[0], 1, query.shape[1], value.shape[3]), None
            return stock(module, rotated, keys, value, mask, **kwargs)
        if any(kwargs.get(name) is not None for name in ("position_bias", "cu_seq_lens_q")):
            raise CannotAttach("cu_seq_lens and position biases cannot be split by scale: pack sequences by position_ids.")
        if flash and mask is None and call.restarts:
            raise CannotAttach(
                "under flash attention, packed documents that reach beyond the original window cannot be split by scale.\n"
                '  Load the model with attn_implementation="sdpa", or put one document in each row.'
            )
        kwargs = {name: value for name, value in kwargs.items() if name != "position_ids"}  # they count for whole calls
        if self.state is not None:
            self.state.layers.pop(self.layer, None)
        found = []
        split = mask is None and query.device.type == "cpu" and can_merge(stock, module, query, key, value, kwargs)
        for first, last, keys, steps in self._parts(key, call.tokens if split or flash else block_of(query)):
            q = self.rotate(query[:, :, first:last], *call.of_queries(steps, first, last))
            values, weight = value[:, :, : keys.shape[2]], None
            if split and first:
                output = causal(q, keys, values, kwargs.get("scaling")).answer().contiguous()
            else:
                seen = self._mask(mask, first, last, keys.shape[2], q, flash)
                output, weight = stock(module, q, keys, values, seen, **kwargs)
            found.append((first, output, weight))
        return in_order(found, key.shape[2])

    def _single(self, query: torch.Tensor, key: torch.Tensor, steps: Steps) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys of a call that reads at one step per row."""
        call, heads, length = self.call, query.shape[1], key.shape[2]
        turn = call.of_queries(steps, 0, call.tokens)
        if self.state is None:
            return self.rotate(query, *turn), self.rotate(key, *call.of_keys(steps, 0, length, length))
        if not keeps(call, length):
            return self.rotate(query, *turn), rotated_keys(self.state, self.layer, call, key, steps, self.rotate)
        # Queries and new keys stand at the same positions: one rotation for both.
        both = self.rotate(torch.cat([query, key[:, :, call.past : call.past + call.tokens]], dim=1), *turn)
        keys = rotated_keys(self.state, self.layer, call, key, steps, self.rotate, both[:, heads:])
        return both[:, :heads], keys

    def _parts(self, key: torch.Tensor, block: int) -> Iterator[tuple[int, int, torch.Tensor, Any]]:
        """(first and last column, the keys they look at, steps): keys are rotated once per group, and cut per block."""
        call, length = self.call, key.shape[2]
        whole = length < call.key_positions.shape[1]  # a window's tail starts anywhere
        for steps, ranges in call.groups:
            end = length if whole else call.past + ranges[-1][1]
            rotated = self.rotate(key[:, :, :end], *call.of_keys(steps, 0, end, length))
            for first, last in ranges:
                for start in range(first, last, block):
                    stop = min(start + block, last)
                    yield start, stop, rotated if whole else rotated[:, :, : call.past + stop], steps

    def _mask(self, mask: torch.Tensor | None, first: int, last: int, keys: int, query: torch.Tensor, flash: bool) -> Any:
        if mask is not None:
            return mask[:, :keys] if flash else mask[:, :, first:last, :keys]
        return None if first == 0 or flash else self.call.causal_mask(first, last, query)


def _one_each(positions: torch.Tensor) -> torch.Tensor:
    """(rows, tokens). M-RoPE has three for each token (time, height, width), which are the same for texts."""
    if positions.dim() == 3 and not torch.compiler.is_compiling() and bool((positions == positions[:1]).all()):
        return positions[0]
    if positions.dim() != 2:
        raise CannotAttach(
            f"positions of shape {tuple(positions.shape)}: only one position per token can be scheduled.\n"
            "  Texts can be read, uncompiled. For pictures plan for one scale per request: dynamic-...-request."
        )
    return positions


class DeferredTable:
    """The hooks of one rotary table: its module tells which call begins, its attention modules read within that call.

    readers: the attention modules to stretch, and how each rotates.  entrances: where each is handed its cache.
    """

    def __init__(self, ladder: Ladder, fingerprint: str):
        self.ladder, self.fingerprint = ladder, fingerprint
        self.readers: dict[nn.Module, Rotate] = {}
        self.entrances: dict[nn.Module, Entrance] = {}
        self._latest: Call | TracedCall | None = None
        self._hooks: list[Any] = []

    def install(self) -> None:
        self.entrances = {module: Entrance(module) for module in self.readers}
        self._hooks.append(self.ladder.table.module.register_forward_hook(self._begin, with_kwargs=True))
        for module in self.readers:
            self._hooks.append(module.register_forward_pre_hook(self._before, with_kwargs=True))

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for module in self.readers:
            module.__dict__.pop(READING, None)
        self._latest = None

    def check_readers(self) -> None:
        for module in self.readers:
            check_ours(module)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Pair) -> None:
        given = (*args, *(None,) * 3)
        table = self.ladder.table
        if table.prefix and kwargs.get("layer_type", given[2]) != table.layer_type:
            return
        positions = kwargs.get("position_ids", given[1])
        positions = _one_each(positions)
        if is_traced(self.ladder, positions):
            self._latest = TracedCall(self.ladder, positions, output[0])
            return
        self._latest = Call(self.ladder, positions, output[0])
        # The layers find their call on the tensor they are handed, also when a checkpoint runs them again later.
        setattr(output[0], CALL, self._latest)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        embeddings = kwargs.get("position_embeddings")
        if embeddings is None:
            raise CannotAttach(f"{type(module).__name__} is not given position_embeddings by name.")
        cache = self.entrances[module].cache(args, kwargs)
        layer: Any = module.layer_idx
        if isinstance(self._latest, TracedCall):
            check_ours(module)
            self._latest.bind(cache, self.fingerprint, layer)
            module.__dict__[READING] = TracedReading(self._latest, self.readers[module])
            return args, {**kwargs, "position_embeddings": self._latest.identity(embeddings)}
        call: Call | None = getattr(embeddings[0], CALL, self._latest)
        assert call is not None
        if cache is None and call.is_plain:
            return None  # the stock path, untouched
        check_ours(module)
        state = None if cache is None else bind(cache, call, self.fingerprint, layer)
        module.__dict__[READING] = AttentionCall(call, state, layer, self.readers[module])
        return args, {**kwargs, "position_embeddings": call.identity(embeddings)}
