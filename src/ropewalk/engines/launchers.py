"""Which engine a pasted command line starts, and what can be said of a launcher whose rotation was never looked at."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ropewalk.errors import BadConfig

PROGRAMS = {
    "vllm": "vllm", "vllm.entrypoints.openai.api_server": "vllm", "vllm.entrypoints.api_server": "vllm",
    "sglang.launch_server": "sglang", "sglang": "sglang", "mlx_lm": "mlx_lm", "mlx_lm.generate": "mlx_lm",
    "mlx_lm.server": "mlx_lm", "mlx_lm.chat": "mlx_lm", "mlx_lm.lora": "mlx_lm",
    "trtllm-serve": "tensorrt_llm", "ollama": "ollama", "llama_cpp.server": "llama_cpp", "llamafile": "llama_cpp",
}  # fmt: skip
# Images whose entry point is the engine itself, by the last part of their name.
IMAGES = {"vllm-openai": "vllm", "vllm-openai-rocm": "vllm", "vllm-openai-cpu": "vllm", "llama.cpp": "llama_cpp"}
# What stands in front of an engine: wrappers and interpreters, which take options of their own.
WRAPPERS = frozenset(
    "sudo nohup env time nice exec uv uvx pipx poetry conda mamba micromamba torchrun accelerate numactl taskset stdbuf srun "
    "mpirun docker podman nerdctl python python3 tini dumb-init setsid screen tmux timeout caffeinate proxychains".split()
)
CONTAINERS = ("docker", "podman", "nerdctl")
# llama.cpp's programs before July 2024; too plain to be taken for it without a path in front and a GGUF behind.
OLD_LLAMA = ("main", "server")
GGUF_READER = 'It reads a GGUF with code of llama.cpp: `ropewalk doctor "llama-server -m FILE -c N ..."` says what that does'
NOT_LLAMA = frozenset("llama-swap llama-stack llama-factory llama-recipes llama-index".split())  # and none of llama.cpp's
TRAINER = (
    "It stretches the model by settings of its own when it trains, which were not looked at.\n"
    "  Write the stretch into the config before (`ropewalk extend`), and look at the checkpoint that it saves."
)
TGI = (
    "What --rope-scaling and --rope-factor of text-generation-inference compute was not looked at."
    "\n  Write the stretch into the config (`ropewalk extend`) and look at that folder."
)
UNKNOWN = {
    "koboldcpp": f"{GGUF_READER};\n  --contextsize N is -c N, and --ropeconfig SCALE BASE is --rope-freq-scale SCALE "
    "--rope-freq-base BASE. Without --ropeconfig it chooses a base of its own.",
    "text-generation-launcher": TGI,
    "text-generation-inference": TGI,
    "lmdeploy": "Its --rope-scaling-factor is a dynamic NTK of its own, and was not looked at.\n"
    "  Write the stretch into the config (`ropewalk extend`) and look at that folder.",
    "lms": f"{GGUF_READER}.",
    "mlc_llm": "It compiles the rotation from its own mlc-chat-config.json, which is not read here.",
    **dict.fromkeys(
        ("tabbyapi", "test_inference", "exllamav2.test_inference"),
        "It runs ExLlama, which is not read here: its rope_scale is linear, its rope_alpha a base of b alpha^(d / (d - 2)).",
    ),
    **dict.fromkeys(
        (
            "llamafactory-cli",
            "llama-factory",
            "axolotl",
            "axolotl.cli.train",
            "swift",
            "trl",
            "openrlhf.cli.train_sft",
            "verl.trainer.main_ppo",
            "pretrain_gpt",
            "unsloth",
            "deepspeed",
        ),
        TRAINER,
    ),
    "llama-swap": "It starts llama-server with the lines of its config: give one of them.",
    "transformers": "It reads config.json as it stands: `ropewalk doctor FOLDER --for transformers`.",
    "ropewalk": "`ropewalk plan` and `ropewalk doctor FOLDER` say what Ropewalk itself reads.",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """engine: by its name.  before, after: the words in front of the program's name, and behind it."""

    engine: str
    before: tuple[str, ...]
    after: tuple[str, ...]


def find_launch(words: Sequence[str]) -> Launch | None:
    """The engine that a line of words starts; None where it is none that is known."""
    start = next((i for i, word in enumerate(words) if not is_assignment(word)), len(words))
    found = _program_at(words, start)
    if found is None:
        return None
    index, engine = found
    return Launch(engine, tuple(words[:index]), tuple(words[index + 1 :]))


def is_assignment(word: str) -> bool:
    return re.match(r"[A-Za-z_]\w*=", word) is not None or word == "export"


def _program_at(words: Sequence[str], start: int) -> tuple[int, str] | None:
    if start >= len(words):
        return None
    if engine := _engine_of(words[start]) or _old_llama(words, start):
        return start, engine
    wrapper = _name(words[start])
    if wrapper not in WRAPPERS and not re.fullmatch(r"python[\d.]*", wrapper):
        return None
    behind = range(start + 1, len(words))
    for index in behind:
        option = words[index - 1].startswith("-") and words[index - 1] not in ("-m", "--") and "=" not in words[index - 1]
        if not option and (engine := _engine_of(words[index]) or _script(words[index])):
            return index, engine
    if wrapper in CONTAINERS or any(_name(word) in CONTAINERS for word in words[start:]):
        return next(((i, e) for i in behind if (e := _image(words, i))), None)
    return None


