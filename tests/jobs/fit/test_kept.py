"""The report of a fit, kept: what was printed can be worked out again from its file alone."""

import numpy
import pytest
from safetensors.numpy import save

from ropewalk.errors import BadConfig
from ropewalk.jobs.fit.compare import FITTED, compare, keep_report, read_report, report_path
from ropewalk.measure.documents import Document

DOCUMENTS = [Document(name, tuple(range(i, i + 16)), "sha") for i, name in enumerate(["a.py", "b.py", "c.py"])]


@pytest.fixture
def bits():
    rng = numpy.random.default_rng(0)
    return {name: rng.gamma(2, 1, (2, 15)).astype(numpy.float32) for name in (FITTED, "yarn", "yarn, paper")}


def test_tokens_bits_and_names_come_back(tmp_path, bits):
    keep_report(tmp_path / "r", DOCUMENTS, bits, 4, (0, 2, 4, 16), {"yarn": "abc"})
    found = read_report(tmp_path / "r")
    assert found.documents == ("a.py", "b.py")  # of three, two were read
    assert found.ids.tolist() == [list(d.ids) for d in DOCUMENTS[:2]]
    assert list(found.bits) == list(bits)
    assert all(numpy.array_equal(found.bits[name], rows) for name, rows in bits.items())
    assert (found.original, found.edges, found.plans) == (4, (0, 2, 4, 16), {"yarn": "abc"})
    assert found.compared() == compare(bits, 4, (0, 2, 4, 16))


def test_the_gain_is_the_mean_of_differences_by_document(tmp_path, bits):
    keep_report(tmp_path / "r", DOCUMENTS, bits, 4, (0, 2, 4, 16), {})
    found = read_report(tmp_path / "r")
    by_hand = [float(b - a) for row, own in zip(found.bits["yarn"], found.bits[FITTED], strict=True)
               for b, a in zip(row[3:], own[3:], strict=True)]  # fmt: skip
    assert found.compared()["yarn"].gain.value == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-6)


def test_it_lies_beside_the_plan(tmp_path):
    assert report_path(tmp_path / "plan.json") == tmp_path / "plan.report.safetensors"


@pytest.mark.parametrize("content", [b"no", save({"x": numpy.zeros(1)}, {"schema": "other"}), save({"x": numpy.zeros(1)},
                                     {"schema": "ropewalk.fit-report/1", "facts": "{}"})])  # fmt: skip
def test_what_is_no_report_is_refused(tmp_path, content):
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(BadConfig, match="report of a fit"):
        read_report(tmp_path / "r")
