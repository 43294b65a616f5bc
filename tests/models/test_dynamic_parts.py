"""The small parts of rotating on read, by hand: steps, documents, groups, masks, rows of a cache, and the test at attach."""

import contextlib
import math
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache, StaticCache

from models.test_dynamic import L, in_chunks, largest, llama, planned, run, tokens
from ropewalk.errors import BadLength, CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import Entrance, cache_argument
from ropewalk.models.dynamic import selftest
from ropewalk.models.dynamic.cache import Rotated, _alike, _fits, keeps
from ropewalk.models.dynamic.call import Call, _groups, in_order
from ropewalk.models.dynamic.ladder import ends
from ropewalk.models.dynamic.read import BLOCK, AttentionCall, DeferredTable, _one_each, block_of


def row(*numbers):
    return torch.tensor([numbers])


@pytest.fixture(scope="module")
def ladder():
    model = llama()
    with attach(model, planned(model)) as attached:
        yield attached._deferred.tables[0][0].ladder


def step_by_hand(position, grid):
    """The least k with (p + 1) / L <= 2^(k/g), at most the factor of 4: p + 1 tokens at the next step of the grid up."""
    return max(0, math.ceil(grid * math.log2((position + 1) / L) - 1e-9))


def test_every_position_is_at_its_step_and_the_last_one_is_the_last(ladder):
    grid = ladder.schedule.grid
    found = ladder.steps(torch.arange(4 * L)[None])[0].tolist()
    assert found == [step_by_hand(position, grid) for position in range(4 * L)]
    assert (found[L - 1], found[L], found[-1]) == (0, 1, 2 * grid)
    assert ladder.reach == 4 * L
    ladder.steps(row(4 * L - 1))
    with pytest.raises(BadLength, match=r"position 256 was read, and .* reaches 256 tokens"):
        ladder.steps(row(4 * L))


def test_without_a_grid_every_length_is_a_step():
    model = llama()
    with attach(model, planned(model, "dynamic-yarn-rotate")) as attached:
        ladder = attached._deferred.tables[0][0].ladder
        ladder.schedule = SimpleNamespace(grid=0, original_length=L, step=lambda position: 3 * L)
        for last, step in ((L - 2, 0), (L - 1, 0), (L, 1), (L + 1, 2), (4 * L - 1, 3 * L)):
            assert ladder.steps(torch.arange(last + 1)[None]).unique().tolist() == [step]  # of the newest token, for all


def test_a_document_ends_where_positions_do_not_grow():
    assert ends(row(0, 1, 2, 3)).tolist() == [[3] * 4]
    assert ends(row(0, 1, 0, 1, 2, 0)).tolist() == [[1, 1, 2, 2, 2, 0]]
    assert ends(row(0, 0, 0, 1, 2)).tolist() == [[0, 0, 2, 2, 2]]  # padding on the left stands still
    assert ends(row(5, 9, 3)).tolist() == [[9, 9, 3]]
    assert ends(torch.tensor([[0, 1, 2], [4, 0, 1]])).tolist() == [[2, 2, 2], [4, 1, 1]]


def test_columns_are_grouped_by_the_steps_of_their_rows():
    assert _groups(row(0, 0, 1, 1, 0, 2)) == [((0,), [(0, 2), (4, 5)]), ((1,), [(2, 4)]), ((2,), [(5, 6)])]
    assert _groups(torch.tensor([[0, 1, 1], [0, 0, 1]])) == [((0, 0), [(0, 1)]), ((1, 0), [(1, 2)]), ((1, 1), [(2, 3)])]
    assert _groups(torch.tensor([[0, 1], [0, 1]])) == [((0,), [(0, 1)]), ((1,), [(1, 2)])]  # rows alike are one


def test_the_causal_mask_of_columns(ladder):
    """Query i of columns 3 to 6 sees keys 0 to i; one query sees all. Also after a longer and a shorter one was cut."""
    call = Call(ladder, torch.arange(10)[None], torch.zeros(1))
    query = torch.zeros(1, 1, 1, 1)
    for first, last in ((3, 7), (0, 10), (8, 10), (3, 7)):
        wanted = torch.full((last - first, last), -math.inf).triu(first + 1)
        assert torch.equal(call.causal_mask(first, last, query)[0, 0], wanted)
    assert call.causal_mask(4, 5, query) is None


def test_positions_fall_or_stand_still_where_documents_begin(ladder):
    def restarts(*positions):
        return Call(ladder, row(*positions), torch.zeros(1)).restarts

    assert (restarts(0, 1, 2), restarts(3, 7, 9)) == (False, False)
    assert (restarts(0, 1, 0), restarts(0, 0, 1)) == (True, True)


