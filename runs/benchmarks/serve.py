"""What writing answers together is worth: processor seconds for mixed requests, by how many rows decode at once.

    python runs/benchmarks/serve.py [requests [plan ...]]     32 of 8 to 900 tokens, 32 new tokens each, on the bundled model

Every answer is compared with transformers' own generate over the same request alone. transformers' continuous batching is
measured beside it where it takes the model: it refuses attention functions it does not know, so never a causal plan.
Processor seconds, all threads together, because wall clocks of a busy machine say little.
"""

import itertools
import random
import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.serve.answer import SamplingParams, new_answer
from ropewalk.jobs.serve.batch import DecodingBatch
from ropewalk.measure.texts import library_files, read_text
from ropewalk.models.served import Served, open_model
from ropewalk.scaling.plan import make_plan
from timing import PROCESSOR, timed

MODEL, NEW, SHORTEST, LONGEST = "ropewalk-tiny", 32, 8, 900
PLANS = ("none", "yarn", "dynamic-yarn")
torch.set_num_threads(1)


def requests(served: Served, count: int) -> list[list[int]]:
    chance = random.Random(5)
    text = "".join(read_text(path) or "" for path in itertools.islice(library_files(held_out=True), 40))
    ids = served.tokenizer(text[:200_000])["input_ids"]  # far more than one request may hold
    top = LONGEST if served.plan else served.longest - NEW
    sizes = [round(SHORTEST * (top / SHORTEST) ** chance.random()) for _ in range(count)]
    return [ids[start : start + size] for size in sizes for start in [chance.randrange(len(ids) - size)]]


def together(served: Served, prompts: list[list[int]], rows: int) -> list[list[int]]:
    """As the engine does: one prompt is read, then every row writes a token."""
    batch, answers = (
        DecodingBatch(served.model, served.attached, rows),
        [new_answer(served, p, SamplingParams(NEW)) for p in prompts],
    )
    waiting = list(answers)
    while waiting or batch.answers:
        if waiting and len(batch.answers) < rows:
            for _ in batch.read(waiting.pop(0)):
                pass
        if batch.answers:
            batch.step()
    return [[one.token for one in answer.chosen] for answer in answers]


def config() -> GenerationConfig:
    return GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=0, pad_token_id=0)


def one_by_one(served: Served, prompts: list[list[int]]) -> list[list[int]]:
    found = []
    for prompt in prompts:
        given = dict(attention_mask=torch.ones(1, len(prompt)), generation_config=config())
        found.append(_without_end(served.model.generate(torch.tensor([prompt]), **given)[0, len(prompt) :].tolist()))
    return found


def continuous(served: Served, prompts: list[list[int]]) -> list[list[int]]:
    """A cache of 256 blocks; left to choose, it takes most of the memory there is and ten times as long."""
    blocks = ContinuousBatchingConfig(num_blocks=256, block_size=32, max_batch_tokens=512)
    how: dict[str, Any] = dict(generation_config=config(), continuous_batching_config=blocks, progress_bar=False)
    found = served.model.generate_batch(inputs=prompts, **how)
    return [_without_end(found[key].generated_tokens) for key in sorted(found, key=lambda name: int(name.split("_")[1]))]


def _without_end(tokens: list[int]) -> list[int]:
    return tokens[:-1] if tokens and tokens[-1] == 0 else tokens


def main(count: int, plans: Sequence[str]) -> None:
    spec = read(read_config(checkpoint(MODEL)))
    for method in plans:
        served = open_model(MODEL, None if method == "none" else make_plan(spec, factor=8, method=method))
        prompts = requests(served, count)
        ways = {"generate, one by one": one_by_one, "continuous batching": continuous}
        ways |= {f"{rows} rows": lambda s, p, rows=rows: together(s, p, rows) for rows in (1, 4, 8, 16)}
        wanted: list[list[int]] = []
        for name, way in ways.items():
            try:
                seconds, got = timed(lambda way=way, served=served, prompts=prompts: way(served, prompts), PROCESSOR)
            except ValueError as error:
                print(f"{method:13} {name:21} refused: {str(error).splitlines()[0][:70]}")
                continue
            wanted = wanted or got
            same = sum(a == b for a, b in zip(got, wanted, strict=True))
            written = sum(map(len, got))
            print(f"{method:13} {name:21} {seconds:6.1f} s {written / seconds:6.0f} tokens/s, {same} of {count} equal")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 32, sys.argv[2:] or PLANS)
