"""Command lines of engines, as people paste them: which engine, which model, and what is said of the rotary embedding."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.engines.launchers import Launch, as_typed, find_launch, not_known, stated_version
from ropewalk.engines.shell_lines import launches
from ropewalk.errors import BadConfig

# Long names of short options, by engine.
SHORT = {
    "llama_cpp": {
        "m": "model", "c": "ctx-size", "hf": "hf-repo", "hfr": "hf-repo", "hff": "hf-file", "mu": "model-url",
        "np": "parallel", "kvu": "kv-unified", "gan": "grp-attn-n", "gaw": "grp-attn-w", "n-ctx": "ctx-size",
        "rope-scaling-type": "rope-scaling",
    },
    "ollama": {"f": "file"},
    "sglang": {"context-len": "context-length", "json-model-override": "json-model-override-args"},  # a beginning does
}  # fmt: skip
# Options that stand alone. What is not among them takes the next word, unless that is an option itself.
ALONE = frozenset(
    "context-shift no-context-shift trust-remote-code enforce-eager jinja kv-unified verbose headless async-scheduling "
    "language-model-only enable-lora mlock log-disable version help swa-full".split()
)
LIKE_ALONE = ("enable-", "disable-", "no-", "skip-", "allow-", "use-")
SUBCOMMANDS = ("serve", "run", "create", "chat", "complete", "generate", "server", "vllm", "launch_server")
# Variables that llama.cpp reads where the flag is not given (common/arg.cpp, set_env).
LLAMA_VARIABLES = {
    "LLAMA_ARG_MODEL": "model", "LLAMA_ARG_MODEL_URL": "model-url", "LLAMA_ARG_HF_REPO": "hf-repo",
    "LLAMA_ARG_HF_FILE": "hf-file", "LLAMA_ARG_CTX_SIZE": "ctx-size",
    "LLAMA_ARG_ROPE_SCALING_TYPE": "rope-scaling", "LLAMA_ARG_ROPE_SCALE": "rope-scale",
    "LLAMA_ARG_ROPE_FREQ_BASE": "rope-freq-base", "LLAMA_ARG_ROPE_FREQ_SCALE": "rope-freq-scale",
    "LLAMA_ARG_YARN_ORIG_CTX": "yarn-orig-ctx", "LLAMA_ARG_YARN_EXT_FACTOR": "yarn-ext-factor",
    "LLAMA_ARG_YARN_ATTN_FACTOR": "yarn-attn-factor", "LLAMA_ARG_YARN_BETA_SLOW": "yarn-beta-slow",
    "LLAMA_ARG_YARN_BETA_FAST": "yarn-beta-fast", "LLAMA_ARG_N_PARALLEL": "parallel", "LLAMA_ARG_GRP_ATTN_N": "grp-attn-n",
}  # fmt: skip
# What each program has of the rotation and the window. Another's stops it with an error.
YARN = ("yarn-orig-ctx", "yarn-ext-factor", "yarn-attn-factor", "yarn-beta-fast", "yarn-beta-slow")
OWN = {
    "vllm": {"hf-overrides", "max-model-len", "hf-config-path", "rope-scaling", "rope-theta"},
    "sglang": {"json-model-override-args", "context-length"},
    "llama_cpp": {"rope-scaling", "rope-scale", "rope-freq-base", "rope-freq-scale", "ctx-size", "override-kv", *YARN},
    "tensorrt_llm": {"max-seq-len"},
    "lmdeploy": {"rope-scaling-factor", "session-len"}, "TGI": {"rope-factor"}, "koboldcpp": {"ropeconfig", "contextsize"},
    "Ollama's API": {"num-ctx"}, "ExLlama": {"rope-alpha", "alpha-value", "compress-pos-emb"},
}  # fmt: skip
TITLES = {"vllm": "vLLM", "sglang": "SGLang", "llama_cpp": "llama.cpp", "tensorrt_llm": "TensorRT-LLM"}
FILES = {"vllm": ("config",), "sglang": ("config",), "tensorrt_llm": ("config", "extra-llm-api-options")}  # of options
LLAMA_SWITCHES = {"LLAMA_ARG_CONTEXT_SHIFT": "context-shift", "LLAMA_ARG_KV_UNIFIED": "kv-unified"}
ON = ("1", "true", "on", "enabled", "yes", "y")


@dataclass(frozen=True, slots=True)
class Command:
    """A pasted command line.

    program: as it was written.  options: by long name; None where one stands alone.
    environment: NAME=VALUE words in front, exported before, or given to a container.
    version: of an image's tag, or as pip and uv are told it; "" where nothing says it.
    of: how many commands of known engines the line has; this is the first.
    words: behind the program's name.
    """

    engine: str
    model: str
    options: Mapping[str, str | None]
    environment: Mapping[str, str]
    program: str = ""
    version: str = ""
    of: int = 1
    words: tuple[str, ...] = ()


def is_command(text: str) -> bool:
    """Whether a text is a command line of a known engine rather than a path."""
    text = as_typed(text)
    try:
        return len(text.split()) > 1 and any(True for _ in launches(text))
    except ValueError:
        return len(text.split()) > 1 and find_launch(text.split()[:6]) is not None


def parse_command(text: str) -> Command:
    text = as_typed(text)
    try:
        found = list(launches(text))
    except ValueError as error:
        raise BadConfig(f"this command line cannot be split into words: {error}.\n  Paste it with its quotes.") from None
    if not found:
        raise not_known(text, text.split())
    launch, program, environment = found[0]
    options, plain, eaten = _options(launch)
    if launch.engine == "llama_cpp":
        _take_variables(options, environment)
    _check_own(launch.engine, options)
    named = options.get("model") or options.get("model-path") or options.get("hf-repo") or options.get("model-url")
    model = named or _positional(plain) or _looks_like_a_model(eaten)
    if not model:
        raise BadConfig("the command line names no model.\n  Give one, or the config it serves as config (--config).")
    version = stated_version(launch.engine, text)
    return Command(launch.engine, model, options, environment, program, version, len(found), launch.after)


def counts(command: Command, text: str) -> bool:
    """Whether a text may be about the model, its rotation or its window: it is not in the value of another option."""
    about = {*OWN.get(command.engine, ()), "model", "model-path", "hf-repo", "hf-file", "model-url"}
    for before, word in zip(("", *command.words), command.words, strict=False):
        if text not in word:
            continue
        option = word.partition("=")[0] if is_option(word) and "=" in word else before if not is_option(word) else ""
        if text in option or not is_option(option) or ("=" in option and option == before):
            return True
        name = _named(option, command.engine)[0].partition(".")[0]
        if name in about or _stands_alone(name):
            return True
    return False


def _check_own(engine: str, options: Mapping[str, str | None]) -> None:
    """BadConfig for options that stop this program, or that lie in a file."""
    own = OWN.get(engine, set())
    for name, value in options.items():
        if value is None and name in own:
            raise BadConfig(f"--{name} has no value.")
        of = next((other for other, names in OWN.items() if name.partition(".")[0] in names), "")
        if of and name.partition(".")[0] not in own:
            has = (
                f"It has {', '.join(f'--{word}' for word in sorted(own))}." if own else "It takes what the model's files say."
            )
            raise BadConfig(
                f"--{name} is an option of {TITLES.get(of, of)}; this program has none of that name, and stops at it.\n  {has}"
            )
    for name in FILES.get(engine, ()):
        if name in options:
            raise BadConfig(
                f"--{name} of this command holds options that are not read here. Write them on the command line instead,\n"
                "  or leave it out where it says nothing of the rotation and the window."
            )
    if (
        engine == "llama_cpp"
        and not {"model", "hf-repo"} & options.keys()
        and {"models-dir", "models-preset"} & options.keys()
    ):
        raise BadConfig(
            "llama-server without a model serves several, each with the flags of its section of --models-preset.\n"
            "  Look at one at a time: `llama-server -m FILE` with those flags."
        )


def _options(launch: Launch) -> tuple[dict[str, str | None], list[str], list[str]]:
    """(options, words that belong to none, words that were taken for the value of an option nobody here knows)."""
    options: dict[str, str | None] = {}
    dotted: dict[str, dict[str, Any]] = {}
    plain: list[str] = []
    eaten: list[str] = []
    words = launch.after
    index = 0
    while index < len(words):
        word, index = words[index], index + 1
        if not is_option(word):
            plain.append(word)
            continue
        name, equals, value = _named(word, launch.engine)
        if not equals and index < len(words) and not is_option(words[index]) and not _stands_alone(name):
            value, equals, index = words[index], "=", index + 1
            eaten.append(value)
        if "." in name and launch.engine == "vllm":
            root, *inside = name.split(".")
            _put(dotted.setdefault(root.replace("_", "-"), {}), inside, value)
        elif name == "override-kv" and options.get(name) and value:
            options[name] = f"{options[name]},{value}"
        else:
            options[name] = value if equals else None
    options |= {root: json.dumps(inside) for root, inside in dotted.items()}  # they come last, and the last one counts
    return options, plain, eaten


def is_option(word: str) -> bool:
    """A dash and a letter: -1 and -0.5 are numbers."""
    return re.match(r"--?[A-Za-z]", word) is not None


def _named(word: str, engine: str) -> tuple[str, str, str]:
    """(long name, "=" where a value is attached, that value)."""
    if engine == "vllm" and re.match(r"-O.", word):
        return "optimization-level", "=", word[2:].lstrip("=")
    name, equals, value = word.lstrip("-").partition("=")
    root, dot, inside = name.partition(".")
    root = root.replace("_", "-")
    return SHORT.get(engine, {}).get(root, root) + dot + inside, equals, value


def _stands_alone(name: str) -> bool:
    return name in ALONE or name.startswith(LIKE_ALONE)


def _put(tree: dict[str, Any], path: Sequence[str], text: str) -> None:
    """vLLM's --a.b.c VALUE: JSON where it is that, a list with a plus behind the name, else the word itself."""
    *parents, last = path
    for name in parents:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadConfig(f"--{'.'.join(path)}: {name} has a value of its own already.")
        tree = inner
    if last.endswith("+"):
        text, last = json.dumps(text.split(",")), last[:-1]
    try:
        tree[last] = json.loads(text)
    except (ValueError, RecursionError):
        tree[last] = tokens(text) or text


