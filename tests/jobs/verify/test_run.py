"""What each kind of answer is called, and what is said about it; then two real engines."""

import dataclasses
import json
from pathlib import Path

import numpy
import pytest
import torch

from ropewalk.errors import BadConfig, BadLength, BadOption
from ropewalk.jobs.verify import run as job
from ropewalk.jobs.verify.ask import EngineAnswer
from ropewalk.jobs.verify.run import Status, reference, token_ids, verify
from ropewalk.jobs.verify.subject import asked, of_checkpoint, subjects
from ropewalk.jobs.verify.witness import get_witness
from support.architectures import build, tiny_config
from support.verifying import extended, small, witness


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    place = tmp_path_factory.mktemp("subject")
    return of_checkpoint(extended(place), place)


@pytest.fixture(scope="module")
def truth(subject):
    return reference(subject, token_ids(subject, 200))


@pytest.fixture
def answers(subject, monkeypatch, tmp_path):
    """The testimony of a witness that answers with two given rows of numbers."""

    def testimony(stretched, plain, **kwargs):
        monkeypatch.setattr(job, "ask", lambda *_, **__: [EngineAnswer(stretched), EngineAnswer(plain)])
        found = verify(subject, [witness(tmp_path, "pass")], tokens=200, **kwargs)
        (one,) = found.testimonies
        assert found.healthy is (one.status is Status.AGREES)
        return one

    return testimony


