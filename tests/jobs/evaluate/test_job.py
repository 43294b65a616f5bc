"""A run from request to report on the bundled model, broken off in every way a run can be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy
import pytest
import torch

from ropewalk.api.arguments import as_protocols
from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import BadConfig, BadOption, CannotAttach, NotFinite
from ropewalk.jobs.evaluate import job
from ropewalk.jobs.evaluate.job import evaluate, run_folders
from ropewalk.jobs.evaluate.prepare import prepare, spelled_out
from ropewalk.jobs.evaluate.request import EvalRequest
from ropewalk.measure.records import Record, Records
from ropewalk.models.load import load_model
from ropewalk.models.source import Source
from support.watching import Watching

SMALL = dict(
    model="ropewalk-tiny", methods=("none", "dynamic-request"), lengths=(256, 640), documents=3, tasks=("passkey",),
    samples=2, depths=(0.5,), speed=False, tax=False, device="cpu",
)  # fmt: skip
# The same, for a process of its own: `python -c CHILD folder`.
CHILD = f"""
import sys
from pathlib import Path
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.request import EvalRequest
from ropewalk.jobs.evaluate.workers import workers
with workers(silence=60) as ours:
    evaluate(Path(sys.argv[1]), EvalRequest(**{SMALL!r}), workers=ours)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its folder, outcome, and what its progress bar was told."""
    folder = tmp_path_factory.mktemp("whole")
    start = Watching(folder)
    return folder, evaluate(folder, EvalRequest(**SMALL), start), start


def same_records(a, b):
    """Keys and facts to the letter, losses to float32's order of sums."""
    first, second = list(Records(a / "records")), list(Records(b / "records"))
    assert [r.key for r in first] == [r.key for r in second]
    for x, y in zip(first, second, strict=True):
        assert x.facts == y.facts
        assert abs(x.nll - y.nll).max() <= 1e-5


def test_the_folder_holds_everything_and_run_json_came_first(whole):
    folder, outcome, start = whole
    assert start.listed == {"run.json", "plans"}
    assert {path.name for path in folder.iterdir()} == {"run.json", "plans", "records", "report.html"}
    assert {path.name for path in (folder / "plans").iterdir()} == {"none.json", "dynamic-request.json"}
    # three documents, once under `none` and once per upper edge under a dynamic plan; 2 lengths x 2 samples x 2 plans
    assert {r.key.protocol for r in outcome.records} == {"window", "passkey"}
    passkeys = [r for r in outcome.records if r.key.protocol == "passkey"]
    assert len(passkeys) == 8
    assert sum(r.key.method == "none" for r in outcome.records) == 3 + 4
    assert len(outcome.records) == 3 + 3 * 2 + 8  # one scale up to 512, one up to 640
    assert start.done == pytest.approx(start.total)
    assert not outcome.failures


def test_run_json_says_what_could_make_a_difference(whole):
    folder, outcome, _ = whole
    facts = json.loads((folder / "run.json").read_text())
    assert facts["model_hash"] == outcome.records[0].key.model
    assert set(facts["plans"].values()) == {r.key.plan for r in outcome.records}
    assert facts["protocols"] == ["position:0,256,512,640"]
    assert {d["name"] for d in facts["documents"]} == {r.facts["document"] for r in outcome.records if "document" in r.facts}
    assert facts["versions"]["torch"] == torch.__version__
    assert (facts["device"], facts["dtype"], facts["seed"]) == ("cpu", "float32", 0)


def test_a_second_call_reads_nothing_again(whole, monkeypatch):
    folder, outcome, _ = whole
    monkeypatch.setattr(Source, "load", lambda *a, **k: pytest.fail("the weights are not needed"))
    again = evaluate(folder, EvalRequest(**SMALL))
    assert again.found == len(again.records) == len(outcome.records)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lengths": (256, 600)}, r"lengths: \[256, 640\] there, \[256, 600\] asked for"),
        ({"methods": ("none",)}, "plans: "),
        ({"seed": 1}, "seed: 0 there, 1 asked for"),
        ({"samples": 1}, "samples: 2 there, 1 asked for"),
        ({"methods": ("none", "yarn")}, "plans: "),
        ({"dtype": "bfloat16"}, 'dtype: "float32" there, "bfloat16" asked for'),
    ],
)
def test_another_request_is_refused_by_what_differs(whole, change, told):
    with pytest.raises(BadConfig, match=f"holds another run; what differs:\n(.*\n)*  {told}"):
        evaluate(whole[0], EvalRequest(**{**SMALL, **change}), Watching())


