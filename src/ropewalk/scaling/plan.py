"""ScalingPlan: which layers get which stretch. Pure, frozen, hashable, saved as JSON."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ropewalk.errors import BadConfig, BadLength, BadOption, UnknownName
from ropewalk.scaling.carry import carried
from ropewalk.scaling.method import Option, Scaled, check_factor, get_method, methods
from ropewalk.scaling.rope import LARGEST_LENGTH, Rope, is_number, is_whole
from ropewalk.scaling.schedule import REQUEST, SEMANTICS, Dynamic, Schedule

if TYPE_CHECKING:
    from ropewalk.scaling.spec import ModelSpec

SCHEMA = "ropewalk.plan/1"
DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True)
class Stretch:
    """One rotary embedding, stretched.

    rope: as trained.
    method, options: a method of the registry and those of its options that differ from the defaults, sorted by name.
    factor: s = L' / L.
    dynamic: choose s = max(1, l / L) from a length l instead, never above `factor`; which length, it says. None: static.
    """

    rope: Rope
    method: str = "none"
    factor: float = 1.0
    options: tuple[tuple[str, Option], ...] = ()
    dynamic: Dynamic | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if self.dynamic and self.method == "longrope" and "scales" not in dict(self.options):
            raise BadOption(
                "longrope cannot be dynamic: its lists were searched for one factor, and say nothing of others.\n"
                "  Its own short_factor already leaves the original window alone. yarn or linear can be dynamic."
            )
        object.__setattr__(self, "factor", float(self.factor))  # equal stretches must also be written alike
        self.scaled()  # a stretch that cannot be computed must not exist

    def scale_at(self, length: int | None) -> float:
        """The scale for a request of `length` tokens, on its grid where requests have one; None means the whole factor."""
        if not self.dynamic or length is None:
            return self.factor
        if self.dynamic.semantics == REQUEST:
            return self.schedule.scale_of(length - 1)
        return min(max(1.0, length / self.rope.original_length), self.factor)

    @property
    def schedule(self) -> Schedule:
        """The scale by position of a dynamic stretch."""
        return Schedule(self.rope.original_length, self.factor, (self.dynamic.grid or 0) if self.dynamic else 0)

    def scaled_by(self, scale: float) -> Scaled:
        """Frequencies and attention factor at one scale, 1 to `factor`."""
        return get_method(self.method)(self.rope, scale, **dict(self.options))

    def scaled(self, length: int | None = None) -> Scaled:
        """Frequencies and attention factor for a request of `length` tokens (static stretches: for any)."""
        return self.scaled_by(self.scale_at(length))

    @property
    def target_length(self) -> int:
        return round(self.rope.original_length * self.factor)

    @property
    def name(self) -> str:
        """How the method is written on the command line, so that reading it gives it back."""
        if not self.dynamic:
            return self.method
        return (DYNAMIC if self.method == "ntk" else f"{DYNAMIC}-{self.method}") + self.dynamic.suffix


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
    def name(self) -> str:
        """The method, or methods where layer types differ."""
        return " + ".join(dict.fromkeys(stretch.name for _, stretch in self.stretches)) or "none"

    @property
    def fingerprint(self) -> str:
        """The first 12 hex digits of the SHA-256 of the plan: the same frequencies everywhere, the same fingerprint."""
        data = self.to_dict()
        del data["model"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        stretches = {
            name: {
                "rope": dataclasses.asdict(stretch.rope),
                "method": stretch.method,
                "factor": stretch.factor,
                "options": dict(stretch.options),
                "dynamic": dataclasses.asdict(stretch.dynamic) if stretch.dynamic else False,
            }
            for name, stretch in self.stretches
        }
        return {"schema": SCHEMA, "model": self.model, "target_length": self.target_length, "stretches": stretches}

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
            if data["schema"] != SCHEMA:
                raise BadConfig(f"this plan's schema is {data['schema']!r}; this version reads {SCHEMA!r}.")
            return ScalingPlan(
                stretches=tuple((name, _read_stretch(raw)) for name, raw in data["stretches"].items()),
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


def _read_stretch(raw: Mapping[str, Any]) -> Stretch:
    rope = Rope(**{name: raw["rope"][name] for name in ("rotary_dim", "rope_theta", "original_length")})
    options = normal_options(raw["method"], raw["options"])
    return Stretch(rope, raw["method"], raw["factor"], options, _read_dynamic(raw["dynamic"]))


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


def normal_options(method: str, options: Mapping[str, Option]) -> tuple[tuple[str, Option], ...]:
    """Options as a plan holds them: only those that differ from the defaults, lists as tuples, sorted by name."""
    defaults = get_method(method).defaults
    for name in options:
        if name not in defaults:
            raise UnknownName(f"option of {method}", name, defaults)
    normal = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    for name, value in normal.items():
        check_type(name, value, defaults[name])
    return tuple(sorted((name, _as_float(value)) for name, value in normal.items() if value != defaults[name]))


def _as_float(value: Option) -> Option:
    """Numbers as floats, so that 16 and 16.0 give one plan and one fingerprint."""
    if isinstance(value, tuple):
        return tuple(float(item) for item in value)
    return float(value) if is_number(value) else value  # type: ignore[arg-type]


def check_type(name: str, value: Option, default: Option) -> None:
    """An option must be of its default's kind: a number, a yes/no, a word; None and lists are checked by the method."""
    if isinstance(default, bool):
        right, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, float):
        right, kind = is_number(value), "a finite number"
    elif isinstance(default, str):
        right, kind = isinstance(value, str), "a word"
    else:
        numbers = isinstance(value, tuple) and all(is_number(item) for item in value)
        right, kind = value is None or is_number(value) or numbers, "a finite number or a list of them"
    if not right:
        raise BadOption(f"{name} is {value!r}; it must be {kind}.")