def _take_variables(options: dict[str, str | None], environment: Mapping[str, str]) -> None:
    """Variables count where the flag is absent; a scale is one thing under two names."""
    scaled = {"rope-scale", "rope-freq-scale"} & options.keys()
    for name, option in LLAMA_VARIABLES.items():
        if name in environment and option not in options and not (scaled and option in ("rope-scale", "rope-freq-scale")):
            options[option] = environment[name]
    for name, option in LLAMA_SWITCHES.items():
        if environment.get(name, "").lower() in ON and f"no-{option}" not in options:
            options[option] = None


def _positional(plain: list[str]) -> str | None:
    words = [word for word in plain if word not in SUBCOMMANDS]
    return words[0] if words else None


def _looks_like_a_model(eaten: Sequence[str]) -> str | None:
    """A model behind an option that stands alone and that nobody here knows of."""
    return next((word for word in eaten if Path(word).expanduser().exists() or re.fullmatch(r"[\w.-]+/[\w.-]+", word)), None)


def json_option(command: Command, name: str) -> dict[str, Any]:
    """An option whose value is a JSON object; empty where it is absent."""
    text = command.options.get(name)
    if name in command.options and text is None:
        raise BadConfig(f"--{name} has no value.")
    if text is None:
        return {}
    if text.startswith(("$", "`")):
        raise BadConfig(f"--{name} is {text}, which a shell fills in. Write out what it stands for.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"--{name} is not JSON: {error}.\n  Put it in single quotes, with double quotes inside.") from None
    if not isinstance(value, dict):
        raise BadConfig(f"--{name} is {text}; it must be a JSON object.")
    return value


def number_option(command: Command, name: str) -> float | None:
    text = command.options.get(name)
    if name not in command.options:
        return None
    try:
        return float(text or "")
    except ValueError:
        raise BadConfig(f"--{name} is {text!r}; it must be a number.") from None


def length_option(command: Command, *names: str) -> int | None:
    """Tokens, as engines take them: 131072, 128k (1000s, vLLM) or 128K (1024s); None for `auto`, -1 and 0."""
    for name in names:
        if name in command.options:
            text = command.options[name] or ""
            if text.lower() in ("auto", "-1", "0"):
                return None
            found = tokens(text)
            if found is not None and command.engine != "vllm" and not text.isdecimal():
                raise BadConfig(
                    f"--{name} is {text!r}, and this program takes no units (llama.cpp reads the digits in front alone).\n"
                    f"  Write {found}, or the power of two beside it."
                )
            if found is None:
                raise BadConfig(f"--{name} is {command.options[name]!r}; it must be a number of tokens.")
            return found
    return None


def tokens(text: str) -> int | None:
    """vLLM's own units: k, m and g are thousands, and may have a decimal point; K, M and G are 1024s."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kKmMgG]?)", text)
    if not found or ("." in found.group(1) and found.group(2) not in ("k", "m", "g")):
        return None
    units = {"": 1, "k": 1000, "K": 1024, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}
    return int(float(found.group(1)) * units[found.group(2)])


def is_set(command: Command, name: str) -> bool:
    """Whether a variable is one of the words that engines take for yes."""
    return command.environment.get(name, "").strip().lower() in ON
