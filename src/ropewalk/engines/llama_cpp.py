"""llama.cpp: GGUF keys and command-line flags. Run at 0c1e57098 (August 2026), converter included."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ropewalk.engines import gguf
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.gguf_file import FREQS
from ropewalk.engines.keys import CONFIG, FLAGS, GGUF, LENGTH, RAMPED, Keys, deepseek_ratio, mscale
from ropewalk.engines.longrope import is_longrope, long_lists_always, longrope_formula
from ropewalk.engines.own_files import is_ramped, only_stretch, options, prove
from ropewalk.engines.quirks import (
    INSIDE,
    NOT_NULL,
    STRETCH_IT,
    WRITE_FACTOR,
    becomes_plain,
    drops,
    is_mla,
    missing_length,
    outside,
    past_the_window,
    plain,
    temperature,
)
from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.engines.transformers.known import SOFTMAX_MSCALE
from ropewalk.errors import CannotExpress
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import is_local
from ropewalk.scaling.stretch import Stretch

AT = "llama.cpp 0c1e57098"
REPOSITORY = "https://github.com/ggml-org/llama.cpp"
NOMIC_LENGTH = 2048
KEYS_FILE = "gguf-keys.json"  # what an export calls the keys
# Loaders that read yarn's betas from the file, by transformers' name and by GGUF's.
READS_BETAS = frozenset({"grok", "mistral3", "ministral3"})
# Converters that turn longrope lists into tensors.
LISTS = frozenset({"phi3", "phimoe", "minicpm", "minicpm3"})


def _multiplied(keys: Keys) -> float:
    """m(s), times rope.scaling.attn_factor of a GGUF; whatever else is written is overwritten when the context is made."""
    return mscale(keys.factor) * _multiplier(keys)


def _multiplier(keys: Keys) -> float:
    return 1.0 if keys.text == CONFIG else float(keys.said.get("attn_factor", 1.0))


def _temperature(keys: Keys) -> Says | None:
    if is_mla(keys):
        return None
    if keys.text == CONFIG and keys.kind == "ministral3":  # yarn_log_multiplier, and a numerator that is taken to be m(s, 1)
        return temperature(lambda keys: deepseek_ratio(keys.but(mscale=None)), "mscale_all_dim")(keys)
    if keys.text != CONFIG and keys.kind in gguf.RATIO and SOFTMAX_MSCALE in keys.said:
        return temperature(lambda keys: deepseek_ratio(keys) * _multiplier(keys), SOFTMAX_MSCALE, "attn_factor")(keys)
    reads = () if keys.text == CONFIG else ("attn_factor",)
    return temperature(_multiplied, *reads)(keys)


def _latent(keys: Keys) -> Says | None:
    """DeepSeek's attention: m is m(s, 1) / m(s, a), a being mscale_all_dim, and the softmax has (m m(s, a))^2. V2 and V3: 1.

    Linear has no m, and the graph undoes one all the same, which leaves m(s)^2 on the softmax.
    """
    if gguf.architecture(keys.kind) not in gguf.LATENT or keys.rope_type not in ("linear", "yarn") or keys.factor <= 1:
        return None
    slope = float(keys.said.get(SOFTMAX_MSCALE) or 0.0)
    if keys.rope_type == "linear":
        times = (_multiplier(keys) * mscale(keys.factor) * mscale(keys.factor, slope)) ** 2
        return Says(f"linear: it multiplies the softmax scale of latent attention by {times:.4g}")
    multiplier = _multiplier(keys)
    ones = slope and gguf.architecture(keys.kind) == "deepseek2"
    m = multiplier * (1.0 if ones else mscale(keys.factor) / mscale(keys.factor, slope))
    softmax = (m * mscale(keys.factor, slope) - 1) / (mscale(keys.factor) - 1)
    what = "the temperature of latent attention: m = 1 with mscale_all_dim; without, it takes m(s), and for the softmax too"
    if multiplier != 1:
        what = f"rope.scaling.attn_factor: beside cos and sin its square, {multiplier**2:.4g}, multiplies the softmax scale"
    if softmax < 0:
        return Says(what)  # no key of a config says so low a scale
    return Says(what, keys.but(mscale=None, attn_factor=None, attention_factor=m, mscale_all_dim=softmax or None))


def _other_latent(keys: Keys) -> Says | None:
    latent = is_mla(keys) or gguf.RANK in keys.model
    if (
        not latent
        or gguf.architecture(keys.kind) in gguf.LATENT
        or keys.rope_type not in ("linear", "yarn")
        or keys.factor <= 1
    ):
        return None
    return Says(f"the temperature of latent attention, perhaps: what the graph of {keys.kind} makes of it was not looked at")


def _betas(keys: Keys) -> Says | None:
    if keys.text == FLAGS or keys.kind in READS_BETAS:
        return None
    return drops("beta_fast", "beta_slow")(keys)


def _lists(keys: Keys) -> Says | None:
    if keys.text != CONFIG or not is_longrope(keys) or keys.kind in LISTS:
        return None
    return Says(f"longrope of {keys.kind}: the converter writes plain RoPE", plain(keys))


def _formula(keys: Keys) -> Says | None:
    """The converters of Phi compute m; those of MiniCPM write neither it nor the original length."""
    if keys.text != CONFIG or not is_longrope(keys):
        return None
    if keys.kind in {"phi3", "phimoe"}:
        return longrope_formula()(keys)
    short = keys.said.get("short_factor")
    if keys.kind not in {"minicpm", "minicpm3"} or not short:
        return None
    what = f"m and {LENGTH} of longrope: up to max_position_embeddings short_factor is read, and m is 1"
    return Says(what, keys.but(long_factor=short, attention_factor=1.0))


def _long_lists(keys: Keys) -> Says | None:
    """One list per context: the long one where -c, or else context_length, is above the original length."""
    context = keys.beside.asked or keys.longest
    held = keys.text == GGUF or keys.kind in LISTS
    return long_lists_always(keys) if held and context > keys.rope.original_length else None


def _bands(keys: Keys) -> Says | None:
    if keys.text != CONFIG or keys.rope_type != "llama3" or gguf.architecture(keys.kind) in gguf.ROPE_FACTORS:
        return None
    return Says(f"llama3 of {keys.kind}: its graph has no rope factors", plain(keys))


def _proportional(keys: Keys) -> Says | None:
    if keys.text != CONFIG or keys.rope_type != "proportional" or keys.kind.startswith("gemma4"):
        return None
    return Says('rope_type "proportional"', plain(keys))


def _null_theta(keys: Keys) -> Says | None:
    """The converter writes no base for it, and the loader takes 10,000."""
    if not keys.beside.null_theta:
        return None
    other = keys.with_theta(10_000.0) if keys.rope.rope_theta != 10_000.0 else None
    return Says("rope_theta: null, which its converter leaves out: it takes 10,000", other)


def _unsaid_factor(keys: Keys) -> Says | None:
    """Of a config: yarn is written where its factor is there, and nothing else."""
    if keys.text != CONFIG or keys.rope_type != "yarn" or "factor" in keys.said:
        return None
    return Says("yarn without factor, which its converter leaves out", plain(keys))


def _no_factor(keys: Keys) -> Says | None:
    if not keys.beside.no_factor or keys.text == FLAGS:
        return None
    if keys.rope_type == "default":
        return Says('rope.scaling.type "linear" without a factor: the scale is 1')
    return Says("yarn without rope.scaling.factor: the scale is 1, which is plain", keys.but(factor=1.0))


def _beyond(keys: Keys) -> Says | None:
    """llama-cli reads on; llama-server caps a slot at context_length, which yarn's flags alone raise (llama-context.cpp)."""
    said = past_the_window(keys)
    if said is None or not keys.beside.server or (keys.beside.asked or 0) <= keys.longest:
        return said
    return dataclasses.replace(said, what=f"{said.what} (newer llama-server caps a slot at {keys.longest:,} instead)")


