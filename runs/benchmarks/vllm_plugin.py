"""Throughput of vLLM with the plugin against plain vLLM: two engines, the same loads in turns, medians of paired ratios.

    ROPEWALK_ENGINES=.venv-engines python runs/benchmarks/vllm_plugin.py [PAIRS]

Both engines are started once and wait for each other; only one works at a time. *short*: 32 requests within the window, which
take scale 1. *mixed*: 32 requests of 40 to 3,500 tokens; plain vLLM, given a window as long, answers long ones wrongly, but
no slower for that. Tokens per second count prompt and answer. Wall clock, and processor seconds of an engine and its workers,
which other people's work on the machine disturbs less.
"""

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import ropewalk
from timing import in_turns, ratio

ROOT = Path(ropewalk.__file__).parents[2]
TINY = ROOT / "src" / "ropewalk" / "models" / "ropewalk-tiny"
PYTHON = Path(os.environ.get("ROPEWALK_ENGINES", ROOT / ".venv-engines")) / "vllm" / "bin" / "python"
NEW = 32  # tokens of each answer

ENGINE = """
import json, sys, time
from vllm import LLM, SamplingParams
out = open(3, "w")
llm = LLM(sys.argv[1], skip_tokenizer_init=True, dtype="float32", max_num_seqs=32, enforce_eager=True,
          enable_prefix_caching=False, hf_overrides={"max_position_embeddings": 4096})
for line in sys.stdin:
    ask = json.loads(line)
    params = SamplingParams(temperature=0, max_tokens=ask["new"], detokenize=False, ignore_eos=True)
    start = time.perf_counter()
    llm.generate([{"prompt_token_ids": ids} for ids in ask["prompts"]], params, use_tqdm=False)
    print(time.perf_counter() - start, file=out, flush=True)
"""


class Engine:
    """A vLLM in a process of its own."""

    def __init__(self, folder: Path, plan: str | None):
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "OMP_NUM_THREADS": "1",
        }
        environment |= {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"}
        environment.pop("ROPEWALK_VLLM_PLAN", None)
        if plan:
            environment["ROPEWALK_VLLM_PLAN"] = plan
        read, write = os.pipe()
        code = ENGINE.replace("open(3,", f"open({write},")
        self.process = subprocess.Popen(
            [PYTHON, "-c", code, TINY], env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, text=True, pass_fds=[write],
        )  # fmt: skip
        os.close(write)
        self.answers = os.fdopen(read)

    def seconds(self, prompts: list[list[int]]) -> tuple[float, float]:
        """(wall clock, processor) seconds of one load."""
        assert self.process.stdin
        before = self._processor()
        self.process.stdin.write(json.dumps({"prompts": prompts, "new": NEW}) + "\n")
        self.process.stdin.flush()
        wall = float(self.answers.readline() or "nan")
        return wall, self._processor() - before

    def _processor(self) -> float:
        parent = psutil.Process(self.process.pid)
        return sum(sum(one.cpu_times()[:2]) for one in (parent, *parent.children(recursive=True)))

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


def loads() -> dict[str, list[list[int]]]:
    draw = random.Random(1)

    def prompts(lengths: list[int]) -> list[list[int]]:
        return [[draw.randrange(1, 1024) for _ in range(n)] for n in lengths]

    return {
        "short": prompts([draw.randrange(40, 480) for _ in range(32)]),
        "mixed": prompts([40, 100, 300, 480, 700, 1000, 1500, 2000] * 3 + [200] * 6 + [3500] * 2),
    }


def point(folder: Path) -> None:
    """What pip leaves of an installed package, so that vLLM finds the entry point without installing anything."""
    package = folder / "ropewalk-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: ropewalk\nVersion: 0\n")
    (package / "entry_points.txt").write_text("[vllm.general_plugins]\nropewalk = ropewalk.plugins.vllm.entry:register\n")


def main(pairs: int = 7) -> None:
    plan = ropewalk.make_plan(
        ropewalk.read(json.loads((TINY / "config.json").read_text())), factor=8, method="dynamic-yarn-request-2"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        point(folder)
        (folder / "plan.json").write_text(plan.to_json())
        plain, planned = Engine(folder, None), Engine(folder, place)
        for name, prompts in loads().items():
            tokens = sum(len(p) + NEW for p in prompts)
            if any(math.isnan(engine.seconds(prompts)[0]) for engine in (plain, planned)):  # warms up, and is not counted
                sys.exit("an engine ended without an answer")
            sides = {"plain": plain, "with it": planned}
            taken = in_turns({name: lambda e=engine, p=prompts: e.seconds(p) for name, engine in sides.items()}, pairs)
            for i, clock in enumerate(("wall clock", "processor")):
                seconds = {side: [row[i] for row in rows] for side, rows in taken.items()}
                speeds = [tokens / statistics.median(rows) for rows in seconds.values()]
                ratios = ratio(seconds["plain"], seconds["with it"])
                print(f"{name:5} {clock:10} plain {speeds[0]:5.0f} tokens/s, with it {speeds[1]:5.0f}; paired ratios: "
                      f"{ratios}; load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
        plain.end(), planned.end()


if __name__ == "__main__":
    start = time.perf_counter()
    main(*(int(a) for a in sys.argv[1:]))
    print(f"{time.perf_counter() - start:.0f} s in all")
