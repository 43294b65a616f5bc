"""What Ropewalk says of causal dynamic scaling, again, on a real model and one GPU: bits inside, loss, tax, questions, speed.

    python runs/gpu_real_input.py SmolLM2-135M-Instruct -o work.xz              on any machine, a minute; a checkpoint folder
    python runs/gpu_real.py SmolLM2-135M-Instruct.Q4_1.gguf work.xz -o out --budget 450
    python runs/gpu_real.py ropewalk-tiny tiny.xz -o out --quick                the same steps at a size for the CPU

Records are kept: a run that was stopped goes on where it was. results.md and results.json are written after every stage.
"""

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gpu_dynamic import once
from gpu_real_bits import FLASH, agreement, attending, same_bits
from gpu_real_input import DEPTHS, LONG, SHORT, Work, as_folder, load
from gpu_real_report import Found, write
from ropewalk.checkpoints.fingerprint import model_fingerprint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.measure.documents import Document
from ropewalk.measure.in_windows import seen_of
from ropewalk.measure.passes import Measurement, bodies, measure, versions, wanted_passes, window_measurements
from ropewalk.measure.protocols import Position
from ropewalk.measure.records import Record, Records
from ropewalk.measure.retrieval import sample_key
from ropewalk.measure.reuse import each_answer
from ropewalk.measure.task import Sample
from ropewalk.measure.tax import record_tax, tax_measurements
from ropewalk.measure.window import WindowPlan
from ropewalk.models.attach import attach
from ropewalk.models.dynamic import read as on_read
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import ScalingPlan, make_plan

NEAR = ("near-linear", "near-0.25-linear-log_n")
STRETCHED = ("linear", "ntk", "yarn", "dynamic-yarn", "dynamic-yarn-causal-8", "dynamic-yarn-request", *NEAR)
SHIPPED = on_read.BLOCK
WHOLE = 2**30  # queries an attention call: as many as read at one scale


def told() -> str:
    """What went wrong, without the place of this checkout."""
    return traceback.format_exc().replace(f"{Path(__file__).resolve().parents[1]}/", "")


class TimeUp(Exception):
    """The budget is spent."""


@dataclass(frozen=True)
class Size:
    """How much is read. tax, single: documents; group: documents between two looks at the clock; turns: of the speed."""

    short: int = 40
    long: int = 16
    group: int = 8
    tax: int = 16
    single: int = 6
    each: int = 8
    turns: int = 5
    new: int = 32


QUICK = Size(short=2, long=2, group=2, tax=2, single=2, each=1, turns=1, new=4)


@dataclass(frozen=True)
class Scheme:
    """A row: its name in tables, and its plan."""

    label: str
    plan: ScalingPlan


class Bench:
    def __init__(self, args: argparse.Namespace, work: Work, size: Size):
        self.work, self.size, self.out = work, size, args.out
        self.began, self.end = time.monotonic(), time.monotonic() + args.budget
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.folder = as_folder(args.model, args.keep)
        self.spec, self.hash = read(read_config(self.folder)), model_fingerprint(self.folder)
        self.models: dict[torch.dtype, Any] = {}

    def say(self, sentence: str) -> None:
        print(f"[{time.monotonic() - self.began:6.1f} s] {sentence}", flush=True)

    def check_time(self) -> None:
        if time.monotonic() > self.end:
            raise TimeUp

    def model(self, dtype: torch.dtype = torch.bfloat16) -> Any:
        if dtype not in self.models:
            self.models[dtype] = load_model(self.folder, dtype=dtype, device=self.device)
            self.say(f"loaded in {dtype}")
        return self.models[dtype]

    def scheme(self, method: str, factor: int) -> Scheme:
        return Scheme(f"{method} x{factor}", make_plan(self.spec, factor=float(factor), method=method))

    def rows(self, methods: Sequence[str], factor: int) -> list[Scheme]:
        """The model as it is, the one that sees its own window only, and the model under these methods."""
        plain = make_plan(self.spec, factor=float(LONG), method="none")
        window = WindowPlan(plain.stretches, plain.target_length, plain.model, self.work.window)
        return [Scheme("none", plain), Scheme("window", window), *(self.scheme(method, factor) for method in methods)]

    def records(self, name: str) -> Records:
        return Records(self.out / "records" / name)


@contextmanager
def blocks(size: int) -> Iterator[None]:
    """How many queries beyond the window go into one attention call, where a kernel must be told what they may look at."""
    before, on_read.block_of = on_read.block_of, lambda query: size
    try:
        yield
    finally:
        on_read.block_of = before


def called(wanted: Sequence[Measurement], label: str) -> list[Measurement]:
    """Under the row's name: plans of two factors share theirs."""
    return [replace(m, key=replace(m.key, method=label)) for m in wanted]


