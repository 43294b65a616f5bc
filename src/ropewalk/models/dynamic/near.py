"""Attention of a plan with near distances: what is near is read as trained, what is far as the plan says, in one softmax."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.cache import CacheState, Rotated, keeps, version_of
from ropewalk.models.dynamic.call import Call, Rotate, in_order
from ropewalk.models.dynamic.kernels import attend, by_key_head, can_merge, causal, in_one, mixed, windowed
from ropewalk.models.dynamic.ladder import Pair, Steps

BLOCK = 256  # queries whose mask must be spelt out are attended so many at a time
LEAST = 0.5  # of the most negative number: what a mask adds, so that a row of nothing else stays finite


@dataclass
class NearRotated(Rotated):
    """The far keys of one layer at `steps`, of which `length` - w are filled, and the near ones.

    near: (rows, heads, capacity, channels), turned as trained; column `first` of the cache is its first.
    """

    near: torch.Tensor | None = None
    first: int = 0


class NearReading:
    """One layer's part in a call beyond the trained window."""

    def __init__(self, call: Call, state: CacheState | None, layer: int, rotate: Rotate):
        self.call, self.state, self.layer, self.rotate, self.w = call, state, layer, rotate, call.ladder.near

    def attend(
        self, stock: Any, module: nn.Module, query: Any, key: Any, value: Any, mask: Any, kwargs: Any, flash: bool
    ) -> Any:
        """As `AttentionCall.attend`."""
        call = self.call
        if any(kwargs.get(name) is not None for name in ("position_bias", "cu_seq_lens_q")):
            raise CannotAttach("cu_seq_lens and position biases cannot be told near from far: pack sequences by position_ids.")
        kwargs = {name: value for name, value in kwargs.items() if name != "position_ids"}  # they count for whole calls
        gain = call.ladder.gain(call.positions)
        if gain is not None:
            query = query * gain.to(query.dtype)
        if any(steps != (0,) for steps, _ in call.groups) and self._keeps(key):
            return self._decode(stock, module, query, key, value, mask, kwargs, flash)
        if self.state is not None:
            self.state.layers.pop(self.layer, None)
        contiguous = call.is_even and not call.is_padded and call.hides_nothing(mask, key.shape[2])
        if contiguous and can_merge(stock, module, query, key, value, kwargs, flash):
            return self._prefill(query, key, value, kwargs.get("scaling")), None
        _refuse_flash(flash)
        return self._spelt_out(stock, module, query, key, value, mask, kwargs)

    def _prefill(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
        """Queries of one scale at a time: two causal calls for what is near, and one or two for what is far."""
        call, w, length = self.call, self.w, key.shape[2]
        found = []
        for steps, ranges in call.groups:
            (first, _), (_, last) = ranges[0], ranges[-1]
            start = max(call.past + first - w, 0) if any(steps) else 0
            near = self._keys(key, (0,), start, call.past + last)
            far = self._keys(key, steps, 0, max(call.past + last - w, 0)) if any(steps) else key[:, :, :0]
            for first, last in ranges:
                end, reach = call.past + last, w if any(steps) else length
                turned = self.rotate(query[:, :, first:last], *call.of_near_queries(steps, first, last))
                merged = windowed(turned, near[:, :, : end - start], value[:, :, start:end], reach, scale)
                early = max(reach - call.past - first, 0)  # queries whose keys are all near
                if first + early < last:
                    turned = self.rotate(query[:, :, first + early : last], *call.of_queries(steps, first + early, last))
                    merged.add(causal(turned, far[:, :, : end - w], value[:, :, : end - w], scale).part, early)
                found.append((first, merged.answer()))
        return torch.cat([answer for _, answer in sorted(found, key=lambda piece: piece[0])], dim=1)

    def _keys(self, key: torch.Tensor, steps: Steps, first: int, last: int) -> torch.Tensor:
        return self.rotate(key[:, :, first:last], *self.call.of_keys(steps, first, last, key.shape[2]))

    def _keeps(self, key: torch.Tensor) -> bool:
        """Does this call keep its keys turned for the next one? Its tokens are few, at one scale, and some keys are far."""
        call = self.call
        few = self.state is not None and len(call.groups) == 1 and keeps(call, key.shape[2])
        return few and call.is_even and call.past >= self.w

    def _decode(
        self, stock: Any, module: nn.Module, query: Any, key: Any, value: Any, mask: Any, kwargs: Any, flash: bool
    ) -> Any:
        call, w, t, (steps, _) = self.call, self.w, self.call.tokens, self.call.groups[0]
        merges = can_merge(stock, module, query, key, value, kwargs, flash)
        if t == 1 and mask is None and merges:
            return self._decode_one(query, key, value, steps, kwargs.get("scaling")), None
        start, far_end = call.past - w + 1, call.total - w
        kept = self._kept(key, steps)
        keys, values = self._far_and_near(kept.keys, kept.near, kept.first), self._far_and_near(value, value, 0)
        turns = call.once("queries", None, lambda: _in_a_row(call.of_queries(steps, 0, t), call.of_near_queries(steps, 0, t)))
        turned = self.rotate(torch.cat([query, query], dim=2), *turns)  # once: every call of it costs
        queries = turned[:, :, :t], turned[:, :, t:]
        masks = call.once("masks", mask, lambda: self._masks(mask, start, far_end, query))
        if merges and query.device.type == "cpu":
            parts = [
                attend(q, k, v, kwargs.get("scaling"), mask=_added(seen, q))
                for q, k, v, seen in zip(queries, keys, values, masks, strict=True)
            ]
            return mixed(*parts).transpose(1, 2).contiguous(), None
        _refuse_flash(flash)
        spans = (0, far_end), (start, call.total)
        return in_one(stock, module, queries, keys, values, masks, spans, key.shape[2], kwargs)

    def _decode_one(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, steps: Steps, scale: float | None
    ) -> torch.Tensor:
        """One token, which sees every key: query heads that share keys are read as several queries of one head, and all that
        is turned is turned at once, for on small models calls cost more than arithmetic."""
        call, rows, heads = self.call, *query.shape[:2]
        shared = by_key_head(query, key)
        n = shared.shape[2]
        kept = self._fitting(key, steps)
        new = [] if kept is None else [key.narrow(2, call.past - self.w, 1), key.narrow(2, call.past, 1)]

        def turns() -> Pair:
            if new:
                return call.of_one(steps, n)
            return _in_a_row(*[call.of_queries(steps, 0, 1)] * n, *[call.of_near_queries(steps, 0, 1)] * n)

        turned = self.rotate(torch.cat([shared, shared, *new], dim=2), *call.once(f"one of {n}, {len(new)} keys", None, turns))
        kept = self._anew(key, steps) if kept is None else self._add(kept, turned.narrow(2, 2 * n, 2))
        kept.source, kept.version, kept.fresh = key, version_of(key), False
        (far, near), (v_far, v_near) = (
            self._far_and_near(kept.keys, kept.near, kept.first),
            self._far_and_near(value, value, 0),
        )
        parts = attend(turned.narrow(2, 0, n), far, v_far, scale), attend(turned.narrow(2, n, n), near, v_near, scale)
        return mixed(*parts).reshape(rows, 1, heads, value.shape[3])

    def _far_and_near(self, far: Any, near: Any, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of keys or values, those that are far from any of this call's queries, and those that are near.

        first: the column of the cache that `near` begins with.
        """
        call, w = self.call, self.w
        return far.narrow(2, 0, call.total - w), near.narrow(2, call.past - w + 1 - first, w - 1 + call.tokens)

    def _masks(self, mask: Any, start: int, far_end: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What each query may see of the far keys and of those from column `start` on."""
        call = self.call
        mine = torch.arange(call.past, call.total, device=like.device)[:, None]
        far = torch.arange(far_end, device=like.device) <= mine - self.w
        columns = torch.arange(start, call.total, device=like.device)
        near = (columns > mine - self.w) & (columns <= mine)
        return _both(mask, far, slice(0, far_end)), _both(mask, near, slice(start, call.total))

    def _kept(self, key: torch.Tensor, steps: Steps) -> NearRotated:
        """The keys of this layer, turned: the new ones, and those that have become far, added to what the last call kept."""
        call, w, kept = self.call, self.w, self._fitting(key, steps)
        if kept is None:
            kept = self._anew(key, steps)
        else:
            new = torch.cat([key[:, :, kept.length - w : call.total - w], key[:, :, call.past : call.total]], dim=2)
            kept = self._add(
                kept, self.rotate(new, *call.once("keys", None, lambda: self._turns_of_keys(steps, key.shape[2])))
            )
        kept.source, kept.version, kept.fresh = key, version_of(key), False
        return kept

    def _anew(self, key: torch.Tensor, steps: Steps) -> NearRotated:
        assert self.state is not None
        call, w = self.call, self.w
        far_end, start = call.total - w, call.past - w + 1
        far = key.new_empty(*key.shape[:2], far_end + max(64, far_end // 16), key.shape[3])
        far[:, :, :far_end] = self._keys(key, steps, 0, far_end)
        near = key.new_empty(*key.shape[:2], call.total - start + max(64, w // 16), key.shape[3])
        near[:, :, : call.total - start] = self._keys(key, (0,), start, call.total)
        kept = self.state.layers[self.layer] = NearRotated(far, call.total, steps, None, None, False, near, start)
        return kept

    def _add(self, kept: NearRotated, turned: torch.Tensor) -> NearRotated:
        """turned: the keys that have become far, and as many new ones."""
        assert kept.near is not None
        call, w = self.call, self.w
        kept.keys.narrow(2, kept.length - w, call.tokens).copy_(turned.narrow(2, 0, call.tokens))
        if call.total - kept.first > kept.near.shape[2]:
            start = call.past - w + 1
            kept.near[:, :, : w - 1] = kept.near[:, :, start - kept.first : call.past - kept.first].clone()
            kept.first = start
        kept.near.narrow(2, call.past - kept.first, call.tokens).copy_(turned.narrow(2, call.tokens, call.tokens))
        kept.length = call.total
        return kept

    def _turns_of_keys(self, steps: Steps, length: int) -> Pair:
        """Of those that become far in this call, and of its own."""
        call, w = self.call, self.w
        far = call.of_keys(steps, call.past - w, call.total - w, length)
        return _in_a_row(far, call.of_keys((0,), call.past, call.total, length))

    def _fitting(self, key: torch.Tensor, steps: Steps) -> NearRotated | None:
        """What the last call kept, where this one goes on from it."""
        assert self.state is not None
        kept, call = self.state.layers.get(self.layer), self.call
        if not isinstance(kept, NearRotated):
            return None
        room, writable = kept.keys.shape, torch.is_inference_mode_enabled() or not kept.keys.is_inference()
        same = kept.fresh and kept.steps == steps and kept.length == call.past and writable
        fits = same and (*room[:2], room[3]) == (*key.shape[:2], key.shape[3]) and room[2] >= call.total - self.w
        return kept if fits else None

    def _spelt_out(self, stock: Any, module: nn.Module, query: Any, key: Any, value: Any, mask: Any, kwargs: Any) -> Any:
        """By positions, with masks and any attention function: for padding, packed documents, jumps and gradients."""
        call, w, length = self.call, self.w, key.shape[2]
        places, near = call.where_keys_stand(length), self._keys(key, (0,), 0, length)
        whole = length != call.total  # a static cache, or a window's tail, which starts anywhere
        found = []
        for steps, ranges in call.groups:
            end = length if whole else call.past + ranges[-1][1]
            far = self._keys(key, steps, 0, end)
            for first, last in ranges:
                for start in range(first, last, BLOCK):
                    stop = min(start + BLOCK, last)
                    seen = length if whole else call.past + stop
                    behind = call.positions[:, start:stop, None] - places[:, None, :seen]
                    visible = torch.ones_like(behind, dtype=torch.bool)
                    if mask is None:
                        mine = torch.arange(call.past + start, call.past + stop, device=behind.device)[:, None]
                        visible = (torch.arange(seen, device=behind.device) <= mine).expand_as(behind)
                    spans = self._spans(seen - (stop - start), seen) if not whole and call.is_even else ((0, seen), (0, seen))
                    cut = None if mask is None else mask[:, :, start:stop, :seen]
                    masks = [
                        _both(cut, (visible & part)[:, None, :, a:b], slice(a, b))
                        for part, (a, b) in zip((behind >= w, behind < w), spans, strict=True)
                    ]
                    queries = (
                        self.rotate(query[:, :, start:stop], *call.of_queries(steps, start, stop)),
                        self.rotate(query[:, :, start:stop], *call.of_near_queries(steps, start, stop)),
                    )
                    keys = tuple(each[:, :, a:b] for each, (a, b) in zip((far, near), spans, strict=True))
                    values = tuple(value[:, :, a:b] for a, b in spans)
                    found.append((start, *in_one(stock, module, queries, keys, values, masks, spans, length, kwargs)))
        return in_order(found, length)

    def _spans(self, first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Where distances are those of columns: which keys some query of these columns can find far, and which near."""
        return (0, max(last - self.w, 0)), (max(first - self.w + 1, 0), last)


def _in_a_row(*pairs: Pair) -> Pair:
    """(cos, sin) of one token after the other; a row that is alone stands for all."""
    rows = max(len(cos) for cos, _ in pairs)
    pairs = tuple(
        (cos.expand(rows, -1, -1), sin.expand(rows, -1, -1)) if len(cos) < rows else (cos, sin) for cos, sin in pairs
    )
    cos, sin = (torch.cat(tables, dim=1) for tables in zip(*pairs, strict=True))
    return cos, sin


def _refuse_flash(flash: bool) -> None:
    if flash:
        raise CannotAttach(
            "flash attention has no kernel for near and far distances with padding, packed documents or gradients, or on\n"
            '  this device in this dtype. Load the model with attn_implementation="sdpa".'
        )


def _both(mask: torch.Tensor | None, allowed: torch.Tensor, columns: slice) -> torch.Tensor:
    """A mask that also hides what is not allowed."""
    if mask is None:
        return allowed if allowed.dim() == 4 else allowed[None, None]
    cut = mask[..., columns]
    if cut.dtype == torch.bool:
        return cut & allowed
    return cut.masked_fill(~allowed, torch.finfo(cut.dtype).min)


def _added(seen: torch.Tensor | None, query: torch.Tensor) -> torch.Tensor | None:
    """Numbers to be added, finite: a row that sees nothing here then counts for nothing beside one that sees something."""
    if seen is None:
        return None
    least = LEAST * torch.finfo(query.dtype).min
    if seen.dtype == torch.bool:
        return torch.zeros_like(seen, dtype=query.dtype).masked_fill_(~seen, least)
    return seen.clamp(min=least).to(query.dtype)
