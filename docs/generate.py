"""What the build of the site makes from the code: one page per registered method, its pictures, and the explorer.

A hook of mkdocs; `pages()` is all that a test needs.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ropewalk.engines.engine import Engine, engines, losses_of
from ropewalk.engines.keys import layers_of
from ropewalk.engines.transformers.write import read
from ropewalk.errors import CannotExpress
from ropewalk.jobs.explore.models import preset_files
from ropewalk.jobs.explore.page import explorer
from ropewalk.scaling.method import Method, Option, Scaled, far_methods, get_method
from ropewalk.scaling.plan import make_plan
from ropewalk.scaling.rope import Rope

sys.path.insert(0, str(Path(__file__).parent))  # the page makers beside this one

import api_reference

# Presets of the explorer and the factor to draw them at.
DRAWN = {"qwen3-8b": 4.0, "llama-2-7b": 16.0, "gpt-oss-20b": 32.0, "ropewalk-tiny": 8.0}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 340, 150, 34, 10, 28  # of one panel, in its own units


def _slowed(rope: Rope, scaled: Scaled) -> tuple[float, ...]:
    """How many times slower each pair turns; infinite for a pair that stopped."""
    return tuple(theta / new if new else float("inf") for theta, new in zip(rope.inv_freq, scaled.inv_freq, strict=True))


# Methods that need an option, or show nothing without one: what to draw, and how to say so.
Choose = Callable[[Rope, float], dict[str, Option]]
CHOSEN: dict[str, tuple[Choose, str]] = {
    "longrope": (
        lambda rope, s: {"long_factor": _slowed(rope, get_method("yarn")(rope, s))},
        "Drawn with yarn's factors as its list: longrope can carry any static method.",
    ),
    "rope_theta": (lambda rope, s: {"rope_theta": 10 * rope.rope_theta}, "Drawn with ten times the trained base."),
    "rerope": (lambda rope, s: {}, "Far distances alone, see [near](../near.md); no pair turns."),
    "self_extend": (
        lambda rope, s: {},
        "Far distances alone, see [near](../near.md); positions count in whole groups besides.",
    ),
    "proportional": (
        lambda rope, s: {"proportion": 0.5},
        "Drawn with proportion 0.5; a grey column to the top is a pair that does not turn at all.",
    ),
}


def panel(title: str, slowed: Sequence[float], factor: float) -> str:
    """An inline SVG: one bar per pair, fastest first, its height the slowing between 1 and the factor.

    Bars are coloured as the explorer colours them: kept, between, slowed by the whole factor.
    """
    width, height = WIDTH - LEFT - 6, HEIGHT - TOP - BOTTOM
    step, ground = width / len(slowed), TOP + height
    parts = []
    for i, s in enumerate(slowed):
        share = min(max((s - 1) / (factor - 1), 0.0), 1.0)
        bar = max(share * height, 2.0)
        kind = "stopped" if s == float("inf") else "kept" if s < 1 + 1e-9 else "whole" if share > 1 - 1e-9 else "between"
        said = "does not turn" if kind == "stopped" else f"slowed by {s:.3g}"
        parts.append(
            f'<rect class="{kind}" x="{LEFT + i * step:.1f}" y="{ground - bar:.1f}" width="{step * 0.8:.1f}" '
            f'height="{bar:.1f}"><title>pair {i}: {said}</title></rect>'
        )
    kept = sum(s < 1 + 1e-9 for s in slowed)
    label = f"{title}: {kept} of {len(slowed)} pairs keep their speed, the slowest is slowed by {slowed[-1]:.3g}"
    return (
        f'<svg class="slowed" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<line x1="{LEFT}" x2="{WIDTH - 6}" y1="{ground}" y2="{ground}"/>'
        f'<line class="top" x1="{LEFT}" x2="{WIDTH - 6}" y1="{TOP}" y2="{TOP}"/>'
        f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{factor:g}</text>'
        f'<text x="{LEFT - 6}" y="{ground + 3}" text-anchor="end">1</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 8}">pair 0</text>'
        f'<text x="{WIDTH - 6}" y="{HEIGHT - 8}" text-anchor="end">{len(slowed) - 1}</text>'
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(title)}</text>{"".join(parts)}</svg>'
    )


def drawn_ropes() -> list[tuple[str, Rope, float]]:
    """The rotary embeddings that the pages draw: published configs, as trained."""
    presets = {preset["id"]: preset for preset in preset_files()}
    found = []
    for name, factor in DRAWN.items():
        spec = read(presets[name]["config"])
        found.append((presets[name]["name"], spec.rope(spec.stretchable[0]), factor))
    return found


def _pictures(method: Method) -> str:
    choose, note = CHOSEN.get(method.name, (lambda rope, s: {}, ""))
    panels = "\n".join(
        panel(f"{name}, x{factor:g}", _slowed(rope, method(rope, factor, **choose(rope, factor))), factor)
        for name, rope, factor in drawn_ropes()
    )
    words = "How many times slower each pair turns, from 1 to the factor; the fastest pair is on the left. "
    words += '<span class="kept">Kept</span>, <span class="between">between</span>, '
    words += f'<span class="whole">slowed by the whole factor</span>. {note}'
    return f'<div class="slowed">\n{panels}\n</div>\n\n<p class="slowed" markdown="span">{words}</p>\n'


def _rule_and_options(method: Method) -> tuple[str, dict[tuple[str, ...], str]]:
    """The docstring below its first line, and what it says of each option (or of several at once)."""
    rule, said = [], {}
    for paragraph in (inspect.getdoc(method.function) or "").split("\n\n")[1:]:
        if not _names(paragraph, method):
            rule.append(paragraph)
            continue
        names: tuple[str, ...] = ()
        for line in paragraph.splitlines():
            if found := _names(line, method):
                names, line = found, line.partition(": ")[2]
            said[names] = f"{said.get(names, '')} {line.strip()}".strip()
    return "\n\n".join(rule), said


def _names(text: str, method: Method) -> tuple[str, ...]:
    """The options that a line such as "beta_fast, beta_slow: turns" is about."""
    names = tuple(text.partition(": ")[0].split(", "))
    return names if set(names) <= set(method.defaults) else ()


def _options(method: Method, said: dict[tuple[str, ...], str]) -> str:
    if not method.defaults:
        return "It has no options.\n"
    silent = set(method.defaults) - {name for names in said for name in names}
    rows = [
        f"| {', '.join(f'`{name}`' for name in names)} | {', '.join(_default(method, name) for name in names)} | {meaning} |"
        for names, meaning in [*said.items(), *(((name,), "") for name in sorted(silent))]
    ]
    return "\n".join(["| option | default | |", "|---|---|---|", *rows]) + "\n"


def _default(method: Method, name: str) -> str:
    return "needed" if name in method.required else f"`{_spell(method.defaults[name])}`"


def _spell(value: Option) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _needed(method: Method) -> str:
    """The option part of a command that uses the method on the bundled model."""
    values = {"long_factor": ",".join(["1"] * 16 + ["8"] * 16), "rope_theta": "500000"}
    return "".join(f" --option {name}={values[name]}" for name in sorted(method.required))


def method_page(method: Method) -> str:
    rule, said = _rule_and_options(method)
    name = f"near-{method.name}" if method.needs_near else method.name
    command = f"$ ropewalk plan ropewalk-tiny --factor 8 --method {name}{_needed(method)}"
    return (
        f"# {method.name}\n\n{method.summary}\n\n{_pictures(method)}\n## The rule\n\n{rule}\n\nSource: {method.source}.\n\n"
        f"## Options\n\n{_options(method, said)}\n## On the bundled model\n\n```console\n{command}\n```\n"
    )


def dynamic_page() -> str:
    name, rope, factor = drawn_ropes()[-1]
    ntk = get_method("ntk")
    lengths = [rope.original_length * 2**i for i in range(4)]
    panels = "\n".join(
        panel(f"{name}, l = {n:,}", _slowed(rope, ntk(rope, n / rope.original_length)), factor) for n in lengths
    )
    return f"""# dynamic

