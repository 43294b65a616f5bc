"""A whole run made of arithmetic: every section of the certificate has data, and no model was asked.

Losses are smooth curves plus a number per document, so that tables have round expected values and plots look like plots.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.measure.records import Key, Record, Records
from ropewalk.scaling.plan import ScalingPlan, make_plan

METHODS = ("none", "linear", "ntk", "yarn", "dynamic-yarn")
ORIGINAL, TARGET = 512, 4096
LENGTHS = (512, 1024, 2048, 4096)
VERSIONS = {"dtype": "float32", "attention": "sdpa", "torch": "2.11.0", "transformers": "5.17.0"}


def plans(methods: Iterable[str] = METHODS, factor: float = TARGET / ORIGINAL) -> dict[str, ScalingPlan]:
    spec = read(read_config(bundled_model()))
    return {name: make_plan(spec, factor=factor, method=name, model="ropewalk-tiny") for name in methods}


def key(plan: ScalingPlan, protocol: str, item: str, length: int, model: str = "feedfacefeedface") -> Key:
    return Key(model, plan.fingerprint, plan.name, protocol, item, length)


def reading(plan: ScalingPlan, document: str, nll: Sequence[float] | numpy.ndarray, **facts: Any) -> Record:
    """A document read whole: nll[i - 1] is token i's."""
    facts = {"document": document, **VERSIONS, **facts}
    return Record(key(plan, "window", document, len(nll) + 1), numpy.asarray(nll, dtype=numpy.float32), facts)


def answer(plan: ScalingPlan, task: str, length: int, depth: float | None, index: int, score: float, **facts: Any) -> Record:
    facts = {"task": task, "length": length, "depth": depth, "index": index, "score": score, "exact": score == 1, **facts}
    return Record(key(plan, task, f"{task}-{length}-{depth}-{index}", length), numpy.full(3, 0.5, numpy.float32), facts)


def taxed(plan: ScalingPlan, document: str, nll: Sequence[float], base: Sequence[float], kl: Sequence[float]) -> Record:
    extra = {name: numpy.asarray(v, dtype=numpy.float32) for name, v in (("base_nll", base), ("kl", kl))}
    nll = numpy.asarray(nll, dtype=numpy.float32)
    return Record(key(plan, "tax", document, len(nll) + 1), nll, {"document": document, **VERSIONS}, extra)


def timed(plan: ScalingPlan, length: int, repeat: int, prefill: float, decode: float, peak: float) -> Record:
    facts = {"length": length, "prefill_tokens_per_second": prefill, "decode_tokens_per_second": decode, "peak_bytes": peak}
    return Record(key(plan, "speed", f"repeat-{repeat}", length), numpy.empty(0, numpy.float32), facts)


def whole_run(documents: int = 8) -> list[Record]:
    return [record for plan in plans().values() for record in _of(plan, documents)]


def _of(plan: ScalingPlan, documents: int) -> Iterator[Record]:
    rng = random.Random(plan.name)
    for d in range(documents):
        yield reading(
            plan, f"library/module_{d}.py", _curve(plan.name) + 0.2 * (d - documents / 2) / documents + rng.gauss(0, 0.01)
        )
        if plan.name != "none":
            added = 0.0 if plan.name.startswith("dynamic") else 0.05 + rng.gauss(0, 0.01)
            yield taxed(plan, f"library/module_{d}.py", [2 + added] * 100, [2.0] * 100, [added / 2] * 100)
    for task, depths in (("passkey", (0.0, 0.25, 0.5, 0.75, 1.0)), ("needle", (0.0, 0.5, 1.0))):
        for length in LENGTHS:
            for depth in depths:
                for i in range(8):
                    yield answer(
                        plan, task, length, depth, i, float(rng.random() < _chance(plan.name, length)), nll_without=3.0
                    )
    for task in ("niah_single_1", "niah_multikey_2", "vt", "fwe"):
        for length in LENGTHS:
            for i in range(10):
                yield answer(plan, task, length, None, i, float(rng.random() < 0.3 + 0.7 * _chance(plan.name, length)))
    for length in LENGTHS:
        for repeat in range(3):
            yield timed(plan, length, repeat, 9000 - length / 2 + repeat, 40.0, 2e8 + 5e4 * length)


def _curve(method: str) -> numpy.ndarray:
    """Falls with context, as text does; climbs past where the method gives up."""
    t = numpy.arange(1, TARGET)
    level = {"linear": 4.4, "yarn": 2.2, "ntk": 2.15}.get(method, 2.1)
    ends = {"none": ORIGINAL, "ntk": 2048}.get(method, 10 * TARGET)
    return level - 0.12 * numpy.log2(t / 64 + 1) + numpy.clip(numpy.log2(t / ends), 0, None) * 1.1


def _chance(method: str, length: int) -> float:
    ends = {"none": ORIGINAL, "linear": 0, "ntk": 2048}.get(method, 4096)
    return 0.97 if length <= ends else 0.05 if length > 2 * ends else 0.35


def write(folder: Path, records: Iterable[Record], of: dict[str, ScalingPlan]) -> Path:
    (folder / "plans").mkdir(parents=True, exist_ok=True)
    for name, plan in of.items():
        (folder / "plans" / f"{name}.json").write_text(plan.to_json(), encoding="utf-8")
    store = Records(folder / "records")
    store.folder.mkdir(exist_ok=True)
    for record in records:
        store.add(record)
    return folder


NAT = 1 / math.log(2)
