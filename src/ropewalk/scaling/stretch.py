"""Stretch: one rotary embedding, a method of the registry and a factor; static, or a scale that grows with a length."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ropewalk.errors import BadLength, BadOption, CannotExpress, UnknownName
from ropewalk.scaling.method import Option, Scaled, check_factor, get_method
from ropewalk.scaling.names import Named, written
from ropewalk.scaling.rope import Rope, is_number, is_whole
from ropewalk.scaling.schedule import REQUEST, Dynamic, Schedule


@dataclass(frozen=True, slots=True)
class Stretch:
    """One rotary embedding, stretched.

    rope: as trained.
    method, options: a method of the registry and those of its options that differ from the defaults, sorted by name.
    factor: s = L' / L.
    dynamic: choose s = max(1, l / L) from a length l instead, never above `factor`; which length, it says. None: static.
    near: w, tokens. Distances below w turn as trained, and those from w on go on from there as the method says:

            angle(d) = theta_i d                            d < w
            angle(d) = theta_i w + theta'_i(s) (d - w)      d >= w

        with s = (L' - w) / (L - w), or from a length max(1, (l - w) / (L - w)), so that nothing turns further than trained.
        0: none is set apart, and every distance turns by theta'_i. m sharpens near and far alike.
        Source: Su 2023, kexue.fm 9708 (ReRoPE); Jin et al. 2024, arXiv:2401.01325.
    log_n: only with near. The query at position p is multiplied by max(1, ln(p + 1) / ln L).
        Source: Su 2021, kexue.fm 8823; Chiang and Cholak 2022, arXiv:2202.12172.
    """

    rope: Rope
    method: str = "none"
    factor: float = 1.0
    options: tuple[tuple[str, Option], ...] = ()
    dynamic: Dynamic | None = None
    near: int = 0
    log_n: bool = False

    def __post_init__(self) -> None:
        check_factor(self.factor)
        self._check_near()
        if self.dynamic and self.method == "longrope" and "scales" not in dict(self.options):
            raise BadOption(
                "longrope cannot be dynamic: its lists were searched for one factor, and say nothing of others.\n"
                "  Its own short_factor already leaves the original window alone. yarn or linear can be dynamic."
            )
        object.__setattr__(self, "factor", float(self.factor))  # equal stretches must also be written alike
        self.scaled_by(self.largest_scale)  # a stretch that cannot be computed must not exist

    def _check_near(self) -> None:
        if self.near == 0 and is_whole(self.near):
            if get_method(self.method).needs_near:
                raise BadOption(f"{self.method} is a rule for far distances alone: write near-{self.method}.")
            if self.log_n:
                raise BadOption("log_n goes with near distances that are read as trained: near-linear-log_n, say.")
            return
        if not is_whole(self.near) or not 1 <= self.near < self.rope.original_length:
            length = self.rope.original_length
            raise BadLength(
                f"near is {self.near!r}; it must be a whole number of tokens, 1 to {length - 1:,}: what is far needs room\n"
                f"  in the {length:,} tokens that this rotary embedding was trained at. Half of them is the default."
            )
        if "short_factor" in dict(self.options):
            raise BadOption(
                "short_factor is a list of its own for short texts, and near distances are read as trained: leave one out."
            )

    @property
    def largest_scale(self) -> float:
        """s of the target length: L' / L, or (L' - w) / (L - w) beyond near distances."""
        if not self.near:
            return self.factor
        return (self.target_length - self.near) / (self.rope.original_length - self.near)

    @property
    def softmax_factor(self) -> float:
        """What multiplies the softmax scale of latent attention at the largest scale; 1 of all others."""
        return self.scaled_by(self.largest_scale).softmax_factor

    @property
    def is_one_table(self) -> bool:
        """Is it one table of frequencies, for every token, distance and length? That is all that a config can say."""
        return not self.dynamic and not self.near

    def scale_at(self, length: int | None) -> float:
        """The scale for a request of `length` tokens, on its grid where requests have one; None means the whole factor."""
        if not self.dynamic or length is None:
            return self.largest_scale
        if self.dynamic.semantics == REQUEST:
            return self.schedule.scale_of(length - 1)
        far = (length - self.near) / (self.rope.original_length - self.near)
        return min(max(1.0, far), self.largest_scale)

    @property
    def schedule(self) -> Schedule:
        """The scale by position of a dynamic stretch."""
        grid = (self.dynamic.grid or 0) if self.dynamic else 0
        return Schedule(self.rope.original_length, self.largest_scale, grid, self.near)

    def scaled_by(self, scale: float) -> Scaled:
        """Frequencies (of what is not near) and attention factor at one scale, 1 to `largest_scale`.

        With near distances scale 1 is the unstretched model, whatever the method says of it.
        """
        if self.near and scale <= 1:
            return Scaled(self.rope.inv_freq)
        return get_method(self.method)(self.rope, scale, **dict(self.options))

    def scaled(self, length: int | None = None) -> Scaled:
        """Frequencies and attention factor for a request of `length` tokens (static stretches: for any).

        Raises CannotExpress with near distances, which have other frequencies than far ones.
        """
        if self.near:
            raise CannotExpress(
                f"no one table of frequencies says {self.name}: distances below {self.near:,} turn as trained, others not.\n"
                f"  Attach the plan to a live model, or write {self.far_alone.method} for every distance."
            )
        return self.scaled_by(self.scale_at(length))

    @property
    def far_alone(self) -> "Stretch":
        """The same without near distances, which every distance then takes part in: what a config can come closest to."""
        method = "linear" if get_method(self.method).needs_near else self.method
        options = self.options if method == self.method else ()
        return replace(self, near=0, log_n=False, method=method, options=options)

    @property
    def target_length(self) -> int:
        return round(self.rope.original_length * self.factor)

    @property
    def name(self) -> str:
        """How the method is written on the command line, so that reading it gives it back."""
        return written(Named(self.method, self.dynamic, self.near or None, self.log_n), self.rope.original_length)


def pairs(stretch: Stretch) -> dict[str, Any]:
    """How many pairs are kept, ramped between, and slowed by the whole scale; and by how much each is slowed (if far)."""
    slowed = [
        theta / new if new else float("inf")
        for theta, new in zip(stretch.rope.inv_freq, stretch.scaled_by(stretch.largest_scale).inv_freq, strict=True)
    ]
    kept = sum(abs(s - 1) < 1e-9 for s in slowed)
    most = stretch.largest_scale
    stretched = sum(s >= most * (1 - 1e-9) for s in slowed) if most > 1 else 0
    return {"kept": kept, "ramped": len(slowed) - kept - stretched, "stretched": stretched, "slowed_by": slowed}


def normal_options(method: str, options: Mapping[str, Option]) -> tuple[tuple[str, Option], ...]:
    """Options as a plan holds them: only those that differ from the defaults, lists as tuples, sorted by name."""
    defaults = get_method(method).defaults
    for name in options:
        if name not in defaults:
            raise UnknownName(f"option of {method}", name, defaults)
    normal = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    for name, value in normal.items():
        check_type(name, value, defaults[name])
    return tuple(sorted((name, _as_float(value)) for name, value in normal.items() if value != defaults[name]))


def _as_float(value: Option) -> Option:
    """Numbers as floats, so that 16 and 16.0 give one plan and one fingerprint."""
    if isinstance(value, tuple):
        return tuple(float(item) for item in value)
    return float(value) if is_number(value) else value  # type: ignore[arg-type]


def check_type(name: str, value: Option, default: Option) -> None:
    """An option must be of its default's kind: a number, a yes/no, a word; None and lists are checked by the method."""
    if isinstance(default, bool):
        right, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, float):
        right, kind = is_number(value), "a finite number"
    elif isinstance(default, str):
        right, kind = isinstance(value, str), "a word"
    else:
        numbers = isinstance(value, tuple) and all(is_number(item) for item in value)
        right, kind = value is None or is_number(value) or numbers, "a finite number or a list of them"
    if not right:
        raise BadOption(f"{name} is {value!r}; it must be {kind}.")
