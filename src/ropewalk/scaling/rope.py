"""Rope: the rotary embedding a model was trained with."""

import math
from dataclasses import dataclass

from ropewalk.errors import BadConfig

# Far beyond any model; past these a typo is likelier than a model.
LARGEST_ROTARY_DIM = 65_536
LARGEST_LENGTH = 2**40


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding: pair i of a head turns by theta_i = b^(-2i/d) radians per token.

    rotary_dim: d, rotated channels per head (not head_dim where rotation is partial); even.
    rope_theta: b, the base; greater than 1.
    original_length: L, tokens the model was trained to read.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 15.
    """

    rotary_dim: int
    rope_theta: float
    original_length: int

    def __post_init__(self) -> None:
        if not is_whole(self.rotary_dim) or self.rotary_dim % 2 or not 2 <= self.rotary_dim <= LARGEST_ROTARY_DIM:
            raise BadConfig(
                f"rotary_dim is {self.rotary_dim!r}; it must be an even number of channels, 2 to {LARGEST_ROTARY_DIM}."
            )
        if not is_number(self.rope_theta) or not 1 < self.rope_theta < 1e300:
            raise BadConfig(f"rope_theta is {self.rope_theta!r}; it must be a finite number greater than 1.")
        if not is_whole(self.original_length) or not 1 <= self.original_length <= LARGEST_LENGTH:
            raise BadConfig(
                f"original_length is {self.original_length!r}; it must be a whole number of tokens, 1 to {LARGEST_LENGTH}."
            )
        object.__setattr__(self, "rope_theta", float(self.rope_theta))  # equal ropes must also be written alike

    @property
    def inv_freq(self) -> tuple[float, ...]:
        """theta_i, radians per token, fastest first: rotary_dim / 2 numbers."""
        return tuple(self.rope_theta ** (-2 * i / self.rotary_dim) for i in range(self.rotary_dim // 2))

    @property
    def wavelength(self) -> tuple[float, ...]:
        """lambda_i = 2 pi / theta_i, tokens per turn."""
        return tuple(2 * math.pi / theta for theta in self.inv_freq)

    @property
    def turns(self) -> tuple[float, ...]:
        """r_i = L / lambda_i, how often each pair went round while the model was trained."""
        return tuple(self.original_length / wavelength for wavelength in self.wavelength)

    def pair_turning(self, turns: float) -> float:
        """The (fractional) pair that makes `turns` turns within the original length: theta_i L = 2 pi turns, solved for i."""
        # A difference of logarithms: the quotient overflows for turns that are finite but absurd.
        ratio = math.log(self.original_length) - math.log(2 * math.pi) - math.log(turns)
        return self.rotary_dim * ratio / (2 * math.log(self.rope_theta))


def is_number(value: object) -> bool:
    """A finite int or float; True and False are not numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the largest float
        return False


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
