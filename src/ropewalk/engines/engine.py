"""Engines as data: what each reads, and where it reads something else than what is written.

An Engine is one file of `engines/`; that folder is the registry. Its quirks are rows: each says in which versions it
holds, where that was seen, and, as a function of the written keys, what the engine makes of them. Numbers are computed
from the keys before and after, never written down.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ropewalk.engines.keys import Keys
from ropewalk.errors import BadOption
from ropewalk.registry import Registry
from ropewalk.scaling.method import SAME, Scaled, difference
from ropewalk.scaling.plan import ScalingPlan

Version = tuple[int, ...]
COMPARE: dict[str, Callable[[Version, Version], bool]] = {"<": operator.lt, ">=": operator.ge}


def parse_version(text: str) -> Version:
    """0.32.0 -> (0, 32); trailing zeros say nothing, letters in front (v0.32, b10488) are dropped, a suffix (rc1) too."""
    found = re.fullmatch(r"[vb]?(\d{1,9}(?:\.\d{1,9}){0,3})(?:[.+-]?[a-z][\w.+]*)?", text.strip(), re.ASCII)
    if not found:
        raise BadOption(f"{text!r} is not a version. Write it as the engine does: 0.32, 5.23.0 or b10488.")
    numbers = [int(part) for part in found.group(1).split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def within(version: Version, spec: str) -> bool:
    """Whether a version is in a range; the empty range holds every version."""
    for part in filter(None, (part.strip() for part in spec.split(","))):
        sign, _, bound = part.partition(" ")
        if not COMPARE[sign](version, parse_version(bound)):
            return False
    return True


NEWEST = (10**9,)  # stands for the version that was looked at, which may be a commit


class Verb(StrEnum):
    """What an engine does to a key."""

    IGNORES = "ignores"
    REPLACES = "reads otherwise"
    CLAMPS = "caps the window"
    CRASHES = "does not run with"
    PASSES = "goes past the window:"
    DRIFTS = "depends on what was read before with"


@dataclass(frozen=True, slots=True)
class Says:
    """What an engine makes of keys.

    what: the key or value that is concerned.  keys: what it reads instead; None where no table shows it.
    runs: False where it stops with an error.  window: tokens, where that is what changes.
    """

    what: str
    keys: Keys | None = None
    runs: bool = True
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Quirk:
    """One row of the ledger.

    effect: what the engine makes of written keys; None where the row does not concern them.
    versions: a range, as in `versions.within`.  source: where it was seen, a URL or a file of a version.
    way_out: what to write or do instead, in one sentence.
    """

    verb: Verb
    effect: Callable[[Keys], Says | None]
    source: str
    versions: str = ""
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """One difference between what is written and what an engine does.

    frequency: the largest ratio of a pair's frequency to the written one, either way, 1 or more.
    logits: attention logits as a multiple of the written ones, (m' / m)^2.
    window: tokens that the engine serves.  Each is None where it does not apply.
    """

    engine: str
    versions: str
    verb: Verb
    what: str
    source: str
    layer_type: str
    way_out: str = ""
    frequency: float | None = None
    logits: float | None = None
    window: int | None = None

    @property
    def said(self) -> str:
        """One sentence for people."""
        who = f"{self.engine} {self.versions}".strip()
        where = "" if self.layer_type == "all" else f" ({self.layer_type})"
        size = []
        if self.logits is not None and abs(self.logits - 1) > SAME:
            size.append(f"logits x{self.logits:.3g}")
        if self.frequency is not None and self.frequency > 1 + SAME:
            size.append(
                "a frequency off without bound" if math.isinf(self.frequency) else f"a frequency x{self.frequency:.3g} off"
            )
        if self.window is not None:
            size.append(f"{self.window:,} tokens")
        return f"{who} {self.verb} {self.what}{where}{': ' if size else ''}{', '.join(size)}"


@dataclass(frozen=True, slots=True)
class Rotation:
    """What one engine does with one layer type; `scaled` is None where it stops with an error."""

    engine: str
    layer_type: str
    scaled: Scaled | None
    window: int | None
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What to give to an engine: files by name (a dict is JSON), commands to paste, and the carrier that was chosen."""

    files: Mapping[str, Mapping[str, Any] | str]
    commands: tuple[str, ...]
    carrier: str


@dataclass(frozen=True, slots=True)
class Engine:
    """name: as in commands and file names.  title: as people write it.
    version: the newest that was looked at, a release or a commit.  oldest: the oldest release, where any but the newest was.

    reads: "config.json", "GGUF" or a format of its own.
    write: a plan for it, or CannotExpress.  read: the keys in a format of its own.
    commands: what to paste to serve a folder.  window: how far it reads unless told otherwise.
    """

    name: str
    title: str
    version: str
    reads: str
    quirks: tuple[Quirk, ...]
    write: Callable[[ScalingPlan, Mapping[str, Any], str], Written]
    read: Callable[[Mapping[str, Any]], tuple[Keys, ...]] | None = None
    commands: Callable[[ScalingPlan, Any, str], tuple[str, ...]] = field(default=lambda plan, config, folder: ())
    window: Callable[[Keys, tuple[int, ...]], int | None] = field(default=lambda keys, version: None)
    oldest: str = ""

    def unseen(self, version: str) -> str:
        """A sentence where this version lies outside of what was looked at, so that what is said may not hold of it."""
        if not version or not re.fullmatch(r"\d+(\.\d+)+", self.version):
            return ""
        asked, newest, oldest = parse_version(version), parse_version(self.version), self.oldest or self.version
        if asked[: len(newest)] > newest:
            return f"{version} is newer than any {self.title} that was looked at ({self.version}): what changed is not known"
        if asked < parse_version(oldest):
            return (
                f"{version} is older than any {self.title} that was looked at ({oldest}): it may read less than is said here"
            )
        return ""


ALIASES = {"llamacpp": "llama_cpp", "llama": "llama_cpp", "mlx": "mlx_lm", "trtllm": "tensorrt_llm"}


def _spelling(name: str) -> str:
    plain = name.strip().lower().replace("-", "_").replace(".", "_")
    return ALIASES.get(plain, plain)


_ENGINES: Registry[Engine] = Registry("engine", "ropewalk.engines", spelling=_spelling)


def register(engine: Engine) -> Engine:
    return _ENGINES.add(engine.name, engine)


def engines() -> Mapping[str, Engine]:
    """Every engine by name, in name order."""
    return _ENGINES.known()


def get_engine(name: str) -> Engine:
    return _ENGINES.get(name)


def rotation(engine: Engine, keys: Keys, version: str = "") -> Rotation:
    """What an engine at a version does with written keys, and every loss on the way."""
    number = parse_version(version) if version else NEWEST
    losses = [Loss(engine.title, "", Verb.IGNORES, one.what, one.source, keys.layer_type, one.way_out) for one in keys.ignored]
    now = keys
    for quirk in engine.quirks:
        says = quirk.effect(now) if within(number, quirk.versions) else None
        if says is None:
            continue
        frequency = logits = None
        if says.keys is not None:
            frequency, logits = difference(now.scaled(), says.keys.scaled())
            now = says.keys
            if frequency < 1 + SAME and abs(logits - 1) < SAME:
                continue  # the engine overlooks it, and it makes no difference here
        losses.append(
            Loss(
                engine.title, quirk.versions, quirk.verb, says.what, quirk.source, keys.layer_type, quirk.way_out,
                frequency, logits, says.window,
            )
        )  # fmt: skip
        if not says.runs:
            return Rotation(engine.name, keys.layer_type, None, None, tuple(losses))
    return Rotation(engine.name, keys.layer_type, now.scaled(), engine.window(now, number), tuple(losses))


def understood(engine: Engine, keys: Keys, version: str = "") -> Keys:
    """The keys as an engine takes them: what it does not read is not in them."""
    number = parse_version(version) if version else NEWEST
    for quirk in engine.quirks:
        says = quirk.effect(keys) if within(number, quirk.versions) else None
        if says is not None and says.keys is not None:
            keys = says.keys
    return keys


def losses_of(engine: Engine, layers: Sequence[Keys], version: str = "") -> tuple[Loss, ...]:
    return tuple(loss for keys in layers for loss in rotation(engine, keys, version).losses)
