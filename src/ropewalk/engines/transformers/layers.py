"""Reading config.json of transformers: which layers there are, which of them rotate, and what they cache."""

from collections.abc import Mapping

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig
from ropewalk.scaling.spec import ALL_LAYERS, CacheGroup, is_local

FULL, SLIDING, CHUNKED = known.FULL, known.SLIDING, "chunked_attention"


def head_dim(fields: Fields, layer_type: str = ALL_LAYERS) -> int:
    if own := _own_of_layer(fields, layer_type, "head_dim"):
        return own
    if layer_type == FULL and (wide := fields.whole("global_head_dim")):  # Gemma 4
        return wide
    if stated := fields.whole("head_dim"):
        return stated
    hidden = fields.whole("hidden_size") or fields.whole("n_embd")
    heads = fields.whole("num_attention_heads") or fields.whole("n_head")
    if not hidden or not heads:
        raise BadConfig(
            "neither head_dim nor hidden_size and num_attention_heads are given: the head size is unknown.\n"
            "  A config that transformers saved has them, or is of a class whose defaults are known: is model_type right?"
        )
    return hidden * known.HEAD_SCALE.get(fields.text("model_type") or "", 1) // heads


def _own_of_layer(fields: Fields, layer_type: str, key: str) -> int | None:
    """What the first layer of a type has of its own, where transformers 5.23 saved what differs by layer (Gemma 4)."""
    types = fields.words("layer_types") or ()
    return _own(fields, types.index(layer_type), key) if layer_type in types else None


def _own(fields: Fields, index: int, key: str) -> int | None:
    """Of a layer by its number: NeoMME's sliding layers take turns with windows of 256 and 1,024."""
    layers = fields.config.get("per_layer_config")
    if not isinstance(layers, Mapping):
        return None  # "05" where there are ten layers and more
    part = next((own for name, own in layers.items() if str(name).isdecimal() and int(name) == index), None)
    return Fields(part, f"{fields.path}per_layer_config.").whole(key) if isinstance(part, Mapping) else None


def rotating_layers(fields: Fields, kind: str) -> str:
    """What the one rotary table of a model serves: everything, or its local layers alone."""
    key = known.ROTATE_LOCALLY.get(kind)
    if key is None or (key in fields.config and key not in fields):
        return ALL_LAYERS
    return CHUNKED if key == "attention_chunk_size" else SLIDING


def read_layers(fields: Fields, kind: str) -> tuple[tuple[CacheGroup, ...], int]:
    """Key-value cache by group of layers, and how many layers do not rotate."""
    layers = next(filter(None, (fields.whole(key, 100_000) for key in ("num_hidden_layers", "n_layer"))), 0)
    layers = layers or (fields.whole("num_layers", 100_000) or 0) * known.ATTENTIONS.get(kind, 1)
    types = fields.words("layer_types") or fields.words("layers_block_type") or _layer_types(fields, kind, layers)
    kv_heads = _kv_heads(fields)
    if (latent := fields.whole("kv_lora_rank")) is not None:
        values = wide = latent + (fields.whole("qk_rope_head_dim") or 0)
    else:
        values, wide = 2 * kv_heads * head_dim(fields), 2 * _full_kv_heads(fields, kv_heads) * head_dim(fields, FULL)
    stateful = [t for t in types if t != "hybrid" and ("attention" not in t or t.startswith("linear"))]
    own = types[: len(types) - (fields.whole("num_kv_shared_layers") or 0)]  # the last ones read the caches of earlier ones
    seeing_all = [t for t in own if t not in stateful and not is_local(t)]
    window = (fields.whole("sliding_window") if _slides(fields, kind) else None) or fields.whole("attention_chunk_size")
    groups = [CacheGroup(len(seeing_all), wide)]
    widths = [_own(fields, index, "sliding_window") or window for index, name in enumerate(own) if is_local(name)]
    groups += [CacheGroup(widths.count(width), values, width) for width in dict.fromkeys(widths)]
    rotating = fields.config.get("no_rope_layers")
    unrotated = len(stateful)
    if isinstance(rotating, list) and rotating:  # transformers' name says the opposite: 1 means that the layer rotates
        unrotated += sum(not flag for flag in rotating)
    elif interval := fields.whole("no_rope_layer_interval"):
        unrotated += layers // interval
    elif rotating_layers(fields, kind) != ALL_LAYERS:
        unrotated += sum(t not in stateful and not is_local(t) for t in types)
    return tuple(group for group in groups if group.layers), unrotated


def _kv_heads(fields: Fields) -> int:
    """Heads that are cached, under the names of Falcon and DBRX too."""
    heads = fields.whole("num_attention_heads") or fields.whole("n_head") or 1
    if fields.text("model_type") == "falcon":
        several = fields.yes("new_decoder_architecture") or not fields.yes("multi_query", True)
        return fields.whole("num_kv_heads") or heads if several else 1
    inner = fields.config.get("attn_config")
    stated = Fields(inner, "attn_config.").whole("kv_n_heads") if isinstance(inner, Mapping) else None
    return fields.whole("num_key_value_heads") or stated or heads


def _full_kv_heads(fields: Fields, others: int) -> int:
    """Of full-attention layers: Gemma 4 gives them heads of their own where keys are values too."""
    own = fields.whole("num_global_key_value_heads") if fields.yes("attention_k_eq_v") else None
    return _own_of_layer(fields, FULL, "num_key_value_heads") or own or others


def _slides(fields: Fields, kind: str) -> bool:
    return kind not in known.SLIDING_FROM or fields.yes("use_sliding_window")


def _layer_types(fields: Fields, kind: str, layers: int) -> tuple[str, ...]:
    """Layer types of configs older than the key `layer_types`."""
    pattern = fields.whole("sliding_window_pattern", 1000) or {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}.get(kind)
    if pattern:
        return tuple(FULL if (i + 1) % pattern == 0 else SLIDING for i in range(layers))
    if every := known.FULL_EVERY.get(kind):
        key, default, other = every
        interval = fields.whole(key, 1000) or default
        return tuple(other if (i + 1) % interval else FULL for i in range(layers))
    if kind in known.SLIDING_FROM and fields.yes("use_sliding_window") and "sliding_window" in fields:
        first = fields.whole("max_window_layers", 100_000)
        return tuple(SLIDING if i >= (28 if first is None else first) else FULL for i in range(layers))
    if kind in ("mistral", "mixtral", "starcoder2", "phi3") and "sliding_window" in fields:
        return (SLIDING,) * layers
    return (FULL,) * layers