def test_the_same_model_elsewhere_goes_on(whole, tmp_path, monkeypatch):
    """A run that was carried to another machine, or a model that was moved."""
    monkeypatch.setattr(Source, "load", lambda *a, **k: pytest.fail("the weights are not needed"))
    moved = shutil.copytree(bundled_model(), tmp_path / "moved")
    again = evaluate(whole[0], EvalRequest(**{**SMALL, "model": str(moved)}))
    assert again.found == len(again.records)
    with (moved / "generation_config.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(BadConfig, match=r"holds another run; what differs:\n  checkpoint: "):
        evaluate(whole[0], EvalRequest(**{**SMALL, "model": str(moved)}))


def test_a_run_asked_for_more_reads_what_is_new_alone_and_is_the_larger_run(whole, tmp_path):
    small = {**SMALL, "methods": ("none",), "documents": 2, "samples": 1}
    began = evaluate(tmp_path, EvalRequest(**small))
    outcome = evaluate(tmp_path, EvalRequest(**SMALL))
    assert outcome.found == len(began.records) == 2 + 2
    same_records(tmp_path, whole[0])
    assert (tmp_path / "run.json").read_bytes() == (whole[0] / "run.json").read_bytes()
    with pytest.raises(BadConfig, match="for the same or, with the rest as it is, for more,"):
        evaluate(tmp_path, EvalRequest(**small))


@pytest.mark.parametrize("fixed", [{"protocols": ("llama.cpp:256",)}, {"stop_early": True}])
def test_documents_that_are_read_as_one_or_in_a_drawn_order_do_not_grow(tmp_path, fixed):
    """Of three documents in a row llama.cpp's chunks are others than of two: with those of the two still there, `none` at 512
    was 2.575 bits where a run of its own says 2.649. And a second order of documents is a second look, not the same one."""
    small = {**SMALL, "tasks": (), "documents": 3, **fixed}
    first = evaluate(tmp_path, EvalRequest(**small))
    with pytest.raises(BadConfig, match=r"holds another run(.|\n)*  documents: "):
        evaluate(tmp_path, EvalRequest(**{**small, "documents": 4}))
    more = evaluate(tmp_path, EvalRequest(**{**small, "tasks": ("passkey",)}))  # what else there is does
    assert len(more.records) == len(first.records) + 8


def test_samples_hidden_in_other_texts_are_another_run(tmp_path):
    """A text too short to be read as a document is part of what pass keys are hidden in: with it every sample is another.
    `none` had two answers then and `yarn`, asked for later, one, of which no two were to the same sample."""
    data, out = tmp_path / "texts", tmp_path / "run"
    data.mkdir()
    for i in range(2):
        (data / f"{i}.txt").write_text(f"line of text {i}\n" * 600)
    small = {**SMALL, "methods": ("none",), "data": (str(data),), "documents": 2, "samples": 1, "lengths": (640,)}
    evaluate(out, EvalRequest(**small))
    before = (out / "run.json").read_bytes()
    (data / "added.txt").write_text("a word more\n")
    for methods in (("none",), ("none", "yarn")):
        with pytest.raises(
            BadConfig, match=r"holds answers \(1\) to other samples of passkey than are drawn now(.|\n)*old texts"
        ):
            evaluate(out, EvalRequest(**{**small, "methods": methods}))
    assert (out / "run.json").read_bytes() == before
    (data / "added.txt").unlink()
    found = evaluate(out, EvalRequest(**{**small, "methods": ("none", "yarn"), "samples": 2})).records
    assert sum(r.key.protocol == "passkey" for r in found) == 4


def test_a_protocol_that_reads_beyond_every_plan_is_told():
    """Its lengths were taken without a word; the same length under --lengths is refused."""

    def notes(protocol):
        request = EvalRequest(**{**SMALL, "tasks": (), "protocols": (protocol,)})
        return prepare(request, Source("ropewalk-tiny"), lambda sentence: None).notes

    assert [notes(protocol) for protocol in ("position", "lm-eval:640")] == [[], []]
    (said,) = notes("position:0,1500")
    assert said.startswith("position:0,1500 reads 1,500 tokens, beyond the 640 that the plans reach")


def test_speeds_that_are_compared_were_measured_in_turns(tmp_path, monkeypatch):
    """Also where a plan is asked for later: a machine that is busier by then, or another one, would stand beside it as its
    slowness. A run that has all of them is not measured again."""
    made = []

    def measured(model, attached, key, facts, *, warm):
        made.append(f"{key.item} {key.method}")
        return Record(key, numpy.zeros(0), {"length": key.length, "prefill_tokens_per_second": float(len(made))})

    monkeypatch.setattr(job, "measure_speed", measured)
    small = {**SMALL, "methods": ("none",), "documents": 2, "tasks": (), "speed": True}
    evaluate(tmp_path, EvalRequest(**small))
    assert made == [f"repeat-{i} none" for i in range(3)]
    made.clear()
    both = EvalRequest(**{**small, "methods": ("none", "linear")})
    found = evaluate(tmp_path, both).to_dict()["speed"]
    assert made == [f"repeat-{i} {name}" for i in range(3) for name in ("none", "linear")]
    assert [found[name]["prefill_tokens_per_second"] for name in ("none", "linear")] == [3.0, 4.0]  # medians of 1 3 5, 2 4 6
    made.clear()
    evaluate(tmp_path, EvalRequest(**{**small, "methods": ("none", "linear"), "documents": 3}))
    assert not made


def test_speeds_that_were_broken_off_are_all_measured_again(tmp_path, monkeypatch):
    """Killed at the second of four: the first of them stood beside three that are older."""
    stop, made = [], []

    def measured(model, attached, key, facts, *, warm):
        made.append(key)
        if len(made) in stop:
            raise KeyboardInterrupt
        return Record(key, numpy.zeros(0), {"length": key.length, "prefill_tokens_per_second": float(len(made))})

    monkeypatch.setattr(job, "measure_speed", measured)
    small = {**SMALL, "documents": 2, "tasks": (), "speed": True}
    evaluate(tmp_path, EvalRequest(**small))
    next(path for key in made if (path := Records(tmp_path / "records").path(key)).exists()).unlink()
    stop.append(len(made) + 2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, EvalRequest(**small))
    stop.clear()
    made.clear()
    evaluate(tmp_path, EvalRequest(**small))
    assert len(made) == len(set(made)) == 6


def test_a_run_killed_at_any_moment_goes_on_to_the_same_records(whole, tmp_path):
    """kill -9, once before the first record and once between records."""
    for round_, wanted in enumerate((0, 4)):
        child = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 240
            while (len(list((tmp_path / "records").glob("*.safetensors"))) < wanted) or not (tmp_path / "run.json").exists():
                assert child.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert not (tmp_path / "report.html").exists(), round_
    outcome = evaluate(tmp_path, EvalRequest(**SMALL))
    assert 4 <= outcome.found < len(whole[1].records)
    same_records(tmp_path, whole[0])
    assert not list((tmp_path / "records").glob("*.part-*"))


def test_two_processes_make_the_records_of_one(whole, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", tmp_path / "child.py"]
    (tmp_path / "child.py").write_text(CHILD)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, tmp_path / "run"], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    same_records(tmp_path / "run", whole[0])
    assert (tmp_path / "run" / "report.html").exists()


def test_a_plan_that_gives_no_numbers_is_given_up_and_the_others_are_kept(tmp_path, monkeypatch):
    real = job.measure

    def broken(model, plan, *args, **kwargs):
        if plan.name == "none":
            raise NotFinite("the loss of 3 tokens is not a number")
        real(model, plan, *args, **kwargs)

    monkeypatch.setattr(job, "measure", broken)
    watching = Watching()
    outcome = evaluate(tmp_path, EvalRequest(**SMALL), watching)
    assert outcome.failures == ["the loss of 3 tokens is not a number"]
    assert {r.key.method for r in outcome.records} == {"dynamic-request"}
    assert "none is given up: the loss of 3 tokens is not a number" in watching.notes
    monkeypatch.setattr(job, "measure", lambda *a, **k: broken(None, outcome.prepared.plans["none"]))
    with pytest.raises(NotFinite):
        evaluate(tmp_path / "all", EvalRequest(**SMALL), Watching())


def test_a_plan_that_the_model_cannot_take_is_told_before_anything_is_read(tmp_path, monkeypatch):
    real, seen = job.attach, []

    def attach(model, plan):
        if plan.name == "yarn":
            raise CannotAttach("it does not fit.")
        return real(model, plan)

    class Early(Watching):
        def note(self, sentence):
            seen.append((sentence, len(list(tmp_path.glob("records/*")))))

    monkeypatch.setattr(job, "attach", attach)
    outcome = evaluate(tmp_path, EvalRequest(**{**SMALL, "methods": ("none", "yarn"), "tasks": ()}), Early())
    assert ("yarn is given up: it does not fit.", 0) in seen
    assert outcome.failures == ["it does not fit."]
    assert outcome.exit_code == 1
    assert {r.key.method for r in outcome.records} == {"none"}


@pytest.mark.parametrize("more", [{"stop_early": True}, {"budget": 1e6}, {"budget": 1e6, "stop_early": True}], ids=str)
def test_a_plan_that_is_given_up_takes_no_part_in_stopping_early(tmp_path, monkeypatch, more):
    """Nor may the look after each document trip over it, or call one plan alone told from itself."""
    real = job.attach

    def attach(model, plan):
        if plan.name == "yarn":
            raise CannotAttach("it does not fit.")
        return real(model, plan)

    monkeypatch.setattr(job, "attach", attach)
    outcome = evaluate(tmp_path, EvalRequest(**{**SMALL, "methods": ("none", "yarn"), "tasks": (), "documents": 4}, **more))
    assert outcome.failures == ["it does not fit."]
    assert {r.key.method for r in outcome.records} == {"none"}
    assert len({r.facts["document"] for r in outcome.records}) == 4


def test_the_stage_that_counts_is_begun_after_the_weights_are_there(tmp_path, monkeypatch):
    """Loading is a stage of its own: what is measured must not be counted in it."""
    stages, load = [], Source.load

    def loading(self, **how):
        self.progress.begin("loading")
        return load(self, **how)

    class Stages(Watching):
        def begin(self, what, total=None, *, found=False):
            stages.append(what)

    monkeypatch.setattr(Source, "load", loading)
    evaluate(tmp_path, EvalRequest(**{**SMALL, "methods": ("none",), "tasks": ()}), Stages())
    assert stages.index("loading") < stages.index("measuring ropewalk-tiny")
    assert stages[-1] == "measuring ropewalk-tiny"


def test_memory_that_runs_out_halves_the_batch_and_the_run_goes_on(whole, tmp_path, monkeypatch):
    def cramped(*args, **kwargs):
        model = load_model(*args, **kwargs)

        def refuse(module, args):
            if args and len(args[0]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        model.base_model.register_forward_pre_hook(refuse)
        return model

    monkeypatch.setattr("ropewalk.models.load.load_model", cramped)
    watching = Watching()
    evaluate(tmp_path, EvalRequest(**{**SMALL, "batch": 4}), watching)
    assert [sentence for sentence in watching.notes if "out of memory" in sentence] == [
        "out of memory with 3 sequences of 640 tokens at a time; going on with 1."
    ]
    same_records(tmp_path, whole[0])


def test_own_texts_are_documents_and_haystack(tmp_path):
    text = "A quiet line about ropes and nothing else.\n" * 400
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name + text)
    (tmp_path / "rows.jsonl").write_text("{broken\n")
    request = EvalRequest(**{**SMALL, "data": (str(tmp_path),), "documents": 2, "samples": 1})
    prepared = prepare(request, Source("ropewalk-tiny"), print)
    assert [d.name.rpartition("/")[2] for d in prepared.documents] == ["a.txt", "b.txt"]
    assert [p.place.rpartition("/")[2] for p in prepared.choice.problems] == ["rows.jsonl:1"]
    assert "ropes" in prepared.tokenizer.decode(prepared.samples[0].ids)
    with pytest.raises(BadConfig, match=r"rows\.jsonl:1"):
        prepare(EvalRequest(**{**SMALL, "data": (str(tmp_path),), "strict": True}), Source("ropewalk-tiny"), print)
    with pytest.raises(BadConfig, match="2 documents were found, 1 places could not be read; 0 have the 100,000 tokens"):
        prepare(EvalRequest(**{**SMALL, "data": (str(tmp_path),), "lengths": (100_000,)}), Source("ropewalk-tiny"), print)


def test_the_summary_is_json_and_counts_what_was_read(whole):
    told = json.loads(json.dumps(whole[1].to_dict()))
    assert set(told["bits_per_token"]["position:0,256,512,640"]) == {"none", "dynamic-request"}
    assert set(told["retrieval"]["passkey"]["none"]) == {"256", "640"}
    assert told["documents"] == {"found": told["documents"]["found"], "read": 3, "duplicates": 0}
    assert told["records"] == len(whole[1].records)


def test_protocols_take_their_numbers_from_the_lengths():
    def spelled(text):
        return str(spelled_out(text, [512, 2048], 512, 7))

    assert spelled("position") == "position:0,256,512,2048"
    assert spelled("prefix") == "prefix:512,2048"
    assert spelled("sliding") == "sliding:2048,256"
    assert spelled("random") == "random_window:2048,4,7"
    assert spelled("random:512,2") == "random_window:512,2,0"
    assert spelled("sliding:1k,128") == "sliding:1024,128"
    assert as_protocols("position,sliding:1024,256, random:512,2") == ("position", "sliding:1024,256", " random:512,2")


def test_several_models_get_a_folder_each(tmp_path):
    local = tmp_path / "my model"
    local.mkdir()
    assert run_folders(tmp_path, ["ropewalk-tiny"]) == [tmp_path]
    found = run_folders(tmp_path, ["ropewalk-tiny", "Qwen/Qwen3-8B", str(local)])
    assert [folder.name for folder in found] == ["ropewalk-tiny", "Qwen--Qwen3-8B", "my--model"]
    with pytest.raises(BadOption, match="share a folder"):
        run_folders(tmp_path, [str(local), str(local)])
