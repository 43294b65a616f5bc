"""ScalingPlan: which layers get which stretch. Pure, frozen, hashable, saved as JSON."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig, BadLength, BadOption, UnknownName
from ropewalk.scaling.carry import carried
from ropewalk.scaling.method import Option
from ropewalk.scaling.names import Named, read_name
from ropewalk.scaling.rope import LARGEST_LENGTH, Rope, is_whole
from ropewalk.scaling.schedule import REQUEST, Dynamic
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch, normal_options, pairs
from ropewalk.table import Table

SCHEMA = "ropewalk.plan/1"
NEAR_SCHEMA = "ropewalk.plan/2"  # plans with near distances: what reads 1 alone must not take them for others


@dataclass(frozen=True, slots=True)
class ScalingPlan:
    """One Stretch per layer type; a layer type that is absent is left as it is.

    model: where the spec was read, for people; it takes no part in the fingerprint.
    """

    stretches: tuple[tuple[str, Stretch], ...]
    target_length: int
    model: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.stretches:
            raise BadConfig("the plan stretches nothing; name at least one layer type.")
        _whole("target_length", self.target_length)

    def stretch(self, layer_type: str) -> Stretch | None:
        return dict(self.stretches).get(layer_type)

    @property
    def is_dynamic(self) -> bool:
        return any(stretch.dynamic for _, stretch in self.stretches)

    @property
    def is_one_table(self) -> bool:
        """Is every stretch one table of frequencies? If not, no config can say it: it needs a live model."""
        return all(stretch.is_one_table for _, stretch in self.stretches)

    @property
    def name(self) -> str:
        """The method, or methods where layer types differ."""
        return " + ".join(dict.fromkeys(stretch.name for _, stretch in self.stretches)) or "none"

    @property
    def fingerprint(self) -> str:
        """The first 12 hex digits of the SHA-256 of the plan: the same frequencies everywhere, the same fingerprint."""
        data = self.to_dict()
        del data["model"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def table(self) -> Table:
        """By layer type: how far it is stretched, and how many of its pairs are kept, mixed and stretched."""
        columns = ("window", "target", "factor", "attention factor", "pairs kept", "mixed", "stretched")
        rows = tuple(_row(name, stretch, self.target_length) for name, stretch in self.stretches)
        notes = ("The factor grows with the length; shown at the target length.",) if self.is_dynamic else ()
        return Table((self.name, *columns), rows, notes)

    def _repr_html_(self) -> str:
        return self.table.to_html()

    def to_dict(self) -> dict[str, Any]:
        stretches = {
            name: {
                "rope": dataclasses.asdict(stretch.rope),
                "method": stretch.method,
                "factor": stretch.factor,
                "options": dict(stretch.options),
                "dynamic": dataclasses.asdict(stretch.dynamic) if stretch.dynamic else False,
                **({"near": stretch.near, "log_n": stretch.log_n} if stretch.near else {}),
            }
            for name, stretch in self.stretches
        }
        schema = NEAR_SCHEMA if any(stretch.near for _, stretch in self.stretches) else SCHEMA
        return {"schema": schema, "model": self.model, "target_length": self.target_length, "stretches": stretches}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> "ScalingPlan":
        """Read a plan back; every number is checked again, since the file may have been edited.

        What `ropewalk plan --json` prints holds one too, under "plan".
        """
        try:
            data = json.loads(text)
            if "plan" in data:
                data = data["plan"]
            if data["schema"] not in (SCHEMA, NEAR_SCHEMA):
                raise BadConfig(
                    f"this plan's schema is {data['schema']!r}; this version reads {SCHEMA!r} and {NEAR_SCHEMA!r}."
                )
            has_near = data["schema"] == NEAR_SCHEMA
            return ScalingPlan(
                stretches=tuple((name, _read_stretch(raw, has_near)) for name, raw in data["stretches"].items()),
                target_length=data["target_length"],
                model=str(data.get("model", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, BadConfig | BadOption | BadLength | UnknownName):
                raise
            raise BadConfig(
                f"this is not a Ropewalk plan: {type(error).__name__}: {error}.\n"
                "  `ropewalk plan MODEL --to LENGTH --json > plan.json` writes one."
            ) from None


def _row(name: str, stretch: Stretch, target_length: int) -> tuple[str, ...]:
    count, m = pairs(stretch), stretch.scaled_by(stretch.largest_scale).attention_factor
    near = f", near {stretch.near:,}" if stretch.near else ""
    numbers = f"{stretch.rope.original_length:,}{near}", f"{target_length:,}", f"{stretch.largest_scale:g}", f"{m:.4f}"
    return (name, *numbers, *(str(count[kind]) for kind in ("kept", "ramped", "stretched")))


def _read_stretch(raw: Mapping[str, Any], has_near: bool) -> Stretch:
    if not has_near and not {"near", "log_n"}.isdisjoint(raw):
        raise BadConfig(f"near and log_n belong to plans of the schema {NEAR_SCHEMA!r}, and this one says {SCHEMA!r}.")
    near, log_n = raw.get("near", 0), raw.get("log_n", False)
    if not isinstance(log_n, bool):
        raise BadConfig(f"log_n is {log_n!r}; it must be true or false.")
    rope = Rope(**{name: raw["rope"][name] for name in ("rotary_dim", "rope_theta", "original_length")})
    options = normal_options(raw["method"], raw["options"])
    return Stretch(rope, raw["method"], raw["factor"], options, _read_dynamic(raw["dynamic"]), near, log_n)


def _read_dynamic(raw: object) -> Dynamic | None:
    """false, or {"semantics": ..., "grid": ...}; true is how plans said "request" when that was the only meaning."""
    if isinstance(raw, bool):
        return Dynamic(REQUEST) if raw else None
    if not isinstance(raw, Mapping) or "semantics" not in raw or not set(raw) <= {"semantics", "grid"}:
        raise BadConfig(f'dynamic is {raw!r}; it must be false, or {{"semantics": ..., "grid": ...}}.')
    return Dynamic(raw["semantics"], raw.get("grid"))


def _whole(name: str, value: object) -> None:
    if not is_whole(value) or not 1 <= value <= LARGEST_LENGTH:  # type: ignore[operator]
        raise BadLength(f"{name} is {value!r}; it must be a whole number of tokens, 1 to {LARGEST_LENGTH}.")


def make_plan(
    spec: ModelSpec,
    *,
    factor: float | None = None,
    target_length: int | None = None,
    method: str = "yarn",
    options: Mapping[str, Option] | None = None,
    layer_types: Iterable[str] | None = None,
    model: str = "",
) -> ScalingPlan:
    """Stretch a model by `factor`, or by the smallest factor that reaches `target_length` tokens.

    method: a name as `read_name` reads it: "yarn", "dynamic-yarn", "near-linear".
    layer_types: what to stretch; by default every layer type that looks at the whole window.
    A layer type that is stretched by this method already keeps its own options, but for those in `options` (carry.py).
    """
    if not isinstance(spec, ModelSpec):
        raise BadConfig(
            f"make_plan takes a ModelSpec, and this is a {type(spec).__name__}.\n"
            "  ropewalk.plan takes a model: a folder, a hub id, a config or a live one. ropewalk.read makes its ModelSpec."
        )
    if not isinstance(options, Mapping | None):
        raise BadOption(f"options are {options!r}; write them as {{'beta_fast': 16}}.")
    wanted = read_name(method)
    if (factor is None) == (target_length is None):
        given = "neither is" if factor is None else "both are"
        raise BadLength(f"give either a factor or a target length, and not both: {given} there.")
    named = (layer_types,) if isinstance(layer_types, str) else layer_types
    chosen = spec.stretchable if named is None else tuple(named) if isinstance(named, Iterable) else (named,)
    for layer_type in chosen:
        if layer_type not in dict(spec.ropes):
            raise UnknownName("rotary layer type of this model", layer_type, dict(spec.ropes))
    if not chosen:
        raise BadLength(
            "nothing to stretch here: only sliding-window layers rotate, and they never look further back than they were "
            "trained to.\n  Name them as layer types to stretch them all the same."
        )
    if layer_types is None and wanted.method != "none":
        _check_window(spec)
    stretches = tuple(
        (layer_type, _stretch(spec, layer_type, wanted, factor, target_length, options or {})) for layer_type in chosen
    )
    reached = target_length or max(stretch.target_length for _, stretch in stretches)
    return ScalingPlan(stretches, reached, model)


def _check_window(spec: ModelSpec) -> None:
    """A model whose every layer slides never meets a distance beyond its window, however long the text."""
    far, trained = spec.farthest, max(rope.original_length for _, rope in spec.ropes)
    if far is not None and far <= trained:
        raise BadLength(
            f"nothing to stretch here: every layer is a sliding-window layer, and none looks further back than {far:,} tokens "
            f"(sliding_window), where {trained:,} were trained.\n"
            "  Longer texts are read as they are. To look further, raise sliding_window in the config (or null), then\n"
            "  stretch; or name the layer types (--layers) to stretch them all the same."
        )


def standing(spec: ModelSpec, layer_type: str) -> Stretch | None:
    """The rotation that a layer type was trained with, where some of its pairs stand still."""
    own = dict(spec.scaling).get(layer_type)
    return own if own and own.method == "proportional" and not all(own.scaled().inv_freq) else None


def _stretch(
    spec: ModelSpec,
    layer_type: str,
    named: Named,
    factor: float | None,
    target_length: int | None,
    options: Mapping[str, Option],
) -> Stretch:
    rope = spec.rope(layer_type)
    if target_length is not None:
        _whole("target_length", target_length)
        if target_length < rope.original_length:
            raise BadLength(
                f"target_length {target_length} is shorter than original_length {rope.original_length}.\n"
                "  Ropewalk only stretches windows. If original_length is wrong (many configs state the already stretched\n"
                "  window as the original), give original_length yourself."
            )
    scale = factor if factor is not None else (target_length or 1) / rope.original_length
    still = standing(spec, layer_type)
    if still and named.method == "none":
        return dataclasses.replace(still, factor=1.0)
    if still and named.method != still.method:
        share = dict(still.options)["proportion"]
        raise BadOption(
            f"{layer_type} turns a share of {share:g} of its pairs and lets the others stand still (proportional), and "
            f"{named.method} would turn them all: another model.\n"
            "  Take method proportional: it slows the pairs that turn, as linear does."
        )
    own = carried(spec, layer_type, named.method, scale, options)
    chosen, near = normal_options(named.method, {**own, **options}), named.near_tokens(rope.original_length)
    if named.near is not None and near < 1:
        raise BadLength(
            f"{named.near:g} of the {rope.original_length:,} tokens that this rotary embedding was trained at is less than "
            "one: no distance would be near.\n  Give the near distances in tokens, such as near-64-linear, or a larger share."
        )
    return Stretch(rope, named.method, scale, chosen, named.dynamic, near, named.log_n)
