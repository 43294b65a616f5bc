"""Sharing, batches and order change no number; a kill loses nothing; what is too short is refused and counted."""

import os
import subprocess
import sys
import textwrap

import numpy
import pytest
import torch

from ropewalk.measure.pace import told_by_layers
from ropewalk.measure.passes import (
    bodies,
    is_prefix_consistent,
    measure,
    merge,
    plan_at,
    shortest_alike,
    wanted_passes,
)
from ropewalk.measure.protocols import CORPUS, Window, parse_protocol
from ropewalk.measure.records import Readings, Records
from ropewalk.models.attach import attach
from support import reading
from support.reading import BOS, ORIGINAL, close, documents, measurements, plain_nll, plan_for, read_all, small_model

GRID = ["sliding:48,16", "sliding:96,16", "sliding:192,16", "prefix:32,80,200", "position:0,64,128,224", "random_window:100,2"]
LONG, SHORT = (2.0, 3.0, 4.0, 5.0), (1.0, 1.1, 1.2, 1.3)
METHODS = ["none", "linear", "yarn", "dynamic-yarn", "dynamic-request", "dynamic-yarn-recompute", "longrope"]


@pytest.fixture(scope="module")
def model():
    return small_model()


def plan_of(model, method):
    return plan_for(model, method, **({"long_factor": LONG, "short_factor": SHORT} if method == "longrope" else {}))


def ids_of(window, texts):
    body = bodies(texts, BOS)[window.document]
    return ([BOS] if window.bos else []) + list(body[window.start : window.end])


@pytest.mark.parametrize("method", METHODS)
def test_shared_windows_hold_what_each_window_read_alone_holds(model, tmp_path, method):
    """The oracle reads every window of every protocol by itself, with all logits and the plan an engine would apply."""
    texts, plan = documents(230, 245), plan_of(model, method)
    records, readings = read_all(tmp_path, model, plan, GRID, texts)
    windows = {w for text in GRID for d in texts for w in parse_protocol(text).windows(d.name, len(d.ids) - 1)}
    for applied in {plan_at(plan, window.length) for window in windows}:
        with attach(model, applied):
            for window in (w for w in windows if plan_at(plan, w.length) == applied):
                alone = plain_nll(model, ids_of(window, texts))[window.first - 1 :]
                assert close(readings.nll(plan.name, window), alone), window
    lengths = {(w.document, w.start, w.length) for w in windows}
    passes = len(list(records))
    if is_prefix_consistent(plan):
        assert passes == len({(w.document, w.start) for w in windows})
    assert passes < len(lengths)  # even where only windows within the original length read alike


def test_sharing_a_request_dynamic_plan_would_be_wrong(model, tmp_path):
    """Or the test above would say nothing: the long reading of a request is not the short one."""
    plan, texts = plan_of(model, "dynamic-request"), documents(300)
    ids = ids_of(Window("d0", 0, 250), texts)
    with attach(model, plan):
        assert not close(plain_nll(model, ids)[:99], plain_nll(model, ids[:100]), 1e-3)


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn", "dynamic-request", "longrope"])
def test_batch_and_order_change_nothing(model, tmp_path, method):
    texts, plan = documents(230, 245, 226), plan_of(model, method)
    (one, _), (other, _) = (
        read_all(tmp_path / name, model, plan, protocols, ordered, batch=batch, order=order)
        for name, protocols, ordered, batch, order in [
            ("a", GRID, texts, 1, None), ("b", GRID[::-1], texts[::-1], 5, 3),
        ]
    )  # fmt: skip
    other = {record.key: record for record in other}
    for record in one:
        twin = other.pop(record.key)
        assert close(record.nll, twin.nll)
        assert record.facts == twin.facts
    assert not other


def test_a_grid_of_sliding_lengths_costs_one_sweep(model):
    """Sixteen scored tokens of each length, and nothing between them."""
    plan = plan_of(model, "yarn")
    windows = [w for text in GRID[:3] for w in parse_protocol(text).windows("d", 400)]
    passes = merge(windows, plan)
    sweep = parse_protocol("sliding:192,16").windows("d", 400)
    assert len(passes) == max(len(parse_protocol(text).windows("d", 400)) for text in GRID[:3])
    assert passes[1].window.length == 192
    assert passes[1].scored == ((32, 48), (80, 96), (176, 192))
    assert passes[0].scored == ((1, 192),)
    assert sum(high - low for low, high in passes[1].scored) == 48
    assert len(sweep) < len(passes) < len(windows)