def nothing(cost: float) -> None:
    pass


def bits(bench: Bench) -> None:
    """The model's own bits inside the window; beyond it, one pass against chunks and a cache. Under each kind of attention."""
    path, found = bench.out / "bits.json", []
    if path.exists():
        return
    ids, window = bench.work.long[0].ids, bench.work.window
    causal, static = bench.scheme("dynamic-yarn", LONG), bench.scheme("yarn", LONG)
    for dtype in (torch.float32, torch.bfloat16):
        model = bench.model(dtype)
        for attention, size in (("sdpa", SHIPPED), ("sdpa", WHOLE), (FLASH, WHOLE)):
            if attention == FLASH and dtype == torch.float32 and bench.device == "cuda":
                continue  # its kernels are for half precision
            bench.check_time()
            with attending(model, attention) as name, blocks(size):
                row: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch."), "attention": name, "block": size}
                try:
                    row["inside"] = same_bits(model, causal.plan, ids, window)
                    row["beyond"] = {s.label: agreement(model, s.plan, ids, window) for s in (causal, static)}
                except Exception:  # one kind of attention that fails must not hide the others
                    row["failure"] = told()
            found.append(row)
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            bench.say(json.dumps(row))
    path.write_text(json.dumps(found, indent=1))


def read_documents(
    bench: Bench, name: str, documents: Sequence[Document], schemes: Sequence[Scheme], edges: tuple[int, ...],
    dtype: torch.dtype = torch.bfloat16,
) -> None:  # fmt: skip
    """Every row reads a group of documents before any reads the next."""
    model, bos, records = bench.model(dtype), bench.work.bos, bench.records(name)
    for start in range(0, len(documents), bench.size.group):
        group = documents[start : start + bench.size.group]
        for scheme in schemes:
            bench.check_time()
            passes = wanted_passes([Position(edges)], group, scheme.plan, bos=bos).passes
            windows = window_measurements(
                bench.hash, scheme.plan, passes, bodies(group, bos), bos=bos, tokenizer_hash=bench.work.facts["tokenizer"]
            )
            measure(model, scheme.plan, called(list(windows), scheme.label), records, nothing)
        bench.say(f"{name}: {start + len(group)} of {len(documents)} documents")


