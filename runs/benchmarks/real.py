"""The pretrained model in bfloat16: what a prefill of twice its window costs, and an evaluation beside its forward passes.

Sides in turns in one run: transformers' own static YaRN, causal dynamic YaRN, and near distances; then 8,192 tokens as `eval`
reads, keeps and scores them beside the model's own forward pass, whose logits are made for every token too.

Run: python runs/benchmarks/real.py $(python runs/tools/real_model.py) [--rounds 3]; a quarter of an hour on two idle cores.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ropewalk.engines.transformers.write import write
from ropewalk.measure.documents import Document
from ropewalk.measure.passes import bodies, measure, wanted_passes, window_measurements
from ropewalk.measure.protocols import Prefix
from ropewalk.measure.records import Records
from ropewalk.models.attach import attach
from ropewalk.models.load import load_model
from ropewalk.models.source import Source
from ropewalk.scaling.plan import make_plan
from timing import in_turns, ratio, seconds_of, timed

METHODS = {"causal": "dynamic-yarn", "near": "near-linear"}


@contextmanager
def stock_yarn(model: Any, config: Any) -> Iterator[None]:
    """The model with the rotation that transformers builds from a config that says static YaRN."""
    body, own = model.model, model.model.rotary_emb
    body.rotary_emb = type(own)(type(model.config).from_dict(config))
    try:
        yield
    finally:
        body.rotary_emb = own


def prefills(model: Any, source: Source, length: int, factor: float, rounds: int) -> dict[str, list[float]]:
    ids = torch.randint(0, model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(1))
    plans = {side: make_plan(source.spec, factor=factor, method=method) for side, method in METHODS.items()}
    yarn = write(make_plan(source.spec, factor=factor, method="yarn"), source.config)

    def seconds(side: str) -> float:
        with attach(model, plans[side]) if side in plans else stock_yarn(model, yarn):
            return timed(lambda: model(ids, logits_to_keep=1))[0]

    return in_turns({side: partial(seconds, side) for side in ("static", *plans)}, rounds)


def evaluations(model: Any, source: Source, length: int, rounds: int) -> dict[str, list[float]]:
    """`eval`'s reading of a document under `none`, records on disk and all, beside a forward pass of the same tokens."""
    tokens = torch.randint(0, model.config.vocab_size, (length,), generator=torch.Generator().manual_seed(1)).tolist()
    document = Document("random", tuple(tokens))
    plan = make_plan(source.spec, factor=2.0, method="none")
    wanted = wanted_passes([Prefix((length - 1,))], [document], plan, bos=None)
    passes = list(
        window_measurements("model", plan, wanted.passes, bodies([document], None), bos=None, tokenizer_hash="tokens")
    )

    def evaluated() -> None:
        with tempfile.TemporaryDirectory() as folder:
            measure(model, plan, passes, Records(Path(folder)), lambda cost: None)

    def forward() -> None:
        model(torch.tensor([tokens]), use_cache=False)

    return seconds_of({"eval": evaluated, "forward": forward}, rounds, warm=1)


def seconds(found: dict[str, list[float]]) -> str:
    return ", ".join(f"{side} {statistics.median(times):.1f} s" for side, times in found.items())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=16_384)
    args = parser.parse_args()
    source, model = Source(args.model), load_model(args.model, dtype=torch.bfloat16)
    window = max(rope.original_length for _, rope in source.spec.ropes)
    short = min(window, args.length)
    found = evaluations(model, source, short, args.rounds)
    print(f"{short:,} tokens: {seconds(found)}; eval takes {ratio(found['eval'], found['forward'])} times as long", flush=True)
    found = prefills(model, source, args.length, max(args.length / window, 2.0), args.rounds)
    print(f"prefill of {args.length:,} tokens: {seconds(found)}")
    for side in METHODS:
        print(f"{side}, times as fast as static: {ratio(found['static'], found[side])}")


if __name__ == "__main__":
    main()
