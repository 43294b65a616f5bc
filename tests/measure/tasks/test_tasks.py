"""What every task promises, and what each of the small ones says."""

import random

import pytest

from ropewalk.errors import BadConfig, BadLength, BadOption, RopewalkError, UnknownName
from ropewalk.measure.material import Material, library_prose, split_sentences
from ropewalk.measure.scoring import SCORINGS, string_match_all
from ropewalk.measure.task import get_task, tasks
from ropewalk.models.load import load_tokenizer
from support.ruler_material import prose, split, write_question_sets

DEPTHS = (0.0, 0.5, 1.0)
LENGTH = 3000


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    pytest.importorskip("wonderwords", reason="the word lists of the extra `ruler`")
    squad, hotpot = write_question_sets(tmp_path_factory.mktemp("questions"))
    return Material(load_tokenizer("ropewalk-tiny"), prose(), {"qa_1": squad, "qa_2": hotpot}, split)


@pytest.fixture(params=sorted(tasks()))
def task(request):
    return get_task(request.param)


def made(task, material, length=LENGTH, count=2, **options):
    return list(task(material, length=length, count=count, depths=DEPTHS, **options))


def test_every_sample_fits_and_the_depth_grid_is_exact(task, material):
    samples = made(task, material)
    assert len(samples) == (6 if task.has_depths else 2)
    for sample in samples:
        assert sample.answer_start + sample.new_tokens <= LENGTH
        assert len(sample.ids) <= LENGTH
        if task.has_depths:
            assert len(sample.ids) == LENGTH
            assert sample.depth in DEPTHS
        assert sample.ids[0] == material.tokenizer.bos_token_id


def test_a_ruler_sample_fills_its_length(task, material):
    """Unlike the reference's, which may be a third as long as asked for: at most one more line, word or paragraph fits."""
    if task.has_depths or task.name.startswith("qa"):  # a SQuAD paragraph is long
        pytest.skip("exact, or in steps of a paragraph")
    for sample in made(task, material):
        assert LENGTH - sample.answer_start - sample.new_tokens <= 0.06 * LENGTH


def test_the_answer_span_holds_what_scores_full_marks(task, material):
    for sample in made(task, material):
        said = material.decode(sample.answer)
        assert SCORINGS[task.scoring](said, sample.references) == 1.0
        assert sample.answer == sample.ids[-len(sample.answer) :]


def test_the_answer_is_somewhere_in_the_context(task, material):
    for sample in made(task, material):
        context = material.decode(sample.prompt)
        if task.name.partition("-")[0] not in ("chained_copy", "walk"):  # there the answer is spread over its links
            assert string_match_all(context, [str(r).strip() for r in sample.references[:1]]) == 1.0


def test_the_same_seed_gives_the_same_samples_and_another_gives_others(task, material):
    shas = [sample.sha for sample in made(task, material)]
    assert shas == [sample.sha for sample in made(task, material)]
    assert len(set(shas)) == len(shas)
    assert not set(shas) & {sample.sha for sample in made(task, material, seed=1)}


def test_a_length_that_cannot_hold_the_task_is_an_error_and_not_a_loop(task, material):
    with pytest.raises(BadLength, match=r"token"):
        made(task, material, length=12)


def test_names_its_source_and_says_what_is_asked(task):
    assert len(task.source) > 20
    assert task.summary.endswith(".")


def test_bad_requests(task, material):
    for error, bad in [(BadLength, {"length": 0}), (BadOption, {"count": 0}), (UnknownName, {"depht": 1})]:
        with pytest.raises(error):
            made(task, material, **bad)
    with pytest.raises(BadOption, match="depth is 2"):
        task(material, length=LENGTH, depths=[2])


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'needle'"):
        get_task("neddle")


def test_all_thirteen_of_ruler_are_there():
    ruler = "niah_single_1 niah_single_2 niah_single_3 niah_multikey_1 niah_multikey_2 niah_multikey_3 niah_multivalue"
    assert set(f"{ruler} niah_multiquery vt cwe fwe qa_1 qa_2".split()) <= set(tasks())


@pytest.mark.parametrize("name", ["passkey", "landmark", "needle", "random_copy"])
def test_without_its_needle_a_sample_asks_the_same_and_cannot_be_answered(name, material):
    sample = made(get_task(name), material)[2]
    bare = sample.without_needle()
    start, end = sample.needle
    assert len(bare.ids) == len(sample.ids) - (end - start)
    assert bare.answer == sample.answer
    assert sample.references[0].strip() in material.decode(sample.ids[start:end])
    assert sample.references[0].strip() not in material.decode(bare.prompt)


@pytest.mark.parametrize("name", ["needle", "random_copy", "landmark", "passkey"])
def test_cells_of_a_grid_share_their_haystack(name, material):
    """The needle of the deeper cell comes later; until the first needle both read the same."""
    samples = [next(iter(get_task(name)(material, length=n, count=1, depths=[d]))) for n, d in [(800, 0.5), (1600, 1.0)]]
    shared = samples[0].needle[0]
    assert samples[0].ids[:shared] == samples[1].ids[:shared]
    assert shared > 200


def test_depth_is_where_the_needle_is(material):
    for depth in (0.0, 0.25, 0.75, 1.0):
        sample = next(iter(get_task("landmark")(material, length=2000, count=1, depths=[depth])))
        assert sample.needle[0] / 2000 == pytest.approx(depth, abs=0.05)


def test_the_distractors_of_multikey_copy_begin_like_the_key(material):
    sample = made(get_task("multikey_copy"), material, keys=4)[2]
    start = sample.ids[sample.answer_start - 4 : sample.answer_start - 2]
    pairs = [i for i in range(len(sample.ids) - 1) if sample.ids[i : i + 2] == start]
    assert len(pairs) == 5  # four keys and the question


def test_a_question_task_without_its_file_says_which_file():
    bare = Material(load_tokenizer("ropewalk-tiny"), "Some text.")
    with pytest.raises(BadConfig, match="SQuAD"):
        get_task("qa_1")(bare, length=2000)


@pytest.mark.parametrize("content", ["not json", "[]", '{"data": []}', '{"data": 3}'])
def test_a_broken_question_file_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    bare = Material(load_tokenizer("ropewalk-tiny"), "Some text.", {"qa_1": path})
    with pytest.raises(BadConfig, match=r"broken\.json"):
        get_task("qa_1")(bare, length=2000)


def test_an_empty_haystack_is_an_error():
    for name in ("needle", "niah_single_2"):
        with pytest.raises(RopewalkError, match="haystack"):
            list(get_task(name)(Material(load_tokenizer("ropewalk-tiny"), ""), length=2000, count=1))


def test_questions_answered_by_yes_or_no_are_left_out(tmp_path):
    """A substring match finds "no" in "not"."""
    import json

    from support.ruler_material import hotpot

    rows = hotpot()
    for row in rows[1:]:
        row["answer"] = "No"
    (tmp_path / "h.json").write_text(json.dumps(rows))
    source = Material(load_tokenizer("ropewalk-tiny"), prose(), {"qa_2": tmp_path / "h.json"})
    assert {s.references for s in get_task("qa_2")(source, length=4000, count=4)} == {("title 0",)}


def test_prose_is_sentences():
    text = library_prose()
    assert len(text) > 200_000
    assert ">>>" not in text
    sample = random.Random(0).sample(split_sentences(text), 200)
    assert sum(one[-1:] in ".?!" for one in sample) > 190
