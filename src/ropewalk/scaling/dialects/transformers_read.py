"""Reading config.json of transformers: see `dialects/transformers.py`, which writes it.

Everything transformers 5.23.0 and 4.57 read is read here the way they read it; what they ignore is a warning.
"""

import math
from collections.abc import Mapping
from typing import Any

from ropewalk.errors import BadConfig, NoRope, UnknownName
from ropewalk.scaling.dialects import known
from ropewalk.scaling.dialects.fields import Fields
from ropewalk.scaling.method import Option
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.plan import Stretch, normal_options
from ropewalk.scaling.rope import LARGEST_LENGTH, Rope
from ropewalk.scaling.schedule import REQUEST, Dynamic
from ropewalk.scaling.spec import ALL_LAYERS, CacheGroup, ModelSpec, is_local

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
ROPE_KEYS = frozenset(
    (
        "rope_type type rope_theta factor original_max_position_embeddings attention_factor attn_factor "
        "beta_fast beta_slow truncate mscale mscale_all_dim short_factor long_factor short_mscale long_mscale "
        "low_freq_factor high_freq_factor partial_rotary_factor mrope_section mrope_interleaved finetuned "
        "alpha extrapolation_factor llama_4_scaling_beta max_position_embeddings interleaved"
    ).split()
)
V4_KEYS = ("rope_scaling", "rope_theta", "rope_local_base_freq", "global_rope_theta", "local_rope_theta", "rotary_emb_base")


def read(config: Mapping[str, Any], *, original_length: int | None = None) -> ModelSpec:
    """What a config.json says about the rotary embedding of its text model.

    original_length: overrides whatever the config says or implies.
    Raises NoRope where nothing rotates, BadConfig for values that make no sense or contradict each other.
    """
    if not isinstance(config, Mapping):
        raise BadConfig(f"a config must be a JSON object with keys, not {type(config).__name__}.")
    fields = Fields(config)
    if "text_config" in fields:
        fields = fields.part("text_config")
    kind = fields.text("model_type") or ""
    _check_has_rope(fields, kind)
    longest = fields.whole("max_position_embeddings") or fields.whole("n_positions")
    if not longest:
        raise BadConfig("max_position_embeddings is missing: the config does not say how far the model reads.")
    fields.note("max_length", longest, fields.where("max_position_embeddings"))
    warnings: list[str] = []
    ropes, scaling = [], []
    if _flat_v5_is_ignored(fields, kind):
        warnings.append(
            f"rope_parameters is flat, but {kind} has one per layer type: transformers 5.23 ignores it and rotates plainly. "
            'Put it under "full_attention".'
        )
    for layer_type, part in rope_parts(fields, kind).items():
        rope = _read_rope(fields, part, layer_type, kind, longest, original_length, warnings)
        ropes.append((layer_type, rope))
        current = _read_scaling(fields, part, rope, longest, warnings)
        if current.method != "none":
            scaling.append((layer_type, current))
    cache, unrotated = _read_layers(fields, kind)
    return ModelSpec(
        kind, tuple(ropes), tuple(scaling), longest, cache, unrotated, tuple(fields.readings), tuple(dict.fromkeys(warnings))
    )


def _check_has_rope(fields: Fields, kind: str) -> None:
    if kind in known.WITHOUT_ROPE:
        raise NoRope(f"{kind} has no rotary embedding: it uses {known.WITHOUT_ROPE[kind]}. There is nothing to stretch.")
    if kind == "falcon" and fields.yes("alibi"):
        raise NoRope("this falcon model uses ALiBi (alibi: true), not a rotary embedding. There is nothing to stretch.")
    names = ("rope_parameters", *V4_KEYS, "rotary_dim", "rotary_pct")
    if kind not in known.DEFAULT_THETA and not any(name in fields for name in names):
        raise NoRope(
            f"no rotary embedding found: the config of {kind or 'this model'} has none of {', '.join(names)}.\n"
            "  If the model does rotate, with a base fixed in its code, add rope_theta to the config."
        )