def test_sixty_four_prefix_lengths_cost_one_pass_or_one_each(model):
    text = "prefix:" + ",".join(str(4 * i) for i in range(1, 65))
    windows = parse_protocol(text).windows("d", 300)
    assert len(merge(windows, plan_of(model, "yarn"))) == 1
    # 16 of them lie within the window of 64 tokens, where the scale is 1 for all.
    assert len(merge(windows, plan_of(model, "dynamic-request"))) == 1 + 48
    split = merge(windows, plan_of(model, "longrope"))
    assert [(p.window.length, p.shortest) for p in split] == [(256, ORIGINAL + 1), (ORIGINAL, 2)]


def test_who_is_prefix_consistent(model):
    alike = {method: is_prefix_consistent(plan_of(model, method)) for method in METHODS}
    assert [method for method, yes in alike.items() if not yes] == ["dynamic-request", "dynamic-yarn-recompute", "longrope"]
    assert is_prefix_consistent(plan_for(model, "longrope", long_factor=LONG))
    assert shortest_alike(plan_of(model, "dynamic-request"), ORIGINAL) == 2
    assert shortest_alike(plan_of(model, "dynamic-request"), ORIGINAL + 1) == ORIGINAL + 1


def test_too_short_a_document_is_refused_by_all_protocols(model):
    """Every number of a run is about the same documents."""
    texts = documents(300, 100, 191, 190)
    wanted = wanted_passes(
        [parse_protocol(t) for t in ("prefix:50", "sliding:192,16")], texts, plan_of(model, "yarn"), bos=BOS
    )
    assert [(r.document, r.tokens, r.needed) for r in wanted.refused] == [("d1", 100, 191), ("d3", 190, 191)]
    assert {p.window.document for p in wanted.passes} == {"d0", "d2"}


def test_a_tokenizer_without_bos(model, tmp_path):
    texts = documents(300, bos=None)
    plan = plan_of(model, "yarn")
    _, readings = read_all(tmp_path, model, plan, ["prefix:100", "sliding:64,16"], texts, bos=None)
    with attach(model, plan):
        alone = plain_nll(model, texts[0].ids[:100])
    assert close(readings.nll("yarn", Window("d0", 0, 100, 1, False)), alone)
    assert not readings.has_bos("yarn")


def test_the_corpus_is_all_documents_in_a_row():
    texts = bodies(documents(3, 2)[::-1], BOS)
    assert texts[CORPUS] == texts["d0"] + texts["d1"]
    assert len(texts[CORPUS]) == 5


def test_a_body_is_what_follows_bos_and_nothing_is_cut_off_where_there_is_none():
    """Also where only some documents begin with it, and where a document is BOS alone or empty."""
    texts = [reading.Document(name, ids) for name, ids in (("b", (BOS, 5, 6)), ("a", (7, 8)), ("d", (BOS,)), ("c", ()))]
    assert bodies(texts, BOS) == {"b": (5, 6), "a": (7, 8), "d": (), "c": (), CORPUS: (7, 8, 5, 6)}
    assert bodies(texts, None)["b"] == (BOS, 5, 6)
    assert bodies([reading.Document("a", (BOS, BOS, 5))], BOS)["a"] == (BOS, 5)


def test_ranges_that_touch_are_one_and_others_are_not(model):
    """Tokens 1 to 4, 4 to 9 and 10 to 12 of one reading."""
    windows = [Window("d", 0, 4), Window("d", 0, 9, 4), Window("d", 0, 12, 10), Window("d", 0, 8, 5)]
    (one,) = merge(windows, plan_of(model, "yarn"))
    assert one.scored == ((1, 9), (10, 12))
    assert (one.window.length, one.window.first) == (12, 1)


def test_two_documents_that_begin_alike_are_two_records(model, tmp_path):
    texts = documents(300)
    texts.append(reading.Document("copy", texts[0].ids))
    plan = plan_of(model, "yarn")
    records, readings = read_all(tmp_path, model, plan, ["prefix:50"], texts)
    assert len(list(records)) == 2
    assert set(readings.documents("yarn")) == {"d0", "copy"}


