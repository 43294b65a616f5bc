"""Cos and sin against arithmetic that torch does not do."""

from decimal import Decimal, getcontext

import pytest
import torch

from ropewalk.errors import BadOption
from ropewalk.models.tables import rotation_tables
from ropewalk.scaling.method import Scaled

getcontext().prec = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def walk_circle(theta: float, position: int) -> tuple[float, float]:
    """(cos, sin) by Taylor series in 60 decimal digits, after taking whole turns off."""
    angle = Decimal(theta) * position % (2 * PI)
    term, total = Decimal(1), [Decimal(0), Decimal(0)]
    for n in range(80):
        total[n % 2] += term * (-1 if n % 4 > 1 else 1)
        term = term * angle / (n + 1)
    return float(total[0]), float(total[1])


def test_angles_are_exact_far_out():
    scaled = Scaled((1.0, 0.3183098, 1e-5), attention_factor=1.25)
    positions = torch.tensor([[0, 1, 4095], [131_071, 1_000_003, 16_777_217]])
    cos, sin = rotation_tables(scaled, positions, torch.float64)
    assert cos.shape == sin.shape == (2, 3, 3)
    for index in torch.cartesian_prod(*map(torch.arange, cos.shape)).tolist():
        row, token, pair = index
        exact = walk_circle(scaled.inv_freq[pair], int(positions[row, token]))
        assert cos[row, token, pair] == pytest.approx(1.25 * exact[0], abs=1e-8)  # 2^24 x 2^-53 radians
        assert sin[row, token, pair] == pytest.approx(1.25 * exact[1], abs=1e-8)


def test_the_cast_comes_last():
    cos, _ = rotation_tables(Scaled((1.0,)), torch.tensor([1_000_003]), torch.bfloat16)
    assert cos.dtype == torch.bfloat16
    assert float(cos) == pytest.approx(walk_circle(1.0, 1_000_003)[0], abs=2**-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_positions_must_be_integers(dtype):
    with pytest.raises(BadOption, match=f"positions are {dtype}; they must be integers"):
        rotation_tables(Scaled((1.0,)), torch.ones(3, dtype=dtype))
