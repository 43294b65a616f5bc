"""Checkpoints of one process, without a run around them: what is kept, in which order, and what comes back."""

import json

import pytest
import torch

from ropewalk.errors import BadConfig, CannotWrite
from ropewalk.jobs.train import checkpoints as keep
from support.training import one_loop, tiny_llama


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("model"))


def with_loop(source, use):
    return one_loop(source, lambda live, attached: use(live.trained, live.optimizer, live))


def facts(step, **more):
    return {"step": step, "updates": step - 1, "run": "r", **more}


def test_the_newest_by_number_are_kept_and_the_oldest_comes_first(source, tmp_path):
    """By number: as words, step-9 would come after step-100000, and step-999999 after step-1000000."""

    def use(trained, optimizer, live):
        for step in (9, 10, 90_000, 999_999, 1_000_000):
            keep.save(tmp_path, trained, optimizer, facts(step), 3)
        return [path.name for path in keep.complete(tmp_path)]

    assert with_loop(source, use) == ["step-090000", "step-999999", "step-1000000"]


def test_only_what_says_of_itself_what_it_is_counts_as_whole(tmp_path):
    for name in ("step-000002", "step-000004", ".part-step-000006"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-000002" / "checkpoint.json").write_text("{}")
    (tmp_path / "checkpoints" / ".part-step-000006" / "checkpoint.json").write_text("{}")
    assert [path.name for path in keep.complete(tmp_path)] == ["step-000002"]
    assert keep.complete(tmp_path / "nowhere") == []


def test_weights_moments_and_updates_come_back_to_the_bit(source, tmp_path):
    """Updates, not steps: of five steps two were thrown away, and AdamW's bias correction counts three."""

    def use(trained, optimizer, live):
        for _ in range(2):
            live.step()
        before = {name: tensor.clone() for name, tensor in keep.tensors(trained, optimizer).items()}
        folder = keep.save(tmp_path, trained, optimizer, {"step": 5, "updates": 3, "run": "r"}, 1)
        with torch.no_grad():
            for tensor in keep.tensors(trained, optimizer).values():
                tensor.add_(1.0)
        again = keep.load(folder, trained, optimizer)
        after = keep.tensors(trained, optimizer)
        return again, before, after, {float(state["step"]) for state in optimizer.state.values()}

    again, before, after, updates = with_loop(source, use)
    assert again == {"step": 5, "updates": 3, "run": "r"}
    assert updates == {3.0}
    assert {name.partition(".")[0] for name in before} == {"weights", "exp_avg", "exp_avg_sq"}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sum(bool(before[name].any()) for name in before if name.startswith("exp_avg_sq")) > 5


def test_a_fresh_optimiser_is_given_room_for_what_is_loaded(source, tmp_path):
    def save(trained, optimizer, live):
        live.step()
        keep.save(tmp_path, trained, optimizer, facts(1), 1)
        return {name: tensor.clone() for name, tensor in keep.tensors(trained, optimizer).items()}

    def load(trained, optimizer, live):
        keep.load(keep.complete(tmp_path)[0], trained, optimizer)
        return keep.tensors(trained, optimizer)

    saved, loaded = with_loop(source, save), with_loop(source, load)
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_what_cannot_be_written_leaves_nothing_behind_and_names_the_one_before(source, tmp_path, monkeypatch):
    def use(trained, optimizer, live):
        keep.save(tmp_path, trained, optimizer, facts(2), 1)

        def full(part, found):
            (part / "half.safetensors").write_bytes(b"x")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(keep, "_write", full)
        with pytest.raises(CannotWrite, match=r"step 4 was not written: .*No space left(.|\n)*step-000002"):
            keep.save(tmp_path, trained, optimizer, facts(4), 1)
        return [path.name for path in (tmp_path / "checkpoints").iterdir()]

    assert with_loop(source, use) == ["step-000002"]


def test_a_part_that_was_left_is_not_taken_into_the_next(source, tmp_path):
    def use(trained, optimizer, live):
        part = tmp_path / "checkpoints" / ".part-step-000002"
        part.mkdir(parents=True)
        (part / "stale.safetensors").write_bytes(b"x")
        return {path.name for path in keep.save(tmp_path, trained, optimizer, facts(2), 1).iterdir()}

    found = with_loop(source, use)
    assert "stale.safetensors" not in found
    assert "checkpoint.json" in found


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"step": 1, "run": "r"}), json.dumps({"updates": 1, "run": "r"})])
def test_facts_in_part_are_named(tmp_path, text):
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(BadConfig, match=r"checkpoint\.json is not what a checkpoint says of itself"):
        keep.read_facts(tmp_path)
