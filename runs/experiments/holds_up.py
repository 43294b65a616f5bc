"""Does causal dynamic scaling hold up? Every method under every meaning of "dynamic", on the bundled model.

Loss by position and pass keys, with paired intervals over the same documents and prompts; what short inputs pay; and a short
fine-tune, static against causal, from the same weights. Records are kept: a run that is stopped goes on where it was.

Run: python runs/experiments/holds_up.py [-o out/holds_up] [--tune 100]; about an hour and a half on two cores.
"""

import argparse
import itertools
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from transformers import DynamicCache

from ropewalk.checkpoints.fingerprint import model_fingerprint
from ropewalk.engines.transformers.checkpoint import BUNDLED, bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.measure.comparisons import Comparison, compare, compare_shares
from ropewalk.measure.documents import Document, choose, encoder
from ropewalk.measure.faults import BatchSize
from ropewalk.measure.material import Material
from ropewalk.measure.nll import token_nll
from ropewalk.measure.passes import WINDOW, bodies, measure, versions, wanted_passes, window_measurements
from ropewalk.measure.protocols import Position
from ropewalk.measure.records import Key, Readings, Record, Records, ids_hash, tokenizer_hash
from ropewalk.measure.retrieval import Asker, make_samples, sample_key
from ropewalk.measure.tables import BITS, Sums, sums_by_position
from ropewalk.measure.texts import Texts, library_files, read_text
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import ScalingPlan, make_plan

EDGES = (0, 256, 512, 1024, 2048, 4096)
WINDOW_LENGTH, FACTOR, TARGET = 512, 8.0, 4096
METHODS = {
    "linear": ("linear", {}),
    "ntk": ("ntk", {}),
    "ntk_by_parts": ("ntk_by_parts", {}),
    "yarn": ("yarn", {}),
    "yarn, turns": ("yarn", {"ramp": "turns"}),
}
POLICIES = ("static", "causal-1", "causal-2", "causal-4", "causal-8", "request", "rotate", "recompute")
CHUNK = 64  # tokens per call under `rotate`, whose numbers depend on it: nearer to one by one, and 64 times faster
SPOTS = 4  # tokens per document and bucket under `recompute`, each a reading of its own
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LENGTHS = (1024, 4096)


@dataclass(frozen=True)
class Scheme:
    """One row: a method under one policy."""

    label: str
    policy: str
    plan: ScalingPlan


def schemes() -> list[Scheme]:
    spec = read(read_config(bundled_model()))

    def plan(method: str, options: dict[str, Any]) -> ScalingPlan:
        return make_plan(spec, factor=FACTOR, method=method, model=BUNDLED, **({"options": options} if options else {}))

    made = [Scheme("none", "static", plan("none", {}))]
    for label, (method, options) in METHODS.items():
        for policy in POLICIES:
            name = method if policy == "static" else f"dynamic-{method}-{policy}"
            made.append(Scheme(label, policy, plan(name, options)))
    return made


