"""attach: put a plan on a live model, and prove by measuring that the model does what the plan says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach, Mismatch
from ropewalk.models.carried import MARK, SAVE, Carried, OfAdapters, save_as_it_rotates
from ropewalk.models.dynamic.ladder import Ladder
from ropewalk.models.dynamic.request import RequestScale, ScalePerCall
from ropewalk.models.dynamic.setup import DeferredRotation, defers_rotation
from ropewalk.models.dynamic.turns import Turns
from ropewalk.models.limits import say_untried
from ropewalk.models.live import (
    COMPUTED_IN_FLOAT32,
    ROUNDINGS,
    LiveTable,
    Measured,
    Saved,
    beside_its_config,
    find_tables,
    furthest,
    keep_float32,
    let_cast,
    looked_at,
    measure,
    read_live,
)
from ropewalk.scaling.plan import ScalingPlan, standing
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

__all__ = ["Attached", "attach", "measure"]


def attach(model: nn.Module, plan: ScalingPlan) -> "Attached":
    """Make a live transformers model rotate as `plan` says, and measure that it does.

    Weights are not touched. Layer types that the plan does not name keep what they have. While attached,
    config.max_position_embeddings is the plan's target length, and everything else in the config stays; what the model's
    `save_pretrained` writes meanwhile says the plan, where a config can, and the model's own rotation where none can.

    A dynamic plan means one of four things (`scaling.schedule.SEMANTICS`). *causal* gives the same numbers with a cache and
    without, in chunks and in batches, and below the original length those of the unattached model, bit for bit; *rotate*
    and *recompute* take one scale per call from the newest token of each row, with a cache of unrotated keys and without
    any. All three let the model's attention rotate keys when it reads them; a cache filled meanwhile is of no use after
    `undo`. *request* chooses one scale per forward call from the longest position in it; see `Attached.request`.

    Raises NoRope or CannotAttach where the model cannot carry the plan, and Mismatch, after undoing everything, where its
    own cos and sin turn out to be something else than the plan's.
    """
    spec = read_live(model)
    tables = find_tables(model, spec)
    _check_fits(model, plan, spec, tables)
    attached = Attached(model, plan, [(table, stretch) for name, stretch in plan.stretches for table in tables[name]])
    try:
        for name, stretch in plan.stretches:
            current = dict(spec.scaling).get(name) or Stretch(stretch.rope)
            _check_trained(tables[name], current)
        with torch.compiler.set_stance("force_eager"):  # a model that is compiled already is tested as it is written
            attached._install()
        attached.check()
    except BaseException:
        attached.undo()
        raise
    say_untried()
    return attached


class Attached:
    """A plan on a live model: a context manager whose end, like `undo`, restores the model bit for bit."""

    def __init__(self, model: nn.Module, plan: ScalingPlan, tables: list[tuple[LiveTable, Stretch]]):
        self.model = model
        self.plan = plan
        self.tables = tables
        self._config = model.config.get_text_config()  # type: ignore[union-attr, operator]
        self._longest = self._config.max_position_embeddings
        self._saved = [Saved(table) for table, _ in tables]
        self._request = RequestScale()
        self._hooks: list[Any] = []
        self._saving: list[nn.Module] = []
        self._turns: Turns | None = None
        deferred = [(table, stretch) for table, stretch in tables if defers_rotation(stretch)]
        self._deferred = DeferredRotation(model, plan.fingerprint, deferred, self._request) if deferred else None
        self._undone = False

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _install(self) -> None:
        for table, stretch in self.tables:
            setattr(table.module, MARK, Carried(self.plan, self._longest))
            table.set_plain()
            keep_float32(table)
            if defers_rotation(stretch):
                table.set_softmax(stretch.scaled_by(1.0).softmax_factor)  # the rest multiplies queries
                continue
            table.set(stretch.scaled())
            if stretch.dynamic:
                hook = ScalePerCall(table, stretch, self._request)
                self._hooks.append(table.module.register_forward_pre_hook(hook, with_kwargs=True))
        if self._deferred:
            self._deferred.install()
        if moving := [table.module for table, stretch in self.tables if stretch.dynamic or defers_rotation(stretch)]:
            readers = (
                [module for deferred, _ in self._deferred.tables for module in deferred.readers] if self._deferred else []
            )
            self._turns = Turns(self.model, moving, readers)
        self._config.max_position_embeddings = max(self._longest, self.plan.target_length)
        self._saving = save_as_it_rotates(self.model, self._config)
        self._hooks.append(self.model.register_state_dict_post_hook(OfAdapters(self.plan)))  # type: ignore[no-untyped-call]

    def undo(self) -> None:
        """Put back the tensors and numbers that were there before; a second call does nothing."""
        if self._undone:
            return
        self._undone = True
        if self._turns:
            self._turns.end()
        for hook in self._hooks:
            hook.remove()
        if self._deferred:
            self._deferred.remove()
        for saved in self._saved:
            let_cast(saved.table)
            saved.restore()
            saved.table.module.__dict__.pop(MARK, None)
        for module in self._saving:
            module.__dict__.pop(SAVE, None)
        self._config.max_position_embeddings = self._longest

    @contextmanager
    def request(self, n_tokens: int) -> Iterator[None]:
        """Fix the scale of a dynamic plan for one request of `n_tokens`: prompt and everything generated after it.

            with attached.request(prompt.shape[1] + max_new_tokens):
                model.generate(prompt, max_new_tokens=max_new_tokens)

        Inside, a cache may be continued, and the numbers are those of one fresh call over all tokens. Static plans have
        one scale anyway, and nothing changes for them. Requests do not nest.
        """
        with self._request.of(n_tokens):
            yield

    def check(self) -> None:
        """Measure the live model's cos and sin again; raises Mismatch if they are not the plan's any more, and CannotAttach if
        its attention is not the one that was attached.
        """
        fixed = self._request.n_tokens
        for deferred, table in self._deferred.tables if self._deferred else ():
            _check_ladder(deferred.ladder, table)
            deferred.check_readers()
        for table, stretch in self.tables:
            if defers_rotation(stretch):
                continue
            if not stretch.dynamic:
                _check_softmax(table, stretch.softmax_factor, "the plan")
            for length in (fixed,) if fixed else _lengths(stretch):
                _compare(furthest(table, stretch.scaled(length), looked_at(stretch, length)), "the plan")


def _check_ladder(ladder: Ladder, table: LiveTable) -> None:
    """Measure the first, a middle and the last step of a schedule."""
    schedule = ladder.schedule
    last = schedule.step(2**62)
    for step in {0, last // 2, last}:
        with ladder.at(step):
            length = min(round(schedule.original_length * schedule.scale(step)), ladder.reach)
            tolerance = ROUNDINGS if step else COMPUTED_IN_FLOAT32  # step 0 is the model's own table
            positions = [position for position in (0, 1, 2, 7, length // 2, length - 1) if position < length]
            _compare(furthest(table, ladder.scaled(step), positions, tolerance), "the plan")


def _lengths(stretch: Stretch) -> tuple[int, ...]:
    """Request lengths to measure: one, unless the scale depends on it."""
    original, target = stretch.rope.original_length, stretch.target_length
    return (original, (original + target + 1) // 2, target) if stretch.dynamic else (target,)


def _compare(found: Measured, who: str) -> None:
    """Raise Mismatch at the pair that is furthest beyond what rounding explains."""
    if not found.right:
        raise Mismatch(
            f"{found.module} does not rotate as {who} says.\n"
            f"  layer type {found.layer_type!r}, position {found.position}, pair {found.pair}: "
            f"{found.half} should be {found.exact:.6f}, the model's is {found.seen:.6f}.\n"
        )


def _check_trained(tables: list[LiveTable], current: Stretch) -> None:
    """The model's present table must be the one its config was read to mean, or the plan stretches something else."""
    for table in tables:
        try:
            _compare(beside_its_config(table, current), "its config")
            _check_softmax(table, current.softmax_factor, "its config")
        except Mismatch as error:
            raise Mismatch(
                f"{error}  Measured before anything was changed. Either the model's code ignores its config, or its buffers\n"
                "  were overwritten or rounded after it was built, or Ropewalk misreads this config.\n"
                "  Build the model afresh; if it stays, please report it with the config."
            ) from None


