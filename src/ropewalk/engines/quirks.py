"""Effects that several engines share, as functions of written keys."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

from ropewalk.engines.engine import Says
from ropewalk.engines.keys import CONFIG, RAMPED, TEMPERATURE, Keys
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.layers import FULL
from ropewalk.engines.transformers.scaling import LLAMA3
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.spec import is_local

Effect = Callable[[Keys], Says | None]


def temperature(rule: Callable[[Keys], float], *reads: str) -> Effect:
    """yarn's m by the engine's own rule, which looks at the keys `reads` alone."""

    def effect(keys: Keys) -> Says | None:
        if keys.rope_type != "yarn":
            return None
        m = rule(keys)
        overlooked = [key for key in TEMPERATURE if key in keys.said and key not in reads]
        what = " and ".join(overlooked or [key for key in TEMPERATURE if key in keys.said]) or "the attention factor"
        gone = [key for key in TEMPERATURE if not (key == known.SOFTMAX_MSCALE and keys.is_latent)]
        return Says(what, keys.but(**{**dict.fromkeys(gone), "attention_factor": m}))

    return effect


def drops(*names: str, rope_type: str = "yarn") -> Effect:
    """The keys are not read: the engine's defaults stand in their place."""

    def effect(keys: Keys) -> Says | None:
        present = [name for name in names if name in keys.said]
        if keys.rope_type != rope_type or not present:
            return None
        return Says(" and ".join(f"{name}: {_short(keys.said[name])}" for name in present), keys.but(**dict.fromkeys(present)))

    return effect


def _short(value: object) -> str:
    return f"{str(value).lower() if isinstance(value, bool) else value}"


def missing_length(default: Callable[[Keys], int], *types: str) -> Effect:
    """Where the original length is not stated, the engine takes its own."""

    def effect(keys: Keys) -> Says | None:
        if keys.rope_type not in (types or RAMPED) or keys.states_length:
            return None
        length = default(keys)
        what = f"the missing original_max_position_embeddings: it takes {length:,}"
        known_better = length != keys.rope.original_length  # else nobody knows what was meant, and there is no number to give
        return Says(what, keys.with_length(length) if known_better else None)

    return effect


def stops(*types: str, because: str = "") -> Effect:
    """A rope_type that ends in an error."""

    def effect(keys: Keys) -> Says | None:
        if keys.rope_type not in types:
            return None
        return Says(f'rope_type "{keys.rope_type}"{because and ": "}{because}', runs=False)

    return effect


def becomes_plain(*types: str) -> Effect:
    """A rope_type that is dropped: the model rotates as trained."""

    def effect(keys: Keys) -> Says | None:
        if keys.rope_type not in types or keys.said.get("alpha"):  # HunYuan's alpha is a base, and its converter knows it
            return None
        return Says(f'rope_type "{keys.rope_type}"', plain(keys))

    return effect


def always_plain(kinds: Collection[str]) -> Effect:
    """Model files that hand the base to the rotation, and nothing else."""

    def effect(keys: Keys) -> Says | None:
        if keys.kind not in kinds or keys.rope_type == "default":
            return None
        return Says(f"every scaling of {keys.kind}", plain(keys))

    return effect


BASE_ALONE = "Stretch by the base alone: ntk."


