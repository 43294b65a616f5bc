"""What each engine really does with what is written, by computation alone: no model is loaded, and no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ropewalk.engines.engine import Engine, Loss, Rotation, get_engine, parse_version, rotation
from ropewalk.engines.keys import CONFIG, FLAGS, GGUF, Keys
from ropewalk.engines.transformers.class_defaults import is_native
from ropewalk.errors import BadOption
from ropewalk.jobs.doctor.target import Target
from ropewalk.scaling.method import difference


@dataclass(frozen=True, slots=True)
class EngineDiagnosis:
    """One engine, one version, every layer type.  unseen: that nobody looked at this version."""

    engine: str
    title: str
    version: str
    rotations: tuple[Rotation, ...]
    unseen: str = ""

    @property
    def name(self) -> str:
        return f"{self.title} {self.version}"

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(dict.fromkeys(loss for rotation in self.rotations for loss in rotation.losses))


def examine(
    target: Target, names: Sequence[str] = (), versions: Mapping[str, str] | None = None
) -> tuple[EngineDiagnosis, ...]:
    """names: engines; the target's own by default.  versions: by engine name; by default what a command line says, or the
    newest that was looked at.
    """
    chosen = [get_engine(name) for name in names or target.engines]
    known = {get_engine(name).name: version for name, version in (versions or {}).items()}
    for name, version in known.items():
        parse_version(version)
        if name not in {engine.name for engine in chosen}:
            raise BadOption(
                f"versions (--versions) names {name}, which is not among the engines looked at: "
                f"{', '.join(e.name for e in chosen)}."
            )
    found = []
    for engine in chosen:
        _check_reads(engine, target)
        given = known.get(engine.name, target.version if engine.name in target.engines else "")
        rotations = tuple(rotation(engine, keys, given) for keys in target.layers)
        found.append(EngineDiagnosis(engine.name, engine.title, given or engine.version, rotations, engine.unseen(given)))
    return tuple(found)


def _check_reads(engine: Engine, target: Target) -> None:
    """llama.cpp and Ollama take a config.json through a converter; every other engine reads its own kind of text alone."""
    taken = {engine.reads, CONFIG, FLAGS} if engine.reads == GGUF else {engine.reads}
    for keys in target.layers:
        if keys.text not in taken:
            raise BadOption(f"{engine.title} reads a {engine.reads}, and {target.title} is a {keys.text}.")


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two stacks are apart on one layer type; None where one of them does not run or lacks the layer type.

    frequency: the largest ratio of a frequency, either way.  attention_factor: rollout over trainer.
    logits: the square of that.
    """

    layer_type: str
    frequency: float | None
    attention_factor: float | None
    logits: float | None

    @property
    def differs(self) -> bool:
        if self.frequency is None or self.logits is None:
            return True
        return self.frequency > 1 + 1e-6 or abs(self.logits - 1) > 1e-6

    def said(self, trainer: str, rollout: str) -> str:
        """One sentence for people."""
        where = "" if self.layer_type == "all" else f"{self.layer_type}: "
        if self.frequency is None:
            return f"{where}{trainer} and {rollout} cannot be compared: one of them does not rotate these layers."
        if not self.differs:
            return f"{where}{trainer} and {rollout} rotate alike."
        return (
            f"{where}{trainer} and {rollout} differ: a frequency x{self.frequency:.4g} off, attention factor "
            f"x{self.attention_factor:.4g}, logits x{self.logits:.4g}."
        )


def compare(trainer: EngineDiagnosis, rollout: EngineDiagnosis) -> tuple[Difference, ...]:
    """What differs between what a trainer computes and what its rollout engine computes."""
    ours, theirs = ({r.layer_type: r.scaled for r in d.rotations} for d in (trainer, rollout))
    found = []
    for layer_type in dict.fromkeys((*ours, *theirs)):
        a, b = ours.get(layer_type), theirs.get(layer_type)
        if a is None or b is None:
            found.append(Difference(layer_type, None, None, None))
            continue
        frequency, logits = difference(a, b)
        found.append(Difference(layer_type, frequency, b.attention_factor / a.attention_factor, logits))
    return tuple(found)


def meaning(keys: Keys) -> str:
    """One line: what the text says if every key is honoured, and who decides where transformers does not have the model."""
    whose = "" if keys.text != CONFIG or not keys.kind or is_native(keys.kind) else f" ({keys.kind}'s own code decides)"
    return f"{_said(keys)}{whose}"


def _said(keys: Keys) -> str:
    stretch, where = keys.stretch(), "" if keys.layer_type == "all" else f"{keys.layer_type}: "
    rope = keys.rope
    base = f"{where}{rope.rotary_dim // 2} pairs, base {rope.rope_theta:,g}"
    base += ", rope_freqs.weight" if keys.beside.bands else ""
    if stretch.method == "none":
        return f"{base}, plain, {keys.longest:,} tokens"
    m = keys.scaled().attention_factor
    factor = f"{keys.factor:g}" if stretch.dynamic else f"{stretch.factor:g}"
    return f"{base}, {stretch.name} x{factor}, {rope.original_length:,} -> {keys.target:,} tokens, attention factor {m:.4f}"
