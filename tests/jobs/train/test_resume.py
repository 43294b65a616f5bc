"""A run that was cut anywhere, by anything, and started again, is the run that was not."""

import os
import signal
from multiprocessing import get_context

import numpy
import pytest
from safetensors.torch import load_file, save_file

from ropewalk.errors import BadConfig, CannotWrite
from ropewalk.jobs.train import checkpoints as keep
from ropewalk.jobs.train import export, job
from ropewalk.jobs.train.log import read_log
from support import processes
from support.training import losses_of, recipe_of, run, texts, with_tokenizer

STAGES = ({"steps": 4}, {"factor": 4, "steps": 3})  # 64 tokens, then 128


@pytest.fixture(autouse=True)
def no_fresh_process(monkeypatch):
    """Each export would start an interpreter; test_export has it."""
    monkeypatch.setattr(export, "check_export", lambda folder: "")


@pytest.fixture(scope="module")
def recipe(source, data):
    held_out = texts(data.parent / "held", seed=9, count=3, words=200)
    return recipe_of(
        source, data, stages=STAGES, held_out=[str(held_out)], held_out_documents=2, passkeys=0, evaluate_every=3, save_every=2
    )


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """The run that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "check_export", lambda folder: "")
        result = run(recipe, out)
    return out, result


def exported(out):
    return load_file(out / "model" / "model.safetensors")


def timeless(log):
    return [{k: v for k, v in line.items() if k not in ("seconds", "peak_bytes")} for line in log]


def assert_same(out, whole):
    assert timeless(read_log(out)) == timeless(read_log(whole))
    for name, weights in exported(whole).items():
        assert weights.equal(exported(out)[name]), name
    assert exported(out).keys() == exported(whole).keys()


def killed(recipe, out, at, in_writing=False):
    """In a process of its own that kills itself: at the event of a step, or when a checkpoint's tensors are written."""

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def work():
        if in_writing:
            write, count = keep._write, [0]

            def half(part, found):
                write(part, found)
                count[0] += "preflight" not in str(part)
                if count[0] == at:
                    die()

            keep._write = half

        def told(event):
            if event.kind == "step" and event.facts["at"] == at and not in_writing:
                die()

        job.train(recipe, out, told)

    child = get_context("fork").Process(target=work)
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    "at", [1, 3, 5, 7]
)  # before any checkpoint; between two; where a new stage began; in the middle of it
def test_a_kill_after_any_step(recipe, whole, tmp_path, at):
    killed(recipe, tmp_path, at)
    told = []
    again = run(recipe, tmp_path, told)
    assert [event.facts["step"] for event in told if event.kind == "resumed"] == {1: [], 3: [2], 5: [4], 7: [6]}[at]
    assert_same(tmp_path, whole[0])
    assert again.evaluations == whole[1].evaluations
    assert (again.steps, again.tokens) == (whole[1].steps, whole[1].tokens) == (7, 2 * (4 * 64 + 3 * 128))


def test_a_kill_while_a_checkpoint_is_written(recipe, whole, tmp_path, capfd):
    killed(recipe, tmp_path, 2, in_writing=True)
    assert [path.name for path in keep.complete(tmp_path)] == ["step-000002"]
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"step-000002", ".part-step-000004"}, "the part is there, under a name that nothing takes for whole"
    (tmp_path / "checkpoints" / ".part-step-000099").mkdir()  # of a step that is not written again
    run(recipe, tmp_path)
    assert_same(tmp_path, whole[0])
    assert not list((tmp_path / "checkpoints").glob(".part-*"))
    said = capfd.readouterr().err
    assert "removed .part-step-000004 (" in said
    assert "removed .part-step-000099 (0 bytes), which a run that was killed had left" in said


