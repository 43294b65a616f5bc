"""Every task of the registry, and RULER's against the reference generator's own lines (see goldens/README.md)."""

import hashlib
import json
from pathlib import Path

import pytest

from ropewalk.errors import BadLength, BadOption, RopewalkError, UnknownName
from ropewalk.jobs.evaluate.material import Material
from ropewalk.jobs.evaluate.scoring import effective_length, exact, string_match_all, string_match_part
from ropewalk.jobs.evaluate.task import get_task, tasks
from ropewalk.models.load import load_tokenizer
from ruler_material import prose, split, write_question_sets

HASHES = json.loads((Path(__file__).parent / "goldens" / "ruler_hashes.json").read_text())


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    squad, hotpot = write_question_sets(tmp_path_factory.mktemp("questions"))
    questions = {"qa_1": squad, "qa_2": hotpot}
    return Material(load_tokenizer("ropewalk-tiny"), text=prose(), questions=questions, split=split)


@pytest.mark.parametrize("case", sorted(HASHES))
def test_compat_is_the_reference_generator_byte_for_byte(material, case):
    name, length = case.split("/")
    samples = get_task(name)(material, length=int(length), count=5, compat=True)
    assert [hashlib.sha256(json.dumps(s.metadata["row"]).encode()).hexdigest() for s in samples] == HASHES[case]


def test_the_goldens_cover_all_thirteen():
    ruler = {name for name, task in tasks().items() if "compat" in task.defaults}
    assert {case.split("/")[0] for case in HASHES} == ruler
    assert len(ruler) == 13


@pytest.mark.parametrize("name", list(tasks()))
def test_a_sample_is_never_longer_than_asked_and_holds_its_answer(material, name):
    task = get_task(name)
    length = 8192 if name.startswith(("qa", "cwe")) else 2048
    samples = list(task(material, length=length, count=2, depths=(0.0, 0.7)))
    assert len(samples) == (4 if task.has_depths else 2)
    assert len({sample.sha for sample in samples}) == len(samples)
    for sample in samples:
        assert len(sample.ids) <= length
        assert sample.answer_start + sample.new_tokens <= length
        assert sample.answer
        assert sample.references
        again = material.decode(sample.answer)
        assert any(ref in again or again.strip() in ref for ref in sample.references) or task.scoring == "exact"


@pytest.mark.parametrize("name", list(tasks()))
def test_the_same_seed_makes_the_same_samples(material, name):
    length = 8192 if name.startswith(("qa", "cwe")) else 2048
    one, two, other = (list(get_task(name)(material, length=length, count=1, seed=s, depths=(0.5,))) for s in (3, 3, 4))
    assert [s.sha for s in one] == [s.sha for s in two]
    assert [s.sha for s in one] != [s.sha for s in other]


@pytest.mark.parametrize("name", list(tasks()))
def test_what_cannot_fit_is_refused_at_once(material, name):
    with pytest.raises(RopewalkError):
        list(get_task(name)(material, length=12, count=1, depths=(0.5,)))


def test_bad_requests():
    with pytest.raises(UnknownName, match="Did you mean 'needle'"):
        get_task("neddle")
    task = get_task("needle")
    for options, error in (
        ({"length": 0}, BadLength),
        ({"length": 99, "count": 0}, BadOption),
        ({"length": 99, "depths": (2,)}, BadOption),
    ):
        with pytest.raises(error):
            task(None, **options)
    with pytest.raises(UnknownName, match="option of the task needle"):
        task(None, length=99, compta=True)


def test_scores_and_effective_length():
    """RULER's evaluate.py: all counts shares, part takes any; its threshold is 85.6."""
    assert string_match_all("it is 12 and 34", ["12", "34", "56"]) == pytest.approx(2 / 3)
    assert string_match_part("Paris, of course", ["paris", "Lutetia"]) == 1
    assert exact(" 48213.", ["48213"]) == 1
    assert exact("482137", ["48213"]) == 0
    scores = {4096: {"a": [1.0] * 40}, 8192: {"a": [1.0] * 38 + [0.0] * 2}, 16384: {"a": [1.0] * 10 + [0.0] * 30}}
    found = effective_length(scores)
    assert (found.value, found.low) == (8192, 8192)
    assert effective_length(scores, relative=0.2).value == 16384