def _slot(keys: Keys) -> Says | None:
    """A stretch by flags that are not yarn's leaves n_ctx_train as it was, and a slot of the server is capped there."""
    asked = keys.beside.asked or 0
    stretched = keys.beside.base_raised or (keys.text == FLAGS and keys.rope_type != "yarn")
    if not keys.beside.server or not stretched or asked <= keys.longest or past_the_window(keys):
        return None
    return Says("at context_length, whatever these flags stretch", window=keys.longest)


def _unasked(keys: Keys) -> Says | None:
    """Without -c, or with 0, a context is as long as context_length: yarn's flags raise that only once it is made."""
    if keys.text != FLAGS or keys.beside.asked or keys.target <= keys.longest or is_local(keys.layer_type):
        return None
    return Says(f"at context_length, where no -c asks for the {keys.target:,} that flags stretch to", window=keys.longest)


def _default_context(keys: Keys) -> Says | None:
    """llama-cpp-python's server reads n_ctx tokens, whatever the file says."""
    context = keys.beside.asked or 0
    if not keys.beside.unasked or max(keys.longest, keys.target) <= context or is_local(keys.layer_type):
        return None
    return Says("at the n_ctx that llama-cpp-python takes where none is given", window=context)


def _nomic(keys: Keys) -> Says | None:
    """Its converter writes 2,048 whatever the config says, since it has no word for Nomic's dynamic NTK."""
    if keys.text != CONFIG or keys.kind != "nomic_bert" or keys.longest <= NOMIC_LENGTH:
        return None
    return Says(f"at {NOMIC_LENGTH:,}, which its converter writes for Nomic's models", window=NOMIC_LENGTH)


