"""What a run does with bad input, bad numbers, a full disk and a process that dies: words, and nothing half done."""

import json
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from ropewalk.errors import BadConfig, BadLength, BadOption, CannotWrite, NotFinite, RopewalkError, Stopped, UnknownName
from ropewalk.jobs.train import checkpoints as keep
from ropewalk.jobs.train import export, job, loop
from ropewalk.jobs.train.data.packing import PackedRow
from ropewalk.jobs.train.log import read_log
from support import processes
from support.training import one_loop, recipe_of, run, tiny_llama


@pytest.fixture(autouse=True)
def no_fresh_process(monkeypatch):
    monkeypatch.setattr(export, "check_export", lambda folder: "")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    return place


def refused(kind, words, recipe, out):
    with pytest.raises(kind, match=words):
        run(recipe, out)
    assert not keep.complete(out)
    assert not (out / "model").exists()


def test_documents_shorter_than_the_window(source, folder, tmp_path):
    (folder / "a.txt").write_text("short words only")
    refused(
        BadConfig,
        "no document has the 64 tokens of a row",
        recipe_of(source, folder, stages=({"long_share": 1},)),
        tmp_path / "o",
    )
    refused(BadConfig, "fewer than the 64 of one row", recipe_of(source, folder), tmp_path / "o")


@pytest.mark.parametrize("content", [b"", b" \n\n", b"caf\xe9 " * 99])
def test_nothing_to_read(source, folder, tmp_path, content):
    (folder / "a.txt").write_bytes(content)
    refused(BadConfig, "a.txt", recipe_of(source, folder), tmp_path / "o")


def test_no_such_data(source, tmp_path):
    refused(BadConfig, "nowhere", recipe_of(source, tmp_path / "nowhere"), tmp_path / "o")


def test_special_tokens_in_a_text_are_text(source, data, folder, tmp_path):
    """A document that spells the end of documents does not end there."""
    text = (data / "0.txt").read_text()
    (folder / "a.txt").write_text(text + " <|endoftext|> <s> </s> " + text)
    run(recipe_of(source, folder, stages=({"steps": 1},)), tmp_path / "o", preflight_only=True)
    index = json.loads(next((tmp_path / "o" / "data").glob("*/index.json")).read_text())
    assert index["documents"] == 1


def test_labels_all_masked(tmp_path):
    class Ones:
        length = 256

        def row(self, number):
            return PackedRow(torch.arange(256).numpy(), (1,) * 256)

    with pytest.raises(BadConfig, match="step 1 predicts nothing"):
        one_loop(tiny_llama(tmp_path), lambda live, _: live.step(), packing=Ones())


@pytest.mark.parametrize(
    ("stage", "more", "kind", "words"),
    [
        ({"length": 65}, {}, BadLength, "rows of 65 tokens do not fit a plan that reaches 64"),
        ({"length": 62}, {"context": 2}, BadLength, "rows of 62 tokens do not divide by 4"),
        ({"method": "yarm"}, {}, UnknownName, "Did you mean 'yarn'"),
        ({"method": "dynamic-yarn-causal-2"}, {"context": 2}, BadOption, "cannot share a row"),
        ({"batch": 3}, {}, BadOption, "a step of 3 rows does not divide over 2 groups"),
    ],
)
def test_shapes_that_do_not_fit(source, data, tmp_path, stage, more, kind, words):
    """As one of two processes would say it, before it meets the other."""
    pair = job.Parallel(world=2, context=more.get("context", 1))
    recipe = recipe_of(source, data, stages=(stage,), **more)
    with pytest.raises(kind, match=words):
        job._Run(recipe, tmp_path, pair, lambda event: None).go(False)


def test_odd_rows_on_one_process(source, data, tmp_path):
    assert run(recipe_of(source, data, stages=({"length": 63, "steps": 1},)), tmp_path).tokens == 126


@pytest.mark.parametrize("inside", [False, True])
def test_packed_weights(source, data, tmp_path, inside):
    """transformers 5.23 packs fp8 weights again in save_pretrained: three bits of each number are kept, 6 % steps."""
    place, packed = tmp_path / "packed", {"quantization_config": {"quant_method": "fp8"}}
    shutil.copytree(source, place)
    config = json.loads((place / "config.json").read_text())
    config = {"model_type": "llava", "text_config": config | packed} if inside else config | packed
    (place / "config.json").write_text(json.dumps(config))
    refused(BadConfig, r"has packed weights \(quantization_config: fp8\)", recipe_of(place, data), tmp_path / "out")


def test_an_unknown_tracker(source, data, tmp_path):
    refused(UnknownName, "Did you mean 'wandb'", recipe_of(source, data, track=["wandv"]), tmp_path)


def test_a_file_in_the_folders_place(source, data, tmp_path):
    (tmp_path / "o").write_text("mine")
    with pytest.raises(CannotWrite, match="is a file"):
        run(recipe_of(source, data), tmp_path / "o")
    with pytest.raises(CannotWrite, match="cannot be written: Not a directory"):
        run(recipe_of(source, data), tmp_path / "o" / "below")
    assert (tmp_path / "o").read_text() == "mine"


def poisoned(monkeypatch, steps):
    """The gradients of these steps are NaN, as after an overflow. Counted from 1, whatever the proofs do before."""
    step = loop.Loop.step

    def bad(self):
        gradients = loop.Loop.gradients

        def nan(live, rows):
            found = gradients(live, rows)
            next(iter(live.trained.weights.values())).grad[0, 0] = float("nan")
            return found

        if self.progress.step + 1 in steps:
            with monkeypatch.context() as patch:
                patch.setattr(loop.Loop, "gradients", nan)
                return step(self)
        return step(self)

    monkeypatch.setattr(loop.Loop, "step", bad)


