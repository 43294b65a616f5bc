"""A GGUF in several files is stretched in its first alone. That llama.cpp loads it: tests/jobs/verify/test_engines.py."""

import gguf
import numpy as np
import pytest

import ropewalk
from ropewalk.checkpoints.gguf import open_gguf, restore_gguf, stretch_gguf
from ropewalk.errors import BadConfig, BadOption, CannotExpress, OutputExists
from ropewalk.scaling.plan import make_plan
from support import gguf_files
from support.gguf_files import contents, in_parts


@pytest.fixture
def whole(tmp_path):
    return gguf_files.bundled(tmp_path / "whole.gguf")


@pytest.fixture
def parts(whole, tmp_path):
    return in_parts(whole, tmp_path / "x", (9, 30))


def plan_for(path, method):
    return make_plan(open_gguf(path).spec(), factor=8, method=method)


@pytest.mark.parametrize("method", ["yarn", "llama3"])  # by keys, and by a list of factors
def test_a_copy_is_what_the_whole_would_be(whole, parts, tmp_path, method):
    """Expected: the whole file, stretched, and cut at the same tensors by the gguf package."""
    plan = plan_for(whole, method)
    stretched = stretch_gguf(open_gguf(whole), plan, tmp_path / "s.gguf").out
    model = open_gguf(parts[1])  # by any of its parts
    assert model.spec().ropes == open_gguf(whole).spec().ropes
    done = stretch_gguf(model, plan, tmp_path / "y.gguf")

    assert done.out == tmp_path / "y-00001-of-00003.gguf"
    ours = [done.out, *(tmp_path / f"y-{i:05d}-of-00003.gguf" for i in (2, 3))]
    assert [path.read_bytes() for path in ours[1:]] == [path.read_bytes() for path in parts[1:]]
    wanted = contents(stretched)
    keys = {name: value for name, value in contents(ours[0])[0].items() if not name.startswith(("ropewalk.", "split."))}
    assert keys == {name: value for name, value in wanted[0].items() if not name.startswith("ropewalk.")}
    assert {name: tensor for path in ours for name, tensor in contents(path)[1].items()} == wanted[1]
    count = gguf.GGUFReader(ours[0]).fields["split.tensors.count"]
    assert count.contents() == len(wanted[1])  # or llama.cpp says: corrupted model
    assert count.types == [gguf.GGUFValueType.INT32]

    again = restore_gguf(ours[0], tmp_path / "z.gguf")
    assert again == tmp_path / "z-00001-of-00003.gguf"
    for i, part in enumerate(parts, 1):
        assert (tmp_path / f"z-{i:05d}-of-00003.gguf").read_bytes() == part.read_bytes()


def test_in_place_the_first_alone_is_written(parts):
    before = [(path.read_bytes(), path.stat().st_ino) for path in parts]
    done = ropewalk.export(parts[0], "yarn", factor=8, in_place=True)
    assert done.out == parts[0]
    assert parts[0].read_bytes() != before[0][0]
    assert [(path.read_bytes(), path.stat().st_ino) for path in parts[1:]] == before[1:]
    assert ropewalk.read(parts[2]).scaling[0][1].method == "yarn"
    ropewalk.export(parts[2], restore=True, in_place=True)
    assert parts[0].read_bytes() == before[0][0]


def test_nothing_is_written_over_and_no_mixture_is_left(parts, tmp_path):
    plan = plan_for(parts[0], "yarn")
    (third := tmp_path / "y-00003-of-00003.gguf").write_bytes(b"old")
    with pytest.raises(OutputExists, match=r"y-00003-of-00003\.gguf exists already"):
        stretch_gguf(open_gguf(parts[0]), plan, tmp_path / "y.gguf")
    assert sorted(path.name for path in tmp_path.glob("y*")) == [third.name]
    stretch_gguf(open_gguf(parts[0]), plan, tmp_path / "y-00001-of-00003.gguf", force=True)
    assert third.read_bytes() == parts[2].read_bytes()

    model = open_gguf(parts[0])
    parts[2].write_bytes(parts[2].read_bytes()[:-100])  # cut off since
    with pytest.raises(BadConfig, match="lies beyond its end"):
        stretch_gguf(model, plan, tmp_path / "y.gguf", force=True)
    assert not (tmp_path / "y-00001-of-00003.gguf").exists()  # beside parts of two models it would look whole


def test_names_and_places_that_cannot_be(parts, tmp_path):
    model, plan = open_gguf(parts[0]), plan_for(parts[0], "yarn")
    for name in ("y-00002-of-00003.gguf", "y-00001-of-00004.gguf"):
        with pytest.raises(BadOption, match=r"would be a part of another model: this one is in 3 files. Name it x\.gguf"):
            stretch_gguf(model, plan, tmp_path / name)
    with pytest.raises(BadOption, match="is the file itself"):
        stretch_gguf(model, plan, tmp_path / "x.gguf", force=True)


def test_factors_in_a_later_part_are_read_and_not_changed(tmp_path):
    """As `llama-gguf-split --no-tensor-first-split` lays them."""
    factors = np.where(np.arange(32) < 16, 1.0, 8.0)
    whole = gguf_files.bundled(tmp_path / "whole.gguf", factors=factors)
    first, *_ = in_parts(whole, tmp_path / "x", (0,))
    assert open_gguf(first).found["rope_freqs.weight"] == list(factors)
    assert open_gguf(first).spec(512) == open_gguf(whole).spec(512)
    plan = make_plan(open_gguf(first).spec(512), factor=8, method="yarn")
    with pytest.raises(CannotExpress, match=r"rope_freqs\.weight is in a later part(.|\n)*llama-gguf-split --merge"):
        stretch_gguf(open_gguf(first), plan, tmp_path / "y.gguf")


def test_a_part_under_another_name(tmp_path):
    path = gguf_files.bundled(tmp_path / "x.gguf", **{"split.count": 2})
    with pytest.raises(BadConfig, match="says that its model is in 2 files, and it is 1 by its name"):
        open_gguf(path)
