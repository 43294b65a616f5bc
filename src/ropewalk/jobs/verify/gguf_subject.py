"""A GGUF as what is verified: its keys, with its own weights in float32 on both sides.

Quantised kernels round what they multiply, by more than a wrong temperature may make. They are not what is verified, so
llama.cpp is given a copy with the weights that the file stands for, and every key as it is. The reference takes the same
weights through transformers' own reader of GGUF.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
import transformers

from ropewalk.errors import BadConfig
from ropewalk.jobs.gguf.document import read
from ropewalk.jobs.gguf.edit import PLAN
from ropewalk.jobs.gguf.model import metadata
from ropewalk.jobs.gguf.patch import factors_of, open_gguf, stretch_gguf
from ropewalk.jobs.verify.as_gguf import package
from ropewalk.jobs.verify.subject import Subject, check_stretched, without_scaling
from ropewalk.models.load import quiet
from ropewalk.scaling.dialects import gguf
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ALL_LAYERS


def of_gguf(path: Path, place: Path) -> Subject:
    """A GGUF that `ropewalk export` stretched, or its maker.  place: for the copies in float32, 4 bytes per weight, twice."""
    plan = _plan(path)
    check_stretched(plan, path)
    control = stretch_gguf(open_gguf(path), without_scaling(plan), place / "control.gguf").out
    stretched, plain = as_float32(path, place / "stretched.gguf"), as_float32(control, place / "plain.gguf")
    vocabulary = next(tensor.shape[1] for tensor in read(path).tensors if tensor.name == "token_embd.weight")
    return Subject(str(path), plan, vocabulary, ("llama_cpp",), None, lambda: _load(plain), lambda witness: (stretched, plain))


def _plan(path: Path) -> ScalingPlan:
    document = read(path)
    if said := document.value(PLAN):
        return ScalingPlan.from_json(said)
    keys = gguf.keys_of(metadata(document, factors_of(document, path)))
    stretch = keys.stretch()
    if stretch.method == "none":
        raise BadConfig(f"{path} is not stretched: its keys say plain RoPE.\n  `ropewalk export` stretches it.")
    return ScalingPlan(((ALL_LAYERS, stretch),), keys.longest)


def as_float32(path: Path, out: Path) -> Path:
    """The same keys, and every tensor as float32."""
    library = package()
    reader = library.GGUFReader(path)
    writer = library.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == library.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, library.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _load(path: Path) -> Any:
    quiet()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, trust_remote_code=False
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BadConfig(
            f"transformers cannot read this GGUF, so there is no reference: {str(error).splitlines()[0]}"
        ) from error
    return loaded.eval()