def _check_fits(model: nn.Module, plan: ScalingPlan, spec: ModelSpec, tables: dict[str, list[LiveTable]]) -> None:
    for name, stretch in plan.stretches:
        if name not in tables or name not in dict(spec.ropes):
            raise CannotAttach(
                f"the plan stretches {name!r} layers; this {spec.model_type} model has {', '.join(tables)}.\n"
                "  Make the plan from this model's own config."
            )
        _check_rope(stretch, spec, name)
        for table in tables[name]:
            _check_table(table, stretch)
            _check_latent(model, table, stretch)


def _check_rope(stretch: Stretch, spec: ModelSpec, name: str) -> None:
    if (still := standing(spec, name)) and stretch.method != still.method:
        raise CannotAttach(
            f"{name} lets some of its pairs stand still (proportional), and the plan's {stretch.method} would turn them all.\n"
            "  Make a plan with method proportional."
        )
    planned, live = stretch.rope, spec.rope(name)
    if (planned.rotary_dim, planned.rope_theta) != (live.rotary_dim, live.rope_theta):
        raise CannotAttach(
            f"the plan was made for rotary_dim {planned.rotary_dim} and rope_theta {planned.rope_theta:g}; this model has "
            f"{live.rotary_dim} and {live.rope_theta:g}.\n"
            "  It is another model's plan, or the model was built from a config that is stretched already."
        )


def _check_table(table: LiveTable, stretch: Stretch) -> None:
    if attached := getattr(table.module, MARK, None):
        raise CannotAttach(
            f"a {attached.plan.name} plan is attached to this model already; a second one would stretch what is stretched.\n"
            "  Call .undo() on the first, or leave its `with` block. A copy of an attached model cannot be undone: copy it\n"
            "  before attaching."
        )
    if table.inv_freq.is_meta:
        raise CannotAttach("the model's rotary table is on the meta device: load its weights first, then attach.")
    if 2 * table.inv_freq.numel() != stretch.rope.rotary_dim:
        raise CannotAttach(
            f"the plan rotates {stretch.rope.rotary_dim // 2} pairs, this model's {table.layer_type!r} table has "
            f"{table.inv_freq.numel()}.\n  The config was read wrongly or belongs to another model."
        )


def _check_latent(model: nn.Module, table: LiveTable, stretch: Stretch) -> None:
    if stretch.softmax_factor != 1 and not table.latent:
        raise CannotAttach(
            f"the plan has softmax_mscale, which scales the softmax of latent attention (MLA); {type(model).__name__} has\n"
            "  none whose softmax scale can be set. Leave softmax_mscale out: yarn's attention factor sharpens what rotates."
        )


def _check_softmax(table: LiveTable, wanted: float, who: str) -> None:
    """Latent attention holds its softmax scale as a number: set when it was built, or by `attach`."""
    for module, found in zip(table.latent, table.softmax_factors(), strict=True):
        if abs(found / wanted - 1) > 1e-6:
            raise Mismatch(
                f"{type(module).__name__} multiplies its softmax scale by {found:.6f}; as {who} says, it is {wanted:.6f}.\n"
            )
