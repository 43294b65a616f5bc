"""Ollama: a Modelfile around a GGUF. Read at fb30760 (August 2026), nothing was run.

It serves through llama.cpp and hands it no rope flags, so only what the GGUF holds counts. A Modelfile can say `num_ctx`,
capped by the GGUF's context_length, and nothing else of the rotary embedding.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines import llama_cpp
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import CONFIG, GGUF, Keys
from ropewalk.errors import CannotExpress
from ropewalk.scaling.plan import ScalingPlan

AT = "ollama fb30760"


def _shifts(keys: Keys) -> Says | None:
    shifting = keys.knowing(shifts=True)
    (shift,) = [quirk for quirk in llama_cpp.QUIRKS if quirk.verb is Verb.DRIFTS]
    return shift.effect(shifting)


def _own_converter(keys: Keys) -> Says | None:
    """`ollama create` from safetensors writes yarn without its original length for Qwen, and none for Llama."""
    if keys.text != CONFIG or keys.rope_type != "yarn":
        return None
    if keys.kind in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        return Says("original_max_position_embeddings when it converts safetensors itself", keys.with_length(keys.longest))
    return None


def _flags(keys: Keys) -> Says | None:
    return Says("rope flags and parameters: it has none", runs=False) if keys.text not in (CONFIG, GGUF) else None


QUIRKS = (
    Quirk(Verb.CRASHES, _flags, f"{AT}, llm/llama_server.go; api/types.go, FormatParams",
          way_out="Write the base or the stretch into the GGUF: `ropewalk export x.gguf`."),
    Quirk(Verb.IGNORES, _own_converter, f"{AT}, convert/convert_qwen2.go",
          way_out="Convert with llama.cpp and write FROM ./x.gguf."),
    *(quirk for quirk in llama_cpp.QUIRKS if quirk.verb is not Verb.DRIFTS),
    Quirk(Verb.DRIFTS, _shifts, f"{AT}, llm/llama_server.go passes --context-shift", way_out="Keep inputs below num_ctx."),
)  # fmt: skip


def modelfile(plan: ScalingPlan, file: str = "./x.gguf") -> str:
    return f"FROM {file}\nPARAMETER num_ctx {plan.target_length}\n"


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    inner = llama_cpp.write(plan, config)
    if not inner.files:
        raise CannotExpress(
            f"Ollama cannot carry {plan.name} here: llama.cpp takes it from command-line flags alone, and Ollama passes none."
        )
    commands = ("ollama create NAME -f Modelfile", "ollama run NAME")
    return Written({**inner.files, "Modelfile": modelfile(plan)}, commands, inner.carrier)


ENGINE = register(Engine("ollama", "Ollama", "fb30760", GGUF, QUIRKS, write, llama_cpp.read))
