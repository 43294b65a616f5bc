"""Write a stretched checkpoint for the engines that will serve it, with the exact commands. Weights are linked, never loaded.

Engines: deepseek, gpt_oss, llama_cpp, megatron, mistral, mlx_lm, ollama, sglang, tensorrt_llm, transformers, vllm.

Example: `ropewalk export ropewalk-tiny --factor 8 --method yarn --for vllm,sglang,mlx,llama.cpp,ollama -o tiny-served`
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropewalk.api.export import Export, GgufExport, export, shown
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import LATER, verb
from ropewalk.engines.engine import get_engine
from ropewalk.engines.transformers.checkpoint import is_gguf

LARGE = 2**28  # bytes of a GGUF: below that, a copy takes less than two seconds on any disk


def _silence(given: Mapping[str, Any]) -> float:
    """Seconds, below which nothing is said of what is done."""
    path = Path(given["model"]).expanduser()
    return 0.0 if path.is_file() and path.stat().st_size >= LARGE and is_gguf(path) else LATER


def _print(console: Console, made: Export | GgufExport) -> int:
    for sentence in made.notes:
        print(f"note: {sentence}")
    if isinstance(made, GgufExport):
        _print_gguf(made)
        return 0
    _print_folder(made)
    return made.exit_code


def _print_folder(made: Export) -> None:
    from ropewalk.checkpoints.export import COMMANDS

    for part in made.written.parts:
        titles = ", ".join(get_engine(name).title for name in part.engines)
        print(f"{made.out / part.folder}: {titles}; {part.plan.target_length:,} tokens, written with {part.written.carrier}")
    for name, reason in made.written.refused.items():
        print(f"refused: {name}: {reason}")
    print(f"{made.out / COMMANDS} has the commands to paste. Nothing was run.")


def _print_gguf(made: GgufExport) -> None:
    if made.plan is None:
        print(f"{made.out}: as it was before, bit for bit")
        return
    plan = made.plan
    print(f"{made.out}: {plan.name}, {plan.target_length:,} tokens, written with {made.carrier} and read back")
    for name, (before, after) in (made.changed or {}).items():
        print(f"  {name}: {shown(before)} -> {shown(after)}")
    print(f"  {made.commands[0]}")
    print(f"  to undo it: ropewalk export {shlex.quote(str(made.out))} --restore --in-place")


run = verb(export, _print, after=_silence)