def test_keys_of_a_windows_tail_and_of_a_static_caches_empty_slots(ladder):
    """Ten keys are known. A layer that reads four has the last four; one that reads twelve has two that are nobody's."""
    like = torch.zeros(1)
    call = Call(ladder, torch.arange(10)[None], like)
    known = [ladder.tables(0, torch.arange(10)[None], like)[i] for i in (0, 1)]
    for (first, last, length), places in {(0, 4, 4): (6, 10), (1, 3, 4): (7, 9), (2, 5, 10): (2, 5)}.items():
        found = call.of_keys((0,), first, last, length)
        assert all(torch.equal(a, b[:, slice(*places)]) for a, b in zip(found, known, strict=True))
    cos, _ = call.of_keys((0,), 0, 12, 12)
    assert torch.equal(cos[:, :10], known[0])
    assert torch.equal(cos[:, 10:], known[0][:, :1].expand(-1, 2, -1))


def test_rows_of_a_cache_and_of_a_call():
    """Beam search repeats each row in place: a a b b, and not a b a b."""
    old, new = torch.tensor([[0, 1], [5, 6]]), torch.tensor([[2], [7], [2], [7]])
    assert [one.tolist() for one in _alike(old, new)] == [[[0, 1], [0, 1], [5, 6], [5, 6]], new.tolist()]
    assert [one.tolist() for one in _alike(old, row(9))] == [old.tolist(), [[9], [9]]]
    assert _alike(old[:1], new)[0].tolist() == [[0, 1]] * 4
    for count in (3, 5):
        with pytest.raises(CannotAttach, match=f"filled with 2 rows, and this call has {count}"):
            _alike(old, torch.zeros(count, 1, dtype=torch.long))
    with pytest.raises(CannotAttach, match="filled with 4 rows, and this call has 2"):
        _alike(new, old)


def test_a_cache_goes_with_its_plan_and_its_beginning():
    model, ids = llama(), tokens(90)
    cache = DynamicCache(config=model.config)
    with attach(model, planned(model)):
        in_chunks(model, ids[:, :80], [70], cache)
    with attach(model, planned(model, "dynamic-ntk")), pytest.raises(CannotAttach, match=r"filled under plan \w+, and \w+"):
        run(model, ids[:, 80:], **cache_argument(model, cache))
    foreign = DynamicCache(config=model.config)
    run(model, ids[:, :80], past_key_values=foreign)
    with attach(model, planned(model)):
        with pytest.raises(CannotAttach, match="holds 80 tokens that were not read under this plan"):
            run(model, ids[:, 80:], **cache_argument(model, foreign))
        whole = run(model, ids)
        assert largest(run(model, ids[:, 80:], **cache_argument(model, cache)), whole[:, 80:]) < 1e-4


def test_who_keeps_rotated_keys():
    """Calls of eight tokens and fewer, of all keys that are known, without gradients."""

    def call(count, known=20):
        return SimpleNamespace(tokens=count, key_positions=torch.zeros(1, known))

    with torch.no_grad():
        assert [keeps(call(n), 20) for n in (1, 8, 9)] == [True, True, False]
        assert [keeps(call(1), length) for length in (19, 20, 21)] == [False, True, True]
    assert not keeps(call(1), 20)


def test_three_positions_for_a_token_must_be_one():
    same = torch.arange(6).expand(3, 2, 6)
    assert torch.equal(_one_each(same), same[0])
    assert _one_each(same[0]) is not None
    picture = same.clone()
    picture[1, 0, 3] = 9  # one patch of one row: a height of its own
    for positions in (picture, torch.arange(6)):
        with pytest.raises(CannotAttach, match="only one position per token can be scheduled"):
            _one_each(positions)


def test_weights_of_parts_are_joined_over_all_keys():
    """Two columns that saw three keys, then one that saw four: zeros where nothing was seen."""
    first, second = torch.full((1, 1, 2, 3), 1 / 3), torch.full((1, 1, 1, 4), 1 / 4)
    early, late = torch.zeros(1, 2, 1, 5), torch.ones(1, 1, 1, 5)
    output, weights = in_order([(2, late, second), (0, early, first)], 4)
    assert output[0, :, 0, 0].tolist() == [0, 0, 1]
    assert weights[0, 0].tolist() == [[pytest.approx(1 / 3)] * 3 + [0]] * 2 + [[0.25] * 4]
    assert in_order([(0, early, first), (2, late, None)], 4)[1] is None


