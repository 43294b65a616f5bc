"""`ropewalk.verify` from Python. The engine is transformers, in a process of its own."""

import sys

import pytest

import ropewalk
from support.refusing import NO_LENGTHS, NO_MODELS, refuses
from support.verifying import extended
from support.watching import Watching


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return extended(tmp_path_factory.mktemp("verify"))


@pytest.fixture(autouse=True)
def no_engines(monkeypatch, tmp_path):
    monkeypatch.setenv("ROPEWALK_ENGINES", str(tmp_path / "no-engines"))


def test_a_folder_is_verified_and_watched(folder):
    watch = Watching()
    done = ropewalk.verify(
        folder, engines=["transformers"], python={"transformers": sys.executable}, tokens="200", device="cpu", progress=watch
    )
    assert (done.exit_code, done.to_dict()["out"]) == (0, str(folder))
    (row,) = done.table.rows
    assert row[2] == "agrees"
    assert done._repr_html_().startswith("<table>")
    assert watch.done == watch.total
    assert watch.notes[-1].endswith("agrees")


def test_an_engine_that_is_not_here_is_code_3(folder):
    done = ropewalk.verify(str(folder), engines="vllm")
    assert (done.exit_code, done.verified, done.absent[0].engine) == (3, (), "vllm")
    assert done.table.rows == (("", "vLLM", "is not here", "", ""),)


@pytest.mark.parametrize("out", [*NO_MODELS, {"model_type": "llama"}, "ropewalk-tiny"])
def test_what_is_nothing_to_verify(out):
    refuses(ropewalk.verify, out)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"tokens": length} for length in NO_LENGTHS), {"tolerance": "x"}, {"timeout": None}, {"engines": 3}, {"python": 3},
        {"python": {"vlm": "x"}}, {"device": "cdua"}, {"dtype": "float3"},
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_kind(folder, wrong):
    refuses(ropewalk.verify, folder, **{"engines": "transformers"} | wrong)
