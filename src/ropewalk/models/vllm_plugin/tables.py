"""The cos and sin of every step, one under the other, as vLLM lays them out."""

import torch

from ropewalk.models.vllm_plugin.steps import Steps
from ropewalk.rotary.tables import rotation_tables
from ropewalk.scaling.plan import Stretch


def stacked_table(plain: torch.Tensor, steps: Steps, stretch: Stretch | None) -> torch.Tensor:
    """(rows of all steps, rotary_dim), float32: cos of each pair, then sin of each pair.

    plain: (longest, rotary_dim), the engine's own unstretched table, which serves step 0 as it is: a request within the window
    gets the bits it would get without the plan. Without a stretch it serves every step. The other steps are computed as
    everywhere in Ropewalk: float64 angles, cast last.
    """
    tables = [plain[: steps.rows[0]]]
    for scale, rows in list(zip(steps.scales, steps.rows, strict=True))[1:]:
        if stretch is None:
            tables.append(plain[:rows])
        else:
            positions = torch.arange(rows, device=plain.device)
            tables.append(torch.cat(rotation_tables(stretch.scaled_by(scale), positions, plain.dtype), dim=-1))
    return torch.cat(tables)
