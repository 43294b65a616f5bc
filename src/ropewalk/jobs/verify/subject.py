"""What is verified: a checkpoint or a GGUF, the plan that it is meant to carry, and its twin without any scaling."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig, BadOption, CannotExpress
from ropewalk.jobs.export import KEYS
from ropewalk.jobs.extend import PLAN
from ropewalk.jobs.verify.as_gguf import write_gguf
from ropewalk.jobs.verify.witness import Witness
from ropewalk.jobs.weights import weight_files
from ropewalk.models.load import load_model
from ropewalk.scaling.checkpoint import CONFIG, read_config, text_of
from ropewalk.scaling.dialects import llama_cpp, transformers
from ropewalk.scaling.plan import ScalingPlan, Stretch

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Subject:
    """title: for people.  names: the witnesses it is for; none named: all.  vocabulary: token ids.
    config: as written, where there is one.
    load: the model without any scaling, in float32.
    pair: (as written, without scaling) for a witness; CannotExpress where it cannot carry the plan.
    """

    title: str
    plan: ScalingPlan
    vocabulary: int
    names: tuple[str, ...]
    config: Mapping[str, Any] | None
    load: Callable[[], Any]
    pair: Callable[[Witness], Pair]

    @property
    def original_length(self) -> int:
        return max(stretch.rope.original_length for _, stretch in self.plan.stretches)


def without_scaling(plan: ScalingPlan) -> ScalingPlan:
    """The same layers, the same window, and plain RoPE: the negative control."""
    stretches = tuple((name, Stretch(stretch.rope)) for name, stretch in plan.stretches)
    return dataclasses.replace(plan, stretches=stretches)


def plan_of(folder: Path, config: Mapping[str, Any]) -> ScalingPlan:
    """The plan beside a config, or the one that the config itself says."""
    file = folder / PLAN
    if file.is_file():
        try:
            plan = ScalingPlan.from_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # BadConfig is a ValueError
            raise BadConfig(f"{file}: {error}") from None
    else:
        spec = transformers.read(config)
        if not spec.scaling:
            raise BadConfig(
                f"{folder} is not stretched: it has no {PLAN}, and its {CONFIG} says plain RoPE.\n"
                "  `ropewalk extend` or `ropewalk export` write what can be verified."
            )
        plan = ScalingPlan(spec.scaling, spec.max_length)
    check_stretched(plan, folder)
    return plan


def check_stretched(plan: ScalingPlan, where: Path) -> None:
    plain = dict(without_scaling(plan).stretches)
    if all(stretch.scaled() == plain[name].scaled() for name, stretch in plan.stretches):
        raise BadOption(
            f"the plan of {where} changes no frequency: with and without it are the same, and nothing can be seen."
        )


def of_checkpoint(folder: Path, place: Path, names: tuple[str, ...] = (), keys: Mapping[str, Any] | None = None) -> Subject:
    """A folder that `ropewalk extend` wrote, or any whose config is stretched.

    place: for the twins.  keys: of a GGUF; by default what `ropewalk export --for llama.cpp` writes.
    """
    weight_files(folder)
    config = read_config(folder)
    plan = plan_of(folder, config)
    plain_plan = without_scaling(plan)
    plain_config = transformers.write(plain_plan, config)
    plain = twin(folder, plain_config, place / "plain")

    def pair(witness: Witness) -> Pair:
        if witness.reads == CONFIG:
            return folder, plain
        written, control = keys or gguf_keys(plan, config), gguf_keys(plain_plan, plain_config)
        return (
            write_gguf(folder, config, written, place / "stretched.gguf"),
            write_gguf(folder, config, control, place / "plain.gguf"),
        )

    return Subject(str(folder), plan, vocabulary(config), names, config, lambda: load_model(plain), pair)


def vocabulary(config: Mapping[str, Any]) -> int:
    size = text_of(config).get("vocab_size")
    if not isinstance(size, int) or size < 2:
        raise BadConfig(f"vocab_size is {size!r}; it must be a whole number of tokens.")
    return size


def gguf_keys(plan: ScalingPlan, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is to be put into a GGUF, as llama.cpp's dialect says it; CannotExpress where only flags can say the plan."""
    written = llama_cpp.write(plan, config)
    keys = written.files.get(KEYS)
    if not isinstance(keys, Mapping):
        raise CannotExpress(f"no key of a GGUF says {plan.name} to llama.cpp; its command line does: {written.commands[0]}")
    return keys


def twin(folder: Path, config: Mapping[str, Any], place: Path) -> Path:
    """A folder with the files of another, linked, and another config."""
    place.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.name not in (CONFIG, PLAN):
            (place / path.name).symlink_to(path.resolve())
    (place / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return place


def scratch() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="ropewalk-verify-")
