"""RULER sample generation against NVIDIA's generator, and a needle grid with and without shared prefixes.

    RULER_REFERENCE=path/to/RULER python runs/benchmarks/ruler.py [--length 131072] [--count 5] [--tasks vt,cwe]
    RULER_REFERENCE=path/to/RULER python runs/benchmarks/ruler.py --hashes FILE

The reference is a checkout of NVIDIA/RULER@c3f5e3b; without the variable its half is skipped. Its scripts are run
unchanged in this process, with the same tokenizer, haystack, questions and sentence splitter as ours (its own splitter,
nltk's punkt, is slower). Timed is generation alone: not imports, not the six million words the reference sorts first, not
files. Both sides start cold at every task. Ours makes the same rows, and the token ids as well.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from ropewalk.measure.material import Material
from ropewalk.measure.reuse import read_answers, tokens_read
from ropewalk.measure.task import get_task
from ropewalk.measure.tasks.ruler_fwe import ALPHA, ZETA
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import make_plan
from support import ruler_material
from timing import PROCESSOR, timed

SCRIPTS = {
    "niah": "niah",
    "vt": "variable_tracking",
    "cwe": "common_words_extraction",
    "fwe": "freq_words_extraction",
    "qa": "qa",
}
NIAH = "single_1 single_2 single_3 multikey_1 multikey_2 multikey_3 multivalue multiquery"
TASKS = [*(f"niah_{name}" for name in NIAH.split()), "vt", "cwe", "fwe", "qa_1", "qa_2"]
SETTINGS = {
    "niah_single_1": {"type_haystack": "noise"},
    "niah_single_3": {"type_needle_v": "uuids"},
    "niah_multikey_1": {"num_needle_k": 4},
    "niah_multikey_2": {"type_haystack": "needle"},
    "niah_multikey_3": {"type_haystack": "needle", "type_needle_k": "uuids", "type_needle_v": "uuids"},
    "niah_multivalue": {"num_needle_v": 4},
    "niah_multiquery": {"num_needle_q": 4},
    "qa_1": {"dataset": "squad"},
    "qa_2": {"dataset": "hotpotqa"},
}
SPARE = tuple(f"spare{i}" for i in range(40_000))


class Reference:
    """NVIDIA's scripts, each loaded with stand-ins for what it would download."""

    def __init__(self, checkout: Path, material: Material, folder: Path):
        source = checkout / "scripts" / "data" / "synthetic"
        self.folder = folder
        for path in source.glob("*.py"):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "json").mkdir()
        (folder / "json" / "PaulGrahamEssays.json").write_text(json.dumps({"text": material.prose}))
        (folder / "json" / "english_words.json").write_text(json.dumps(dict(enumerate(SPARE))))
        ruler_material.write_question_sets(folder / "json")
        (folder / "manifest_utils.py").write_text("write_manifest = None\n")
        sys.path.insert(0, str(folder))
        _stand_in("nltk")
        _stand_in("nltk.tokenize", sent_tokenize=material.split)
        tokenizer = types.SimpleNamespace(text_to_tokens=material.tokenizer.tokenize)
        _stand_in("tokenizer", select_tokenizer=lambda *_: tokenizer)
        _stand_in("tqdm", tqdm=lambda rows: rows)
        _stand_in("scipy")
        _stand_in("scipy.special", zeta={ALPHA: ZETA}.__getitem__)  # scipy's value, to the last bit
        self.constants: Any = __import__("constants")

    def rows(self, task: str, length: int, count: int) -> tuple[float, list[dict[str, Any]]]:
        """The seconds they took, and the rows."""
        script = SCRIPTS[task.split("_")[0]]
        base = self.constants.TASKS[script]
        options = {
            "save_dir": "-", "save_name": "-", "tokenizer_path": "-", "max_seq_length": length, "num_samples": count,
            "tokens_to_generate": base["tokens_to_generate"], "template": base["template"] + base["answer_prefix"],
            **SETTINGS.get(task, {}),
        }  # fmt: skip
        sys.argv = [script, *(part for key, value in options.items() for part in (f"--{key}", str(value)))]
        path = self.folder / f"{script}.py"
        module: dict[str, Any] = {"__name__": script, "__file__": str(path)}
        exec(compile(path.read_text(), str(path), "exec"), module)
        logging.disable(logging.CRITICAL)
        return timed(lambda: _generate(module, script, length, count), PROCESSOR)


def _generate(module: dict[str, Any], script: str, length: int, count: int) -> list[dict[str, Any]]:
    if script == "variable_tracking":
        run = module["sys_vartrack_w_noise_random"]
        hops = {"num_chains": 1, "num_hops": 4}
        example = run(num_samples=1, max_seq_length=500, incremental=5, **hops)[0]
        return run(num_samples=count, max_seq_length=length, icl_example=example, final_output=True, **hops)
    if script == "freq_words_extraction":
        return module["sys_kwext"](num_samples=count, max_seq_length=length)
    run = module["sys_word_pair_random" if script == "common_words_extraction" else "generate_samples"]
    return run(num_samples=count, max_seq_length=length, save_dir="-")


