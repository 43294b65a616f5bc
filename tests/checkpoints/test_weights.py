"""Checkpoints are looked at before they are trusted; pickles are never opened."""

import json

import numpy
import pytest
from safetensors.numpy import save_file

from ropewalk.checkpoints.weights import INDEX, check_safetensors, weight_files
from ropewalk.errors import BadConfig


@pytest.fixture
def folder(tmp_path):
    save_file({"w": numpy.arange(12, dtype=numpy.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def test_whole_weights_pass(folder):
    assert [p.name for p in weight_files(folder)] == ["model.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_truncated_file_is_named(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadConfig, match=r"model\.safetensors is (not a safetensors file|.*truncated or damaged)"):
        weight_files(folder)


@pytest.mark.parametrize(
    "header", [b"\xff" * 8, b"\x05\0\0\0\0\0\0\0[1,2]", b"\x02\0\0\0\0\0\0\0{}junk", b'\x07\0\0\0\0\0\0\0{"w":1}']
)
def test_a_broken_header_is_named(tmp_path, header):
    (tmp_path / "x.safetensors").write_bytes(header)
    with pytest.raises(BadConfig, match=r"x\.safetensors is"):
        check_safetensors(tmp_path / "x.safetensors")


def test_a_pickle_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(BadConfig, match=r"no \*\.safetensors file.\n  It has pytorch_model\.bin, a pickle.*convert it"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("not json", "not a valid index"),
        (json.dumps({"weight_map": {"w": "../../etc/passwd"}}), r"names '\.\./\.\./etc/passwd'; shards must be"),
        (json.dumps({"weight_map": {"w": "model-00002.safetensors"}}), "which is not there: the download is incomplete"),
    ],
)
def test_a_bad_index_is_named(folder, index, message):
    (folder / INDEX).write_text(index)
    with pytest.raises(BadConfig, match=message):
        weight_files(folder)
