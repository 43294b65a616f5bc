"""Records on disk: every tensor comes back, another model's folder is refused, other versions are named."""

import hashlib
import json
from dataclasses import asdict, replace

import numpy
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from ropewalk.errors import BadConfig
from ropewalk.measure.records import Key, Record, Records, ids_hash, read_record, tokenizer_hash
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


KEY = Key("m", "p", "yarn", "window", "i", 4)


@pytest.mark.parametrize("field", ["model", "plan", "method", "protocol", "item", "length"])
def test_every_field_of_a_key_is_in_the_name_of_its_file(tmp_path, field):
    """Two plans of one name, say `yarn` at two factors, must not share a record."""
    other = replace(KEY, **{field: 5 if field == "length" else "x"})
    records = Records(tmp_path)
    records.add(Record(KEY, numpy.zeros(3, numpy.float32)))
    assert KEY in records
    assert other not in records


def test_the_name_of_a_record_stays_what_it_was():
    """Written out: a run that was begun with an earlier release is found again by it."""
    text = '{"item": "i", "length": 4, "method": "yarn", "model": "m", "plan": "p", "protocol": "window"}'
    assert KEY.name == hashlib.sha256(text.encode()).hexdigest()[:24]


def test_losses_are_kept_to_the_last_bit_of_float32(tmp_path):
    """In float16 1 + 2^-20 nats are 1, and the loss of a hundred thousand nats is infinite."""
    nll = numpy.array([1 + 2.0**-20, 1e5, 1e-7], dtype=numpy.float32)
    Records(tmp_path).add(Record(KEY, nll))
    (seen,) = Records(tmp_path)
    assert seen.nll.dtype == numpy.float32
    assert seen.nll.tobytes() == nll.tobytes()


def test_float64_losses_become_float32(tmp_path):
    Records(tmp_path).add(Record(KEY, numpy.array([0.1], dtype=numpy.float64)))
    assert next(iter(Records(tmp_path))).nll.tobytes() == numpy.array([0.1], dtype=numpy.float32).tobytes()


def test_key_and_facts_come_back_and_stand_in_the_file_as_json(tmp_path):
    facts = {"document": "a", "scored": [[1, 4]], "exact": False, "nothing": None}
    records = Records(tmp_path)
    records.add(Record(KEY, numpy.zeros(3, numpy.float32), facts))
    (seen,) = records
    assert (seen.key, seen.facts) == (KEY, facts)
    with safe_open(records.path(KEY), "numpy") as file:
        metadata = file.metadata()
    assert (json.loads(metadata["key"]), json.loads(metadata["facts"])) == (asdict(KEY), facts)
    assert metadata["schema"] == "ropewalk.record/2"


def test_records_are_read_in_the_order_of_their_names_and_nothing_else_is_read(tmp_path):
    records = Records(tmp_path)
    for item in "abcdef":
        records.add(record(item=item))
    (tmp_path / "notes.txt").write_text("not a record")
    names = [r.key.name for r in records]
    assert names == sorted(names)
    assert len(names) == 6
    assert len(list(tmp_path.iterdir())) == 7  # and no temporary file was left


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64])
def test_a_damaged_record_is_named_with_the_way_out(tmp_path, content):
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(BadConfig, match=r"bad.safetensors cannot be read as a record: (.|\n)*Delete it and run again"):
        read_record(tmp_path / "bad.safetensors")


def test_a_record_without_its_key_is_damaged(tmp_path):
    metadata = {"schema": "ropewalk.record/2", "facts": "{}"}
    (tmp_path / "bad.safetensors").write_bytes(save({"nll": numpy.zeros(1, dtype=numpy.float32)}, metadata))
    with pytest.raises(BadConfig, match="cannot be read as a record"):
        read_record(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("facts", [
    {"document": ["a"]}, {"start": "0"}, {"scored": 5}, {"scored": [[0]]}, {"scored": [[0, "1"]]},
    {"score": "good"}, {"depth": {}}, {"length": {}},
])  # fmt: skip
def test_a_record_whose_facts_are_of_another_kind_is_damaged(tmp_path, facts):
    records = Records(tmp_path)
    records.add(replace(record(), facts={"document": "a", **facts}))
    with pytest.raises(BadConfig, match=r"cannot be read as a record: (.|\n)*Delete it and run again"):
        list(records)


def test_tokens_are_hashed_as_64_bit_numbers_in_order():
    wanted = hashlib.sha256(b"\x01" + b"\0" * 7 + b"\0\0\x01" + b"\0" * 5).hexdigest()[:16]
    assert ids_hash([1, 65536]) == ids_hash(numpy.array([1, 65536], dtype=numpy.int32)) == wanted
    assert len({ids_hash([1, 2]), ids_hash([2, 1]), ids_hash([1, 2, 0]), ids_hash([])}) == 4


def test_a_folder_speaks_for_the_model_of_its_first_record_also_before_anything_is_added(tmp_path):
    Records(tmp_path).add(record("aaaa"))
    Records(tmp_path).check_model("aaaa")
    with pytest.raises(BadConfig, match="fingerprint aaaa; this one's is bbbb"):
        Records(tmp_path).check_model("bbbb")
    empty = Records(tmp_path / "empty")
    empty.check_model("cccc")
    with pytest.raises(BadConfig, match="fingerprint cccc; this one's is dddd"):
        empty.add(record("dddd"))
