"""ModelSpec: what a checkpoint's config says about its rotary embedding, and where each number was read."""

from dataclasses import dataclass

from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch

# The layer type of a model whose rotary layers all share one table.
ALL_LAYERS = "all"


@dataclass(frozen=True, slots=True)
class Provenance:
    """One number and the place it came from: a key of the config, a published fact, or a rule."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers whose key-value cache grows alike.

    values_per_token: cached numbers per token and layer (2 kv_heads head_dim; MLA: its latent).
    window: most tokens kept, None for all.
    """

    layers: int
    values_per_token: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something about the rotation that is written in a config where transformers does not look.

    what: as in "transformers ignores ...".  way_out: one sentence.  source: where that was seen.
    """

    what: str
    way_out: str
    source: str

    @property
    def said(self) -> str:
        return f"transformers ignores {self.what}. {self.way_out}"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything Ropewalk needs to know of a model, parsed once.

    model_type: transformers' name of the architecture.
    ropes: one Rope per layer type that rotates; `all` where one table serves every layer.
    scaling: the stretch the config already asks for, per layer type; absent where it is plain.
    max_length: the window the config claims, tokens.
    unrotated_layers: layers without position rotation (NoPE, Mamba, linear attention): nothing to stretch.
    readings: where each number was read.  warnings: what a person should know.
    ignored: what is written and not read.
    temperatures: (mscale, mscale_all_dim) of layer types whose attention factor is their ratio, which depends on the factor.
    """

    model_type: str
    ropes: tuple[tuple[str, Rope], ...]
    scaling: tuple[tuple[str, Stretch], ...]
    max_length: int
    cache: tuple[CacheGroup, ...] = ()
    unrotated_layers: int = 0
    readings: tuple[Provenance, ...] = ()
    warnings: tuple[str, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    temperatures: tuple[tuple[str, tuple[float, float]], ...] = ()

    def rope(self, layer_type: str) -> Rope:
        return dict(self.ropes)[layer_type]

    @property
    def stretchable(self) -> tuple[str, ...]:
        """Layer types a plan stretches unless told otherwise: all but sliding-window and chunked ones."""
        return tuple(name for name, _ in self.ropes if not is_local(name))

    @property
    def sliding_layers(self) -> int:
        return sum(group.layers for group in self.cache if group.window)

    @property
    def farthest(self) -> int | None:
        """Tokens that a query looks back over where every layer slides; None where one sees all."""
        windows = [group.window for group in self.cache]
        return max(filter(None, windows)) if windows and all(windows) else None

    def cache_bytes(self, length: int, bytes_per_value: float) -> int:
        """Key-value cache of one sequence of `length` tokens."""
        return int(
            sum(
                group.layers * group.values_per_token * min(length, group.window or length) * bytes_per_value
                for group in self.cache
            )
        )


def is_local(layer_type: str) -> bool:
    """Sliding-window and chunked layers never look further back than they were trained to."""
    return layer_type.startswith(("sliding", "chunked", "local"))
