"""Put deferred rotation (of keys, when they are read) on a live model, test it, and take it off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.ladder import Ladder
from ropewalk.models.dynamic.probe import TOKENS, probe, run
from ropewalk.models.dynamic.read import BASES, DeferredTable, registered
from ropewalk.models.dynamic.request import RequestScale
from ropewalk.models.dynamic.selftest import check_cache
from ropewalk.models.live import LiveTable
from ropewalk.scaling.names import STATIC
from ropewalk.scaling.schedule import REQUEST
from ropewalk.scaling.spec import is_local
from ropewalk.scaling.stretch import Stretch


def defers_rotation(stretch: Stretch) -> bool:
    """Does this stretch rotate keys when they are read?"""
    return stretch.near > 0 or (stretch.dynamic is not None and stretch.dynamic.semantics != REQUEST)


class DeferredRotation:
    """All tables of a plan whose rotation is deferred, on one model."""

    def __init__(self, model: nn.Module, fingerprint: str, tables: list[tuple[LiveTable, Stretch]], request: RequestScale):
        self.model = model
        self._config: Any = model.config.get_text_config()  # type: ignore[union-attr, operator]
        self._before: str = self._config._attn_implementation
        self.tables = [
            (DeferredTable(Ladder(table, stretch, _base(table, stretch), request), fingerprint), table)
            for table, stretch in tables
        ]

    def install(self) -> None:
        """Hook the attention modules that rotate. Raises CannotAttach where the stock model's logits are not met."""
        if self._before not in BASES:
            raise CannotAttach(
                f"this model attends with {self._before!r}; deferred rotation needs {' and '.join(BASES)}.\n"
                '  Load it with attn_implementation="sdpa", which has flash kernels of its own.'
            )
        for deferred, _ in self.tables:
            with_base(deferred.ladder)
            deferred.ladder.stack()
        stock = [self._logits(deferred, step, on_read=False) for deferred, step in self._tests()]
        self._config._attn_implementation = registered(self._before)
        found = probe(self.model, [table for _, table in self.tables])
        for deferred, table in self.tables:
            deferred.readers = {m: rotate for m, rotate in found.items() if self._belongs(m, table)}
        if not any(deferred.readers for deferred, _ in self.tables):
            raise CannotAttach("only sliding-window layers rotate, and they are left alone: there is nothing to stretch.")
        for deferred, _ in self.tables:
            deferred.install()
        for (deferred, step), logits in zip(self._tests(), stock, strict=True):
            self._compare(deferred, step, logits)
        for deferred, _ in self.tables:
            check_cache(self.model, deferred.ladder, self._stock)

    def remove(self) -> None:
        for deferred, _ in self.tables:
            deferred.remove()
        self._config._attn_implementation = self._before

    @contextmanager
    def _stock(self) -> Iterator[None]:
        """The stock model, for as long as the block lasts."""
        ours = self._config._attn_implementation
        self.remove()
        try:
            yield
        finally:
            self._config._attn_implementation = ours
            for deferred, _ in self.tables:
                deferred.install()

    def _belongs(self, module: nn.Module, table: LiveTable) -> bool:
        """Is this attention module one that the plan stretches by this table?

        Where one table serves every layer, sliding-window layers are left alone: they never look past their window.
        """
        kinds = getattr(self._config, "layer_types", None)
        kind = kinds[module.layer_idx] if kinds else ""
        return kind == table.layer_type if table.prefix else is_local(table.layer_type) or not is_local(kind)

    def _tests(self) -> list[tuple[DeferredTable, int]]:
        tops = [(o, 0 if o.ladder.near else o.ladder.schedule.step(2**62)) for o, _ in self.tables]
        found = [(deferred, step) for deferred, top in tops for step in dict.fromkeys((0, top))]
        return [(deferred, step) for deferred, step in found if deferred.ladder.semantics != STATIC]

    def _logits(self, deferred: DeferredTable, step: int, on_read: bool) -> torch.Tensor:
        """Logits of a few tokens that all read at `step`: by the stock path with that step's table, or on read."""
        ladder = deferred.ladder
        end = ladder.reach if step else min(TOKENS, ladder.schedule.original_length)
        first = max(end - TOKENS, int(ladder.starts[-1]) if len(ladder.starts) else 0) if step else 0
        positions = torch.arange(first, end)[None]
        if on_read:
            return run(self.model, positions, len(positions[0]))
        with ladder.at(step):
            return run(self.model, positions, len(positions[0]))

    def _compare(self, deferred: DeferredTable, step: int, stock: torch.Tensor) -> None:
        others = [o for o, _ in self.tables if o is not deferred]
        if step and (others or self._left_alone(deferred)):
            return  # other layers stand at other scales than the stock model's: nothing to compare with
        other = self._logits(deferred, step, on_read=True)
        # Bit for bit inside the window. Beyond it a query scaled by its position may be scaled before or after its rotation.
        allowed = 256 * torch.finfo(stock.dtype).eps * max(1.0, float(stock.abs().max())) if step else 0.0
        if not (other - stock).abs().max() <= allowed:
            raise CannotAttach(
                f"with deferred rotation at scale {deferred.ladder.schedule.scale(step):g}, {type(self.model).__name__} gives "
                f"other logits than with its own table: up to {(other - stock).abs().max():.1e} off.\n"
                "  Something besides its attention uses the rotation. Plan for the request meaning: dynamic-...-request."
            )

    def _left_alone(self, deferred: DeferredTable) -> bool:
        """Does this table rotate layers that do not defer rotation?"""
        kinds = getattr(self._config, "layer_types", None) or ()
        return not deferred.ladder.table.prefix and any(map(is_local, kinds))


def _base(table: LiveTable, stretch: Stretch) -> tuple[torch.Tensor, float]:
    """The unstretched model's own frequencies, if it is unstretched and they are not rounded; else the plan's at scale 1."""
    plain, mine = stretch.scaled_by(1.0), table.inv_freq
    m = getattr(table.module, f"{table.prefix}attention_scaling")
    wanted = torch.tensor(plain.inv_freq, dtype=torch.float32, device=mine.device)
    unrounded = torch.finfo(mine.dtype).eps <= torch.finfo(torch.float32).eps
    if unrounded and m == plain.attention_factor and torch.allclose(mine.float(), wanted, rtol=2e-6, atol=0):
        return mine, m
    return wanted, plain.attention_factor


def with_base(ladder: Ladder) -> None:
    """Leave the module at step 0: layers that do not defer rotation rotate as the unstretched model does."""
    inv_freq, m = ladder.values(0)
    for name, value in (("inv_freq", inv_freq), ("original_inv_freq", inv_freq), ("attention_scaling", m)):
        if hasattr(ladder.table.module, f"{ladder.table.prefix}{name}"):
            setattr(ladder.table.module, f"{ladder.table.prefix}{name}", value)