def test_hooks_are_taken_off():
    class Attention(torch.nn.Module):
        def forward(self, hidden, past_key_values=None):
            return hidden

    module = Attention()
    table = SimpleNamespace(module=torch.nn.Linear(1, 1), prefix="")
    reader = DeferredTable(SimpleNamespace(table=table), "p")
    reader.readers = {module: None}
    reader.install()
    assert (len(table.module._forward_hooks), len(module._forward_pre_hooks)) == (1, 1)
    module.__dict__["_ropewalk_reading"] = 1
    reader.remove()
    assert (len(table.module._forward_hooks), len(module._forward_pre_hooks)) == (0, 0)
    assert "_ropewalk_reading" not in module.__dict__


def test_the_test_at_attach_stands_across_the_first_step_and_within_what_is_read():
    """Eleven tokens, seven of them before the window's end; where the plan reaches no further, its last eleven."""

    def span(window, reach, semantics="causal", starts=(64,)):
        schedule = SimpleNamespace(original_length=window)
        return selftest._span(SimpleNamespace(schedule=schedule, reach=reach, semantics=semantics, starts=starts))

    assert span(64, 256) == (57, 68)
    assert span(64, 66) == (55, 66)
    assert span(4, 100) == (0, 11)
    assert span(4, 8) == (0, 8)
    assert span(64, 256, "rotate", (64, 128, 200)) == (245, 256)
    assert span(64, 256, "rotate", (64, 128, 250)) == (0, 11)
    assert span(5, 256, "rotate", ()) == (0, 5)


@pytest.mark.parametrize("spoil", ["number", "nan", "nothing"])
def test_answers_with_a_cache_that_are_off_or_no_numbers_are_seen(monkeypatch, spoil):
    """A model whose second call with a cache answers something else; that it is not a number is infinitely off."""
    model = llama()
    with attach(model, planned(model)):
        honest, calls = model.forward, []

        def forward(*args, **kwargs):
            output = honest(*args, **kwargs)
            calls.append(kwargs.get("use_cache"))
            if len(calls) == 2 and spoil != "nothing":
                output.logits = output.logits * (math.nan if spoil == "nan" else -1.0)
            return output

        monkeypatch.setattr(model, "forward", forward)
        off = selftest._off(model, torch.arange(57, 68), (11, 8), planned=True)
    allowed = selftest._allowed(model)
    assert allowed == pytest.approx(2**-11.5)  # the root of float32's 2^-23
    assert {"nan": off == math.inf, "number": allowed < off < 10, "nothing": off < allowed / 10}[spoil]
    assert calls == [True, True, True, True, False]


def test_a_static_cache_has_no_more_room_than_it_was_given():
    """Slots that are not filled yet are masked; what is read is what one pass reads."""
    model, ids = llama(torch.float64), tokens(90)
    with attach(model, planned(model)):
        cache = StaticCache(config=model.config, max_cache_len=100)
        assert largest(in_chunks(model, ids, [60, 70, 71], cache), run(model, ids)) < 1e-12


def test_a_plan_that_recomputes_does_not_go_on_from_a_cache():
    model, ids = llama(), tokens(20)
    with attach(model, planned(model, "dynamic-yarn-recompute")):
        cache = DynamicCache(config=model.config)
        run(model, ids[:, :10], **cache_argument(model, cache))
        with pytest.raises(CannotAttach, match="recomputes every token"):
            run(model, ids[:, 10:], **cache_argument(model, cache))


def test_packed_documents_whose_steps_alternate_come_out_in_their_order():
    """Two of 80 tokens, of which the last 16 stand beyond the window: each as it is alone."""
    model, ids = llama(torch.float64), tokens(160)
    with attach(model, planned(model)):
        alone = torch.cat([run(model, ids[:, :80]), run(model, ids[:, 80:])], 1)
        together = run(model, ids, position_ids=torch.arange(80).repeat(2)[None], use_cache=False)
    assert largest(together, alone) < 1e-12


def reading_of(ladder, *positions):
    call = Call(ladder, row(*positions), torch.zeros(1))
    return AttentionCall(call, None, 0, lambda x, cos, sin: x)


@pytest.mark.parametrize("name", ["position_bias", "cu_seq_lens_q"])
def test_what_counts_for_whole_calls_cannot_be_split_by_scale(ladder, name):
    x = torch.zeros(1, 1, 70, 4)
    reading = reading_of(ladder, *range(70))
    with pytest.raises(CannotAttach, match="cannot be split by scale"):
        reading.attend(None, torch.nn.Module(), x, x, x, None, {name: torch.zeros(1)}, False)


