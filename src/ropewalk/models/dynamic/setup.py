"""Put rotation on read on a live model, test it against the stock model, and take it off again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.call import Ladder
from ropewalk.models.dynamic.probe import TOKENS, probe, run
from ropewalk.models.dynamic.read import BASES, OnRead, registered
from ropewalk.models.dynamic.selftest import check_cache
from ropewalk.models.live import LiveTable
from ropewalk.scaling.schedule import REQUEST
from ropewalk.scaling.spec import is_local
from ropewalk.scaling.stretch import Stretch


def reads_late(stretch: Stretch) -> bool:
    """Does this stretch rotate keys when they are read?"""
    return stretch.dynamic is not None and stretch.dynamic.semantics != REQUEST


class LateRotation:
    """All tables of a plan that rotate on read, on one model."""

    def __init__(self, model: nn.Module, plan: str, tables: list[tuple[LiveTable, Stretch]]):
        self.model = model
        self._config: Any = model.config.get_text_config()  # type: ignore[union-attr, operator]
        self._before: str = self._config._attn_implementation
        self.tables = [(OnRead(Ladder(table, stretch, _base(table, stretch)), plan), table) for table, stretch in tables]

    def install(self) -> None:
        """Hook the attention modules that rotate. Raises CannotAttach where the model cannot be read late, bit for bit."""
        if self._before not in BASES:
            raise CannotAttach(
                f"this model attends with {self._before!r}; keys can be rotated late under {' and '.join(BASES)}.\n"
                '  Load it with attn_implementation="sdpa", which has flash kernels of its own.'
            )
        for on_read, _ in self.tables:
            with_base(on_read.ladder)
            on_read.ladder.stack()
        stock = [self._logits(on_read, step, late=False) for on_read, step in self._tests()]
        self._config._attn_implementation = registered(self._before)
        found = probe(self.model, [table for _, table in self.tables])
        for on_read, table in self.tables:
            on_read.readers = {m: rotate for m, rotate in found.items() if self._belongs(m, table)}
        if not any(on_read.readers for on_read, _ in self.tables):
            raise CannotAttach("only sliding-window layers rotate, and they are left alone: there is nothing to stretch.")
        for on_read, _ in self.tables:
            on_read.install()
        for (on_read, step), logits in zip(self._tests(), stock, strict=True):
            self._compare(on_read, step, logits)
        for on_read, _ in self.tables:
            check_cache(self.model, on_read.ladder, self._stock)

    def remove(self) -> None:
        for on_read, _ in self.tables:
            on_read.remove()
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
            for on_read, _ in self.tables:
                on_read.install()

    def _belongs(self, module: nn.Module, table: LiveTable) -> bool:
        """Is this attention module one that the plan stretches by this table?

        Where one table serves every layer, sliding-window layers are left alone: they never look past their window.
        """
        kinds = getattr(self._config, "layer_types", None)
        kind = kinds[module.layer_idx] if kinds else ""
        return kind == table.layer_type if table.prefix else is_local(table.layer_type) or not is_local(kind)

    def _tests(self) -> list[tuple[OnRead, int]]:
        tops = [(o, o.ladder.schedule.step(2**62)) for o, _ in self.tables]
        return [(on_read, step) for on_read, top in tops for step in dict.fromkeys((0, top))]

    def _logits(self, on_read: OnRead, step: int, late: bool) -> torch.Tensor:
        """Logits of a few tokens that all read at `step`: by the stock path with that step's table, or on read."""
        ladder = on_read.ladder
        end = ladder.reach if step else min(TOKENS, ladder.schedule.original_length)
        first = max(end - TOKENS, int(ladder.starts[-1]) if len(ladder.starts) else 0) if step else 0
        positions = torch.arange(first, end)[None]
        if late:
            return run(self.model, positions, len(positions[0]))
        with ladder.at(step):
            return run(self.model, positions, len(positions[0]))

    def _compare(self, on_read: OnRead, step: int, stock: torch.Tensor) -> None:
        others = [o for o, _ in self.tables if o is not on_read]
        if step and (others or self._left_alone(on_read)):
            return  # other layers stand at other scales than the stock model's: nothing to compare with
        late = self._logits(on_read, step, late=True)
        # Bit for bit inside the window. Beyond it a query scaled by its position may be scaled before or after its rotation.
        allowed = 256 * torch.finfo(stock.dtype).eps * max(1.0, float(stock.abs().max())) if step else 0.0
        if not (late - stock).abs().max() <= allowed:
            raise CannotAttach(
                f"read late at scale {on_read.ladder.schedule.scale(step):g}, {type(self.model).__name__} gives other logits "
                f"than with its own table: up to {(late - stock).abs().max():.1e} off.\n"
                "  Something besides its attention uses the rotation. Plan for the request meaning: dynamic-...-request."
            )

    def _left_alone(self, on_read: OnRead) -> bool:
        """Does this table rotate layers that are not read late?"""
        kinds = getattr(self._config, "layer_types", None) or ()
        return not on_read.ladder.table.prefix and any(map(is_local, kinds))


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
    """Leave the module at step 0: layers that are not read late rotate as the unstretched model does."""
    inv_freq, m = ladder.values(0)
    for name, value in (("inv_freq", inv_freq), ("original_inv_freq", inv_freq), ("attention_scaling", m)):
        if hasattr(ladder.table.module, f"{ladder.table.prefix}{name}"):
            setattr(ladder.table.module, f"{ladder.table.prefix}{name}", value)