def _rope_dict(fields: Fields) -> Fields:
    """The v5 or the v4 dict; where both are written they must say the same."""
    new, old = fields.part("rope_parameters"), fields.part("rope_scaling")
    if new.config and old.config and not _nested(new):
        ours, theirs = _meaning(new), _meaning(old)
        for key in sorted((ours.keys() | theirs.keys()) - {"rope_theta", "partial_rotary_factor"}):
            if ours.get(key) != theirs.get(key):
                raise BadConfig(
                    f"{new.where(key)} is {ours.get(key)!r} but {old.where(key)} is {theirs.get(key)!r}: two spellings that "
                    "disagree.\n  Engines differ in which they read. Remove the wrong one."
                )
    return new if new.config else old


def _meaning(part: Fields) -> dict[str, Any]:
    """The keys that say something, with the type under one name."""
    stated = {key: value for key, value in part.config.items() if value is not None and key not in ("type", "rope_type")}
    return {**stated, "rope_type": _rope_type(part)}


def _flat_v5_is_ignored(fields: Fields, kind: str) -> bool:
    part = fields.part("rope_parameters")
    return kind in known.PER_LAYER_TYPE and bool(part.config) and not _nested(part) and "rope_scaling" not in fields


def _nested(part: Fields) -> bool:
    return any(isinstance(value, Mapping) and key not in ROPE_KEYS for key, value in part.config.items())


def is_nested(fields: Fields) -> bool:
    """One dict per layer type, as transformers 5 writes models whose layers rotate differently."""
    return _nested(_rope_dict(fields))


def rope_parts(fields: Fields, kind: str) -> dict[str, Fields]:
    """The rotary settings of each layer type that rotates."""
    part = _rope_dict(fields)
    if _nested(part):
        return {
            name: part.part(name)
            for name, value in part.config.items()
            if isinstance(value, Mapping) and name not in ROPE_KEYS
        }
    if _flat_v5_is_ignored(fields, kind):
        return {name: Fields({}, "(plain) ", fields.readings) for name in (FULL, SLIDING)}
    if kind in known.PER_LAYER_TYPE:
        # Flat spellings of such models: the scaling belongs to the full-attention layers alone (v4 Gemma 3, OLMo 3).
        return {FULL: part, SLIDING: Fields({}, "(plain) ", fields.readings)}
    return {_rotating_layers(fields, kind): part}


def _rotating_layers(fields: Fields, kind: str) -> str:
    """What the one rotary table of a model serves: everything, or its local layers alone."""
    key = known.ROTATE_LOCALLY.get(kind)
    if key is None or (key in fields.config and key not in fields):
        return ALL_LAYERS
    return CHUNKED if key == "attention_chunk_size" else SLIDING


def _read_rope(
    fields: Fields,
    part: Fields,
    layer_type: str,
    kind: str,
    longest: int,
    override: int | None,
    warnings: list[str],
) -> Rope:
    theta = _read_theta(fields, part, layer_type, kind)
    return Rope(
        _read_rotary_dim(fields, part, layer_type, kind),
        theta,
        _read_original_length(fields, part, layer_type, theta, longest, override, warnings),
    )


def _read_theta(fields: Fields, part: Fields, layer_type: str, kind: str) -> float:
    name = f"{layer_type}.rope_theta"
    inside = part.number("rope_theta")
    if layer_type == SLIDING and kind in known.DEFAULT_LOCAL_THETA:
        outside_keys: tuple[str, ...] = ("rope_local_base_freq", "local_rope_theta")
        default = known.DEFAULT_LOCAL_THETA[kind]
    else:
        outside_keys = ("rope_theta", "global_rope_theta", "rotary_emb_base")
        default = known.DEFAULT_THETA.get(kind, 0.0)
    if inside is not None:
        part.note(name, f"{inside:.10g}", part.where("rope_theta"))
        outside = fields.number("rope_theta") if layer_type == ALL_LAYERS else None
        if outside is not None and outside != inside:
            raise BadConfig(
                f"{part.where('rope_theta')} is {inside:g} but {fields.where('rope_theta')} is {outside:g}.\n"
                "  Engines differ in which they read. Remove the wrong one."
            )
        return inside
    found = fields.first(name, *outside_keys)
    if found is not None:
        return found
    if not default or "rope_theta" in part.config or "rope_theta" in fields.config:  # a stated null is not an omission
        raise BadConfig(
            f"rope_theta is missing or null, and {kind or 'this architecture'} cannot be built without one.\n"
            "  Setting config.rope_scaling in transformers 5 drops it: write rope_theta back into the config."
        )
    fields.note(name, f"{default:.10g}", f"default of {kind} in transformers 5.23")
    return default