def test_facts_say_what_was_read(model, tmp_path):
    texts, plan = documents(300), plan_of(model, "yarn")
    records, _ = read_all(tmp_path, model, plan, ["sliding:64,16"], texts)
    facts = next(r.facts for r in records if r.facts["start"] == 16)
    assert facts["document"] == "d0"
    assert facts["document_tokens"] == 300
    assert (facts["bos"], facts["first"], facts["scored"], facts["tokenizer"]) == (True, 48, [[48, 64]], "t")
    assert (facts["dtype"], facts["attention"], facts["torch"]) == ("float32", "sdpa", torch.__version__)
    assert len(facts["document_hash"]) == 16


KILLED = """
    import os, sys
    from pathlib import Path
    from support.reading import documents, plan_for, read_all, small_model
    from ropewalk.checkpoints import files
    replace, count = os.replace, [0]
    def dying(a, b):
        count[0] += 1
        if count[0] > 7:
            os.kill(os.getpid(), 9)  # the temporary file is complete, its name is not yet
        replace(a, b)
    files.os.replace = dying
    model = small_model()
    read_all(Path(sys.argv[1]), model, plan_for(model, "yarn"), ["sliding:48,16", "prefix:100"], documents(200, 150))
"""


def test_a_run_killed_in_the_middle_goes_on_and_ends_the_same(model, tmp_path):
    """SIGKILL between writing a file and naming it; then the same run again, and one that was never disturbed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "a")], env=env, capture_output=True)
    assert died.returncode == -9, died.stderr.decode()[-1000:]
    assert len(list(Records(tmp_path / "a"))) == 7
    plan, texts, costs = plan_of(model, "yarn"), documents(200, 150), []
    protocols = ["sliding:48,16", "prefix:100"]
    made = measurements(plan, protocols, texts)
    measure(model, plan, made, Records(tmp_path / "a"), costs.append)
    assert costs[0] == pytest.approx(sum(m.cost for m in made) - sum(costs[1:]))
    assert len(costs) == 1 + len(made) - 7
    whole, _ = read_all(tmp_path / "b", model, plan, protocols, texts)
    again = {record.key: record for record in Records(tmp_path / "a")}
    assert len(again) == len(list(whole)) == len(made)
    for record in whole:
        assert numpy.array_equal(record.nll, again[record.key].nll)
        assert record.facts == again[record.key].facts
    assert Readings(whole).methods == ["yarn"]


def test_a_long_pass_is_told_as_its_layers_end(model, tmp_path, monkeypatch):
    """A document in as many equal parts as there are layers, a short one at once."""
    monkeypatch.setattr("ropewalk.measure.passes.LONG", 200)
    plan = plan_of(model, "yarn")
    told = []
    wanted = measurements(plan, ["position:0,64,110"], documents(112)) + measurements(
        plan, ["position:0,64,224"], documents(230)
    )
    measure(model, plan, wanted, Records(tmp_path), told.append)
    short, long = (m.cost for m in wanted)
    assert sorted(told) == sorted([0, short, *[long / model.config.num_hidden_layers] * model.config.num_hidden_layers, 0])
    assert not any(layer._forward_hooks for layer in model.modules())


def test_what_was_told_of_a_pass_that_fails_is_taken_back(model):
    told = []
    with pytest.raises(MemoryError), told_by_layers(model, 8.0, told.append):
        model(torch.zeros((1, 4), dtype=torch.long))
        assert told == [8.0 / model.config.num_hidden_layers] * model.config.num_hidden_layers
        raise MemoryError
    assert sum(told) == 0
    assert not any(layer._forward_hooks for layer in model.modules())


def test_a_config_that_names_no_count_of_layers_is_told_at_once(model, monkeypatch):
    """Some configs of code outside transformers have num_layers alone; progress must not be what ends a reading."""
    told = []
    monkeypatch.setattr(type(model.config), "get_text_config", lambda self: object())
    with told_by_layers(model, 8.0, told.append):
        assert not any(layer._forward_hooks for layer in model.modules())
    assert told == [8.0]