def halves(window: int, count: int) -> tuple[int, ...]:
    return tuple(window * i // 2 for i in range(count + 1))


def short(bench: Bench) -> None:
    schemes = [*bench.rows(STRETCHED, SHORT), bench.scheme("yarn", LONG)]
    read_documents(bench, "short", bench.work.short[: bench.size.short], schemes, halves(bench.work.window, 2 * SHORT))


def long(bench: Bench) -> None:
    edges = halves(bench.work.window, 2 * LONG)[::2]
    read_documents(bench, "long", bench.work.long[: bench.size.long], bench.rows(STRETCHED, LONG), edges)


def single(bench: Bench) -> None:
    """The same without bfloat16's rounding, for fewer rows and documents."""
    schemes = [*bench.rows((), SHORT)[:1], bench.scheme("yarn", SHORT), bench.scheme("dynamic-yarn", SHORT)]
    documents, edges = bench.work.short[: bench.size.single], halves(bench.work.window, 2 * SHORT)
    read_documents(bench, "short-float32", documents, schemes, edges, torch.float32)


def tax(bench: Bench) -> None:
    """What a stretch costs inside the window."""
    model, records = bench.model(), bench.records("tax")
    documents = bench.work.short[: bench.size.tax]
    methods = ("yarn", "dynamic-yarn", "ntk", "linear")
    for scheme in [bench.scheme(method, factor) for method in methods for factor in (SHORT, LONG)]:
        bench.check_time()
        some = documents[:4] if scheme.plan.is_dynamic else documents  # attached anew for each; 0 is 0 on any of them
        wanted = called(tax_measurements(bench.hash, scheme.plan, some), scheme.label)
        record_tax(model, scheme.plan, wanted, records, versions(model), nothing)
        bench.say(f"tax: {scheme.label}")


def turn_of(sample: Sample) -> int:
    """Of equal parts of all questions, each with every task, length and depth."""
    return sample.index // len(DEPTHS) if sample.task.startswith("niah") else sample.index


def ask(bench: Bench) -> None:
    """Every question is read whole, with its answer: right is what greedy decoding would have written at once."""
    model, records = bench.model(), bench.records("questions")
    schemes = [*bench.rows(("yarn", "dynamic-yarn", *NEAR), LONG), bench.scheme("yarn", SHORT)]
    reach = {"none": SHORT, f"yarn x{SHORT}": SHORT}
    for turn in range(bench.size.each):
        for scheme in schemes:
            bench.check_time()
            longest = bench.work.window * reach.get(scheme.label, LONG)
            wanted = [s for s in bench.work.samples if turn_of(s) == turn and s.length <= longest]
            ask_some(bench, model, scheme, wanted, records)
        bench.say(f"questions: {turn + 1} of {bench.size.each} turns")


def ask_some(bench: Bench, model: Any, scheme: Scheme, wanted: Sequence[Sample], records: Records) -> None:
    keys = {s.sha: replace(sample_key(bench.hash, scheme.plan, s), method=scheme.label) for s in wanted}
    missing = [s for s in wanted if keys[s.sha] not in records]
    if not missing:
        return
    with attach(model, scheme.plan):
        seen = [seen_of(scheme.plan, s, (bench.work.bos,)) for s in missing]
        for i, verdict in each_answer(model, scheme.plan, seen, reuse=False):  # one pass each, for every row alike
            sample = missing[i]
            facts = {
                **versions(model), "task": sample.task, "length": sample.length, "depth": sample.depth, "index": sample.index,
                "first": sample.answer_start, "scoring": "exact", "score": float(verdict.exact), "exact": verdict.exact,
            }  # fmt: skip
            records.add(Record(keys[sample.sha], verdict.nll, facts))


def stock_static(bench: Bench) -> Any:
    """transformers' own YaRN, nothing of ours."""
    config, window = AutoConfig.from_pretrained(bench.folder), bench.work.window
    theta = config.rope_parameters["rope_theta"]
    yarn = {"rope_type": "yarn", "rope_theta": theta, "factor": float(LONG), "original_max_position_embeddings": window}
    config.rope_parameters, config.max_position_embeddings = yarn, LONG * window
    how = dict(config=config, dtype=torch.bfloat16, attn_implementation="sdpa")
    return AutoModelForCausalLM.from_pretrained(bench.folder, **how).to(bench.device).eval()


def speed(bench: Bench) -> None:
    """Prefill, tokens one by one, and what they take of memory, in turns; the first turn is a warm-up."""
    path = bench.out / "speed.json"
    if path.exists():
        return
    stock, ours, found = stock_static(bench), bench.model(), []
    sides = (
        ("static, stock", stock, SHIPPED),
        ("causal, whole", ours, WHOLE),
        ("causal, blocks", ours, SHIPPED),
        ("near", ours, SHIPPED),
    )
    plans = {name: bench.scheme("near-linear" if "near" in name else "dynamic-yarn", LONG).plan for name, *_ in sides[1:]}
    with torch.no_grad():
        for turn in range(bench.size.turns + 1):
            for times in (SHORT, LONG):
                count = times * bench.work.window - bench.size.new
                prompt = torch.tensor([bench.work.long[0].ids[:count]], device=bench.device)
                for name, model, size in sides:
                    bench.check_time()
                    held = torch.cuda.memory_allocated() / 2**30 if bench.device == "cuda" else 0.0
                    with blocks(size), attach(ours, plans[name]) if name in plans else nullcontext():
                        one = once(model, prompt, bench.size.new, bench.device)
                    one["peak_gib"] -= held
                    found.append({"side": name, "tokens": count, "turn": turn, **one})
            bench.say(f"speed: turn {turn}: {json.dumps(found[-2 * len(sides) :])}")
            path.write_text(json.dumps(found[2 * len(sides) :], indent=1))


# The last takes what time is left: an eighth of the questions after another, each under every plan.
STAGES: tuple[Callable[[Bench], None], ...] = (bits, short, long, tax, speed, single, ask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a checkpoint folder, a .gguf, or ropewalk-tiny")
    parser.add_argument("work", type=Path, help="what gpu_real_input.py wrote")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=Path("/tmp"), help="where a GGUF's weights are kept once dequantised")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds after which nothing more is begun")
    parser.add_argument("--quick", action="store_true", help="two documents and one question of each kind")
    parser.add_argument("--only", default="", help="stages whose name is in this")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("highest")  # no TF32
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args, load(args.work), QUICK if args.quick else Size())
    found = Found(bench.out, bench.work, bench.hash, bench.device)
    bench.say(f"{bench.folder}, window {bench.work.window}, on {found.where}")
    for stage in STAGES:
        if args.only and stage.__name__ not in args.only:
            continue
        try:
            with blocks(WHOLE if bench.device == "cuda" else SHIPPED):
                stage(bench)
        except TimeUp:
            bench.say(f"time is up in {stage.__name__}")
        except Exception:  # the other stages are worth having
            found.failures.append(f"{stage.__name__}: {told()}")
            bench.say(found.failures[-1])
        torch.cuda.empty_cache()
        write(found)
        bench.say(f"{stage.__name__} is done")
    print((bench.out / "results.md").read_text())


if __name__ == "__main__":
    main()
