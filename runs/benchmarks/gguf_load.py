"""Loading a GGUF beside loading the same weights from safetensors.

    python runs/benchmarks/gguf_load.py x.gguf [bfloat16] [pairs]

Each pair loads both, in a process of its own each and in turns, after the classes of the model were imported. The safetensors
are what transformers saved of the loaded model. The first time, which dequantises, is told too.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = "from ropewalk.models.load import load_model as load"
STOCK = "load = lambda place, dtype: A.from_pretrained(place, dtype=dtype)"
CODE = """
import sys, time, torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM as A
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
place, dtype, saved = sys.argv[1:4]
{load}
if {begun}:
    with torch.device("meta"):
        A.from_config(AutoConfig.from_pretrained(saved))
t = time.perf_counter()
model = load(place, dtype=getattr(torch, dtype))
print(time.perf_counter() - t)
if not {begun}:
    model.save_pretrained(saved)
"""


def seconds(how: str, place: str, dtype: str, saved: str, begun: bool = True) -> float:
    code = CODE.format(load=how, begun=begun)
    run = subprocess.run([sys.executable, "-c", code, place, dtype, saved], check=True, capture_output=True, text=True)
    return float(run.stdout)


def main(file: str, dtype: str = "bfloat16", pairs: str = "9") -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        saved = str(Path(folder) / "saved")
        first = seconds(OURS, file, dtype, saved, begun=False)
        time.sleep(3)  # the hash of a file is remembered once its times have settled
        for _ in range(2):
            for how, place in ((OURS, file), (STOCK, saved)):
                seconds(how, place, dtype, saved)
        kept, plain = [], []
        for number in range(int(pairs)):
            for ours in (True, False) if number % 2 else (False, True):
                (kept if ours else plain).append(seconds(OURS if ours else STOCK, file if ours else saved, dtype, saved))
        ratios = [a / b for a, b in zip(kept, plain, strict=True)]
        print(f"{Path(file).name} in {dtype}, {pairs} pairs, medians")
        print(f"  first time, dequantised   {first:7.2f} s")
        print(f"  from what was kept        {statistics.median(kept):7.2f} s")
        print(f"  the same as safetensors   {statistics.median(plain):7.2f} s")
        print(f"  ratio                     {statistics.median(ratios):7.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


main(*sys.argv[1:])
