"""What starting up and making tables costs: `ropewalk plan` beside importing AutoConfig, tables beside transformers'.

python runs/benchmarks/plan.py [--rounds 5]
"""

import argparse
import statistics
import subprocess
import sys

from timing import ratio, seconds_of


def plan_against_autoconfig(rounds: int) -> dict[str, list[float]]:
    commands = {"ours": ("-m", "ropewalk", "plan", "ropewalk-tiny", "--to", "4096"),
                "theirs": ("-c", "from transformers import AutoConfig")}  # fmt: skip
    return seconds_of(
        {
            name: lambda command=command: subprocess.run((sys.executable, *command), check=True, capture_output=True)
            for name, command in commands.items()
        },
        rounds,
    )


def tables_against_transformers(rounds: int) -> dict[str, list[float]]:
    """cos and sin of 131072 positions x 64 pairs: float64 angles here, float32 angles there."""
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from ropewalk.models.tables import rotation_tables
    from ropewalk.scaling.rope import Rope
    from ropewalk.scaling.stretch import Stretch

    keys = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6}
    module = LlamaRotaryEmbedding(LlamaConfig(head_dim=128, max_position_embeddings=131072, rope_parameters=keys))
    scaled, like = Stretch(Rope(128, 1e6, 32768), "yarn", 4.0).scaled(), torch.zeros(1)
    positions = torch.arange(131072)
    sides = {"ours": lambda: rotation_tables(scaled, positions), "theirs": lambda: module(like, positions[None])}
    return seconds_of(sides, 2 * rounds)


BENCHES = {
    "`ropewalk plan` against `from transformers import AutoConfig`": plan_against_autoconfig,
    "tables of 131072 positions, float64 inside, against transformers' float32 module": tables_against_transformers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for name, bench in BENCHES.items():
        taken = bench(args.rounds)
        ours, theirs = (statistics.median(times) * 1000 for times in taken.values())
        print(f"{name}, ms: {ours:.1f}, {theirs:.1f}; times as fast: {ratio(taken['theirs'], taken['ours'])}", flush=True)


if __name__ == "__main__":
    main()
