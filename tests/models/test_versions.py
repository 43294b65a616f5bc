"""What a release of transformers may change under deferred rotation: names are found, or refused, and never guessed."""

import warnings
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from models.test_dynamic import L, largest, llama, planned, run, tokens
from ropewalk.errors import CannotAttach
from ropewalk.models import caches
from ropewalk.models import limits as tried
from ropewalk.models.attach import attach
from ropewalk.models.caches import Entrance, cache_argument, cache_of
from ropewalk.models.dynamic import cache as kept
from ropewalk.models.dynamic import read, selftest
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan

# --- names


def renamed(model, wanted):
    """The model with an attention whose forward has the cache under another name, as a new release would bring it."""
    for layer in model.model.layers:
        stock = layer.self_attn.forward
        name = Entrance(layer.self_attn).name

        def forward(hidden_states, position_embeddings=None, attention_mask=None, stock=stock, name=name, **kwargs):
            return stock(hidden_states, position_embeddings, attention_mask, **{name: kwargs.pop(name, None)}, **kwargs)

        source = f"def forward(hidden_states, position_embeddings=None, attention_mask=None, {wanted}=None, **kwargs):\n"
        source += "    return stock(hidden_states, position_embeddings, attention_mask, **kwargs)\n"
        scope = {"stock": forward}
        exec(source, scope)
        layer.self_attn.forward = scope["forward"]
    return model


@pytest.mark.parametrize("name", ["cache", "past_key_values", "layer_past"])
def test_a_cache_is_found_by_any_name_and_by_place(name):
    model, held = renamed(llama(), name), object()
    entrance = Entrance(model.model.layers[0].self_attn)
    assert entrance.name == name
    for spelt in ("cache", "past_key_values", "layer_past"):
        assert entrance.cache((), {spelt: held}) is held
    assert entrance.cache((1, 2, 3, held), {}) is held
    assert entrance.cache((1, 2, 3), {}) is None
    assert entrance.cache((1, 2, 3), {name: None}) is None


def test_an_attention_without_a_known_name_is_refused_at_attach():
    model = renamed(llama(), "memory")
    with pytest.raises(CannotAttach, match=r"LlamaAttention.forward takes none of cache, past_key_values.*memory"):
        attach(model, planned(model))
    assert model.config._attn_implementation == "sdpa"  # as it was


def test_a_model_is_given_its_cache_by_its_own_name():
    class Old:
        def forward(self, ids, past_key_values=None):
            return None

    class New:
        def forward(self, ids, cache=None):
            return None

    class Wrapped:
        def forward(self, *args, **kwargs):
            return None

    assert cache_argument(Old(), 1) == {"past_key_values": 1}
    assert cache_argument(New(), 1) == {"cache": 1}
    assert cache_argument(Wrapped(), 1) == {caches.LIBRARY: 1}
    model = llama()
    assert cache_of(model(tokens(4), use_cache=True)).get_seq_length() == 4


# --- the self-test, on faults made by hand

METHODS = ["dynamic-yarn", "dynamic-ntk-causal-4", "dynamic-yarn-rotate", "dynamic-yarn-rotate-1", "dynamic-yarn-recompute"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_cache_that_is_not_seen_is_refused_at_attach(monkeypatch, method, dtype):
    """As under transformers 5.24 before its new name was known. Also where nobody counts the keys."""
    model = llama(dtype)
    attach(model, planned(model, method)).undo()
    monkeypatch.setattr(Entrance, "cache", lambda self, args, kwargs: None)
    with pytest.raises(CannotAttach):
        attach(model, planned(model, method))
    monkeypatch.setattr(read, "check_unseen", lambda *args: None)
    with pytest.raises(CannotAttach, match="is not told of it by a name that is known"):
        attach(model, planned(model, method))


FAULTS = ["a position late", "padding counted", "kept keys stale"]
# Padding that is counted shifts queries and keys alike: what is left of it is below bfloat16's rounding.
CAUGHT = [
    (f, d) for f in FAULTS for d in (torch.float64, torch.float32, torch.bfloat16) if (f, d) != (FAULTS[1], torch.bfloat16)
]


@pytest.mark.parametrize(("fault", "dtype"), CAUGHT, ids=str)
def test_keys_at_wrong_positions_are_refused_at_attach(monkeypatch, dtype, fault):
    model = llama(dtype)
    if fault == "a position late":
        a_position_late(monkeypatch)
    elif fault == "padding counted":
        begin = read.DeferredTable._begin

        def counted(self, module, args, kwargs, output):
            given = kwargs.get("position_ids")
            if given is not None:
                kwargs = {**kwargs, "position_ids": given[:1].expand(len(given), -1)}
            begin(self, module, args, kwargs, output)

        monkeypatch.setattr(read.DeferredTable, "_begin", counted)
    else:
        monkeypatch.setattr(kept, "_fits", lambda kept, call, key, steps: kept.keys.shape[0] == len(key))
    with pytest.raises(CannotAttach, match="gives other logits"):
        attach(model, planned(model))


def a_position_late(monkeypatch):
    at = read.Call._at

    def later(self, steps, compute, first, last, positions):
        return at(self, steps, compute, first, last, positions + 1 if self.past and compute == "of_keys" else positions)

    monkeypatch.setattr(read.Call, "_at", later)


@pytest.fixture
def no_digits(monkeypatch):
    """A model so deep that nothing of bfloat16 is left: SmolLM2's 30 layers leave 0.09 to 0.12 of what a cache gives, where
    half the digits are 0.088, and its float32 4e-6."""
    allowed = selftest._allowed
    monkeypatch.setattr(selftest, "_allowed", lambda model: 0.0 if model.dtype == torch.bfloat16 else allowed(model))


@pytest.mark.parametrize("method", ["dynamic-yarn", "near-linear"])
def test_rounding_in_half_precision_is_not_held_against_a_plan(no_digits, method):
    model = llama(torch.bfloat16)
    before = {name: (weight.data_ptr(), weight.clone()) for name, weight in model.named_parameters()}
    attach(model, planned(model, method)).undo()
    for name, weight in model.named_parameters():
        place, value = before[name]
        assert weight.data_ptr() == place
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, value)


