"""Keys: the rotary keys of one layer type, in transformers' words, and what they mean if every one of them is honoured.

Engines differ in which keys they honour. So that they can be compared, what each of them makes of a text is written as
other keys, and every number comes from one place: the meaning of keys.
"""

import copy
import dataclasses
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.engines.transformers.class_defaults import text_fields
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.layers import FULL
from ropewalk.engines.transformers.read import read
from ropewalk.engines.transformers.rope_dicts import rope_parts
from ropewalk.engines.transformers.scaling import read_scaling, rope_type_of
from ropewalk.errors import BadConfig
from ropewalk.scaling.method import Scaled, check_factor
from ropewalk.scaling.methods.yarn import mscale
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS, Ignored
from ropewalk.scaling.stretch import Stretch

LENGTH = "original_max_position_embeddings"
TEMPERATURE = ("attention_factor", "attn_factor", "mscale", "mscale_all_dim")
RAMPED = ("yarn", "llama3")
CONFIG, GGUF, FLAGS = "config.json", "GGUF", "command line"


@dataclass(frozen=True, slots=True)
class Beside:
    """What a command line or a reader knows beside the config.

    asked: tokens, as --max-model-len or --context-length has them.  server: llama-server runs it, which caps a slot.
    unasked: `asked` is what the program takes where nobody says.
    environment: names that are set in front of the command.  old_flag: --rope-scaling or --rope-theta.
    shifts: --context-shift was.  base_raised: the base was raised by hand, a stretch of unknown reach.
    reached: tokens that the model was trained or stretched to, where the text now claims more.
    bands: rope_freqs.weight of a GGUF, which divides the frequencies that flags make.
    no_factor: a GGUF names a scaling type without a factor.  null_theta: rope_theta is written as null.
    lost_share: partial_rotary_factor of the dict that an override replaced.  theta_beside: an override of rope_theta alone.
    new_words: an override says rope_parameters, and no rope_scaling.  own: under an override of either, what the config says.
    outside: keys above text_config, where nobody looks.  params: those of params.json, which vLLM prefers.
    Of theta_beside, outside and params, the Keys that are read instead; of `outside` with what to say before them.
    """

    asked: int | None = None
    server: bool = False
    unasked: bool = False
    environment: tuple[str, ...] = ()
    old_flag: str = ""
    shifts: bool = False
    base_raised: bool = False
    reached: int | None = None
    bands: tuple[float, ...] = ()
    no_factor: bool = False
    null_theta: bool = False
    lost_share: float | None = None
    new_words: bool = False
    own: "Keys | None" = None
    theta_beside: "Keys | None" = None
    outside: "tuple[str, Keys] | None" = None
    params: "Keys | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """What is written about the rotation of one layer type.

    said: the keys of a rope dict, with the type under "rope_type"; a key that is absent was not written.
    rope: as trained, with the length that the text states or the model is known by.
    model: the rest of the (text) config.
    text: where it was written: config.json, GGUF or the command line; llama.cpp reads more from the last.
    spellings: of a config, which are there: "v4", "v5".
    nested: whether the keys stood in a dict of their own layer type.
    lost_theta: the override replaced the dict that held the base.
    ignored: what else is written, where no engine looks.
    beside: what is known that no config can hold.
    """

    layer_type: str
    said: Mapping[str, Any]
    rope: Rope
    model: Mapping[str, Any]
    text: str = CONFIG
    spellings: frozenset[str] = frozenset({"v4", "v5"})
    nested: bool = False
    lost_theta: bool = False
    ignored: tuple[Ignored, ...] = ()
    beside: Beside = Beside()

    @property
    def kind(self) -> str:
        """The model_type."""
        return str(self.model.get("model_type", ""))

    @property
    def rope_type(self) -> str:
        return str(self.said.get("rope_type", "default"))

    @property
    def is_latent(self) -> bool:
        """Is its attention latent (MLA)? That scales its softmax by mscale_all_dim."""
        return Fields(self.model).any(known.LATENT)

    @property
    def longest(self) -> int:
        """max_position_embeddings: the window that the text claims."""
        stated = self.model.get("max_position_embeddings") or known.DEFAULT_LENGTH.get(self.kind)
        return int(stated or self.rope.original_length)

    @property
    def factor(self) -> float:
        factor = _number(self, "factor") or max(self.longest / self.rope.original_length, 1.0)
        check_factor(factor)
        return factor

    @property
    def states_length(self) -> bool:
        return bool(self.said.get(LENGTH) or self.model.get(LENGTH))

    @property
    def target(self) -> int:
        """The longest input that is meant to be read: L s where a factor says so, or what the text claims."""
        reached = round(self.rope.original_length * self.factor)
        # of a config, where max_position_embeddings is then the length before the factor
        unstretched = self.states_length or (self.text == CONFIG and self.rope.original_length == self.longest)
        if self.rope_type in ("yarn", "ntk", "dynamic") or (self.rope_type == "linear" and unstretched):
            return max(reached, self.rope.original_length)
        return self.longest

    def but(self, rope: Rope | None = None, /, **said: Any) -> "Keys":
        """The same with other keys; None takes one away."""
        new = {key: value for key, value in {**self.said, **said}.items() if value is not None}
        return dataclasses.replace(self, said=new, rope=rope or self.rope)

    def knowing(self, **more: Any) -> "Keys":
        """The same with more known beside it: fields of `Beside`."""
        return dataclasses.replace(self, beside=dataclasses.replace(self.beside, **more))

    def with_length(self, length: int) -> "Keys":
        return self.but(dataclasses.replace(self.rope, original_length=length))

    def with_theta(self, theta: float) -> "Keys":
        return self.but(dataclasses.replace(self.rope, rope_theta=theta))

    def stretch(self) -> Stretch:
        """What the keys mean if each is honoured."""
        if self.rope_type == "ntk":  # no engine's word for it but vLLM's, which computes something else
            return Stretch(self.rope, "ntk", self.factor)
        said = {key: value for key, value in self.said.items() if value is not None and key != "rope_theta"}
        if self.rope_type == "yarn":
            kept = {known.SOFTMAX_MSCALE} if self.is_latent else set()  # beside m: it scales the softmax too
            said = {key: value for key, value in said.items() if key not in TEMPERATURE or key in kept}
            said |= {"attention_factor": temperature(self), "factor": self.factor}
        return read_scaling(Fields(self.model), Fields(said, "rope_parameters."), self.rope, self.longest, [])

    def scaled(self) -> Scaled:
        """At the longest input: frequencies, and the factor of cos and sin."""
        stretch = self.stretch()
        found = stretch.scaled(max(self.target, 2 * self.rope.original_length) if stretch.dynamic else None)
        if not self.beside.bands:
            return found
        return dataclasses.replace(found, inv_freq=tuple(map(operator.truediv, found.inv_freq, self.beside.bands)))


def temperature(keys: Keys) -> float:
    """m of yarn if every key is honoured: attention_factor is m; DeepSeek's two make a ratio; attn_factor multiplies."""
    stated = _number(keys, "attention_factor")
    if stated is not None:
        return stated
    m = deepseek_ratio(keys) if "mscale" in keys.said or "mscale_all_dim" in keys.said else mscale(keys.factor)
    multiplier = _number(keys, "attn_factor")
    return m * (1.0 if multiplier is None else multiplier)