A policy, not a formula: the factor follows a length l, s = max(1, l / L), and any method computes the frequencies.

<div class="slowed">
{panels}
</div>

<p class="slowed">ntk at s = l / L, at four lengths. Inside the trained window nothing changes.</p>

`dynamic` is over `ntk`, the classic; `dynamic-yarn`, `dynamic-linear` and so on are over those. The factor of the plan is its
upper end. Source: Peng et al. 2023, arXiv:2309.00071v2, section 3.3.

Which length is l? There are four answers, each with a name and a guarantee: [dynamic scaling](../dynamic.md). The default,
`causal`, reads every token at the scale that its own position needs, so a cache changes nothing:

```python
import ropewalk
from ropewalk.models.load import load_tokenizer

model = ropewalk.load_model("ropewalk-tiny")
spec = ropewalk.read(model.config.to_dict())
plan = ropewalk.make_plan(spec, factor=8, method="dynamic-yarn")
prompt = load_tokenizer("ropewalk-tiny")("def add(a, b):", return_tensors="pt").input_ids
with ropewalk.attach(model, plan):
    model.generate(prompt, max_new_tokens=8, do_sample=False)
```

No config can express it: transformers knows one dynamic rule, over ntk, whose state depends on what was read before
([engines](../engines.md)). NTK-aware at s = l / L also reads worse than static NTK at a larger factor
([lab notebook](../lab-notebook.md)).
"""


# Two models for the engine table: llama.cpp's graph of the first multiplies by rope factors, that of the second does not.
LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32,
    "max_position_embeddings": 4096, "rope_theta": 10_000.0,
}  # fmt: skip
QWEN = {**LLAMA, "model_type": "qwen2", "max_position_embeddings": 32_768, "rope_theta": 1e6}
PLANS: dict[str, tuple[str, dict[str, Option]]] = {
    "linear": ("linear", {}),
    "ntk": ("ntk", {}),
    "rope_theta": ("rope_theta", {"rope_theta": 500_000.0}),
    "ntk_by_parts": ("ntk_by_parts", {}),
    "yarn": ("yarn", {}),
    "yarn, other betas": ("yarn", {"beta_fast": 16.0}),
    "yarn, not rounded": ("yarn", {"truncate": False}),
    "yarn, m = 1.1": ("yarn", {"attention_factor": 1.1}),
    "yarn, the paper's ramp": ("yarn", {"ramp": "turns"}),
    "llama3": ("llama3", {}),
    "longrope": ("longrope", {"long_factor": tuple(1 + i / 21 for i in range(64))}),
    "proportional": ("proportional", {"proportion": 0.25}),
    "resonance": ("resonance", {}),
    "dynamic": ("dynamic-request", {}),
}
CONFIG = tuple(name for name, engine in engines().items() if engine.reads == "config.json")
GGUF = tuple(name for name, engine in engines().items() if engine.reads == "GGUF")
READERS = CONFIG + GGUF
OWN = tuple(name for name in engines() if name not in READERS)
# What people write, and what each engine makes of it: rope_scaling dicts on the first model, whose L is 4096.
SPECIMENS: dict[str, dict[str, Any]] = {
    "attention_factor 1, x8 (by parts)": {"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.0},
    "attn_factor 0.878, x4 (DeepSeek-R1-0528-Qwen3-8B)": {
        "rope_type": "yarn",
        "factor": 4.0,
        "attn_factor": 0.8782488562869419,
    },
    "truncate: false, x32": {"rope_type": "yarn", "factor": 32.0, "truncate": False},
    "beta_fast 8, beta_slow 0.5, x8": {"rope_type": "yarn", "factor": 8.0, "beta_fast": 8.0, "beta_slow": 0.5},
    "mscale 0.707 alone, x40": {"rope_type": "yarn", "factor": 40.0, "mscale": 0.707},
    "no original length, x4": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": None},
    "dynamic, factor 4": {"rope_type": "dynamic", "factor": 4.0},
    "ntk, factor 4": {"rope_type": "ntk", "factor": 4.0},
    "linear, factor 4 (a whole number)": {"rope_type": "linear", "factor": 4},
}


def _carried(engine: Engine, method: str, options: dict[str, Option], config: dict[str, Any]) -> str:
    plan = make_plan(read(config), factor=4, method=method, options=options)
    try:
        return engine.write(plan, config, "").carrier
    except CannotExpress:
        return "refused"


def carrier_table(names: Sequence[str], config: dict[str, Any]) -> str:
    found = engines()
    head = "| plan, x4 | " + " | ".join(found[name].title for name in names) + " |\n|" + "---|" * (len(names) + 1)
    rows = [
        f"| {title} | " + " | ".join(_carried(found[name], method, options, config) for name in names) + " |"
        for title, (method, options) in PLANS.items()
    ]
    return "\n".join([head, *rows])


def loss_list() -> str:
    """Every specimen, engine by engine, as the doctor says it."""
    parts = []
    for title, said in SPECIMENS.items():
        rope = {"original_max_position_embeddings": 4096, **said}
        window = 4096 * int(said["factor"])
        config = {**LLAMA, "rope_scaling": {k: v for k, v in rope.items() if v is not None}, "max_position_embeddings": window}
        parts.append(f"\n**{title}**\n")
        for name in (name for name in READERS if name != "ollama"):  # which reads as llama.cpp does
            for loss in losses_of(engines()[name], layers_of(config)):
                parts.append(f"- {loss.said}. {loss.way_out} Source: {_link(loss.source)}.".replace("  ", " "))
    return "\n".join(parts)


def _link(source: str) -> str:
    return f"<{source}>" if source.startswith("https://") and " " not in source else source


def engines_page() -> str:
    versions = ", ".join(f"{engine.title} {engine.version}" for engine in engines().values() if engine.name in READERS)
    return f"""# Engines

