"""What `ropewalk fit` gains on the bundled model, and what it costs: the verb itself, in a process of its own.

    python runs/bench_fit.py [--family free] [--static] [--budget 5m] [--tuned out/holds_up/tuned]

Aims at factor 8, bits per token beyond the window on documents that nothing was chosen on: 0.10 below static YaRN, 0.03 below
causal YaRN, no larger tax, five minutes, 1.5 GiB above evaluating, half of the gap to a briefly fine-tuned model. Its weights
are those that `runs/holds_up.py --tune 60` leaves; without --tuned the share is left out.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_dynamic import high_water

MODEL, FACTOR = "ropewalk-tiny", 8.0
AIMS = {"yarn": 0.10, "dynamic-yarn": 0.03}
CHILDREN = ("fit", "evaluate")


def child(kind: str, family: str, causal: bool, budget: str) -> None:
    """Print one JSON object: what the verb says and this process's peak, or the peak of reading two documents."""
    if kind == "evaluate":
        read()
        print(json.dumps({"peak": high_water()}))
        return
    from ropewalk.cli.fit import run

    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
        run(MODEL, Path(folder) / "plan.json", factor=FACTOR, family=family, causal=causal, budget=budget, json=True)
    print(json.dumps({**json.loads(said.getvalue()), "peak": high_water()}))


def read() -> None:
    from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
    from ropewalk.engines.transformers.write import read as read_spec
    from ropewalk.jobs.fit.compare import bits_by_token
    from ropewalk.jobs.fit.objective import library_sets
    from ropewalk.models.load import load_model, load_tokenizer
    from ropewalk.scaling.plan import make_plan

    plan = make_plan(read_spec(read_config(bundled_model())), factor=FACTOR, method="dynamic-yarn-causal-8")
    model, sets = load_model(MODEL), library_sets(load_tokenizer(MODEL), plan.target_length, 0)
    for document in sets.report[:2]:
        bits_by_token(model, plan, document)


def far_after_tuning(weights: Path, documents: int) -> float:
    """Bits per token beyond the window of the fine-tuned model under static YaRN, on the first report documents."""
    from safetensors.torch import load_file

    from ropewalk.jobs.fit.compare import bits_by_token
    from ropewalk.jobs.fit.objective import library_sets
    from ropewalk.models.live import read_live
    from ropewalk.models.load import load_model, load_tokenizer
    from ropewalk.scaling.plan import make_plan

    model = load_model(MODEL)
    plan = make_plan(read_live(model), factor=FACTOR)
    model.load_state_dict(load_file(weights), strict=False)  # tied weights are there once
    report = library_sets(load_tokenizer(MODEL), plan.target_length, 0).report[:documents]
    return float(
        sum(bits_by_token(model, plan, d)[plan.stretches[0][1].rope.original_length - 1 :].mean() for d in report)
    ) / len(report)


def run_child(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", kind, "--family", args.family, "--budget", args.budget]
    command += ["--static"] if args.static else []
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="free")
    parser.add_argument("--static", action="store_true", help="fit one scale, not the causal schedule")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--tuned", type=Path, help="folder with static-60.safetensors")
    parser.add_argument("--child", choices=CHILDREN, help="one process's part and nothing else")
    args = parser.parse_args()
    if args.child:
        child(args.child, args.family, not args.static, args.budget)
        return
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    found, evaluating = (run_child(kind, args) for kind in CHILDREN)
    read, compared = found["documents"]["report"], found["compared"]
    print(f"{args.family}, {found['steps']} steps; {read} documents reported on; the choice fell on: {found['winner']}")
    for name, aim in AIMS.items():
        gain = compared[name]["gain"]
        reached = "shown" if gain["low"] >= aim else "not shown" if gain["high"] > aim else "missed"
        print(
            f"better than {name} by {gain['value']:.4f} bits (95 % {gain['low']} to {gain['high']}), aim {aim:.2f}: {reached}"
        )
    tax = {name: compared[name]["short"]["value"] for name in ("fitted", *AIMS)}
    print("inside the window:", ", ".join(f"{name} {value:.4f}" for name, value in tax.items()))
    above = found["peak"] - evaluating["peak"]
    print(f"seconds: {found['seconds']:.0f}, aim 300; peak above evaluating: {above:.0f} MB, aim 1536")
    if args.tuned:
        yarn, fitted = (compared[name]["far"]["value"] for name in ("yarn", "fitted"))
        tuned = far_after_tuning(args.tuned / "static-60.safetensors", read)
        print(
            f"share of the gap closed without training: {(yarn - fitted) / (yarn - tuned):.2f}, aim 0.5 (tuned: {tuned:.4f})"
        )


if __name__ == "__main__":
    main()