def parse_method(name: str) -> tuple[str, Dynamic | None]:
    """(method, how dynamic) of a name: dynamic[-METHOD][-SEMANTICS[-GRID]], or a method's own name.

    "dynamic" is over ntk, the classic, and causal on two steps per octave; "dynamic-yarn-rotate" and "dynamic-causal-4" are
    others.
    """
    first, *rest = name.split("-")
    if first != DYNAMIC:
        return _known(name, name), None
    method = _known(rest.pop(0), name) if rest and rest[0] not in SEMANTICS else "ntk"
    if not rest:
        return method, Dynamic()
    if rest[0] not in SEMANTICS or len(rest) > 2 or not all(grid.isdecimal() for grid in rest[1:]):
        _known("", name)
    return method, Dynamic(rest[0], int(rest[1]) if rest[1:] else None)


def _known(method: str, name: str) -> str:
    if method not in methods():
        close = (f"{DYNAMIC}-{m}" for m in ("linear", "yarn", *SEMANTICS))
        raise UnknownName("scaling method", name, [*methods(), DYNAMIC, *close])
    return method


def make_plan(
    spec: "ModelSpec",
    *,
    factor: float | None = None,
    target_length: int | None = None,
    method: str = "yarn",
    options: Mapping[str, Option] | None = None,
    layer_types: Iterable[str] | None = None,
    model: str = "",
) -> ScalingPlan:
    """Stretch a model by `factor`, or by the smallest factor that reaches `target_length` tokens.

    method: a registered method, or a dynamic one as `parse_method` reads it: "dynamic", "dynamic-yarn".
    layer_types: what to stretch; by default every layer type that looks at the whole window.
    A layer type that is stretched by this method already keeps its own options, but for those in `options` (see `carry`).
    """
    name, dynamic = parse_method(method)
    if (factor is None) == (target_length is None):
        given = "neither is" if factor is None else "both are"
        raise BadLength(f"give either a factor or a target length, and not both: {given} there.")
    chosen = tuple(layer_types) if layer_types is not None else spec.stretchable
    for layer_type in chosen:
        if layer_type not in dict(spec.ropes):
            raise UnknownName("rotary layer type of this model", layer_type, dict(spec.ropes))
    if not chosen:
        raise BadLength(
            "nothing to stretch here: only sliding-window layers rotate, and they never look further back than they were "
            "trained to.\n  Name them as layer types to stretch them all the same."
        )
    if layer_types is None and name != "none":
        _check_window(spec)
    stretches = tuple(
        (layer_type, _stretch(spec, layer_type, name, dynamic, factor, target_length, options or {})) for layer_type in chosen
    )
    reached = target_length or max(stretch.target_length for _, stretch in stretches)
    return ScalingPlan(stretches, reached, model)


def _check_window(spec: "ModelSpec") -> None:
    """A model whose every layer slides never meets a distance beyond its window, however long the text."""
    far, trained = spec.farthest, max(rope.original_length for _, rope in spec.ropes)
    if far is not None and far <= trained:
        raise BadLength(
            f"nothing to stretch here: every layer is a sliding-window layer, and none looks further back than {far:,} tokens "
            f"(sliding_window), where {trained:,} were trained.\n"
            "  Longer texts are read as they are. To look further, raise sliding_window in the config (or null), then\n"
            "  stretch; or name the layer types (--layers) to stretch them all the same."
        )


def _stretch(
    spec: "ModelSpec",
    layer_type: str,
    method: str,
    dynamic: Dynamic | None,
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
    own = carried(spec, layer_type, method, scale, options)
    return Stretch(rope, method, scale, normal_options(method, {**own, **options}), dynamic)
