"""What one pass, shared windows and a head in chunks are worth: against plain loops, side by side in one run.

Fig. 1: 64 lengths of a document, one forward pass each, as in jquesnelle/yarn's eval/perplexity.py with --truncate.
Sliding: windows of 1024, 2048 and 4096 tokens, stride 256: one sweep for all against a sweep for each.
Head: a random model with a vocabulary of 151,936 against all of its logits at once; each side in processes of its own.

Run: python runs/benchmarks/evaluate.py [--json] [--rounds 3] [--tokens 8192]
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ropewalk.measure.documents import Document, choose
from ropewalk.measure.nll import score
from ropewalk.measure.passes import bodies, measure, wanted_passes, window_measurements
from ropewalk.measure.protocols import Prefix, Protocol, Sliding
from ropewalk.measure.records import Readings, Records
from ropewalk.measure.texts import Texts
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import ScalingPlan, make_plan
from timing import child, high_water, in_turns, ratio, timed

FIGURE = Prefix(tuple(range(64, 4097, 64)))
GRID = [Sliding(c, 256) for c in (1024, 2048, 4096)]
VOCABULARY, LONG, FULL = 151_936, 32_768, 4_096
SIDES = ("full", "chunked", "tail")


def two(sides: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Median seconds of a quick side and a slow one, taken in turns, and their ratio; and what each made last."""
    found = in_turns({name: lambda work=work: timed(work) for name, work in sides.items()}, rounds)
    taken = {name: [seconds for seconds, _ in runs] for name, runs in found.items()}
    quick, slow = taken
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return {**medians, "ratio": ratio(taken[slow], taken[quick]).value}, {name: runs[-1][1] for name, runs in found.items()}


def ours(model: Any, plan: ScalingPlan, document: Document, bos: int, protocols: Sequence[Protocol]) -> Readings:
    """From the document to readings on disk and back."""
    with tempfile.TemporaryDirectory() as folder:
        passes = wanted_passes(protocols, [document], plan, bos=bos).passes
        texts = bodies([document], bos)
        wanted = list(window_measurements("m", plan, passes, texts, bos=bos, tokenizer_hash="t"))
        records = Records(Path(folder))
        measure(model, plan, wanted, records, lambda cost: None)
        return Readings(list(records))


@torch.no_grad()
def published(model: Any, ids: Sequence[int], lengths: Sequence[int]) -> dict[int, numpy.ndarray]:
    """A forward pass with all logits for each length; per-token losses instead of their mean, to be compared."""
    found = {}
    for length in lengths:
        row = torch.tensor([ids[:length]])
        logits = model(row, use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], row[0, 1:], reduction="none")
        found[length] = loss.numpy()
    return found


def attached_published(model: Any, plan: ScalingPlan, ids: Sequence[int], lengths: Sequence[int]) -> dict[int, numpy.ndarray]:
    with attach(model, plan):
        return published(model, ids, lengths)


def figure(model: Any, plan: ScalingPlan, document: Document, bos: int, rounds: int) -> dict[str, float]:
    taken, made = two(
        {
            "ours": lambda: ours(model, plan, document, bos, [FIGURE]),
            "published": lambda: attached_published(model, plan, document.ids, FIGURE.lengths),
        },
        rounds,
    )
    windows = FIGURE.windows(document.name, len(document.ids) - 1)
    apart = max(float(abs(made["ours"].nll(plan.name, w) - made["published"][w.length]).max()) for w in windows)
    return {**taken, "largest difference, nats": apart}


def sliding(model: Any, plan: ScalingPlan, document: Document, bos: int, rounds: int) -> dict[str, float]:
    taken, made = two(
        {
            "shared": lambda: ours(model, plan, document, bos, GRID),
            "separate": lambda: [ours(model, plan, document, bos, [protocol]) for protocol in GRID],
        },
        rounds,
    )
    apart = max(
        float(abs(made["shared"].nll(plan.name, w) - alone.nll(plan.name, w)).max())
        for protocol, alone in zip(GRID, made["separate"], strict=True)
        for w in protocol.windows(document.name, len(document.ids) - 1)
    )
    return {**taken, "largest difference, nats": apart}


def one_side(side: str, length: int) -> None:
    """Score a window of a random model in this process: all logits at once, in chunks, or only the last 256 tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=LONG, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(0, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))
    score(model, ids[:, :64])
    before = high_water()
    sides = {
        "full": lambda: torch.from_numpy(published(model, ids[0].tolist(), [length])[length]),
        "chunked": lambda: score(model, ids).nll[0],
        "tail": lambda: score(model, ids, first=length - 256).nll[0],
    }
    took, nll = timed(sides[side])
    print(json.dumps({"seconds": took, "MB": high_water() - before, "last": nll[-256:].tolist()}))


def head(rounds: int) -> dict[str, float]:
    """Full logits are measured at 4,096 tokens: at 32,768 they take 19.9 GB, and their softmax as much again."""
    found = in_turns({side: lambda side=side: child(__file__, "--child", side, FULL) for side in SIDES}, rounds)
    long = child(__file__, "--child", "chunked", LONG)
    last = {side: numpy.array(runs[-1]["last"]) for side, runs in found.items()}
    took = {side: statistics.median(run["seconds"] for run in runs) for side, runs in found.items()}
    peak = {side: statistics.median(run["MB"] for run in runs) for side, runs in found.items()}
    logits = LONG * VOCABULARY * 4 / 2**20
    return {
        **{f"{side}, seconds at {FULL}": value for side, value in took.items()},
        **{f"{side}, MB at {FULL}": value for side, value in peak.items()},
        f"chunked, MB at {LONG}": long["MB"],
        f"logits alone, MB at {LONG}": logits,
        f"share of the logits at {LONG}": long["MB"] / logits,
        "all tokens, times as fast": took["full"] / took["chunked"],
        "last 256, times as fast": took["full"] / took["tail"],
        "largest difference, nats": float(max(abs(last["full"] - last[side]).max() for side in SIDES)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8192, help="of the document that the sweeps slide over")
    parser.add_argument("--only", choices=("figure", "sliding", "head"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.child:
        one_side(args.child[0], int(args.child[1]))
        return
    model, tokenizer = load_model("ropewalk-tiny"), load_tokenizer("ropewalk-tiny")
    plan, bos = make_plan(read_live(model), factor=8, method="yarn"), tokenizer.bos_token_id
    document = choose(Texts(), tokenizer, tokens=args.tokens, count=1).documents[0]
    short = Document(document.name, document.ids[: FIGURE.lengths[-1]])
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "figure": lambda: figure(model, plan, short, bos, args.rounds),
        "sliding": lambda: sliding(model, plan, document, bos, args.rounds),
        "head": lambda: head(args.rounds),
    }
    found = {name: part() for name, part in parts.items() if args.only in (None, name)}
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for name, numbers in found.items():
        print(name)
        for what, value in numbers.items():
            print(f"  {what:36} {value:12.4g}")


if __name__ == "__main__":
    main()