def head_channels(keys: Keys) -> int:
    model = keys.model
    return int(model.get("head_dim") or model.get("hidden_size", 0) // (model.get("num_attention_heads") or 1))


def turning(keys: Keys, channels: int) -> Keys:
    return keys.but(dataclasses.replace(keys.rope, rotary_dim=channels), partial_rotary_factor=None)


def whole_heads(kinds: Collection[str]) -> Effect:
    def effect(keys: Keys) -> Says | None:
        head, trained = head_channels(keys), keys.rope.rotary_dim
        if keys.kind not in kinds or head <= trained:
            return None
        what = f"the rotated share of a head: all {head} channels turn, where {trained} did in training"
        return Says(what, turning(keys, head))

    return effect


def plain(keys: Keys) -> Keys:
    return keys.but(**dict.fromkeys(key for key in keys.said if key not in ("partial_rotary_factor", "rope_type"))).but(
        rope_type="default"
    )


def without_alpha(keys: Keys) -> Says | None:
    """HunYuan's `dynamic`, read for its factor alone."""
    return Says("alpha of dynamic", plain(keys)) if keys.rope_type == "dynamic" and keys.said.get("alpha") else None


def static_dynamic(alpha: Callable[[float], float]) -> Effect:
    """`dynamic` computed once: NTK-aware at alpha(factor), whatever the length."""

    def effect(keys: Keys) -> Says | None:
        if keys.rope_type != "dynamic" or keys.said.get("alpha"):
            return None
        a = alpha(keys.factor)
        return Says(
            f'rope_type "dynamic": one table for every length, ntk at s = {a:g}',
            plain(keys).with_theta(stretched_theta(keys.rope, a)),
        )

    return effect


def without_factor(keys: Keys) -> Says | None:
    """`proportional` at its trained speed."""
    if keys.rope_type != "proportional" or keys.factor == 1:
        return None
    return Says(f"factor: {keys.factor:g} of proportional", keys.but(factor=1.0))


def lost_theta(keys: Keys) -> Says | None:
    """An override put a new dict in the place of the one that held rope_theta."""
    default = known.DEFAULT_THETA.get(keys.kind, 10_000.0)
    if not keys.lost_theta:
        return None
    return Says(
        f"the base: the override replaced the dict that held it, and rope_theta is {default:g}", keys.with_theta(default)
    )


def no_factor(keys: Keys) -> Says | None:
    """A stretch that does not say how far: no program here takes the ratio of the two lengths for it."""
    said = keys.said
    if keys.text != CONFIG or keys.rope_type not in ("yarn", "dynamic") or "factor" in said or said.get("alpha"):
        return None
    return Says(f"{keys.rope_type} without factor (KeyError)", runs=False)


def no_bands(keys: Keys) -> Says | None:
    """Llama 3.1's rule without its two bounds; MLX-LM and llama.cpp's converter take 1 and 4."""
    missing = [name for name in LLAMA3 if name not in keys.said]
    if keys.text != CONFIG or keys.rope_type != "llama3" or not missing:
        return None
    return Says(f"llama3 without {' and '.join(missing)} (KeyError)", runs=False)


def whole_factor(keys: Keys) -> Says | None:
    if keys.text == CONFIG and keys.rope_type == "linear" and isinstance(keys.said.get("factor"), int):
        return Says(
            f"factor: {keys.said['factor']} without a decimal point (TypeError: 'int' object is not iterable)", runs=False
        )
    return None


WRITE_FACTOR = "Write factor."
WRITE_WHOLE = "Write 4.0, not 4."
WRITE_BANDS = "Write low_freq_factor and high_freq_factor; Llama 3.1 has 1 and 4."


def nomic(keys: Keys) -> Says | None:
    """Nomic's own code stretches by dynamic NTK beyond max_trained_positions, where this key is not null."""
    factor = keys.model.get("rotary_scaling_factor")
    if keys.kind != "nomic_bert" or not factor:
        return None
    return Says(f"rotary_scaling_factor: {factor:g}, dynamic NTK beyond max_trained_positions in Nomic's own code")


def null_theta(keys: Keys) -> Says | None:
    """A base that is null and stays so: no power can be taken of it."""
    return Says("rope_theta: null (TypeError when the model is built)", runs=False) if keys.beside.null_theta else None


NOT_NULL = "Write the base back: setting config.rope_scaling replaces the dict that held it."
INSIDE = "Move them into text_config, or whatever part holds the language model."
STRETCH_IT = "Stretch the model to what is asked, or ask for less."


def outside(keys: Keys) -> Says | None:
    """Keys above text_config: the model is built from text_config alone."""
    return Says(*keys.beside.outside) if keys.beside.outside else None


def theta_beside(keys: Keys) -> Says | None:
    """An override of rope_theta alone: transformers 5 moved the base into rope_parameters when the config was read."""
    read = keys.beside.theta_beside
    return Says("rope_theta beside rope_parameters, which holds the base", read) if read else None


def past_the_window(keys: Keys) -> Says | None:
    """A window that is asked for and that nothing stretches to."""
    reached = keys.beside.reached or max(keys.target, keys.longest)
    asked = keys.beside.asked or (keys.longest if keys.beside.reached is not None else 0)
    if asked <= reached or keys.beside.base_raised or is_local(keys.layer_type):
        return None
    return Says(f"no stretch reaches positions {reached:,}..{asked - 1:,}")


def other_window(choose: Callable[[Mapping[str, int]], str]) -> Effect:
    """Another key of the window, by its own rule of which counts, where that is below max_position_embeddings."""

    def effect(keys: Keys) -> Says | None:
        stated = {name: value for name in known.OTHER_WINDOWS if isinstance(value := keys.model.get(name), int) and value}
        chosen = choose(stated) if stated and keys.text == CONFIG else ""
        if not chosen or stated[chosen] >= (keys.beside.asked or keys.longest):
            return None
        return Says(f"at {chosen}, which it takes before max_position_embeddings", window=stated[chosen])

    return effect


def lost_share(keys: Keys) -> Says | None:
    """An override put a new dict in the place of the one that held partial_rotary_factor."""
    share = keys.beside.lost_share
    if not share or keys.kind in known.DEFAULT_PARTIAL:
        return None
    whole = round(keys.rope.rotary_dim / share)
    return Says("partial_rotary_factor: the override replaced the dict that held it",
                keys.but(dataclasses.replace(keys.rope, rotary_dim=whole), partial_rotary_factor=None))  # fmt: skip


def unread(keys: Keys, default: float | None = None) -> Keys:
    """The keys left to an engine that does not look into rope_parameters: plain, with the base at the top or its default."""
    stated = keys.model.get("rope_theta")
    return plain(keys).with_theta(float(stated or default or known.DEFAULT_THETA.get(keys.kind, 10_000.0)))


def by_class_of_4(keys: Keys) -> Keys:
    """What a class of transformers 4 makes of rope_parameters alone: its own defaults."""
    local = is_local(keys.layer_type) and known.DEFAULT_LOCAL_THETA.get(keys.kind)
    if local:  # nothing at the top is its base
        return plain(keys).with_theta(local)
    bare, own = unread(keys, known.OLD_THETA.get(keys.kind)), known.OLD_SCALING.get(keys.kind)
    return bare.but(**own).with_length(int(own["original_max_position_embeddings"])) if own else bare


def only_v5(keys: Keys) -> bool:
    return keys.text == CONFIG and keys.spellings == {"v5"}


def new_spelling(keys: Keys) -> Says | None:
    """An engine of before transformers 5 does not look into its dict."""
    return Says("rope_parameters, and what is in it", by_class_of_4(keys)) if only_v5(keys) else None


def new_words(keys: Keys) -> Says | None:
    """The same of an override: its dict is set, and what the config says is read."""
    own = keys.beside.own
    if not keys.beside.new_words:
        return None
    return Says(
        "rope_parameters of the override: what the config says counts", own and (by_class_of_4(own) if only_v5(own) else own)
    )


def without_sections(keys: Keys) -> Says | None:
    """yarn's class of before M-RoPE was taken up beside it."""
    return Says("mrope_section beside yarn") if keys.rope_type == "yarn" and "mrope_section" in keys.said else None


def unrolled(keys: Keys) -> bool:
    """A full-attention layer of a model with one table per layer type, whose keys were written flat in v5's dict."""
    return only_v5(keys) and not keys.nested and keys.kind in known.PER_LAYER_TYPE and keys.layer_type == FULL


def is_mla(keys: Keys) -> bool:
    return keys.is_latent
