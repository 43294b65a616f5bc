"""Records on disk: every tensor comes back, another model's folder is refused, other versions are named."""

import numpy
import pytest
from safetensors.numpy import save

from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.records import Key, Record, Records, tokenizer_hash
from ropewalk.models.load import load_tokenizer


def record(model="aaaa", item="i", **extra):
    return Record(Key(model, "p", "yarn", "window", item, 4), numpy.array([1, 2, 3], dtype=numpy.float32), {"n": 1}, extra)


def test_other_numbers_per_token_come_back_as_they_were(tmp_path):
    kl, rank = numpy.array([0.5, 0.25, 0.1]), numpy.arange(6)[::2]
    Records(tmp_path).add(record(kl=kl, rank=rank))
    (seen,) = Records(tmp_path)
    assert set(seen.extra) == {"kl", "rank"}
    for name, wanted in (("kl", kl), ("rank", rank)):
        assert seen.extra[name].dtype == wanted.dtype
        assert numpy.array_equal(seen.extra[name], wanted)
    assert seen.nll.tolist() == [1, 2, 3]


def test_the_loss_cannot_be_written_over(tmp_path):
    with pytest.raises(ValueError, match="that is the loss itself"):
        Records(tmp_path).add(record(nll=numpy.zeros(3)))


def test_another_models_folder_is_refused_and_stays_as_it_was(tmp_path):
    Records(tmp_path).add(record("aaaa"))
    records = Records(tmp_path)
    with pytest.raises(BadConfig, match=r"fingerprint aaaa; this one's is bbbb(.|\n)*a folder of its\s+own"):
        records.add(record("bbbb", "other"))
    assert [r.key.model for r in Records(tmp_path)] == ["aaaa"]
    records.add(record("aaaa", "another"))
    assert len(list(records)) == 2


def test_a_record_of_another_version_is_named(tmp_path):
    metadata = {"schema": "ropewalk.record/1", "key": "{}", "facts": "{}"}
    (tmp_path / "old.safetensors").write_bytes(save({"nll": numpy.zeros(1, dtype=numpy.float32)}, metadata))
    with pytest.raises(BadConfig, match=r"its schema is 'ropewalk.record/1', not 'ropewalk.record/2'(.|\n)*in a new folder"):
        list(Records(tmp_path))


def test_a_tokenizer_is_known_by_what_it_does():
    one, same = load_tokenizer("ropewalk-tiny"), load_tokenizer("ropewalk-tiny")
    assert tokenizer_hash(one) == tokenizer_hash(same)
    same.add_tokens(["<new>"])
    assert tokenizer_hash(one) != tokenizer_hash(same)
