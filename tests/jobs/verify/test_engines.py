"""vLLM and llama.cpp themselves: `make test-engines`. Skipped, with the reason, where they are not."""

import pytest
import torch

from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.verify.as_gguf import write_gguf
from ropewalk.jobs.verify.ask import environment, find
from ropewalk.jobs.verify.run import Status, verify
from ropewalk.jobs.verify.subject import gguf_keys, of_checkpoint, of_gguf
from ropewalk.jobs.verify.witness import get_witness
from ropewalk.scaling.plan import make_plan
from support.gguf_files import in_parts
from support.verifying import extended, small

pytestmark = pytest.mark.engines


def engine(name):
    witness = get_witness(name)
    if find(witness) is None:
        pytest.skip(f"{witness.title} is neither in {environment(witness).parent.parent} nor beside Ropewalk: {witness.get}")
    return witness


def heard(subject, witness):
    (one,) = verify(subject, [witness], tokens=200).testimonies
    assert one.status in (Status.AGREES, Status.DIFFERS), one.reason
    return one


def agrees(one):
    assert one.status is Status.AGREES, one.reason
    assert one.comparison.apart < 1e-3
    assert one.comparison.control > 100 * one.comparison.apart


@pytest.mark.parametrize("method", ["linear", "ntk", "ntk_by_parts", "yarn"])
def test_vllm_computes_what_is_written(tmp_path, method):
    agrees(heard(of_checkpoint(extended(tmp_path, method), tmp_path), engine("vllm")))


@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("llama", "linear", {}), ("llama", "ntk", {}), ("llama", "yarn", {}), ("llama", "ntk_by_parts", {}),
        ("llama", "yarn", {"truncate": False}), ("llama", "llama3", {}), ("qwen2", "ntk_by_parts", {}), ("qwen3", "yarn", {}),
    ],
)  # fmt: skip
def test_llama_cpp_computes_what_is_written(tmp_path, family, method, options):
    agrees(heard(of_checkpoint(extended(tmp_path, method, family, **options), tmp_path), engine("llama.cpp")))


def source_gguf(tmp_path):
    source = small(tmp_path / "source")
    config = read_config(source)
    none = make_plan(read(config), factor=1, method="none")
    return config, write_gguf(source, config, gguf_keys(none, config), tmp_path / "plain.gguf")


@pytest.mark.parametrize("method", ["ntk", "yarn", "llama3"])
def test_llama_cpp_computes_what_a_gguf_was_given(tmp_path, method):
    config, plain = source_gguf(tmp_path)
    stretch_gguf(open_gguf(plain), make_plan(read(config), factor=4, method=method), tmp_path / "x.gguf")
    (tmp_path / "place").mkdir()
    agrees(heard(of_gguf(tmp_path / "x.gguf", tmp_path / "place"), engine("llama.cpp")))


def test_llama_cpp_computes_what_a_gguf_in_parts_was_given(tmp_path):
    config, plain = source_gguf(tmp_path)
    first, *_ = in_parts(plain, tmp_path / "y", (5, 11))
    done = stretch_gguf(open_gguf(first), make_plan(read(config), factor=4, method="llama3"), tmp_path / "x.gguf")
    (tmp_path / "place").mkdir()
    agrees(heard(of_gguf(done.out, tmp_path / "place"), engine("llama.cpp")))


def test_a_key_that_llama_cpp_does_not_read_is_found(tmp_path, monkeypatch):
    """rope.scaling.yarn_attn_factor is what its own converter writes, and what its loader leaves for two architectures."""
    import gguf

    witness = engine("llama.cpp")
    config, _ = source_gguf(tmp_path)
    plan = make_plan(read(config), factor=4, method="yarn")
    keys = {**gguf_keys(plan, config), "llama.rope.scaling.yarn_attn_factor": 1.0}
    write_gguf(tmp_path / "source", config, keys, tmp_path / "x.gguf")
    assert gguf.GGUFReader(tmp_path / "x.gguf").fields["llama.rope.scaling.yarn_attn_factor"].contents() == 1.0
    (tmp_path / "place").mkdir()
    one = heard(of_gguf(tmp_path / "x.gguf", tmp_path / "place"), witness)
    assert one.status is Status.DIFFERS
    assert one.comparison.floor < 1e-3 < 0.01 < one.comparison.apart


def test_weights_of_four_bits_are_compared_as_what_they_stand_for(tmp_path):
    """The file is quantised; both sides get its numbers, so that rounding hides nothing."""
    import gguf
    import numpy as np

    witness = engine("llama.cpp")
    config, plain = source_gguf(tmp_path)
    reader = gguf.GGUFReader(plain)
    writer = gguf.GGUFWriter(tmp_path / "q4.gguf", "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        numbers = np.asarray(tensor.data)
        kind = gguf.GGMLQuantizationType.Q4_0 if numbers.ndim == 2 and not numbers.shape[-1] % 32 else None
        data = numbers if kind is None else gguf.quants.quantize(numbers, kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    stretch_gguf(open_gguf(tmp_path / "q4.gguf"), make_plan(read(config), factor=4), tmp_path / "x.gguf")
    (tmp_path / "place").mkdir()
    subject = of_gguf(tmp_path / "x.gguf", tmp_path / "place")
    agrees(heard(subject, witness))
    assert not torch.equal(  # it was quantised indeed
        torch.tensor(gguf.GGUFReader(tmp_path / "place" / "plain.gguf").tensors[0].data),
        torch.tensor(reader.tensors[0].data),
    )