def test_the_reference_is_a_stock_model_from_the_written_config(subject, truth):
    """And, without the scaling, one from the config that was never stretched."""
    from transformers import AutoModelForCausalLM

    ids = token_ids(subject, 200)
    source = Path(subject.title).parent / "source"
    for folder, wanted in ((subject.title, truth.stretched), (source, truth.plain)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        found = [float(logprobs[i, token]) for i, token in enumerate(ids[1:])]
        assert wanted == pytest.approx(found, abs=2e-5)


def test_tokens_are_the_same_everywhere_and_go_beyond_the_window(subject):
    ids = token_ids(subject, None)
    assert len(ids) == 512  # 4 x 128, less than 128 + 512
    assert ids[:200] == token_ids(subject, 200)
    assert min(ids) >= 0
    assert max(ids) == 119
    assert len(set(ids)) > 100
    for wrong in (129, 513, 0, -5):
        with pytest.raises(BadLength, match="from 130, just beyond the original window, to 512"):
            token_ids(subject, wrong)


def test_agreement(answers, truth):
    one = answers(truth.stretched + 1e-4, truth.plain)
    assert (one.status, one.reason) == (Status.AGREES, "")
    assert one.comparison.apart == pytest.approx(1e-4)


def test_agreement_with_and_without_the_scaling_says_nothing(answers, truth):
    one = answers(truth.stretched, truth.stretched)
    assert one.status is Status.BLIND
    assert "these tokens do not show whether the scaling is on" in one.reason


def test_an_engine_that_ignores_the_scaling(answers, truth):
    one = answers(truth.plain, truth.plain)
    assert one.status is Status.DIFFERS
    assert one.reason.startswith("it answers as if there were no scaling at all")


def test_an_engine_with_arithmetic_of_its_own(answers, truth):
    one = answers(truth.stretched + 0.01, truth.plain + 0.02)
    assert one.status is Status.DIFFERS
    assert "it is 0.02 off without any scaling too" in one.reason
    assert answers(truth.stretched + 0.01, truth.plain + 0.02, tolerance=0.05).status is Status.AGREES


def test_an_engine_that_answers_nonsense(answers, truth):
    one = answers(numpy.full_like(truth.plain, numpy.nan), truth.plain)
    assert one.status is Status.DIFFERS
    assert one.reason == "its rotation differs, and no known loss of this engine says why"


def test_an_engine_that_breaks(subject, tmp_path):
    found = verify(subject, [witness(tmp_path, "raise MemoryError('too long')")], tokens=200)
    assert (found.testimonies[0].status, found.testimonies[0].reason) == (Status.BROKE, "MemoryError: too long")
    body = "if 'plain' in model:\n    raise ValueError('no')\nreturn ids[1:]"
    assert (
        verify(subject, [witness(tmp_path, body)], tokens=200).testimonies[0].reason == "without the scaling, ValueError: no"
    )


def test_an_engine_that_is_not_here_costs_no_reference(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "reference", None)  # calling it would fail
    absent = dataclasses.replace(witness(tmp_path, "pass"), module="ropewalk_nowhere")
    found = verify(subject, [absent], tokens=200)
    assert found.testimonies[0].status is Status.ABSENT
    assert found.testimonies[0].reason.endswith("nor beside Ropewalk. Get it.")
    assert found.healthy


def test_an_engine_that_cannot_carry_it(tmp_path):
    place = tmp_path / "x"
    place.mkdir()
    subject = of_checkpoint(extended(place, "yarn", "qwen2", truncate=False), place)
    (one,) = verify(subject, [witness(tmp_path, "pass", "llama_cpp", "GGUF")], tokens=200).testimonies
    assert one.status is Status.REFUSED
    assert "truncate: false has no GGUF key" in one.reason


def test_what_is_not_stretched_cannot_be_verified(tmp_path):
    with pytest.raises(BadConfig, match=r"is not stretched: it has no ropewalk\.json, and its config\.json says"):
        of_checkpoint(small(tmp_path / "plain"), tmp_path)
    place = tmp_path / "none"
    place.mkdir()
    with pytest.raises(BadOption, match="changes no frequency"):
        of_checkpoint(extended(place, "none"), place)


def test_a_config_that_its_maker_stretched_needs_no_plan_of_ours(tmp_path):
    scaling = dict(rope_type="yarn", factor=4.0, rope_theta=1e4, original_max_position_embeddings=128)
    config = tiny_config("llama")
    config.rope_parameters, config.max_position_embeddings = scaling, 512
    build(config).save_pretrained(tmp_path / "model")
    found = of_checkpoint(tmp_path / "model", tmp_path)
    assert (found.plan.name, found.original_length, found.plan.target_length) == ("yarn", 128, 512)


@pytest.fixture(scope="module")
def by_parts(tmp_path_factory):
    """As `extend` writes it: attention_factor 1, which transformers reads and MLX-LM does not."""
    place = tmp_path_factory.mktemp("by_parts")
    return of_checkpoint(extended(place, "ntk_by_parts"), place)


def test_real_engines_and_what_the_doctor_knows_of_them(by_parts):
    found = verify(by_parts, [get_witness("transformers"), get_witness("mlx")], tokens=200)
    right, wrong = found.testimonies

    assert right.status is Status.AGREES
    assert right.comparison.apart < 1e-4
    assert right.comparison.control > 1
    assert wrong.status is Status.DIFFERS
    assert wrong.comparison.floor < 1e-4 < 0.1 < wrong.comparison.apart
    assert "MLX-LM ignores attention_factor" in wrong.reason


def test_mlx_agrees_with_what_it_reads_and_loses_what_it_does_not(tmp_path):
    """Without the old spelling MLX-LM finds no scaling in a Llama's config: ml-explore/mlx-lm#953."""
    folder = extended(tmp_path)
    (tmp_path / "one").mkdir()
    (one,) = verify(of_checkpoint(folder, tmp_path / "one"), [get_witness("mlx")], tokens=200).testimonies
    assert one.status is Status.AGREES
    assert one.comparison.apart < 2e-4

    config = json.loads((folder / "config.json").read_text())
    del config["rope_scaling"], config["rope_theta"]
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "other").mkdir()
    (other,) = verify(of_checkpoint(folder, tmp_path / "other"), [get_witness("mlx")], tokens=200).testimonies
    assert other.status is Status.DIFFERS
    assert other.reason.startswith("it answers as if there were no scaling at all; MLX-LM ignores rope_parameters")


def test_mlx_drops_every_scaling_of_qwen3_moe(tmp_path):
    """The row of the ledger, run. Its argument class has two names that transformers 5 does not write."""
    folder = extended(tmp_path, family="qwen3_moe")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_experts": 2, "head_dim": 32}))
    (one,) = verify(of_checkpoint(folder, tmp_path), [get_witness("mlx")], tokens=200).testimonies
    assert one.reason.startswith("it answers as if there were no scaling at all; MLX-LM ignores every scaling of qwen3_moe")
    assert one.comparison.unscaled < 1e-4 < 1 < one.comparison.apart


def test_targets_and_who_they_are_for(tmp_path, by_parts):
    (found,) = subjects(by_parts.title, tmp_path)
    assert [w.name for w in asked(found, ["vllm"])] == ["vllm"]
    only = dataclasses.replace(found, names=("llama_cpp",))
    assert [w.name for w in asked(only, [])] == ["llama_cpp"]
    with pytest.raises(BadOption, match="is for llama_cpp, and not for vllm"):
        asked(only, ["vllm", "llama.cpp"])