def _stand_in(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module


def _ours(task: str, material: Material, length: int, count: int) -> tuple[float, list[dict[str, Any]]]:
    """A fresh tokenizer has a fresh counter: nothing is left from the task before."""
    cold = Material(load_tokenizer("ropewalk-tiny"), material.text, material.questions, material.split, SPARE)
    get_task("niah_single_1")(cold, length=2048)  # finds the tasks and reads the word list
    took, samples = timed(lambda: list(get_task(task)(cold, length=length, count=count, compat=True)), PROCESSOR)
    return took, [sample.metadata["row"] for sample in samples]


def compare(reference: Reference, material: Material, tasks: list[str], length: int, count: int) -> list[dict[str, Any]]:
    """Seconds of both and whether the rows are the same bytes, task by task."""
    table = []
    for task in tasks:
        slow, theirs = reference.rows(task, length, count)
        fast, ours = _ours(task, material, length, count)
        same = json.dumps(theirs) == json.dumps(ours)
        table.append({"task": task, "reference_s": slow, "ropewalk_s": fast, "ratio": slow / fast, "identical": same})
        print(
            f"{task:16} {slow:8.2f} s {fast:8.2f} s  {slow / fast:6.1f} x  {'identical' if same else 'DIFFERENT'}", flush=True
        )
    return table


@contextmanager
def reference_at(checkout: str, material: Material) -> Iterator[Reference]:
    with tempfile.TemporaryDirectory(prefix="ropewalk-ruler-") as folder:
        yield Reference(Path(checkout), material, Path(folder))


def make_material(folder: Path) -> Material:
    squad, hotpot = ruler_material.write_question_sets(folder)
    questions = {"qa_1": squad, "qa_2": hotpot}
    return Material(load_tokenizer("ropewalk-tiny"), ruler_material.prose(), questions, ruler_material.split, SPARE)


def bench_generation(length: int = 131_072, count: int = 5, tasks: list[str] = TASKS) -> list[dict[str, Any]]:
    """Empty, with a message, where the reference is not there."""
    checkout = os.environ.get("RULER_REFERENCE")
    if not checkout:
        print("RULER_REFERENCE names no checkout of NVIDIA/RULER: its half of the bench is skipped.")
        return []
    with tempfile.TemporaryDirectory() as folder:
        material = make_material(Path(folder))
        with reference_at(checkout, material) as reference:
            table = compare(reference, material, tasks, length, count)
    slow, fast = (sum(row[name] for row in table) for name in ("reference_s", "ropewalk_s"))
    print(f"{'all':16} {slow:8.2f} s {fast:8.2f} s  {slow / fast:6.1f} x   ({length} tokens, {count} samples a task)")
    return table


def bench_grid(longest: int = 2048, lengths: int = 16, count: int = 1) -> dict[str, float]:
    """A needle grid, 16 lengths by 11 depths: cell by cell, and with shared prefixes."""
    model, material = load_model("ropewalk-tiny"), Material(load_tokenizer("ropewalk-tiny"))
    plan = make_plan(read_live(model), target_length=longest)
    steps = range(longest // lengths, longest + 1, longest // lengths)
    samples = [sample for n in steps for sample in get_task("needle")(material, length=n, count=count)]
    alone_tokens, shared_tokens = tokens_read(samples)
    with attach(model, plan):
        read_answers(model, plan, samples[:2])
        shared_s, shared = timed(lambda: read_answers(model, plan, samples), PROCESSOR)
        alone_s, alone = timed(lambda: read_answers(model, plan, samples, reuse=False), PROCESSOR)
    worst = max(float(abs(a.nll - b.nll).max()) for a, b in zip(alone, shared, strict=True))
    same = all((a.greedy == b.greedy).all() for a, b in zip(alone, shared, strict=True))
    print(
        f"needle grid {lengths} x 11 up to {longest}: {alone_s:.1f} s cell by cell, {shared_s:.1f} s shared: "
        f"{alone_s / shared_s:.2f} x ({alone_tokens / shared_tokens:.2f} x fewer tokens); "
        f"nll differs by {worst:.1e}, verdicts {'identical' if same else 'DIFFER'}"
    )
    return {"ratio": alone_s / shared_s, "tokens": alone_tokens / shared_tokens, "difference": worst, "same": float(same)}


def write_hashes(path: Path) -> None:
    """The golden hashes of the tests, from the reference itself."""
    with tempfile.TemporaryDirectory() as folder:
        material = make_material(Path(folder))
        with reference_at(os.environ["RULER_REFERENCE"], material) as reference:
            found = {
                f"{task}/{length}": [
                    hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in reference.rows(task, length, 5)[1]
                ]
                for task in sorted(TASKS)
                for length in (2048, 8192)
                if (task, length) != ("qa_2", 2048)  # does not fit, and is tried for ever
            }
    path.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=131_072)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=TASKS)
    parser.add_argument("--grid", type=int, default=2048, help="longest length of the needle grid; 0 leaves it out")
    parser.add_argument("--hashes", type=Path, help="only write the golden hashes")
    args = parser.parse_args()
    if args.hashes:
        write_hashes(args.hashes)
        return
    bench_generation(args.length, args.count, args.tasks)
    if args.grid:
        bench_grid(args.grid)


if __name__ == "__main__":
    main()
