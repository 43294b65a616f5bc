"""The bundled model under several plans, prompts from a frozen text, and what transformers' generate writes."""

import random
from functools import cache
from pathlib import Path

import torch

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.models.served import Served, open_model
from ropewalk.scaling.plan import make_plan

TINY = "ropewalk-tiny"
PLANS = {"none": None, "static": "yarn", "causal": "dynamic-yarn", "near": "near-linear"}


def opened(method: str | None, factor: float = 8) -> Served:
    spec = read(read_config(checkpoint(TINY)))
    return open_model(TINY, make_plan(spec, factor=factor, method=method) if method else None)


@cache
def source_text() -> str:
    return Path(__file__).with_name("prompts.txt").read_text(encoding="utf-8")


def prompts(count: int, longest_characters: int, seed: int = 0) -> list[str]:
    """Pieces of source code, from a few characters to the longest, as many of each order of magnitude."""
    chance, text = random.Random(seed), source_text()
    sizes = [round(8 * (longest_characters / 8) ** (i / (count - 1))) for i in range(count)]
    starts = [chance.randrange(len(text) - size) for size in sizes]
    cut = [text[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    chance.shuffle(cut)
    return cut


def alone(served: Served, prompt: list[int], new: int) -> tuple[list[int], float]:
    """Greedy tokens as transformers' own generate writes them, and how near the nearest decision was, in logits."""
    output = served.model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=new,
        pad_token_id=0, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    best = [logits[0].topk(2).values for logits in output.logits]
    return output.sequences[0, len(prompt) :].tolist(), min(float(two[0] - two[1]) for two in best)