How to give a stretched model to vLLM, SGLang, llama.cpp and others, and what each of them gets wrong. This command writes for
each engine what it can read, and the commands to paste:

```text
$ ropewalk export MODEL --factor 4 --for vllm,sglang,mlx,llama.cpp,ollama -o OUT
```

To check a config, a GGUF or a command that you have already: [doctor](doctor.md).

The same key means different things to different engines, and an engine that overlooks a key says nothing. Ropewalk knows what
each engine makes of what is written, as data: one file per engine in `engines/`. The tables below are computed from
those files when this site is built. Each engine's arithmetic is written a second time in the tests, and agrees with what is
written for it to 1e-6.

What was looked at: {versions}.
vLLM 0.32, llama.cpp and MLX-LM were run; of the others the source was read, of TensorRT-LLM an old version. Later versions may
differ; `ropewalk doctor TARGET --versions vllm=0.31` asks about another.

## What carries a plan

How each plan is written for each engine:

- *its own keys*: the method under its own name;
- *mscale*: yarn with `attention_factor`, and also with `mscale` and `mscale_all_dim` for engines that overlook the first;
- *longrope lists*: one factor per pair;
- *GGUF keys*: metadata of the GGUF;
- *rope_freqs.weight*: a tensor of one factor per pair, for graphs that multiply by it;
- *flags*: on the command line only;
- *refused*: nothing says it exactly, and `ropewalk export` says how far off the nearest is.

