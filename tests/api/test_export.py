"""`ropewalk.export` from Python: folders and GGUFs."""

import pytest

import ropewalk
from support.gguf_files import bundled
from support.refusing import NO_LENGTHS, NO_MODELS, NO_PLANS, refuses
from support.watching import Watching


def test_engines_as_words_or_a_list(tmp_path):
    one = ropewalk.export("ropewalk-tiny", "yarn", tmp_path / "one", engines="vllm,mlx", factor=8, versions="vllm=0.29")
    other = ropewalk.export(
        "ropewalk-tiny", ropewalk.plan("ropewalk-tiny", factor=8), str(tmp_path / "other"), engines=["vllm", "mlx"],
        versions={"vllm": "0.29"},
    )  # fmt: skip
    assert one.to_dict()["parts"] == other.to_dict()["parts"]
    carrier = one.written.parts[0].written.carrier
    assert (one.exit_code, one.table.rows) == (0, (("checkpoint", "vllm, mlx_lm", "4,096", carrier),))
    assert (one.out / "checkpoint" / "config.json").is_file()


def test_a_version_that_nobody_looked_at_is_noted(tmp_path):
    made = ropewalk.export("ropewalk-tiny", "yarn", tmp_path / "out", engines="vllm", factor=8, versions="vllm=9.9")
    assert [note for note in made.notes if note.startswith("9.9 is newer than any vLLM that was looked at")]


def test_an_engine_that_refuses(tmp_path):
    plan = ropewalk.plan("ropewalk-tiny", factor=8, options={"truncate": False})
    made = ropewalk.export("ropewalk-tiny", plan, tmp_path / "out", engines=["vllm", "mlx"])
    assert made.exit_code == 1
    assert made.table.notes[0].startswith("refused: mlx")


def test_a_gguf_there_and_back(tmp_path):
    path = bundled(tmp_path / "x.gguf")
    watch = Watching()
    made = ropewalk.export(path, "yarn", tmp_path / "y.gguf", to="2k", progress=watch)
    assert watch.done == watch.total == made.out.stat().st_size
    assert ("llama.context_length", "512", "2048") in made.table.rows
    back = ropewalk.export(str(made.out), restore=True, in_place=True)
    assert (back.plan, back.to_dict()["restored"]) == (None, True)
    assert back.out.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("model", [*NO_MODELS, {"model_type": "llama"}])
def test_what_is_no_model(tmp_path, model):
    refuses(ropewalk.export, model, "yarn", tmp_path / "out", factor=2)


@pytest.mark.parametrize("wrong", [*NO_PLANS, "yarn", None])
def test_what_is_no_plan(tmp_path, wrong):
    refuses(ropewalk.export, "ropewalk-tiny", wrong, tmp_path / "out")
    refuses(ropewalk.export, bundled(tmp_path / "x.gguf"), wrong, tmp_path / "out")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"to": length} for length in NO_LENGTHS), {"engines": 3}, {"engines": "vlm"}, {"engines": ()}, {"versions": 3},
        {"versions": "vllm"}, {"in_place": True}, {"restore": True}, {"out": 3}, {"out": None},
    ],
)  # fmt: skip
def test_other_arguments_of_the_wrong_kind(tmp_path, wrong):
    right = {"out": tmp_path / "out", "factor": None if "to" in wrong else 2}
    refuses(ropewalk.export, "ropewalk-tiny", "yarn", **right | wrong)
