"""What the doctor found, whatever it was asked to look at."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import BadOption
from ropewalk.jobs.doctor.static import Difference, EngineDiagnosis, compare, examine, meaning
from ropewalk.jobs.doctor.target import Target
from ropewalk.table import Table


@dataclass(frozen=True)
class Diagnosis:
    """exit_code: 0 all as written, 1 findings, 3 where answers do not decide.  findings: one sentence each.

    plot: the page that was written, of a server.  data: what `to_dict` says.
    detail: by engine, of two stacks, or of a server, as its own kind of object.
    """

    title: str
    exit_code: int
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    data: Mapping[str, Any]
    detail: Any
    plot: Path | None = None

    @property
    def healthy(self) -> bool:
        return self.exit_code == 0

    def to_dict(self) -> dict[str, Any]:
        return dict(self.data)

    def _repr_html_(self) -> str:
        return "".join(table.to_html() for table in self.tables)


@dataclass(frozen=True)
class StackPair:
    """What a trainer and its rollout compute, from what is written for each."""

    trainer: EngineDiagnosis
    rollout: EngineDiagnosis
    differences: tuple[Difference, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(difference.said(self.trainer.name, self.rollout.name) for difference in self.differences)


@dataclass(frozen=True)
class Engines:
    """written: each layer type in a line.  found: by engine."""

    written: tuple[str, ...]
    found: tuple[EngineDiagnosis, ...]


def of_engines(target: Target, names: Sequence[str], versions: Mapping[str, str]) -> Diagnosis:
    """What each engine makes of what is written."""
    found = examine(target, names, versions)
    said = [(one, loss.said) for one in found for loss in one.losses]
    rows = [(one.name, "; ".join(loss.said for loss in one.losses) or "as written") for one in found]
    rows = [(name, f"{words}; {one.unseen}" if one.unseen else words) for (name, words), one in zip(rows, found, strict=True)]
    written = tuple(meaning(keys) for keys in target.layers)
    data = {"target": target.title, "written": written, "healthy": not said, "engines": [_as_dict(one) for one in found]}
    table = Table(("engine", "finds"), tuple(rows), tuple(f"written: {words}" for words in written))
    sentences = tuple(dict.fromkeys(words for _, words in said))
    return Diagnosis(target.title, int(bool(said)), sentences, (table,), data, Engines(written, found))


def _as_dict(one: EngineDiagnosis) -> dict[str, Any]:
    return {
        "engine": one.engine,
        "version": one.version,
        "unseen": one.unseen,
        "findings": [{"said": loss.said, **dataclasses.asdict(loss)} for loss in one.losses],
        "attention_factor": {r.layer_type: r.scaled.attention_factor if r.scaled else None for r in one.rotations},
        "window": {r.layer_type: r.window for r in one.rotations},
    }


def of_pair(trainer: Target, rollout: Target, names: Sequence[str], versions: Mapping[str, str]) -> Diagnosis:
    """A trainer beside its rollout, both read and not run."""
    if names and len(names) != 2:
        raise BadOption("with trainer and rollout, engines (--for) names two: the trainer's and the rollout's.")
    one, other = names or (_reader(trainer, "transformers"), _reader(rollout, "vllm"))
    (a,) = examine(trainer, [one], {k: v for k, v in versions.items() if k == one})
    (b,) = examine(rollout, [other], {k: v for k, v in versions.items() if k == other})
    pair = StackPair(a, b, compare(a, b))
    apart = [words for words, one in zip(pair.sentences, pair.differences, strict=True) if one.differs]
    rows = [(one.layer_type, *map(_number, (one.frequency, one.attention_factor, one.logits))) for one in pair.differences]
    table = Table(("layers", "frequency", "attention factor", "logits"), tuple(rows), pair.sentences)
    data = {"trainer": _as_dict(a), "rollout": _as_dict(b), "same": not apart,
            "differences": [dataclasses.asdict(one) for one in pair.differences]}  # fmt: skip
    return Diagnosis(f"{a.name} and {b.name}", int(bool(apart)), tuple(apart), (table,), data, pair)


def _number(value: float | None) -> str:
    return "" if value is None else f"x{value:.4g}"


def _reader(target: Target, usual: str) -> str:
    return target.engines[0] if len(target.engines) == 1 else usual


def of_tables(title: str, found: Sequence[Any]) -> Diagnosis:
    """Measured tables of a live model (`models.checkup`)."""
    wrong = tuple(table.said for table in found if not table.right)
    data = {"target": title, "healthy": not wrong, "tables": [dataclasses.asdict(table) for table in found]}
    rows = tuple((table.said, "ok" if table.right else "finds") for table in found)
    return Diagnosis(title, int(bool(wrong)), wrong, (Table(("table", ""), rows),), data, tuple(found))