A dynamic plan is never written, because no two engines agree on what it means; an export holds a ladder of static factors
instead.

A model like Llama 2:

{carrier_table(READERS, LLAMA)}

A model like Qwen 2.5. llama.cpp's graph of it has no rope factors:

{carrier_table(GGUF, QWEN)}

Formats of an engine's own:

{carrier_table(OWN, LLAMA)}

## What engines read differently

What people write into the config of a Llama with L = 4,096, and what the doctor says about it. An engine that is not named
does what is written.
{loss_list()}

## What no table shows

- **The window.** vLLM and SGLang multiply `max_position_embeddings` by the factor of `linear`, also where it is stretched
  already; for yarn they stop at `max_position_embeddings`. Give `--max-model-len` or `--context-length`, as the
  printed commands do.
- **`--hf-overrides` replaces the dict** that holds `rope_theta` (vLLM): repeat the base inside it.
- **longrope.** vLLM and MLX-LM use the long list at every length. transformers and SGLang switch between the lists; a cache
  that was filled before the switch is then read with the other list.
- **A context shift in llama.cpp** multiplies cached keys by yarn's attention factor once more. Ollama always asks for it.
- **Spelling.** transformers 4, MLX-LM (for most models) and TensorRT-LLM read `rope_scaling` and `rope_theta`, not
  `rope_parameters`. Ropewalk writes both.
- **float32.** cos is off by 5e-4 at 32 k tokens, 5e-3 at 131 k, 4e-2 at 1 M (fastest pair), wherever
  angles are computed in it.
- **DeepSeek's attention** multiplies its softmax by (0.1 mscale_all_dim ln s + 1)^2, also on channels that do not rotate.
  Plans say this by yarn's `softmax_mscale`. A model's own value is kept for another factor, and written as `mscale` and
  `mscale_all_dim`.
- **Others, which were read or run once:** litgpt 2685705 inverts yarn's ramp; LLaMA-Factory 0.9.5 sets L to the new length
  before `dynamic`, which then never triggers; the YaRN authors' repository ignores `rope_theta` for its Llama yarn.

Whatever you serve with, compare its log-probabilities with those of transformers on one long text before you trust it:
[verify](verify.md) and [doctor](doctor.md#a-running-server) do this.
"""


def index_page() -> str:
    rows = [f"| [{name}]({name}.md) | {method.summary} |" for name, method in far_methods().items()]
    return (
        "# Methods\n\nA method is a formula for new frequencies. Which one to take: [choosing a method](../choosing.md). "
        "Each is one function in one file of `scaling/methods/`; its page is made from its docstring, its signature and its "
        "numbers.\n\n"
        "| method | rule |\n|---|---|\n"
        + "\n".join(rows)
        + "\n| [dynamic](dynamic.md), dynamic-METHOD | Choose s = max(1, l / L) from a length l. |"
        "\n| [near](../near.md), near-METHOD | Distances below w as trained, the others by the method. |\n"
    )


def pages() -> dict[str, str]:
    """Every generated page: its path below docs/, and its Markdown."""
    made = {f"methods/{name}.md": method_page(method) for name, method in far_methods().items()}
    method_pages = {"methods/index.md": index_page(), "methods/dynamic.md": dynamic_page(), **made}
    return {"engines.md": engines_page(), **method_pages, **api_reference.pages()}


def on_config(config: Any) -> Any:
    for title, folder in (("Methods", "methods/"), ("Python", "api/")):
        (section,) = [entry[title] for entry in config.nav if isinstance(entry, dict) and title in entry]
        section += [path for path in pages() if path.startswith(folder) and path not in section]
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    files.append(File.generated(config, "explorer.html", content=explorer()))
    return files
