"""Throughput of vLLM with the plugin against plain vLLM: two engines, the same loads in turns, medians of paired ratios.

    ROPEWALK_ENGINES=.venv-engines python runs/bench_vllm_plugin.py [PAIRS]

Both engines are started once and wait for each other; only one works at a time. *short*: 32 requests within the window, which
take scale 1. *mixed*: 32 requests of 40 to 3,500 tokens; plain vLLM, given a window as long, answers long ones wrongly, but
no slower for that. Tokens per second count prompt and answer.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ropewalk

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

    def seconds(self, prompts: list[list[int]]) -> float:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"prompts": prompts, "new": NEW}) + "\n")
        self.process.stdin.flush()
        return float(self.answers.readline() or "nan")

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
        "mixed": prompts([draw.choice([40, 300, 700, 1500, 3500]) for _ in range(32)]),
    }


def point(folder: Path) -> None:
    """What pip leaves of an installed package, so that vLLM finds the entry point without installing anything."""
    package = folder / "ropewalk-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: ropewalk\nVersion: 0\n")
    (package / "entry_points.txt").write_text(
        "[vllm.general_plugins]\nropewalk = ropewalk.models.vllm_plugin.entry:register\n"
    )


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
            first: dict[Any, float] = {e: e.seconds(prompts) for e in (plain, planned)}  # warms up, and is not counted
            if any(s != s for s in first.values()):
                sys.exit("an engine ended without an answer")
            taken = []
            for pair in range(pairs):
                order = (plain, planned) if pair % 2 else (planned, plain)
                seconds = {engine: engine.seconds(prompts) for engine in order}
                taken.append((seconds[plain], seconds[planned]))
            ratios = sorted(a / b for a, b in taken)
            speeds = [tokens / statistics.median(column) for column in zip(*taken, strict=True)]
            print(
                f"{name:5}  plain {speeds[0]:6.0f} tokens/s, with the plan {speeds[1]:6.0f}; paired ratios: median "
                f"{statistics.median(ratios):.3f}, all {' '.join(f'{r:.2f}' for r in ratios)}; load {os.getloadavg()[0]:.1f}"
            )
        plain.end(), planned.end()


if __name__ == "__main__":
    start = time.perf_counter()
    main(*(int(a) for a in sys.argv[1:]))
    print(f"{time.perf_counter() - start:.0f} s in all")