def _shift(keys: Keys) -> Says | None:
    m = keys.scaled().attention_factor
    if keys.rope_type != "yarn" or not keys.beside.shifts or is_mla(keys):
        return None
    return Says(f"yarn with a context shift: each one multiplies cached keys by {mscale(keys.factor) if m else 0:.4f}")


def _cap(keys: Keys) -> Says | None:
    if keys.text == FLAGS or keys.rope_type not in ("yarn", "linear") or keys.longest >= keys.target:
        return None
    return Says(f"at context_length, below the {keys.target:,} that factor says", window=keys.longest)


QUIRKS = (
    Quirk(Verb.IGNORES, outside, f"{AT}, conversion/base.py: text_config is laid over the rest", way_out=INSIDE),
    Quirk(Verb.REPLACES, _null_theta, f"{AT}, conversion/base.py, set_gguf_parameters", way_out=NOT_NULL),
    Quirk(Verb.IGNORES, _unsaid_factor, f"{AT}, conversion/base.py, set_gguf_parameters", way_out=WRITE_FACTOR),
    Quirk(Verb.REPLACES, _no_factor, f"{AT}, llama-model.cpp, load_hparams", way_out="Write rope.scaling.factor."),
    Quirk(Verb.REPLACES, missing_length(lambda keys: keys.longest, *RAMPED), f"{AT}, llama-context.cpp",
          way_out="Write original_context_length, or give --yarn-orig-ctx."),
    Quirk(Verb.IGNORES, _temperature, f"{AT}, llama-context.cpp:177",
          way_out="Write rope.scaling.attn_factor = m / (0.1 ln s + 1) into the GGUF."),
    Quirk(Verb.REPLACES, _latent, f"{AT}, llama-context.cpp and src/models/deepseek2.cpp",
          way_out="Write mscale and mscale_all_dim into the config, both the same, before it is converted."),
    Quirk(Verb.REPLACES, _other_latent, f"{AT}: of such graphs, src/models/deepseek2.cpp was",
          way_out="Compare two that run: `ropewalk doctor --trainer FOLDER --rollout http://...`."),
    Quirk(Verb.IGNORES, _betas, f"{AT}, src/models: only grok and mistral3 load them",
          way_out="Give --yarn-beta-fast and --yarn-beta-slow."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{AT}, ggml.c:4486", way_out="Write rope_freqs.weight, where the graph has it."),
    Quirk(Verb.IGNORES, becomes_plain("dynamic", "ntk"), f"{AT}, conversion/base.py:1487", way_out="Use a static factor."),
    Quirk(Verb.IGNORES, _lists, f"{AT}, conversion", way_out="Write rope_freqs.weight, where the graph has it."),
    Quirk(Verb.IGNORES, _formula, f"{AT}, conversion/phi.py and minicpm.py"),
    Quirk(Verb.IGNORES, _long_lists, f"{AT}, llama-model.cpp, get_rope_factors", way_out="Give -c for short inputs alone."),
    Quirk(Verb.IGNORES, _bands, f"{AT}, conversion/llama.py:300"),
    Quirk(Verb.IGNORES, _proportional, f"{AT}, conversion/gemma.py:736"),
    Quirk(Verb.DRIFTS, _shift, f"{AT}, llama-kv-cache.cpp:1944", way_out="Leave out --context-shift."),
    Quirk(Verb.PASSES, _beyond, f"{AT}, llama-context.cpp: possible training context overflow", way_out=STRETCH_IT),
    Quirk(Verb.CLAMPS, _slot, f"{AT}, tools/server/server-context.cpp",
          way_out="Add --override-kv ARCHITECTURE.context_length=int:N."),
    Quirk(Verb.CLAMPS, _nomic, f"{AT}, conversion/bert.py", way_out="Give -c and --rope-scaling with its factor."),
    Quirk(Verb.CLAMPS, _unasked, f"{AT}, llama-context.cpp", way_out="Give -c."),
    Quirk(Verb.CLAMPS, _default_context, "abetlen/llama-cpp-python@03f8007, llama_cpp/server/settings.py",
          way_out="Give --n_ctx."),
    Quirk(Verb.CLAMPS, _cap, f"{REPOSITORY}/issues/17459", way_out="Write context_length, or give the --rope-scale flags."),
)  # fmt: skip


def metadata(stretch: Stretch, arch: str, target: int) -> dict[str, Any]:
    """The GGUF keys of a static stretch, without the architecture in front; `rope_freqs.weight` is a tensor.

    A name where llama.cpp has one and computes it; rope factors otherwise, where the graph multiplies by them.
    """
    rope, scaled, s = stretch.rope, stretch.scaled(), stretch.factor
    base: dict[str, Any] = {"rope.freq_base": rope.rope_theta, "context_length": target}
    plain_type = {**base, "rope.scaling.type": "none"}
    if stretch.method == "none" or (s == 1 and stretch.method in ("linear", "ntk", "ntk_by_parts")):
        return plain_type
    if stretch.method == "ntk":
        return {**plain_type, "rope.freq_base": stretched_theta(rope, s)}
    if stretch.method == "rope_theta":
        return {**plain_type, "rope.freq_base": dict(stretch.options)["rope_theta"]}
    length = {"rope.scaling.factor": s, "rope.scaling.original_context_length": rope.original_length}
    if stretch.method == "linear":
        return {**base, "rope.scaling.type": "linear", **length}
    if is_ramped(stretch) and options(stretch) == (32.0, 1.0, True):
        multiplier = scaled.attention_factor / mscale(s)
        attn = {} if abs(multiplier - 1) < 1e-12 else {"rope.scaling.attn_factor": multiplier}
        return {**base, "rope.scaling.type": "yarn", **length, **attn}
    if arch in gguf.ROPE_FACTORS and all(scaled.inv_freq):
        factors = [theta / new for theta, new in zip(rope.inv_freq, scaled.inv_freq, strict=True)]
        return {**plain_type, "rope.scaling.attn_factor": scaled.attention_factor, FREQS: factors}
    if is_ramped(stretch):
        fast, slow, _ = options(stretch)
        betas = {"rope.scaling.yarn_beta_fast": fast, "rope.scaling.yarn_beta_slow": slow}
        return {**base, "rope.scaling.type": "yarn", **length, **betas}
    if arch in gguf.ROPE_FACTORS:
        raise CannotExpress(
            f"no GGUF key says {stretch.name}, and rope factors divide frequencies: they cannot make the 0 of a pair that "
            "does not turn.\n  llama.cpp knows such pairs in the graphs of gemma4 alone."
        )
    raise CannotExpress(
        f"no GGUF key says {stretch.name}, and the graph of {arch} has no rope factors that could carry it pair by pair."
    )


def flags(stretch: Stretch, target: int) -> str:
    """The command-line flags that stretch an un-extended GGUF alike; empty where none do."""
    keys = metadata(stretch, "", target)
    kind, words = keys["rope.scaling.type"], [f"-c {target}"]
    if "rope.scaling.attn_factor" in keys:
        return ""
    words.append(f"--rope-scaling {kind}")
    if kind == "none":
        words.append(f"--rope-freq-base {keys['rope.freq_base']!r}")
    else:
        words.append(f"--rope-scale {stretch.factor!r}")
    if kind == "yarn":
        fast, slow, truncate = options(stretch)
        if not truncate or abs(stretch.scaled().attention_factor / mscale(stretch.factor) - 1) > 1e-12:
            return ""
        words.append(f"--yarn-orig-ctx {stretch.rope.original_length}")
        words += [f"--yarn-beta-fast {fast!r} --yarn-beta-slow {slow!r}"] if (fast, slow) != (32.0, 1.0) else []
    return " ".join(words)


def _is_latent(stretch: Stretch, config: Mapping[str, Any]) -> bool:
    return is_mla(Keys("all", {}, stretch.rope, text_of(config)))


def written_keys(plan: ScalingPlan, config: Mapping[str, Any], target: int) -> dict[str, Any]:
    """What a GGUF must hold, architecture and head size included, so that it can be read back."""
    text = text_of(config)
    arch = str(text.get("general.architecture") or gguf.architecture(str(text.get("model_type", ""))))
    stretch = only_stretch(plan, "llama.cpp")
    if _is_latent(stretch, config):
        raise CannotExpress(
            "llama.cpp computes the temperature of DeepSeek's attention from keys of its own; not written here."
        )
    keys = metadata(stretch, arch, target)
    named = {key if key == FREQS else f"{arch}.{key}": value for key, value in keys.items()}
    return {"general.architecture": arch, f"{arch}.rope.dimension_count": stretch.rope.rotary_dim, **named}


def _unsaid(stretch: Stretch, arch: str) -> str:
    if is_ramped(stretch) and not options(stretch)[2]:
        return f"truncate: false has no GGUF key, and the graph of {arch} has no rope factors that could carry the ramp"
    return f"beta_fast and beta_slow are not loaded from the GGUF of {arch}, whose graph has no rope factors either"


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    from ropewalk.engines.transformers.write import read

    stretch = only_stretch(plan, "llama.cpp")
    if "general.architecture" not in config and len(read(config).ropes) > 1 and stretch.method not in ("linear", "none"):
        raise CannotExpress(
            "llama.cpp has one temperature, ramp and original length for all layers; this model's layer types differ.\n"
            "  Only a base and a linear factor can be given to some of them."
        )
    said = flags(stretch, plan.target_length) if gguf.flags_can_say(stretch) else ""
    if _is_latent(stretch, config) and "--rope-scaling none" not in said:  # its softmax follows the scale: see _latent
        said = ""
    if said and "--rope-scaling yarn" not in said:  # the server caps a slot at context_length, which yarn's flags alone raise
        arch = config.get("general.architecture") or gguf.architecture(str(text_of(config).get("model_type", "")))
        said += f" --override-kv {arch}.context_length=int:{plan.target_length}"
    serve = (f"llama-server -m ORIGINAL.gguf {said}",) if said else ()
    try:
        keys = written_keys(plan, config, plan.target_length)
        prove(ENGINE, plan, keys, version, _unsaid(stretch, keys["general.architecture"]))
    except CannotExpress:
        if not said:
            raise
        return Written({}, serve, "flags")
    carrier = "rope_freqs.weight" if FREQS in keys else "GGUF keys"
    return Written({KEYS_FILE: keys}, (f"llama-server -m x.gguf -c {plan.target_length}", *serve), carrier)


def read(metadata: Mapping[str, Any]) -> tuple[Keys, ...]:
    return gguf.layers_of(metadata)


ENGINE = register(Engine("llama_cpp", "llama.cpp", "0c1e57098", GGUF, QUIRKS, write, read))
