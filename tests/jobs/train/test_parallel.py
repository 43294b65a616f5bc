"""One process or many, packed or not, adapters or all weights: the same losses and the same gradients."""

import functools
import itertools
import types

import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.jobs.train.data.layout import IGNORED, lay_out
from ropewalk.jobs.train.data.packing import StepRows
from ropewalk.jobs.train.parallel import parallel
from support import processes
from support.training import one_loop, stage_of, tiny_llama

BAR = 1e-6  # what the project promises for float32


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def four_steps(source, context, exchange, packed, lora, method, tiles, replicate):
    def use(loop, _):
        lines = [loop.step() for _ in range(4)]
        return [(line["loss"], line["gradient_norm"]) for line in lines]

    recipe = {"context": context, "exchange": exchange, "tiles": tiles, "replicate": replicate}
    return one_loop(source, use, packed=packed, lora=lora, stage=stage_of(method=method), recipe=recipe)


ONE: dict[tuple, list] = {}


def one_process(source, packed, lora, method):
    """Without tiles: so tiles are compared with their absence."""
    key = (packed, lora, method)
    if key not in ONE:
        ONE[key] = processes.run(1, four_steps, source, 1, "gather", packed, lora, method, 1, 1)[0]
    return ONE[key]


@pytest.mark.parametrize(
    ("world", "context", "exchange", "packed", "lora", "method", "tiles", "replicate"),
    [
        (2, 1, "gather", True, False, "yarn", 1, 1),
        (2, 2, "gather", True, False, "yarn", 1, 1),
        (2, 2, "ulysses", True, False, "yarn", 1, 1),
        (4, 2, "gather", True, False, "yarn", 3, 1),
        (4, 2, "ulysses", False, False, "yarn", 1, 2),
        (2, 2, "gather", True, True, "yarn", 1, 1),
        (2, 1, "gather", True, False, "dynamic-yarn-causal-2", 1, 1),
    ],
)
def test_many_processes_are_one(source, world, context, exchange, packed, lora, method, tiles, replicate):
    one = one_process(source, packed, lora, method)
    many = processes.run(world, four_steps, source, context, exchange, packed, lora, method, tiles, replicate)
    assert len({tuple(lines) for lines in many}) == 1, "every process says the same"
    numpy.testing.assert_allclose(many[0], one, rtol=BAR, atol=BAR)
    assert one[0] != one[3], "something was learnt"


def test_documents_in_a_row_matter(source):
    """The comparisons above would hold for a loop that ignores documents, too."""
    packed, plain = one_process(source, True, False, "yarn"), one_process(source, False, False, "yarn")
    assert abs(packed[0][0] - plain[0][0]) > 1e-3


def one_document_at_a_time(rows):
    """The same steps, each document a row of its own."""

    def step(number, processes):
        micros = []
        for i in range(rows.stage.batch):
            row = rows.packing.row(number * rows.stage.batch + i)
            edges = itertools.pairwise(numpy.cumsum((0, *row.lengths)))
            micros += [lay_out([(row.ids[a:b], (b - a,))]) for a, b in edges]
        return StepRows(micros, sum(int((layout.labels != IGNORED).sum()) for layout in micros))

    return types.SimpleNamespace(step=step, packing=rows.packing)


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn-causal-2", "near-linear"])
def test_packed_is_one_document_at_a_time(source, method):
    def use(loop, _, alone=False):
        if alone:
            loop.rows = one_document_at_a_time(loop.rows)
        return [(line["loss"], line["gradient_norm"]) for line in (loop.step() for _ in range(4))]

    packed, alone = (
        one_loop(source, functools.partial(use, alone=alone), stage=stage_of(method=method)) for alone in (False, True)
    )
    numpy.testing.assert_allclose(packed, alone, rtol=BAR, atol=BAR)


def ungrouped(context, replicate):
    with parallel(context, replicate):
        raise AssertionError("this must not begin")


def test_processes_that_do_not_divide_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    for context, replicate in ((2, 1), (1, 2), (0, 1)):
        with pytest.raises(BadOption, match="3 processes do not divide"):
            ungrouped(context, replicate)
