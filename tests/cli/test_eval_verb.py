"""`ropewalk eval` as a person meets it."""

import json
from functools import partial

import pytest

from ropewalk.api.evaluate import _tasks
from ropewalk.measure.task import by_rung, tasks
from support.command import run

SMALL = ("--documents", 2, "--samples", 1, "--depths", 0.5, "--device", "cpu", "--no-speed")


@pytest.fixture
def ropewalk(capsys, monkeypatch):
    return partial(run, capsys, monkeypatch)


def test_it_prints_tables_then_goes_on_as_json_and_refuses_another_request(ropewalk, tmp_path):
    asked = ("eval", "ropewalk-tiny", "--methods", "none,yarn", "--lengths", "256,640", *SMALL, "-o", tmp_path)
    code, out, err = ropewalk(*asked, "--difference", 0.01)
    assert code == 0, err
    for words in (
        "bits per token (perplexity), position",
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

    from ropewalk.engines.transformers.checkpoint import bundled_model

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
        (["ropewalk-tiny", "--lengths", "1"], "a length of 1 holds nothing to predict"),
        (["ropewalk-tiny", "--factor", "2", "--methods", "yarm"], "Did you mean 'yarn'?"),
        (["ropewalk-tiny", "--factor", "2", "--tasks", "paskey"], "Did you mean 'passkey'?"),
        (["ropewalk-tiny", "--factor", "2", "--tasks", "keys-999"], "keys-999: the rungs of keys go from 0 to "),
        (
            ["ropewalk-tiny", "--factor", "2", "--tasks", "keys", "--chat"],
            "this model has no chat template: leave out chat (--chat)",
        ),
        (["ropewalk-tiny", "--factor", "2", "--chat"], "chat (--chat): passkey can only be asked as a base model is"),
        (
            ["ropewalk-tiny", "--factor", "2", "--tasks", "-", "--chat"],
            "chat (--chat) changes nothing here: the tasks are none",
        ),
        (["ropewalk-tiny", "--factor", "2", "--tasks", "niah_multikey_1", "--gap"], "gap (--gap) changes nothing here"),
        (
            ["ropewalk-tiny", "--factor", "2", "--ruler-compat"],
            "the tasks are passkey, and only RULER's tasks can be asked so",
        ),
        (["ropewalk-tiny", "--factor", "2", "--questions", f"qa_1={__file__}"], "only qa_1, qa_2, or ruler, can be asked so"),
        (["ropewalk-tiny", "--factor", "2", "--protocols", "slidin"], "Did you mean 'sliding'?"),
        (["ropewalk-tiny", "--factor", "2", "--data", "nowhere.txt"], "there is no such file or folder"),
        (["ropewalk-tiny", "--factor", "2", "--depths", "0,x"], "depths is '0,x'"),
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


def records(folder):
    return {path.name for path in (folder / "records").iterdir()}


@pytest.mark.parametrize(
    "options",
    [
        ("--methods", "none,window,yarn", "--lengths", "512,700"),
        ("--factor", "2", "--no-tax", "--tasks", "-", "--seed", "3", "--protocols", "prefix:32,64"),
        ("--methods", "own,ntk", "--lengths", "200,300", "--original-length", "128", "--data", "my texts/*.txt", "--depths",
         "0.125", "--gap", "--text-field", "body", "--dtype", "float32", "--attention", "eager"),
        ("--methods", "none", "--plan", "mine.json", "--tokenizer", "tok", "--lengths", "600", "--tasks", "passkey"),
    ],
    ids=["window", "factor", "data", "plan"],
)  # fmt: skip
def test_the_certificates_command_makes_the_same_records(ropewalk, tmp_path, monkeypatch, options):
    """What "To make it again" prints is run as it is printed."""
    import shlex
    import shutil

    from ropewalk.engines.transformers.checkpoint import bundled_model
    from ropewalk.jobs.report.provenance import provenance
    from ropewalk.jobs.report.run_folder import read_run

    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundled_model(), "tok")
    (tmp_path / "my texts").mkdir()
    for i in range(3):
        (tmp_path / "my texts" / f"{i}.txt").write_text(" ".join(f"word{i * j}" for j in range(900)))
    (tmp_path / "mine.json").write_text(ropewalk("plan", "ropewalk-tiny", "--to", "1024", "--json")[1])
    code, _, err = ropewalk("eval", "ropewalk-tiny", *options, *SMALL[:4], "--no-speed", "--device", "cpu", "-o", "RUN")
    assert code == 0, err
    command = provenance(read_run(tmp_path / "RUN"))["commands"][0]
    code, _, err = ropewalk(*shlex.split(command)[1:])
    assert code == 0, err
    assert records(tmp_path / "AGAIN") == records(tmp_path / "RUN")