def test_flash_attention_cannot_read_packed_documents_at_several_scales(ladder):
    x = torch.zeros(1, 1, 80, 4)
    with pytest.raises(CannotAttach, match="packed documents that reach beyond the original window"):
        reading_of(ladder, *range(70), *range(10)).attend(None, torch.nn.Module(), x, x, x, None, {}, True)


def test_below_the_window_without_a_cache_the_model_itself_attends(ladder):
    """Whose embeddings are not even looked at: the hook hands nothing over."""

    class Attention(torch.nn.Module):
        layer_idx = 0

        def forward(self, hidden, past_key_values=None):
            return hidden

    module = Attention()
    reader = DeferredTable(ladder, "p")
    reader.readers = {module: None}
    reader.entrances = {module: Entrance(module)}
    for last, plain in ((10, True), (70, False)):
        reader._latest = Call(ladder, torch.arange(last)[None], torch.zeros(1))
        pair = torch.ones(1, last, 4), torch.ones(1, last, 4)
        assert (reader._before(module, (), {"position_embeddings": pair}) is None) == plain
        assert ("_ropewalk_reading" in module.__dict__) != plain


def outcome(monkeypatch, planned_off, stock_off):
    """What the test at attach makes of how far its passes are off: for two rows, and for one row alone."""
    tried = []

    def off(model, positions, lengths, planned):
        tried.append((len(lengths), planned))
        return (planned_off if planned else stock_off)[len(lengths)]

    monkeypatch.setattr(selftest, "_off", off)
    schedule = SimpleNamespace(original_length=64)
    ladder = SimpleNamespace(schedule=schedule, reach=256, semantics="causal", starts=(64,), near=0)
    selftest.check_cache(llama(), ladder, contextlib.nullcontext)
    return tried


def test_a_cache_is_tried_with_two_rows_and_what_the_stock_model_cannot_is_not_held_against_the_plan(monkeypatch):
    fine, far = 0.0, 1.0
    assert outcome(monkeypatch, {2: fine}, {}) == [(2, True)]
    assert outcome(monkeypatch, {2: far, 1: fine}, {2: far}) == [(2, True), (2, False), (1, True)]
    for planned_off, stock_off in (({2: far}, {2: fine}), ({2: far, 1: far}, {2: far, 1: fine})):
        with pytest.raises(CannotAttach, match="with a cache LlamaForCausalLM gives other logits than in one pass"):
            outcome(monkeypatch, planned_off, stock_off)
    with pytest.warns(UserWarning, match="gives other logits with a cache than without, also without a plan"):
        outcome(monkeypatch, {2: far, 1: far}, {2: far, 1: far})


def test_a_cache_that_nobody_was_told_of_is_noticed():
    """Without a plan nothing is written on the cache: as where attention is handed it by an unknown name."""
    with pytest.raises(CannotAttach, match="its attention is not told of it by a name that is known"):
        selftest._off(llama(), torch.arange(57, 68), (11,), planned=True)
    assert selftest._off(llama(), torch.arange(11), (11,), planned=False) < 1e-5


def test_kept_keys_go_on_only_where_everything_about_them_is_as_it_was():
    """Two rows, three heads, room for 8 keys of which 5 are filled, at step 1; the next call adds one to five."""
    now = SimpleNamespace(past=5)
    kept = Rotated(torch.zeros(2, 3, 8, 4), 5, (1,), None, None, fresh=True)
    key = torch.zeros(2, 3, 6, 4)
    with torch.no_grad():
        assert _fits(kept, now, key, (1,))
        assert _fits(kept, now, key[:, :, :1].repeat(1, 1, 8, 1), (1,))
        assert not _fits(kept, now, key[:, :, :1].repeat(1, 1, 9, 1), (1,)), "no room"
        assert not _fits(kept, now, key, (2,)), "another step"
        assert not _fits(kept, SimpleNamespace(past=4), key, (1,)), "cropped"
        assert not _fits(kept, SimpleNamespace(past=6), key, (1,)), "grown by somebody else"
        for other in (key[:1], key[:, :2], key[..., :2]):
            assert not _fits(kept, now, other, (1,)), "another shape"
        kept.fresh = False
        assert not _fits(kept, now, key, (1,)), "somebody else wrote to it"


def test_blocks_are_for_the_cpu():
    """Short calls starve an accelerator: an H100 was seven times slower with them (docs/real-model.md)."""
    assert block_of(torch.zeros(1, 2, 1000, 4)) == BLOCK
    assert block_of(torch.zeros(1, 2, 1000, 4, device="meta")) == 1000