def test_a_step_without_numbers_is_thrown_away(source, data, tmp_path, monkeypatch):
    poisoned(monkeypatch, {2, 3, 5})
    weights = []

    def told(event):
        if event.kind == "checkpoint":
            weights.append(keep.read_facts(keep.complete(tmp_path)[-1]))

    result = job.train(recipe_of(source, data, save_every=1, keep=9), tmp_path, told)
    assert result.thrown_away == 3
    assert [facts["updates"] for facts in weights] == [1, 1, 1, 2, 2, 3]
    log = [line for line in read_log(tmp_path) if "loss" in line]
    assert [line["at"] for line in log if "skipped" in line] == [2, 3, 5]
    assert "gradient norm of step 2 is not a number" in log[1]["skipped"]
    assert "the weights are as before (1 such steps so far)" in log[1]["skipped"]
    assert log[1]["gradient_norm"] is None
    assert "NaN" not in (tmp_path / "log.jsonl").read_text(), "which JSON does not know"
    first, second = (
        {k: v for f in p.glob("*.safetensors") for k, v in load_file(f).items()} for p in keep.complete(tmp_path)[:2]
    )
    assert all(first[name].equal(second[name]) for name in first), "weights and moments"


def test_the_third_in_a_row_stops(source, data, tmp_path, monkeypatch):
    poisoned(monkeypatch, {4, 5, 6})
    with pytest.raises(NotFinite, match=r"3 steps in a row(.|\n)*--rate(.|\n)*last good checkpoint is .*step-000003"):
        run(recipe_of(source, data, save_every=3), tmp_path)
    with pytest.raises(NotFinite, match="nothing was saved yet"):
        poisoned(monkeypatch, {1, 2, 3})
        run(recipe_of(source, data, save_every=4), tmp_path / "new")


def test_a_nan_loss_is_called_by_its_name(tmp_path):
    def use(live, _):
        attempt = live.losses
        live.losses = lambda layout: attempt(layout) * float("nan")
        before = [p.detach().clone() for p in live.trained.weights.values()]
        line = live.step()
        assert all(p.equal(b) for p, b in zip(live.trained.weights.values(), before, strict=True))
        return line

    line = one_loop(tiny_llama(tmp_path), use)
    assert "the loss of step 1 is not a number" in line["skipped"]
    assert line["loss_by_length"] == {}


def limited(recipe, out, size, after=2):
    """No file of this process may grow beyond `size` bytes once the checkpoint of a step is there: as on a full disk."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def told(event):
        if event.kind == "checkpoint" and event.facts["at"] == after:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    try:
        job.train(recipe, out, told)
    except RopewalkError as error:
        return type(error).__name__, str(error)
    return "", ""


@pytest.mark.parametrize("world", [1, 2])
def test_a_disk_that_fills(source, data, tmp_path, world):
    for kind, said in processes.run(world, limited, recipe_of(source, data), tmp_path, 50_000):
        assert kind == "CannotWrite", said
        assert "the checkpoint of step 4 was not written" in said
        assert "step-000002" in said
        assert "start the same command again" in said
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    assert run(recipe_of(source, data), tmp_path).steps == 6


def blocked(recipe, out):
    """Only the first process makes the folder of a checkpoint, and here it cannot."""
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    (out / "checkpoints" / ".part-step-000004").write_text("in the way")
    try:
        job.train(recipe, out, lambda event: None)
    except RopewalkError as error:
        return type(error).__name__, str(error)


def test_a_folder_that_cannot_be_made_stops_everyone(source, data, tmp_path):
    said = processes.run(2, blocked, recipe_of(source, data), tmp_path, seconds=40)
    assert [kind for kind, _ in said] == ["CannotWrite"] * 2
    assert "step-000002" in said[1][1]


def test_a_disk_that_fills_under_the_export(source, data, tmp_path):
    ((kind, said),) = processes.run(1, limited, recipe_of(source, data), tmp_path, 300_000, 6)
    assert kind == "CannotWrite", said
    assert "start the same command again, and it exports" in said
    assert not (tmp_path / "model").exists()
    told = []
    run(recipe_of(source, data), tmp_path, told)
    assert [event.kind for event in told] == ["export"]


def test_a_disk_that_fills_under_the_log(source, data, tmp_path):
    ((kind, said),) = processes.run(1, limited, recipe_of(source, data), tmp_path, 10)
    assert kind == "CannotWrite", said
    assert "log.jsonl was not written" in said
    assert "goes on from its last checkpoint" in said


def dying(recipe, out, how):
    """Process 1 goes at its third step. What process 0 says, and how long it took to."""
    rank, step = int(os.environ["RANK"]), loop.Loop.step

    def bad(self):
        if rank and self.progress.step == 2:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a card fell off the bus")
        times.append(time.monotonic())
        return step(self)

    loop.Loop.step, times = bad, []
    try:
        job.train(recipe, out, lambda event: None)
    except Stopped as error:
        return str(error), time.monotonic() - times[-1]
    except ValueError:
        return "", 0.0


def test_a_process_that_fails_is_named_by_the_others(source, data, tmp_path):
    said, took = processes.run(2, dying, recipe_of(source, data), tmp_path, "raise")[0]
    assert "process 1: ValueError: a card fell off the bus" in said
    assert took < 60
    assert run(recipe_of(source, data), tmp_path).steps == 6


def test_a_process_that_is_killed_stops_the_others(source, data, tmp_path):
    said, took = processes.run(2, dying, recipe_of(source, data), tmp_path, "kill", may_die=True)[0]
    assert "another process of this run" in said
    assert "from its last checkpoint" in said
    assert took < 60