def test_an_error_while_a_checkpoint_is_written(recipe, whole, tmp_path, monkeypatch):
    write = keep._write

    def full(part, found):
        write(part, found)
        if part.name.endswith("4"):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keep, "_write", full)
        with pytest.raises(
            CannotWrite, match=r"step 4 was not written: .*No space left(.|\n)*step-000002.*\n?.*start the same command again"
        ):
            run(recipe, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    run(recipe, tmp_path)
    assert_same(tmp_path, whole[0])


def test_a_finished_run_started_again_only_exports(recipe, whole):
    before, log = exported(whole[0]), read_log(whole[0])
    told = []
    run(recipe, whole[0], told)
    assert [event.kind for event in told] == ["export"]
    assert read_log(whole[0]) == log
    assert all(weights.equal(exported(whole[0])[name]) for name, weights in before.items())


def test_dropout_of_adapters_is_the_same_again(source, data, tmp_path):
    """Random numbers are a function of the step: what was drawn before the kill is not drawn again, nor lost."""
    recipe = recipe_of(source, data, lora={"dropout": 0.3})
    run(recipe, tmp_path / "whole")
    killed(recipe, tmp_path / "cut", 3)
    run(recipe, tmp_path / "cut")
    assert_same(tmp_path / "cut", tmp_path / "whole")
    run(recipe_of(source, data, lora={"dropout": 0.0}), tmp_path / "none")
    assert losses_of(read_log(tmp_path / "none")) != losses_of(read_log(tmp_path / "whole"))


def stopping(recipe, out, until):
    """Train in however many processes this is called in, and stop after the checkpoint of a step."""
    export.check_export = lambda folder: ""

    class Enough(Exception):
        pass

    def told(event):
        if event.kind == "checkpoint" and event.facts["at"] == until:
            raise Enough

    try:
        job.train(recipe, out, told)
    except Exception:
        if until is None:
            raise
    return [line for line in losses_of(read_log(out))]


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_going_on_with_another_number_of_processes(source, data, tmp_path, first, then):
    """Sums are added in another order: equal within what the project promises, not bit by bit."""
    recipe = recipe_of(source, data)
    one = processes.run(1, stopping, recipe, tmp_path / "one", None)[0]
    cut = processes.run(first, stopping, recipe, tmp_path / "cut", 4)[0]
    assert [at for at, *_ in cut] == [1, 2, 3, 4]
    found = processes.run(then, stopping, recipe, tmp_path / "cut", None)[0]
    numpy.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-6)
    theirs = exported(tmp_path / "one")
    for name, weights in exported(tmp_path / "cut").items():
        numpy.testing.assert_allclose(weights, theirs[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("change", ["data", "plan", "rate", "model"])
def test_another_run_in_the_same_folder_is_refused(source, data, tmp_path, change):
    recipe = recipe_of(source, data, stages=({"steps": 1},))
    run(recipe, tmp_path / "out")
    if change == "data":
        other, words = (
            recipe_of(source, texts(tmp_path / "other", seed=5), stages=({"steps": 1},)),
            r'data: "\w+" there, "\w+" asked for',
        )
    elif change == "plan":
        other, words = (
            recipe_of(source, data, stages=({"steps": 1, "method": "ntk"},)),
            'stages.0.method: "yarn" there, "ntk" asked for',
        )
    elif change == "rate":
        other, words = (
            recipe_of(source, data, stages=({"steps": 1, "rate": 1e-4},)),
            "recipe.stages.0.rate: 0.003 there, 0.0001 asked for",
        )
    else:
        model = with_tokenizer(tmp_path / "model")
        weights = load_file(model / "model.safetensors")
        save_file({k: v * 1.01 for k, v in weights.items()}, model / "model.safetensors", metadata={"format": "pt"})
        other, words = recipe_of(model, data, stages=({"steps": 1},)), r'model: "\w+" there, "\w+" asked for'
    with pytest.raises(BadConfig, match=words):
        run(other, tmp_path / "out")


def test_what_is_not_computed_may_change(source, data, tmp_path):
    run(recipe_of(source, data), tmp_path, preflight_only=True)
    run(recipe_of(source, data, tiles=2, checkpointing=True, save_every=5, keep=1), tmp_path, preflight_only=True)


def test_a_damaged_checkpoint_is_named(source, data, tmp_path, caplog):
    run(recipe_of(source, data), tmp_path)
    last = keep.complete(tmp_path)[-1]
    shard = next(last.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(BadConfig, match=f"{last.name} cannot be read: .*header"):
        run(recipe_of(source, data), tmp_path)
    assert "Traceback" not in caplog.text, "torch logs what it raises"


def test_only_the_newest_are_kept(source, data, tmp_path):
    run(recipe_of(source, data, keep=2), tmp_path)
    assert [path.name for path in keep.complete(tmp_path)] == ["step-000004", "step-000006"]
