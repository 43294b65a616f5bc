"""Causal attention of the last queries of a row on the CPU, without a mask: what came before, and their own keys, merged.

PyTorch's causal flag starts at the first key, so queries that start later need a mask there, which costs a fifth more than
plain causal attention, and the grouped keys and values are then copied for every head. The kernel behind
`scaled_dot_product_attention` also says by how much it divided, and with that two of its results can be merged.
On accelerators masks of this shape have kernels of their own: see `Call.causal_mask`.
"""

from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

PRECISE = (torch.float32, torch.float64)  # shorter types would be rounded once more between the two


def can_split(stock: Any, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kwargs: Any) -> bool:
    """Is `stock`, given no mask, the causal kernel that `split_causal` calls?"""
    plain = stock is sdpa_attention_forward and not kwargs.get("dropout") and kwargs.get("position_bias") is None
    kernel = query.device.type == "cpu" and query.dtype in PRECISE and query.shape[3] == key.shape[3] == value.shape[3]
    told = kwargs.get("is_causal")
    return plain and kernel and not torch.is_grad_enabled() and (getattr(module, "is_causal", True) if told is None else told)


def split_causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Attention of the last n queries.  query: (rows, heads, n, channels).  key, value: (rows, key heads, tokens, channels).

    Answers (rows, n, heads, channels), as transformers' attention functions do.
    """
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    before = key.shape[2] - query.shape[2]
    out, log_sum = attend(query, key[:, :, before:], value[:, :, before:], 0.0, True, scale=scaling)
    if before:
        earlier, log_earlier = attend(query, key[:, :, :before], value[:, :, :before], 0.0, False, scale=scaling)
        out = out.lerp_(earlier, torch.sigmoid(log_earlier - log_sum)[..., None])
    answer: torch.Tensor = out.transpose(1, 2).contiguous()
    return answer
