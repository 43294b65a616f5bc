"""`ropewalk train` as a person meets it."""

import inspect
import json

import pytest

from ropewalk.cli import train as verb
from ropewalk.jobs.train import export, job
from ropewalk.jobs.train.recipe import Lora, Recipe, Stage
from support.command import run


@pytest.fixture
def train(capsys, monkeypatch, source, data, tmp_path):
    monkeypatch.setattr(export, "check_export", lambda folder: "checked")
    given = ("--data", data, "--factor", 2, "--steps", 2, "--batch", 1, "-o", tmp_path / "out")
    return lambda *more, model=source, given=given: run(capsys, monkeypatch, "train", model, *given, *more)


def test_every_key_of_a_recipe_is_a_flag():
    flags = set(inspect.signature(verb.run).parameters)
    expected = {*Recipe.model_fields, *Stage.model_fields, *(f"lora_{name}" for name in Lora.model_fields)} - {"stages"}
    assert expected <= flags
    assert flags - expected == {"out", "recipe", "preflight", "json"}
    assert not set(Recipe.model_fields) & set(Stage.model_fields), "one flag would mean two things"


def test_a_flag_of_every_kind_arrives(monkeypatch, tmp_path, capsys):
    seen = []

    def stop(recipe, out, teller, reading, preflight_only):
        seen.append(recipe)
        return job.TrainResult(None, [], 0, 0, 0, [])

    monkeypatch.setattr(job, "train", stop)
    code, out, _ = run(
        capsys, monkeypatch, "train", "m", "--data", "a", "--data", "b", "--to", "4k", "--option", "beta_fast=16", "--length",
        "2k", "--long-share", "0.5", "--pose", "--no-checkpointing", "--lora", "--lora-rank", "4", "--no-lora-also",
        "--precision", "bfloat16", "--save-every", "7", "--track", "tensorboard", "--rate", "1e-4", "--schedule", "cosine",
    )  # fmt: skip
    assert code == 0, out
    (recipe,) = seen
    (stage,) = recipe.stages
    assert (recipe.data, stage.to, stage.factor, stage.length) == (("a", "b"), 4096, None, 2048)
    assert (stage.options, stage.long_share, stage.pose, stage.rate) == ({"beta_fast": 16}, 0.5, True, 1e-4)
    assert (recipe.checkpointing, recipe.lora.rank, recipe.lora.also) == (False, 4, False)
    assert (recipe.precision, recipe.save_every, recipe.track, stage.schedule) == ("bfloat16", 7, ("tensorboard",), "cosine")


def test_a_run_from_end_to_end(train, tmp_path):
    code, out, err = train("--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["steps"], found["tokens"], found["thrown_away"]) == (2, 128, 0)
    assert all(proof["passed"] in (True, None) for proof in found["proofs"])
    assert found["model"] == str(tmp_path / "out" / "model")
    assert "documents apart" in err
    code, out, err = train()
    assert code == 0
    assert "2 steps, 128 tokens" in out


def test_preflight_alone_trains_nothing(train, tmp_path):
    code, out, _ = train("--preflight")
    assert code == 0
    assert "7 proofs: all passed; nothing was trained." in out
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--long-share", "1", "--factor", "64"), "long_share asks for rows of one document"),
        (("--factor", "-2"), "stages.0.factor"),
        (("--rate", "7"), "stages.0.rate"),
        (("--schedule", "steep"), "stages.0.schedule"),
        (("--track", "wandv"), "Did you mean 'wandb'"),
        (("--recipe", "tiny-cpi"), "Did you mean 'tiny-cpu'"),
        (("--to", "long"), "long"),
        (("--method", "yarm"), "Did you mean 'yarn'"),
        (("--option", "beta_quick=3"), "beta_quick"),
        (("--lora", "--lora-targets", "nope"), "no linear layer of this model is called nope"),
        (("--data", "/nowhere/at/all"), "/nowhere/at/all"),
        (("--held-out", "{data}", "--factor", "64"), "2,048"),
        (("--length", "100"), "rows of 100 tokens do not fit"),
        (("--context", "2"), "1 processes do not divide into 2"),
        (("--device", "gpu"), "device is 'gpu', which cannot be used here"),
        (("--data", ""), "no text called ''"),
        (("--held-out", "{data}"), "0.txt and 5 more: trained on, and held out too"),
        (("--lora", "--lora-rank", str(10**12)), "memory ran out"),
    ],
)
def test_bad_input_is_refused_in_our_words(train, data, more, words):
    code, out, err = train(*(str(part).format(data=data) for part in more))
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_a_run_folder_of_another_run(train):
    assert train("--preflight", "--lora", "--lora-targets", "nope")[0] == 2
    assert train()[0] == 0, "nothing was trained there"
    code, _, err = train("--rate", "1e-4")
    assert code == 2
    assert "recipe.stages.0.rate: 2e-05 there, 0.0001 asked for" in err


def test_no_model_and_no_recipe(capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, "train")
    assert code == 2
    assert "model: Field required" in err
    assert "data: Field required" in err