class Bench:
    """The model, the documents and the prompts, which are the same for every row."""

    def __init__(self, out: Path, documents: int, samples: int):
        self.out = out
        self.source = bundled_model()
        self.model, self.tokenizer = load_model(self.source), load_tokenizer(self.source)
        self.hash, self.tokenizer_hash = model_fingerprint(self.source), tokenizer_hash(self.tokenizer)
        self.documents = choose(Texts(), self.tokenizer, tokens=TARGET, count=documents, seed=1).documents
        self.material = Material(self.tokenizer)
        self.prompts, _ = make_samples(self.material, ["passkey"], LENGTHS, depths=DEPTHS, count=samples, seed=1)

    def records(self, scheme: Scheme, start: str = "base") -> Records:
        return Records(self.out / "records" / start / f"{scheme.label}-{scheme.policy}".replace(", ", "-"))

    def read(self, scheme: Scheme, start: str = "base") -> Records:
        """All readings of a row, those on disk included."""
        records = self.records(scheme, start)
        if scheme.policy == "rotate":
            self._read_in_chunks(scheme, records)
        elif scheme.policy == "recompute":
            self._read_spots(scheme, records)
        else:
            bos = self.tokenizer.bos_token_id
            wanted = wanted_passes([Position(EDGES)], self.documents, scheme.plan, bos=bos)
            windows = window_measurements(
                self.hash, scheme.plan, wanted.passes, bodies(self.documents, bos), bos=bos, tokenizer_hash=self.tokenizer_hash
            )
            measure(self.model, scheme.plan, list(windows), records, lambda cost: None)
            Asker(self.model, self.hash, self.material, records, BatchSize(1), versions(self.model)).ask(
                scheme.plan, self.prompts, lambda cost: None
            )
        return records

    def _key(self, scheme: Scheme, protocol: str, ids: Sequence[int]) -> Key:
        return Key(self.hash, scheme.plan.fingerprint, scheme.plan.name, protocol, ids_hash(ids), len(ids))

    def _read_in_chunks(self, scheme: Scheme, records: Records) -> None:
        """Rotate depends on how a text is fed: here 64 tokens a call, each call at its own last position's scale."""
        with attach(self.model, scheme.plan):
            for document in self.documents:
                key = self._key(scheme, WINDOW, document.ids)
                if key not in records:
                    facts = {
                        "document": document.name, "document_tokens": len(document.ids) - 1, "start": 0, "bos": True,
                        "shortest": 2, "scored": [[1, len(document.ids)]],
                    }  # fmt: skip
                    records.add(Record(key, self._fed(document.ids, 1).numpy(), facts))
            for sample in self.prompts:
                key = sample_key(self.hash, scheme.plan, sample)
                if key not in records:
                    nll, greedy = self._fed_with_choices(sample.ids, sample.answer_start)
                    facts = {"depth": sample.depth, "index": sample.index, "exact": bool(greedy.all())}
                    records.add(Record(key, nll.numpy(), facts))

    def _fed(self, ids: Sequence[int], first: int) -> torch.Tensor:
        return self._fed_with_choices(ids, first)[0]

    @torch.inference_mode()
    def _fed_with_choices(self, ids: Sequence[int], first: int) -> tuple[torch.Tensor, torch.Tensor]:
        cache, row = DynamicCache(config=self.model.config), torch.tensor([list(ids)])
        logits = torch.cat(
            [self.model(piece, **cache_argument(self.model, cache)).logits[0] for piece in torch.split(row, CHUNK, 1)]
        )
        answer = row[0, first:]
        nll = torch.nn.functional.cross_entropy(logits[first - 1 : -1].float(), answer, reduction="none")
        return nll, logits[first - 1 : -1].argmax(-1) == answer

    def _read_spots(self, scheme: Scheme, records: Records) -> None:
        """Exact at every step, so every step is a reading of its own: a few tokens of each bucket, the same for all rows."""
        with attach(self.model, scheme.plan):
            for document in self.documents:
                for position in spots(document):
                    ids = document.ids[: position + 1]
                    key = self._key(scheme, "spot", ids)
                    if key not in records:
                        nll = token_nll(self.model, torch.tensor([ids]), first=position)
                        facts = {"document": document.name, "position": position}
                        records.add(Record(key, nll[0].numpy(), facts))


def spots(document: Document) -> list[int]:
    rng = random.Random(document.name)
    return [p for low, high in itertools.pairwise(EDGES[2:]) for p in sorted(rng.sample(range(low, high), SPOTS))]


def at_spots(records: Records, policy: str) -> dict[tuple[str, int], float]:
    """Nats of each spot, whatever way the row was read."""
    if policy == "recompute":
        return {(r.facts["document"], r.facts["position"]): float(r.nll[0]) for r in records if r.key.protocol == "spot"}
    readings = Readings(records)
    (method,) = readings.methods
    found = {}
    for name, tokens in readings.documents(method).items():
        for p in spots(Document(name, ())):
            piece = readings.covering(method, name, p, p + 1)
            assert piece is not None, (name, tokens, p)
            found[name, p] = float(piece[0])
    return found


def sums(records: Records) -> list[Sums]:
    (buckets,) = sums_by_position(records, EDGES).values()
    return buckets


def difference(a: list[Sums], b: list[Sums]) -> list[Comparison]:
    """Bits per token of a minus b in every bucket, paired by document."""
    assert all(x.documents == y.documents for x, y in zip(a, b, strict=True))
    return [compare(x.sums * BITS, y.sums * BITS, x.counts) for x, y in zip(a, b, strict=True)]


