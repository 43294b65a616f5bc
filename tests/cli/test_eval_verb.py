"""`ropewalk eval` as a person meets it."""

import json
from functools import partial

import pytest

from command import run

SMALL = ("--documents", 2, "--samples", 1, "--depths", 0.5, "--device", "cpu", "--no-speed")


@pytest.fixture
def ropewalk(capsys, monkeypatch):
    return partial(run, capsys, monkeypatch)


def test_it_prints_tables_then_goes_on_as_json_and_refuses_another_request(ropewalk, tmp_path):
    asked = ("eval", "ropewalk-tiny", "--methods", "none,yarn", "--lengths", "256,640", *SMALL, "-o", tmp_path)
    code, out, err = ropewalk(*asked, "--difference", 0.01)
    assert code == 0, err
    for words in (
        "bits per token, position",
        "passkey, % right",
        "inside the original length",
        "yarn against none",
        "0 of them",
    ):
        assert words in " ".join(out.split())
    code, out, _ = ropewalk(*asked, "--json")
    assert code == 0
    (run,) = json.loads(out)["runs"]
    assert (run["records"], run["found"]) == (2 * (2 + 2) + 2, 2 * (2 + 2) + 2)  # documents and samples, and the tax of yarn
    assert list(run["bits_per_token"]["position:0,256,512,640"]["yarn"]) == ["0-256", "256-512", "512-640"]
    assert 0 < run["tax"]["yarn"]["kl"] < 1
    assert run["tax"].keys() == {"yarn"}
    code, out, err = ropewalk(*asked, "--seed", 1)
    assert (code, out) == (2, "")
    assert "holds another run" in err
    assert "seed: 0 there, 1 asked for" in err


def test_several_models_get_a_folder_each(ropewalk, tmp_path):
    import shutil

    from ropewalk.scaling.checkpoint import bundled_model

    shutil.copytree(bundled_model(), tmp_path / "other")
    code, out, err = ropewalk(
        "eval", "ropewalk-tiny", tmp_path / "other", "--methods", "none", "--lengths", 300, "--tasks", "passkey", *SMALL,
        "--no-tax", "-o", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert [run["out"].rpartition("/")[2] for run in json.loads(out)["runs"]] == ["ropewalk-tiny", "other"]
    assert (tmp_path / "runs" / "other" / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no/such/model/here", "--factor", "2"], "no such folder or file"),
        (["ropewalk-tiny"], "Give --lengths, such as 4k,8k,16k, or --factor"),
        (["ropewalk-tiny", "--factor", "2", "--methods", "yarm"], "Did you mean 'yarn'?"),
        (["ropewalk-tiny", "--factor", "2", "--tasks", "paskey"], "Did you mean 'passkey'?"),
        (["ropewalk-tiny", "--factor", "2", "--protocols", "slidin"], "Did you mean 'sliding'?"),
        (["ropewalk-tiny", "--factor", "2", "--data", "nowhere.txt"], "there is no such file or folder"),
        (["ropewalk-tiny", "--factor", "2", "--depths", "0,x"], "--depths is '0,x'"),
        (["ropewalk-tiny", "--factor", "2", "--questions", "qa_1=no.json"], "with a file that is there"),
        (["ropewalk-tiny", "--lengths", "1m"], "0 have the 1,048,576 tokens that are read, 12 were asked for"),
        (["ropewalk-tiny", "--lengths", "4k", "--factor", "2"], "beyond the 1,024 tokens that the plans reach"),
        (["ropewalk-tiny", "--factor", "2", "--dtype", "float8"], "dtype is 'float8'"),
        (["ropewalk-tiny", "--factor", "2", "--device", "toaster"], "device is 'toaster', which cannot be used here"),
    ],
)
def test_bad_input_is_one_clear_message_and_exit_code_2(ropewalk, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = ropewalk("eval", *args, "-o", tmp_path / "out")
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "records").exists()
