"""What `ropewalk fit` gains on the bundled model, and what it costs: the verb itself, in a process of its own.

    python runs/benchmarks/fit.py [--family free] [--static] [--budget 5m] [--tuned out/holds_up/tuned]

Aims at factor 8, bits per token beyond the window on documents that nothing was chosen on: 0.10 below static YaRN, 0.03 below
causal YaRN, no larger tax, five minutes, 1.5 GiB above evaluating, half of the gap to a briefly fine-tuned model. Its weights
are those that `runs/experiments/holds_up.py --tune 60` leaves; without --tuned the share is left out.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from timing import child, high_water

MODEL, FACTOR = "ropewalk-tiny", 8.0
AIMS = {"yarn": 0.10, "dynamic-yarn": 0.03}
CHILDREN = ("fit", "evaluate")


def one_process(kind: str, family: str, causal: bool, budget: str) -> None:
    """Print one JSON object: what the verb says and this process's peak, or the peak of reading two documents."""
    if kind == "evaluate":
        read()
        print(json.dumps({"peak": high_water()}))
        return
    import ropewalk

    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        found = ropewalk.fit(MODEL, plan, factor=FACTOR, family=family, causal=causal, budget=budget)
        print(json.dumps({**found.to_dict(), "peak": high_water()}))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="free")
    parser.add_argument("--static", action="store_true", help="fit one scale, not the causal schedule")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--tuned", type=Path, help="folder with static-60.safetensors")
    parser.add_argument("--child", choices=CHILDREN, help="one process's part and nothing else")
    args = parser.parse_args()
    if args.child:
        one_process(args.child, args.family, not args.static, args.budget)
        return
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    options = ["--family", args.family, "--budget", args.budget, *(["--static"] if args.static else [])]
    found, evaluating = (child(__file__, "--child", kind, *options) for kind in CHILDREN)
    read, compared = found["documents"]["report"], found["compared"]
    print(f"{args.family}, {found['steps']} steps; {read} documents reported on; the choice fell on: {found['winner']}")
    for name, aim in AIMS.items():
        gain = compared[name]["gain"]
        reached = "shown" if gain["low"] >= aim else "not shown" if gain["high"] > aim else "missed"
        print(
            f"better than {name} by {gain['value']:.4f} bits (95 % {gain['low']:.4f} to {gain['high']:.4f}), "
            f"aim {aim:.2f}: {reached}"
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