def spot_difference(a: dict[tuple[str, int], float], b: dict[tuple[str, int], float]) -> list[Comparison]:
    found = []
    for low, high in itertools.pairwise(EDGES[2:]):
        names = sorted({name for name, p in a if low <= p < high})
        pairs = [[(a[k], b[k]) for k in a if k[0] == name and low <= k[1] < high] for name in names]
        left, right = (numpy.array([sum(pair[i] for pair in pairs_of) for pairs_of in pairs]) * BITS for i in (0, 1))
        found.append(compare(left, right, numpy.array([len(pairs_of) for pairs_of in pairs])))
    return found


def found_keys(records: Records) -> dict[int, list[bool]]:
    """Length to hit or miss, prompt by prompt in one order for all rows."""
    rows = sorted((r.key.length, r.key.item, r.facts["exact"]) for r in records if r.key.protocol == "passkey")
    return {n: [hit for length, _, hit in rows if length == n] for n in sorted({length for length, _, _ in rows})}


def same_bits(a: Records, b: Records) -> bool:
    """Are all tokens inside the window read alike, bit for bit?"""
    for x, y in zip(*(sorted((r for r in rs if r.key.protocol == WINDOW), key=_place) for rs in (a, b)), strict=True):
        n = min(WINDOW_LENGTH, x.key.length) - 1
        if x.facts["document"] == y.facts["document"] and not numpy.array_equal(x.nll[:n], y.nll[:n]):
            return False
    return True


def _place(record: Record) -> tuple[str, int]:
    return record.facts["document"], record.key.length


def bare(bench: Bench) -> Records:
    """The model as it was loaded, nothing attached: what "untouched" means."""
    plan = next(s.plan for s in schemes() if s.label == "none")
    records = Records(bench.out / "records" / "bare")
    for document in bench.documents:
        key = replace(bench._key(Scheme("bare", "static", plan), WINDOW, document.ids), plan="bare", method="bare")
        if key not in records:
            nll = token_nll(bench.model, torch.tensor([document.ids]))
            facts = {
                "document": document.name, "document_tokens": len(document.ids) - 1, "start": 0, "bos": True, "shortest": 2,
                "scored": [[1, len(document.ids)]],
            }  # fmt: skip
            records.add(Record(key, nll[0].numpy(), facts))
    return records


# A short fine-tune of both from the same weights, on the same tokens.


def training_rows(tokenizer: Any, steps: int) -> Iterator[torch.Tensor]:
    """Whole files of the training side, cut to the target length, in an order that depends on the seed alone."""
    encode, rng = encoder(tokenizer), random.Random(0)
    files = list(library_files(held_out=False, tests=True))
    rng.shuffle(files)
    made = 0
    for path in files:
        text = read_text(path)
        ids = encode(text[: TARGET * 8]) if text and len(text) >= TARGET else []
        if len(ids) >= TARGET - 1:
            yield torch.tensor([[tokenizer.bos_token_id, *ids[: TARGET - 1]]])
            made += 1
        if made == steps:
            return
    raise SystemExit(f"only {made} files of the training side have {TARGET} tokens; ask for fewer steps.")


