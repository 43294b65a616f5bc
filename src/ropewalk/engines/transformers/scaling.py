"""Reading config.json of transformers: the stretch that a rope dict already asks for, as transformers 5.23.0 computes it."""

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig, UnknownName
from ropewalk.scaling.method import Option
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.methods.yarn import mscale
from ropewalk.scaling.rope import LARGEST_LENGTH, Rope
from ropewalk.scaling.schedule import REQUEST, Dynamic
from ropewalk.scaling.stretch import Stretch, normal_options

ROPE_KEYS = frozenset(
    (
        "rope_type type rope_theta factor original_max_position_embeddings attention_factor attn_factor "
        "beta_fast beta_slow truncate mscale mscale_all_dim short_factor long_factor short_mscale long_mscale "
        "low_freq_factor high_freq_factor partial_rotary_factor mrope_section mrope_interleaved xdrope_section finetuned "
        "alpha extrapolation_factor llama_4_scaling_beta max_position_embeddings interleaved"
    ).split()
)


LLAMA3 = ("low_freq_factor", "high_freq_factor")


def rope_type_of(part: Fields) -> str:
    new, old = part.text("rope_type"), part.text("type")
    if new and old and new != old and {new, old} not in ({"default", "mrope"}, {"dynamic", "xdrope"}):
        raise BadConfig(f"{part.where('rope_type')} is {new!r} but {part.where('type')} is {old!r}. Remove the wrong one.")
    chosen = new or old or "default"
    return {"mrope": "default", "xdrope": "dynamic"}.get(chosen, chosen)  # HunYuan-VL's name for its own alpha


def read_scaling(
    model: Fields, part: Fields, rope: Rope, longest: int, warnings: list[str], *, nested: bool = False
) -> Stretch:
    """The stretch that transformers makes of these keys.

    nested: they are of one layer type, whose dict transformers 5.23 does not search for `truncate`.
    """
    for key in part.config:
        if key not in ROPE_KEYS:
            raise UnknownName(f"key of {part.path.rstrip('.')}", key, ROPE_KEYS)
    kind = rope_type_of(part)
    if kind == "default":
        return Stretch(rope)
    factor = part.number("factor")
    if factor is None and kind in ("linear", "llama3"):
        raise BadConfig(
            f"{part.where('factor')} is missing: rope_type {kind} says that the window was stretched, not how far."
        )
    if factor is None:
        factor = longest / rope.original_length if kind in ("yarn", "longrope", "su", "dynamic") else 1.0
        if kind in ("yarn", "dynamic") and "alpha" not in part:
            warnings.append(
                f"{part.where('factor')} is missing: transformers does not load a model with {kind} and no factor (KeyError). "
                f"{factor:g} is taken here, the ratio of the two lengths."
            )
    softmax = softmax_mscale(model, part)
    if softmax and kind != "yarn":
        warnings.append(
            f"mscale_all_dim beside rope_type {kind}: this model's attention multiplies its softmax scale by m^2 all the "
            "same, and only yarn's is read here."
        )
    if "attn_factor" in part:
        warnings.append(
            "attn_factor (a multiplier) is ignored by transformers 5 and vLLM 0.33, and read by SGLang: engines will disagree."
        )
    method, factor, options, dynamic = _method_of(kind, part, rope, factor, warnings)
    if nested and not dict(options).get("truncate", True):
        warnings.append(f"transformers 5.23 does not read {part.where('truncate')}, of one layer type: the ramp is truncated.")
        options = normal_options("yarn", {**dict(options), "truncate": True})
    if softmax and kind == "yarn":
        options = normal_options("yarn", {**dict(options), "softmax_mscale": softmax})
    return Stretch(rope, method, factor, options, dynamic)


def _method_of(
    kind: str, part: Fields, rope: Rope, factor: float, warnings: list[str]
) -> tuple[str, float, tuple[tuple[str, Option], ...], Dynamic | None]:
    """(method, factor, options, dynamic) for a rope_type of transformers."""
    if kind == "linear":
        return "linear", factor, (), None
    if kind == "dynamic" and (alpha := part.number("alpha")):
        # HunYuan: "dynamic" in name only; ntk with a base fixed once, whatever the length.
        return "rope_theta", 1.0, normal_options("rope_theta", {"rope_theta": stretched_theta(rope, alpha)}), None
    if kind == "dynamic":
        if factor != 1:
            warnings.append(
                f"rope_type dynamic with factor {factor:g}: transformers uses {factor:g} l/L - {factor - 1:g}, not s = l/L; "
                "only factor 1 is the published rule."
            )
        # transformers sets no upper end: the window is whatever a request asks for.
        return "ntk", min(LARGEST_LENGTH / rope.original_length, 1e9), (), Dynamic(REQUEST)
    if kind == "yarn":
        return "yarn", factor, normal_options("yarn", _yarn_options(part, factor)), None
    if kind == "llama3":
        if missing := [key for key in LLAMA3 if key not in part]:
            warnings.append(
                f"{' and '.join(map(part.where, missing))} missing: transformers loads no model with llama3 and without "
                "(KeyError). 1 and 4 are taken here, as Llama 3.1 has them."
            )
        bands = {"beta_slow": part.number("low_freq_factor") or 1.0, "beta_fast": part.number("high_freq_factor") or 4.0}
        return "llama3", factor, normal_options("llama3", dict(bands)), None
    if kind in ("longrope", "su"):
        return "longrope", factor, normal_options("longrope", _longrope_options(part, warnings)), None
    if kind == "proportional":
        share = part.number("partial_rotary_factor") or 1.0
        return "proportional", factor, normal_options("proportional", {"proportion": share}), None
    raise UnknownName("rope_type", kind, ("default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"))


def _yarn_options(part: Fields, factor: float) -> dict[str, Option]:
    options: dict[str, Option] = {
        # `or`: transformers takes 0 for "not given"
        "beta_fast": part.number("beta_fast") or 32.0,
        "beta_slow": part.number("beta_slow") or 1.0,
        "truncate": part.yes("truncate", default="truncate" not in part.config),  # null is no
    }
    stated = part.number("attention_factor")
    if stated is not None:
        options["attention_factor"] = stated
    elif ratio := temperature_ratio(part):
        options["attention_factor"] = mscale(factor, ratio[0]) / mscale(factor, ratio[1])
    return options


def temperature_ratio(part: Fields) -> tuple[float, float] | None:
    """(mscale, mscale_all_dim) where yarn's attention factor is their ratio, at any factor."""
    above, below = part.number("mscale"), part.number("mscale_all_dim")
    stated = rope_type_of(part) != "yarn" or part.number("attention_factor") is not None
    return None if stated or not above or not below else (above, below)


def softmax_mscale(model: Fields, part: Fields) -> float:
    """mscale_all_dim of a model whose attention is latent; 0 where it leaves the softmax alone."""
    return part.number(known.SOFTMAX_MSCALE) or 0.0 if model.any(known.LATENT) else 0.0


def _longrope_options(part: Fields, warnings: list[str]) -> dict[str, Option]:
    long, short = part.numbers("long_factor"), part.numbers("short_factor")
    if long is None or short is None:
        raise BadConfig(f"{part.path}long_factor and short_factor must both be given for longrope.")
    stated = part.number("attention_factor")
    inside, beyond = part.number("short_mscale"), part.number("long_mscale")
    if beyond is not None:  # Phi-3.5-MoE; its code reads these and nothing else
        stated = beyond
        if inside != beyond:
            warnings.append(f"short_mscale {inside} and long_mscale {beyond} differ; {beyond} is used at every length.")
    return {"long_factor": long, "short_factor": short, "attention_factor": stated}