def multiplied_factor(keys: Keys) -> float:
    """m(s) times attn_factor, as vLLM and SGLang had it before they read more."""
    return mscale(keys.factor) * float(keys.said.get("attn_factor", 1.0))


def absolute_factor(keys: Keys) -> float:
    """As transformers has it: attention_factor, or the ratio where both mscale keys are truthy, or m(s)."""
    if "attention_factor" in keys.said:
        return float(keys.said["attention_factor"])
    both = keys.said.get("mscale") and keys.said.get("mscale_all_dim")
    return deepseek_ratio(keys) if both else mscale(keys.factor)


def deepseek_ratio(keys: Keys) -> float:
    """m(s, mscale) / m(s, mscale_all_dim), with DeepSeek's defaults of 1 and 0."""
    above, below = _number(keys, "mscale"), _number(keys, "mscale_all_dim")
    return mscale(keys.factor, 1.0 if above is None else above) / mscale(keys.factor, below or 0.0)


def _number(keys: Keys, key: str) -> float | None:
    return Fields(keys.said, "rope_parameters.").number(key)


def layers_of(config: Mapping[str, Any], *, original_length: int | None = None, text: str = CONFIG) -> tuple[Keys, ...]:
    """The keys of each layer type that rotates. Raises what `read` raises: BadConfig for two spellings that disagree."""
    plain = _as_meant(config)
    spec = read(plain, original_length=original_length)
    written = dict(text_of(config))
    if spec.max_length and not written.get("max_position_embeddings"):
        written["max_position_embeddings"] = spec.max_length  # under another name, or the default of its class
    parts = rope_parts(text_fields(plain), spec.model_type)
    spellings = _spellings(written)
    nested = any(isinstance(value, Mapping) for value in (written.get("rope_parameters") or {}).values())
    # rope_type "ntk" was read as a plain rotation with a factor: that no version knows the word is a row of its own
    ignored = () if _is_ntk(written) else spec.ignored
    return tuple(
        Keys(name, _normal(part, written), spec.rope(name), written, text, spellings, nested, ignored=ignored)
        for name, part in parts.items()
    )