def _read_rotary_dim(fields: Fields, part: Fields, layer_type: str, kind: str) -> int:
    name = f"{layer_type}.rotary_dim"
    head = _head_dim(fields, layer_type)
    if (mla := fields.whole("qk_rope_head_dim")) is not None:
        fields.note(name, mla, fields.where("qk_rope_head_dim"))
        return mla
    if part.text("rope_type") == "proportional":
        fields.note(name, head, "head_dim (proportional RoPE spans the whole head)")
        return head
    if (absolute := fields.whole("rotary_dim")) is not None:
        fields.note(name, absolute, fields.where("rotary_dim"))
        return absolute
    share, source = part.number("partial_rotary_factor"), part.where("partial_rotary_factor")
    if share is None:
        share, source = fields.first(f"{layer_type}.partial", "partial_rotary_factor", "rotary_pct"), "partial rotation"
    if share is None:
        share, source = known.DEFAULT_PARTIAL.get(kind, 1.0), f"default of {kind}"
    if not 0 < share <= 1:
        raise BadConfig(f"{source} is {share:g}; the rotated share of a head must be above 0 and at most 1.")
    fields.note(name, int(head * share), "head_dim" if share == 1 else f"head_dim {head} x {share:g} ({source})")
    return int(head * share)


def _head_dim(fields: Fields, layer_type: str = ALL_LAYERS) -> int:
    if layer_type == FULL and (wide := fields.whole("global_head_dim")):  # Gemma 4
        return wide
    if stated := fields.whole("head_dim"):
        return stated
    hidden = fields.whole("hidden_size") or fields.whole("n_embd")
    heads = fields.whole("num_attention_heads") or fields.whole("n_head")
    if not hidden or not heads:
        raise BadConfig("neither head_dim nor hidden_size and num_attention_heads are given: the head size is unknown.")
    return hidden // heads


def _read_original_length(
    fields: Fields,
    part: Fields,
    layer_type: str,
    theta: float,
    longest: int,
    override: int | None,
    warnings: list[str],
) -> int:
    name, key = f"{layer_type}.original_length", "original_max_position_embeddings"
    if override is not None:
        fields.note(name, override, "given by you")
        return override
    inside, outside = part.whole(key), fields.whole(key)
    if inside and outside and inside != outside:
        raise BadConfig(
            f"{part.where(key)} is {inside} but {fields.where(key)} is {outside}.\n"
            "  transformers uses the second, other engines the first. Remove the wrong one, or give --original-length."
        )
    if stated := inside or outside:
        fields.note(name, stated, part.where(key) if inside else fields.where(key))
        return stated
    if fact := known.published_length(fields.config, theta):
        fields.note(name, fact.original_length, fact.source)
        warnings.append(
            f"max_position_embeddings is {longest}, but the original length is {fact.original_length} ({fact.source})."
        )
        return fact.original_length
    rope_type, factor = _rope_type(part), part.number("factor") or 1.0
    if rope_type == "linear" and factor > 1:
        length = max(round(longest / factor), 1)
        warnings.append(
            f"linear scaling by {factor:g} without an original length: taken to be {longest} / {factor:g} = {length}. "
            f"If {longest} is the length before scaling, give --original-length {longest}."
        )
        fields.note(name, length, f"max_position_embeddings / factor = {longest} / {factor:g}")
        return length
    if rope_type in ("yarn", "llama3", "longrope", "su"):
        warnings.append(
            f"{part.where(key)} is missing: {longest} is assumed, as transformers does. If that is the stretched window, "
            "the ramp is in the wrong place."
        )
    fields.note(name, longest, "max_position_embeddings (nothing says otherwise)")
    return longest


def _rope_type(part: Fields) -> str:
    new, old = part.text("rope_type"), part.text("type")
    if new and old and new != old and {new, old} != {"default", "mrope"}:
        raise BadConfig(f"{part.where('rope_type')} is {new!r} but {part.where('type')} is {old!r}. Remove the wrong one.")
    chosen = new or old or "default"
    return "default" if chosen == "mrope" else chosen


