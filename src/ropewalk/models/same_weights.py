"""Whether a live model's weights are still those of the folder that it was loaded from, by a few rows of every tensor."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ropewalk.checkpoints.weights import weights_of
from ropewalk.errors import BadOption

NUMBERS = ("F64", "F32", "F16", "BF16")  # as safetensors says it: weights as they are


def check_same(model: Any, folder: Path) -> None:
    """Raises BadOption where a row differs, or an adapter is laid over them. Tensors that transformers loads under another
    name, or out of packed ones, say nothing.
    """
    mine = dict(model.named_parameters())
    if found := next((name for name in mine if ".lora_" in name or hasattr(model, "peft_config")), None):
        raise _changed(folder, f"an adapter is laid over them ({found})", "merge it (merge_and_unload), ")
    for path in weights_of(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (it is no mapping)
                if name in mine and (off := _differs(mine[name], file.get_slice(name))):
                    raise _changed(folder, f"{name} is another {off}", "")


@torch.no_grad()
def _differs(weight: torch.Tensor, kept: Any) -> str:
    shape = kept.get_shape()
    if kept.get_dtype() not in NUMBERS or not weight.is_floating_point() or weight.is_meta or not weight.numel():
        return ""
    if list(weight.shape) != shape:
        return f"in shape ({', '.join(map(str, weight.shape))}, and {', '.join(map(str, shape))} there)"
    for row in sorted({0, shape[0] // 2, shape[0] - 1}) if shape else ():
        if not torch.equal(kept[row : row + 1].to(weight.dtype), weight[row : row + 1].cpu()):
            return f"in row {row:,}"
    return ""


def _changed(folder: Path, why: str, first: str) -> BadOption:
    return BadOption(
        f"the live model's weights are not those of {folder} any more: {why}.\n"
        f"  What is written here takes its weights from that folder. To have the live model's, {first}save it\n"
        "  (save_pretrained, and its tokenizer's), and give the new folder."
    )