@pytest.mark.parametrize("method", ["dynamic-yarn", "near-linear"])
def test_a_fault_is_seen_beneath_the_rounding_of_half_precision(no_digits, monkeypatch, method):
    a_position_late(monkeypatch)
    with pytest.raises(CannotAttach, match="gives other logits"):
        attach(llama(torch.bfloat16), planned(llama(torch.bfloat16), method))


def test_a_model_too_large_to_be_held_twice_is_judged_as_it_is(no_digits, monkeypatch):
    monkeypatch.setattr(selftest, "LARGEST", 10)
    with pytest.raises(CannotAttach, match="gives other logits"):
        attach(llama(torch.bfloat16), planned(llama(torch.bfloat16)))


def test_a_model_whose_own_cache_is_wrong_is_said_to_have_one(monkeypatch):
    """And carries the plan: without a cache it is right."""
    model = llama()
    off = selftest._off
    monkeypatch.setattr(selftest, "_off", lambda *args, **more: max(off(*args, **more), 0.5))
    with pytest.warns(UserWarning, match="also without a plan"):
        attach(model, planned(model)).undo()


def test_the_self_test_leaves_nothing_behind():
    model, ids = llama(), tokens(L)
    before = run(model, ids)
    model.train()
    attached = attach(model, planned(model))
    assert model.training
    attached.undo()
    assert not model.model.layers[0].self_attn._forward_pre_hooks
    assert torch.equal(run(model.eval(), ids), before)


def test_the_self_test_stands_across_the_first_step_or_where_a_plan_ends():
    """Positions by arithmetic: causal from L - 7 on; a plan that reaches little further ends the span."""
    for factor, method, wanted in (
        (4.0, "dynamic-yarn", (L - 7, L + 4)),
        (65 / 64, "dynamic-yarn", (54, 65)),
        (4.0, "dynamic-yarn-rotate", (0, 11)),  # every length its own scale
        (4.0, "dynamic-yarn-rotate-1", (4 * L - 11, 4 * L)),  # one step from 128 on
    ):
        model = llama()
        spans = []
        with pytest.MonkeyPatch.context() as patch:
            span = selftest._span
            patch.setattr(selftest, "_span", lambda ladder, span=span, spans=spans: spans.append(span(ladder)) or spans[-1])
            plan = make_plan(read_live(model), factor=factor, method=method)
            attach(model, plan).undo()
        assert spans == [wanted]


def test_a_cache_continued_without_being_handed_over_is_refused_while_running(monkeypatch):
    """A cache that some calls hand over in a way that is not known: the keys do not add up."""
    model, ids = llama(), tokens()
    with attach(model, planned(model)):
        cache = DynamicCache(config=model.config)
        run(model, ids[:, :100], **cache_argument(model, cache))
        monkeypatch.setattr(Entrance, "cache", lambda self, args, kwargs: None)
        with pytest.raises(CannotAttach, match="101 keys in a call of 1 tokens that was handed no cache"):
            run(model, ids[:, 100:101], **cache_argument(model, cache))
        assert largest(run(model, ids[:, :100], use_cache=False), run(model, ids[:, :100], use_cache=False)) == 0


# --- releases


def test_a_release_that_no_drill_has_seen_is_said_once(monkeypatch):
    monkeypatch.setattr(tried, "version", lambda name: {"transformers": "5.99.1", "torch": "2.13.0+cpu"}[name])
    monkeypatch.setattr(tried, "_said", set())
    model = llama()
    with pytest.warns(
        UserWarning, match=r"^transformers 5\.99 has not been tried with this Ropewalk: the self-test at attach"
    ):
        attach(model, planned(model)).undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(model, planned(model)).undo()


def test_the_releases_that_were_tried_are_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "versions.md").read_text()
    oldest, newest = tried.TRIED["transformers"][0], tried.TRIED["transformers"][-1]
    assert f"| {newest}." in page
    assert f"| {oldest}." in page
    assert all(f" {release}." in page for release in tried.TRIED["torch"])
