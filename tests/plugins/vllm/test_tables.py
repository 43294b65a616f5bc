"""The stacked table: whole-number and arbitrary-precision arithmetic of its own, and the engine's rows left as they are."""

import mpmath
import pytest
import torch

from ropewalk.plugins.vllm.plan import Steps, stacked_table
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Schedule
from ropewalk.scaling.stretch import Stretch

STEPS = Steps.of(Schedule(100, 4.0, 1), 400)  # 100, 200 and 400 rows at scales 1, 2 and 4
PLAIN = torch.randn(400, 16, generator=torch.Generator().manual_seed(1))  # stands for the engine's: to be copied, not computed


@pytest.mark.parametrize("method", ["linear", "yarn"])
def test_rows_of_a_step_are_those_of_its_scale(method):
    """linear: theta_i / s (Chen et al. 2023, eq. 4). yarn: m, and the pairs at both ends, kept and divided by s."""
    table = stacked_table(PLAIN, STEPS, Stretch(Rope(16, 1e4, 100), method, 4.0))

    assert table.shape == (700, 16)
    assert table.dtype == torch.float32
    assert torch.equal(table[:100], PLAIN[:100])
    for start, scale, position in [(100, 2, 0), (100, 2, 1), (100, 2, 199), (300, 4, 0), (300, 4, 1), (300, 4, 399)]:
        m = 0.1 * mpmath.log(scale) + 1 if method == "yarn" else 1
        for pair in range(8) if method == "linear" else (0, 7):
            theta = mpmath.mpf(10) ** (-mpmath.mpf(4 * 2 * pair) / 16)
            slowed = theta if method == "yarn" and pair == 0 else theta / scale
            row = table[start + position]
            assert float(row[pair]) == pytest.approx(float(m * mpmath.cos(position * slowed)), abs=1e-7)
            assert float(row[8 + pair]) == pytest.approx(float(m * mpmath.sin(position * slowed)), abs=1e-7)


def test_a_table_that_is_left_alone_has_the_engines_rows_at_every_step():
    table = stacked_table(PLAIN, STEPS, None)

    assert torch.equal(table, torch.cat([PLAIN[:100], PLAIN[:200], PLAIN]))
