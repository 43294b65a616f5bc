"""What is verified: a checkpoint or a GGUF, the plan that it is meant to carry, and its twin without any scaling."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch

from ropewalk.checkpoints.export import SUMMARY
from ropewalk.checkpoints.extend import PLAN
from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf
from ropewalk.checkpoints.gguf_edit import OURS
from ropewalk.checkpoints.gguf_edit import PLAN as GGUF_PLAN
from ropewalk.checkpoints.gguf_places import find_gguf, parts_of
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.checkpoints.weights import weight_files
from ropewalk.engines import gguf, llama_cpp
from ropewalk.engines.transformers import write as config_language
from ropewalk.engines.transformers.checkpoint import CONFIG, read_config, text_of
from ropewalk.errors import BadConfig, BadOption, CannotExpress
from ropewalk.jobs.verify.as_gguf import package, write_gguf
from ropewalk.jobs.verify.witness import Witness, chosen, witnesses
from ropewalk.models.from_gguf.checkpoint import folder_of, opened
from ropewalk.models.from_gguf.opened import OpenedGGUF
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ALL_LAYERS
from ropewalk.scaling.stretch import Stretch

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Subject:
    """title: for people.  names: the witnesses it is for; none named: all.  vocabulary: token ids.
    config: as written, where there is one.
    load: the model without any scaling, of a `dtype`, on a `device`.
    pair: (as written, without scaling) for a witness; CannotExpress where it cannot carry the plan.
    """

    title: str
    plan: ScalingPlan
    vocabulary: int
    names: tuple[str, ...]
    config: Mapping[str, Any] | None
    load: Callable[..., Any]
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
        spec = config_language.read(config)
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
    if all(not stretch.near and stretch.scaled() == plain[name].scaled() for name, stretch in plan.stretches):
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
    plain_config = config_language.write(plain_plan, config)
    plain = twin(folder, plain_config, place / "plain")

    def pair(witness: Witness) -> Pair:
        if witness.reads == CONFIG:
            return folder, plain
        written, control = keys or gguf_keys(plan, config), gguf_keys(plain_plan, plain_config)
        return (
            write_gguf(folder, config, written, place / "stretched.gguf"),
            write_gguf(folder, config, control, place / "plain.gguf"),
        )

    return Subject(str(folder), plan, vocabulary(config), names, config, partial(load_model, plain), pair)


def vocabulary(config: Mapping[str, Any]) -> int:
    size = text_of(config).get("vocab_size")
    if not isinstance(size, int) or size < 2:
        raise BadConfig(f"vocab_size is {size!r}; it must be a whole number of tokens.")
    return size


def gguf_keys(plan: ScalingPlan, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is to be put into a GGUF, as llama.cpp's dialect says it; CannotExpress where only flags can say the plan."""
    written = llama_cpp.write(plan, config)
    keys = written.files.get(llama_cpp.KEYS_FILE)
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


def subjects(target: str, place: Path) -> Iterator[Subject]:
    """One for a checkpoint or a GGUF; of an export, one for each folder with weights.  place: for the copies."""
    path = Path(target).expanduser()
    if (found := None if (path / SUMMARY).is_file() else find_gguf(target)) is not None:
        yield of_gguf(found, place)
    elif (path / SUMMARY).is_file():
        yield from _of_export(path, place)
    else:
        yield of_checkpoint(checkpoint(target), place)


def _of_export(folder: Path, place: Path) -> Iterator[Subject]:
    """GGUF keys are put to the weights of a checkpoint of the same factor; a folder of keys alone has none."""
    parts = _parts(folder)
    keys = {
        part["target_length"]: part["folder"] for part in parts if (folder / part["folder"] / llama_cpp.KEYS_FILE).is_file()
    }
    whole = [part for part in parts if (folder / part["folder"] / CONFIG).is_file()]
    if not whole:
        raise BadConfig(
            f"{folder} holds keys for a GGUF and no weights. Put them into the GGUF with `ropewalk export x.gguf`, and verify "
            'that;\n  or export for transformers too: engines="transformers,llama.cpp" (--for transformers,llama.cpp).'
        )
    for number, part in enumerate(whole):
        (inner := place / str(number)).mkdir()
        names = ("transformers", *(name for name in part["engines"] if name in witnesses()))
        said = keys.pop(part["target_length"], None)
        found = json.loads((folder / said / llama_cpp.KEYS_FILE).read_text(encoding="utf-8")) if said is not None else None
        more = () if found is None else ("llama_cpp",)
        yield of_checkpoint(folder / part["folder"], inner, tuple(dict.fromkeys((*names, *more))), found)


def _parts(folder: Path) -> Sequence[Mapping[str, Any]]:
    try:
        parts = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["parts"]
        for part in parts:
            place = (folder / part["folder"]).resolve()
            if folder.resolve() not in (place, *place.parents) or not isinstance(part["target_length"], int):
                raise ValueError(f"{part['folder']} is not inside")
            list(part["engines"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadConfig(f"{folder / SUMMARY} is not the summary of an export: {error}. Export it again.") from None
    return list(parts)


def asked(subject: Subject, names: Sequence[str]) -> list[Witness]:
    """The named witnesses, or all that the subject is for. BadOption for a named one that it is not for."""
    wanted = chosen(names)
    if not subject.names:
        return wanted
    wrong = [witness for witness in wanted if witness.name not in subject.names]
    if names and wrong:
        raise BadOption(f"{subject.title} is for {', '.join(subject.names)}, and not for {', '.join(w.name for w in wrong)}.")
    return [witness for witness in wanted if witness.name in subject.names]


def of_gguf(path: Path, place: Path) -> Subject:
    """A GGUF that `ropewalk export` stretched, or its maker.  place: for the copies in float32, 4 bytes per weight, twice."""
    model = opened(path)
    plan = _plan(model)
    check_stretched(plan, path)
    control = stretch_gguf(open_gguf(path), without_scaling(plan), place / "control.gguf").out
    stretched, plain = (
        as_float32(parts_of(one), place / name) for one, name in ((path, "stretched.gguf"), (control, "plain.gguf"))
    )
    vocabulary = model.tensors["token_embd.weight"].shape[1]
    return Subject(
        str(path), plan, vocabulary, ("llama_cpp",), None, partial(_load, plain), lambda witness: (stretched, plain)
    )


def _plan(model: OpenedGGUF) -> ScalingPlan:
    if said := model.value(GGUF_PLAN):
        return ScalingPlan.from_json(said)
    keys = gguf.keys_of(model.found)
    stretch = keys.stretch()
    if stretch.method == "none":
        raise BadConfig(f"{model.path} is not stretched: its keys say plain RoPE.\n  `ropewalk export` stretches it.")
    return ScalingPlan(((ALL_LAYERS, stretch),), keys.longest)


def as_float32(parts: Sequence[Path], out: Path) -> Path:
    """One file of all parts: every tensor as float32, one at a time, and the keys, but for those that tell of other bytes."""
    library = package()
    readers = [library.GGUFReader(part) for part in parts]
    writer = library.GGUFWriter(out, readers[0].fields["general.architecture"].contents())
    for name, field in readers[0].fields.items():
        if name.startswith(("GGUF.", "split.", OURS)) or name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == library.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        shape, count = tensor.shape.tolist()[::-1], int(tensor.n_elements)
        writer.add_tensor_info(tensor.name, shape, numpy.dtype("float32"), 4 * count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(library.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.close()
    return out


def _load(path: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """A copy that is thrown away: what is made of it is not kept either."""
    return load_model(folder_of(path, str(dtype).removeprefix("torch."), keep=False), dtype=dtype, device=device)
