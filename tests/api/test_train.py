"""`ropewalk.train` as Python calls it."""

import json
from pathlib import Path

import pytest

import ropewalk
from ropewalk.api.train import train
from ropewalk.errors import RopewalkError
from ropewalk.jobs.train import export, job
from ropewalk.jobs.train.log import TrainEvent, TrainResult
from ropewalk.jobs.train.recipe import Lora, Recipe, Stage, read_recipe
from ropewalk.jobs.train.telling import Telling
from ropewalk.progress import Silent
from support.training import texts, with_tokenizer


@pytest.fixture
def source(tmp_path):
    return with_tokenizer(tmp_path / "source")


class Notes(Silent):
    def __init__(self):
        self.notes, self.stages = [], []

    def begin(self, what, total=None, *, found=False):
        self.stages.append((what, total))

    def note(self, sentence):
        self.notes.append(sentence)


def test_a_run_from_python_tells_of_itself_and_draws_its_losses(source, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "check_export", lambda folder: "checked")
    told = Notes()
    data, held_out = texts(tmp_path / "data"), texts(tmp_path / "held", 3, 4, 200)
    done = ropewalk.train(
        source, tmp_path / "out", data=data, held_out=[held_out], held_out_documents=2, passkeys=0, to="64", steps=2,
        batch=1, dtype="auto", device="cpu", progress=told,
    )  # fmt: skip
    assert (done.steps, done.model) == (2, tmp_path / "out" / "model")
    assert any(note.startswith("ok   documents apart: ") for note in told.notes)
    assert told.notes[-1] == "exported: checked"
    assert ("training", 2) in told.stages
    assert json.loads((tmp_path / "out" / "run.json").read_text())["recipe"]["precision"] == "float32"
    assert set(done.to_dict()) == {"model", "proofs", "steps", "tokens", "thrown_away", "evaluations"}
    assert [row[0] for row in done.table.rows] == ["step 0", "step 2"]
    training, *read = done.figure().data
    assert (list(training.x), list(read[0].x)) == ([1, 2], [0, 2])
    assert "plotly" in done._repr_html_()
    assert "step 2" in done._repr_html_()


def asked(monkeypatch, *args, **fields):
    seen = []
    monkeypatch.setattr(job, "train", lambda recipe, *a, **k: seen.append(recipe) or TrainResult(None, [], 0, 0, 0, []))
    train(*args, **fields)
    return seen[0]


def test_a_recipe_by_name_file_mapping_or_object(monkeypatch, tmp_path):
    text = "model: ropewalk-tiny\ndata: [d]\nstages: [{steps: 5, factor: 2}]\n"
    for path in (tmp_path / "mine.yaml", str(tmp_path / "mine.yaml")):
        Path(path).write_text(text)
        found = [asked(monkeypatch, path), asked(monkeypatch, recipe=path)]
        mapping = {"model": "ropewalk-tiny", "data": ["d"], "stages": [{"steps": 5, "factor": 2}]}
        found += [asked(monkeypatch, recipe=mapping), asked(monkeypatch, recipe=Recipe.model_validate(mapping))]
        assert found == [read_recipe(str(path), {})] * 4
        assert asked(monkeypatch, path, steps=7, to="4k").stages == (Stage(steps=7, to=4096),)
    assert asked(monkeypatch, "m", recipe="tiny-cpu").stages[0].steps == 60
    one = asked(monkeypatch, "m", data="d", stages=[Stage(factor=2), {"to": 64}], lora=Lora(rank=3), options=["beta_fast=16"])
    assert ([s.to for s in one.stages], one.lora.rank) == ([None, 64], 3)
    assert one.stages[0].options == {"beta_fast": 16}
    assert asked(monkeypatch, "m", data="d", lora={"rank": 5}, lora_alpha=2).lora == Lora(rank=5, alpha=2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stepps": 3}, "Did you mean 'steps'"),
        ({"lora_rnk": 3}, "Did you mean 'lora_rank'"),
        ({"steps": "many"}, r"stages\.0\.steps"),
        ({"to": "far"}, "far"),
        ({"options": 3}, "3"),
        ({"data": 3}, "data: a list is wanted"),
        ({"recipe": 3}, "3 is no recipe"),
        ({"recipe": "tiny-cpi"}, "Did you mean 'tiny-cpu'"),
        ({"model": object()}, "save a live model, and give its folder"),
        ({"model": "no/such/model", "data": "d"}, "no/such/model"),
        ({"stages": 3}, "a list of stages is wanted"),
        ({"lora": 3}, "lora"),
        ({"dtype": "int8"}, "precision"),
        ({"dtype": "float32", "precision": "bfloat16"}, "dtype and precision"),
        ({"device": "gpu0"}, "device is 'gpu0'"),
        ({"out": 3}, "3"),
    ],
)
def test_bad_arguments_are_refused_in_our_words(given, words, source, tmp_path):
    given = {
        "model": source,
        "data": texts(tmp_path / "data"),
        "factor": 2,
        "preflight": True,
        "out": tmp_path / "out",
        **given,
    }
    with pytest.raises(RopewalkError, match=words):
        ropewalk.train(given.pop("model"), given.pop("out"), **given)


@pytest.mark.parametrize(
    ("inside", "said"),
    [([2.08], ["plan"]), ([2.01], []), ([2.08, 2.1], ["plan"]), ([2.08, 2.2], ["plan", "alarm"]), ([1.9, 2.05], ["alarm"])],
)
def test_the_plan_is_noted_and_only_what_training_made_worse_is_alarmed(tmp_path, inside, said):
    told = []
    recipe = Recipe(model="m", data=("d",))
    run = job._Run(recipe, tmp_path, job.Parallel(), told.append)
    run.base = 2.0
    for at, nats in enumerate(inside):
        run.evaluations.append({"stage": 0, "inside_window": nats})
        run._alarm(at, 0)
    assert [event.kind for event in told] == said
    watching = Notes()
    for event in told:
        Telling(watching)(TrainEvent(event.kind, event.facts))
    assert [note.split()[0] for note in watching.notes] == ["note" if kind == "plan" else kind for kind in said]