def test_lengths_within_the_window_are_refused_with_the_way_out(ropewalk, tmp_path):
    code, _, err = ropewalk("eval", "ropewalk-tiny", "--lengths", "128,256", "-o", tmp_path / "out")
    assert code == 2
    for words in (
        "256, is within the 512 tokens",
        "yarn would be the model unchanged",
        "--factor",
        "methods (--methods) none alone",
    ):
        assert words in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_a_plan_that_cannot_be_measured_ends_in_another_exit_code(ropewalk, tmp_path):
    """The first time, and when nothing but it is left to do; what could be measured is printed."""
    plan = json.loads(ropewalk("plan", "ropewalk-tiny", "--to", "1024", "--json")[1])
    plan["plan"]["stretches"]["all"]["rope"]["rope_theta"] = 5e5
    (tmp_path / "other.json").write_text(json.dumps(plan))
    asked = ("eval", "ropewalk-tiny", "--methods", "none", "--plan", tmp_path / "other.json", "--lengths", 600, "--tasks", "-",
             "--no-tax", *SMALL, "-o", tmp_path / "run")  # fmt: skip
    for _ in range(2):
        code, out, err = ropewalk(*asked)
        assert code == 1
        assert "none" in out
        assert "1 of 2 plans could not be measured" in out
        assert "was made for rotary_dim 64 and rope_theta 500000" in " ".join((out + err).split())
    code, out, _ = ropewalk(*asked, "--json")
    assert code == 1
    assert len(json.loads(out)["runs"][0]["failures"]) == 1


def test_perplexity_stands_beside_bits(ropewalk, tmp_path):
    """2 to the power of the bits."""
    import re

    code, out, err = ropewalk("eval", "ropewalk-tiny", "--methods", "none", "--lengths", 300, "--tasks", "-", *SMALL, "-o",
                              tmp_path / "run")  # fmt: skip
    assert code == 0, err
    assert "bits per token (perplexity), position" in out
    pairs = re.findall(r"(\d\.\d{3}) \((\d+\.\d\d)\)", out)
    assert len(pairs) == 2
    assert all(float(ppl) == pytest.approx(2 ** float(bits), rel=2e-3) for bits, ppl in pairs)


def test_help_lists_every_task_that_is_registered():
    listed = _tasks().split(", ")
    named = [by_rung(name)[0] for name, task in tasks().items() if "NVIDIA/RULER" not in task.source]
    assert sorted(listed) == sorted(dict.fromkeys(named))  # a ladder once, without its rungs


def test_a_rung_is_shown_in_the_table_of_its_ladder(ropewalk, tmp_path):
    code, out, err = ropewalk("eval", "ropewalk-tiny", "--methods", "none", "--lengths", 300, "--protocols", "-", "--no-tax",
                              "--tasks", "keys-1,keys-3,quote-2", *SMALL, "-o", tmp_path / "run")  # fmt: skip
    assert code == 0, err
    words = " ".join(out.split())
    assert "% right at 300 keys-1 keys-3 none" in words
    assert "% right at 300 quote-2 none" in words