def _is_ntk(written: Mapping[str, Any]) -> bool:
    dicts = [part for key in ("rope_scaling", "rope_parameters") if isinstance(part := written.get(key), Mapping)]
    return any("ntk" in (part.get("rope_type"), part.get("type")) for part in dicts)


def _spellings(written: Mapping[str, Any]) -> frozenset[str]:
    """Which spelling says all there is; a plain rotation needs no more of the old one than its base."""
    new, old = written.get("rope_parameters"), written.get("rope_scaling")
    if not isinstance(new, Mapping):
        return frozenset({"v4"})
    plain = new.get("rope_type", "default") == "default" and written.get("rope_theta") is not None
    return frozenset({"v4", "v5"} if isinstance(old, Mapping) or plain else {"v5"})


def _normal(part: Fields, written: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in part.config.items() if value is not None and key != "type"}
    if "truncate" in part.config:
        said["truncate"] = bool(said.get("truncate"))  # null is no
    words = part.config.get("rope_type") or part.config.get("type") or "default"
    named = written.get("rope_scaling") if isinstance(written.get("rope_scaling"), Mapping) else written.get("rope_parameters")
    raw = isinstance(named, Mapping) and (named.get("rope_type") or named.get("type"))
    return {**said, "rope_type": "ntk" if raw == "ntk" else rope_type_of(part) if words != "ntk" else "ntk"}


def _as_meant(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which what transformers would overlook stands where it looks: only the ropes are taken from it."""
    if not isinstance(config, Mapping):
        raise BadConfig(f"a config must be a JSON object with keys, not {type(config).__name__}.")
    new = copy.deepcopy(dict(config))
    text = text_of(new)
    flat = text.get("rope_parameters")
    overlooked = str(text.get("model_type")) in known.PER_LAYER_TYPE and "rope_scaling" not in text
    if overlooked and isinstance(flat, dict) and flat and not any(isinstance(value, Mapping) for value in flat.values()):
        text["rope_parameters"] = {FULL: flat, "sliding_attention": {"rope_type": "default"}}
    for key in ("rope_scaling", "rope_parameters"):
        part = text.get(key)
        if isinstance(part, dict):
            for name in ("rope_type", "type"):
                if part.get(name) == "ntk":
                    part[name] = "default"
    return new


__all__ = [
    "ALL_LAYERS", "CONFIG", "FLAGS", "GGUF", "LENGTH",
    "Beside", "Keys", "deepseek_ratio", "layers_of", "mscale", "temperature",
]  # fmt: skip