def tuned(bench: Bench, scheme: Scheme, steps: int, rate: float = 3e-4) -> dict[str, torch.Tensor]:
    """The weights after `steps` steps of one text of 4,096 tokens under a plan; kept on disk."""
    path = bench.out / "tuned" / f"{scheme.policy}-{steps}.safetensors"
    if path.exists():
        return load_file(path)
    model = load_model(bench.source)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    warm = max(steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / warm, (steps - i) / (steps - warm)))
    model.gradient_checkpointing_enable()
    model.train()
    with attach(model, scheme.plan):
        rows = training_rows(bench.tokenizer, steps)
        for row in track(rows, f"training under {scheme.label}, {scheme.policy}", steps):
            loss = model(row, labels=row, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return weights


def tune(bench: Bench, steps: int) -> dict[str, list[Sums]]:
    """Buckets of static and causal yarn after the same short training."""
    found = {}
    original = {name: p.detach().clone() for name, p in bench.model.named_parameters()}
    for scheme in schemes():
        if scheme.label == "yarn" and scheme.policy in ("static", "causal-2"):
            bench.model.load_state_dict(tuned(bench, scheme, steps), strict=False)
            found[scheme.policy] = sums(bench.read(scheme, f"tuned-{steps}"))
    bench.model.load_state_dict(original, strict=False)
    return found


def show(row: list[Sums]) -> str:
    return " | ".join(f"{bucket.mean * BITS:.3f}" for bucket in row)


def signed(row: list[Comparison]) -> str:
    return " | ".join(f"{c.difference.value:+.3f} ({c.difference.low:+.3f}, {c.difference.high:+.3f})" for c in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path("out/holds_up"))
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4, help="pass keys per length and depth")
    parser.add_argument("--tune", type=int, default=100, help="steps of the fine-tune; 0 leaves it out")
    parser.add_argument("--only", help="rows whose label or policy contains this")
    arguments = parser.parse_args()
    bench = Bench(arguments.out, arguments.documents, arguments.samples)
    rows = [s for s in schemes() if not arguments.only or arguments.only in f"{s.label} {s.policy}" or s.label == "none"]
    untouched = bare(bench)
    read_rows: dict[tuple[str, str], Records] = {}
    for scheme in track(rows, "reading"):
        read_rows[scheme.label, scheme.policy] = bench.read(scheme)
        print(scheme.label, scheme.policy, file=sys.stderr)
    report(bench, read_rows, untouched)
    if arguments.tune:
        after = tune(bench, arguments.tune)
        print(f"\nAfter {arguments.tune} steps of 4,096 tokens each, from the same weights:\n")
        for policy, row in after.items():
            print(f"| yarn, {policy} | {show(row)} |")
        print(f"| causal minus static | {signed(difference(after['causal-2'], after['static']))} |")


def report(bench: Bench, read_rows: dict[tuple[str, str], Records], untouched: Records) -> None:
    heads = [f"{low}-{high}" for low, high in itertools.pairwise(EDGES)]
    print(f"{len(bench.documents)} documents. Bits per token, and pass keys found at {', '.join(map(str, LENGTHS))}:\n")
    print(
        "| method | policy | " + " | ".join(heads) + " | pass keys | same bits inside L |\n" + "|---" * (len(heads) + 4) + "|"
    )
    table: dict[str, Any] = {}
    for (label, policy), records in read_rows.items():
        if policy == "recompute":
            continue
        buckets, keys = sums(records), found_keys(records)
        shares = ", ".join(f"{sum(hits) / len(hits):.0%}" for hits in keys.values())
        exact = same_bits(untouched, records) if policy.startswith("causal") else ""
        print(f"| {label} | {policy} | {show(buckets)} | {shares} | {exact} |")
        table[f"{label}, {policy}"] = {"bits": [b.mean * BITS for b in buckets], "keys": {n: sum(h) for n, h in keys.items()}}
    print("\nPaired difference from the static plan of the same method (95 % interval; below 0 is better):\n")
    for (label, policy), records in read_rows.items():
        if policy not in ("static", "recompute") and (label, "static") in read_rows:
            found = difference(sums(records), sums(read_rows[label, "static"]))
            print(f"| {label} | {policy} | {signed(found)} |")
            table[f"{label}, {policy}"]["minus static"] = [
                [c.difference.value, c.difference.low, c.difference.high] for c in found
            ]
    print(f"\nRecompute minus others, at {SPOTS} tokens of each document and bucket beyond L:\n")
    for label in METHODS:
        if (label, "recompute") in read_rows:
            exact_ = at_spots(read_rows[label, "recompute"], "recompute")
            for policy in ("static", "causal-2", "causal-8", "rotate"):
                if (label, policy) in read_rows:
                    found = spot_difference(exact_, at_spots(read_rows[label, policy], policy))
                    print(f"| {label} | {policy} | {signed(found)} |")
    print("\nPass keys, causal-2 against static on the same prompts (McNemar):\n")
    for label in METHODS:
        if (label, "causal-2") in read_rows:
            ours, theirs = found_keys(read_rows[label, "causal-2"]), found_keys(read_rows[label, "static"])
            tests = [compare_shares(numpy.array(ours[n]), numpy.array(theirs[n])) for n in ours]
            print(f"| {label} | " + " | ".join(f"{t.only_a} to {t.only_b}, p {t.p:.2g}" for t in tests) + " |")
    (bench.out / "table.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