def _name(word: str) -> str:
    return PurePath(word).name.removesuffix(".exe")


def _engine_of(word: str) -> str | None:
    name = re.sub(r"@[\w.]+$", "", _name(word))  # as uvx has a version
    if name in NOT_LLAMA:
        return None
    return PROGRAMS.get(name) or ("llama_cpp" if re.match(r"llama-[a-z]", name) and not word.endswith(".gguf") else None)


def _old_llama(words: Sequence[str], start: int) -> str | None:
    old = words[start].startswith(("./", "/", "../")) and _name(words[start]) in OLD_LLAMA
    return "llama_cpp" if old and any(word.endswith(".gguf") for word in words) else None


def _script(word: str) -> str | None:
    """A module by its path: .../vllm/entrypoints/openai/api_server.py."""
    if not word.endswith(".py"):
        return None
    dotted = ".".join(PurePath(word).with_suffix("").parts)
    return next((engine for name, engine in PROGRAMS.items() if "." in name and dotted.endswith(name)), None)


def _image(words: Sequence[str], index: int) -> str | None:
    """An image of an engine, unless it is the value of an option such as --name."""
    if words[index].startswith("-") or "/" not in words[index] or words[index - 1].startswith("--name"):
        return None
    return IMAGES.get(re.split(r"[:@]", PurePath(words[index]).name)[0])


def stated_version(engine: str, text: str) -> str:
    """vllm/vllm-openai:v0.8.5, lmsysorg/sglang:v0.4.6.post4-cu124, vllm==0.9.1, vllm@0.9.1; "" where none is there, or a year
    as NVIDIA's images have it (vllm:25.09-py3)."""
    name = {"vllm": r"vllm(?:-openai(?:-\w+)?)?", "sglang": "sglang", "mlx_lm": "mlx[-_]lm"}.get(engine)
    found = name and re.search(rf"(?<![\w.-]){name}(?:\[[\w,-]*\])?(?:==|@|:)v?(\d\.\d+(?:\.\d+)?)", text)
    return found.group(1) if found else ""


def not_known(text: str, words: Sequence[str]) -> BadConfig:
    """What to say of a text that is neither a path nor a command line of an engine that is known."""
    if words and (words[0].endswith(":") or re.match(r"\[\w+\]", words[0])):
        return BadConfig(
            "this is a file of settings, and no command line.\n"
            "  Give the words of its command alone, the program first: vllm serve ..., llama-server ..."
        )
    if words and words[0].lstrip("\"'").startswith("-"):
        return BadConfig(
            "these are options without a program.\n  Write the program before them, such as vllm serve or llama-server."
        )
    bare = (re.split(r"[:@]", _name(word))[0].removesuffix(".py") for word in words if not is_assignment(word))
    names = [name for name in bare if name and not name.startswith("-") and name not in ("run", "serve", "launch")]
    named = next((name for name in names if name in UNKNOWN), None)
    launcher = named or next((name for name in names if name not in WRAPPERS), text.strip())
    known = "vllm serve, python -m sglang.launch_server, llama-server (llama-cli, ...), mlx_lm, trtllm-serve, ollama"
    return BadConfig(
        f"{launcher}: there is no such file, and this launcher is not known.\n"
        f"  Known are {known}, behind `docker run`, `uv run`, `python -m` and the like too.\n"
        f"  {UNKNOWN[named] if named else 'Look at the folder or the GGUF that it serves instead.'}"
    )


# A quoted string or an escape, or a comment up to its line's end.
COMMENT = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*"|\\.)|(?:^|(?<=\s))#[^\n]*""", re.DOTALL | re.MULTILINE)
# What stands before a command in a compose file or a unit of systemd; and one word a line, as YAML lists them.
KEYED = re.compile(r"\s*(?:(?:command|entrypoint|args)\s*:\s*(?:[>|][+-]?\s*\n)?|ExecStart\s*=)\s*")
BULLETS = re.compile(r"(?:\s*-[ \t]+[^\n]+(?:\n|$))+\s*")
PROMPT = re.compile(r"\s*[$%>]\s+")
LISTED = re.compile(r"\s*(?:(?:command|entrypoint|args|CMD|ENTRYPOINT)\s*:?\s*)?(\[.*\])\s*,?\s*", re.DOTALL)


def as_typed(text: str) -> str:
    """No prompt before it, no comments, and the words of a list as compose files have it."""
    if found := LISTED.fullmatch(text):
        try:
            words = json.loads(found.group(1))
        except (ValueError, RecursionError):
            words = []
        if words and all(isinstance(word, str) for word in words):
            return shlex.join(words)
    if keyed := KEYED.match(text):
        text = text[keyed.end() :]
    if BULLETS.fullmatch(text):
        words = [line.strip()[1:].strip() for line in text.strip().splitlines()]
        text = " ".join(word if word[0] in "\"'" else shlex.quote(word) for word in words)
    if prompt := PROMPT.match(text):
        text = text[prompt.end() :]
    return COMMENT.sub(lambda found: found.group(1) or "", text)
