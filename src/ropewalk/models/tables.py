"""Cos and sin of every position and pair."""

import torch

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled

WHOLE_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def rotation_tables(
    scaled: Scaled, positions: torch.Tensor, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """(cos, sin) of theta_i x position, times the attention factor: each (..., tokens, pairs), on the device of `positions`.

    positions: (..., tokens), whole numbers of tokens.  dtype: of the result; angles are float64 and the cast comes last.

    Time and memory grow with tokens x pairs: at the widest moment three float64 tables, 24 bytes per token and pair (200 MB
    for 131 072 tokens of 64 pairs). Raises BadOption for positions that are not integers: float16 cannot hold 2049, nor
    float32 2^24 + 1.
    """
    if positions.dtype not in WHOLE_DTYPES:
        raise BadOption(
            f"positions are {positions.dtype}; they must be integers.\n"
            "  A float position is rounded before it is multiplied: pass positions.long() if they are whole."
        )
    inv_freq = torch.tensor(scaled.inv_freq, dtype=torch.float64, device=positions.device)
    angles = positions[..., None] * inv_freq
    m = scaled.attention_factor
    return (angles.cos() * m).to(dtype), (angles.sin() * m).to(dtype)