def _read_scaling(model: Fields, part: Fields, rope: Rope, longest: int, warnings: list[str]) -> Stretch:
    """The stretch that transformers makes of these keys."""
    for key in part.config:
        if key not in ROPE_KEYS:
            raise UnknownName(f"key of {part.path.rstrip('.')}", key, ROPE_KEYS)
    kind = _rope_type(part)
    if kind == "default":
        return Stretch(rope)
    factor = part.number("factor")
    if factor is None and kind in ("linear", "llama3"):
        raise BadConfig(
            f"{part.where('factor')} is missing: rope_type {kind} says that the window was stretched, not how far."
        )
    if factor is None:
        factor = longest / rope.original_length if kind in ("yarn", "longrope", "su", "dynamic") else 1.0
    if known.SOFTMAX_MSCALE in part and "kv_lora_rank" in model:
        warnings.append(
            "mscale_all_dim: this model's attention also multiplies its softmax scale by m^2, on unrotated channels too. "
            "A plan reaches rotated channels alone, so a plan of another factor cannot be written for it."
        )
    if "attn_factor" in part:
        warnings.append(
            "attn_factor (a multiplier) is ignored by transformers 5 and vLLM 0.33, and read by SGLang: engines will disagree."
        )
    return Stretch(rope, *_method_of(kind, part, rope, factor, warnings))


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
        "truncate": part.yes("truncate", default=True),
    }
    stated, mscale, all_dim = part.number("attention_factor"), part.number("mscale"), part.number("mscale_all_dim")
    if stated is not None:
        options["attention_factor"] = stated
    elif mscale and all_dim:
        options["attention_factor"] = _mscale(factor, mscale) / _mscale(factor, all_dim)
    return options


def _mscale(factor: float, slope: float) -> float:
    return 0.1 * slope * math.log(factor) + 1.0 if factor > 1 else 1.0


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


def _read_layers(fields: Fields, kind: str) -> tuple[tuple[CacheGroup, ...], int]:
    """Key-value cache by group of layers, and how many layers do not rotate."""
    layers = fields.whole("num_hidden_layers", 100_000) or fields.whole("n_layer", 100_000) or 0
    types = fields.words("layer_types") or _layer_types(fields, kind, layers)
    heads = fields.whole("num_attention_heads") or fields.whole("n_head") or 1
    kv_heads = fields.whole("num_key_value_heads") or heads
    if (latent := fields.whole("kv_lora_rank")) is not None:
        values = latent + (fields.whole("qk_rope_head_dim") or 0)
    else:
        values = 2 * kv_heads * _head_dim(fields)
    stateful = [t for t in types if "attention" not in t or t.startswith("linear")]
    local = [t for t in types if is_local(t)]
    window = fields.whole("sliding_window") or fields.whole("attention_chunk_size")
    groups = [CacheGroup(len(types) - len(stateful) - len(local), values)]
    groups += [CacheGroup(len(local), values, window)] if local else []
    rotating = fields.config.get("no_rope_layers")
    unrotated = len(stateful)
    if isinstance(rotating, list) and rotating:  # transformers' name says the opposite: 1 means that the layer rotates
        unrotated += sum(not flag for flag in rotating)
    elif interval := fields.whole("no_rope_layer_interval"):
        unrotated += layers // interval
    elif _rotating_layers(fields, kind) != ALL_LAYERS:
        unrotated += len(types) - len(stateful) - len(local)
    return tuple(group for group in groups if group.layers), unrotated


def _layer_types(fields: Fields, kind: str, layers: int) -> tuple[str, ...]:
    """Layer types of configs older than the key `layer_types`."""
    pattern = fields.whole("sliding_window_pattern", 1000) or {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}.get(kind)
    if pattern:
        return tuple(FULL if (i + 1) % pattern == 0 else SLIDING for i in range(layers))
    if kind in ("mistral", "mixtral", "starcoder2", "phi3") and "sliding_window" in fields:
        return (SLIDING,) * layers
    return (FULL,) * layers
