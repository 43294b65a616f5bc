"""The short-context tax on the bundled model: against plain softmaxes in float64, and exactly nothing where it must be."""

import numpy
import pytest
import torch

from ropewalk.errors import BadLength
from ropewalk.measure.tables import BITS, tax_table
from ropewalk.measure.tax import BaseStates, WindowTax, measure_tax
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import make_plan
from support.reading import ORIGINAL, documents, plain_nll, small_model
from support.reading import plan_for as small_plan
from support.synthetic import plans, taxed

WINDOWS = torch.randint(1, 900, (3, 96), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model():
    return load_model("ropewalk-tiny")


def tax(windows):
    """The table's row of a run that read these windows, each with the name of its document."""
    plan = plans(["yarn"])["yarn"]
    return tax_table([taxed(plan, name, w.extended, w.base, w.kl) for name, w in windows])["yarn"]


def plan_for(model, method):
    return make_plan(read_live(model), method=method, target_length=1024)


@pytest.mark.parametrize(("method", "chunk"), [("yarn", 7), ("linear", 1000)])
def test_against_torch_distributions_in_float64(model, method, chunk):
    plan = plan_for(model, method)
    with torch.inference_mode():
        base = model(WINDOWS).logits.double()[:, :-1]
        with attach(model, plan):
            extended = model(WINDOWS).logits.double()[:, :-1]
    p, q = torch.distributions.Categorical(logits=base), torch.distributions.Categorical(logits=extended)
    wanted = torch.distributions.kl_divergence(p, q)

    seen = list(measure_tax(model, plan, WINDOWS, chunk=chunk))

    assert len(seen) == 3
    for i, window in enumerate(seen):
        assert window.kl == pytest.approx(wanted[i].numpy(), abs=5e-6, rel=1e-4)
        assert window.base == pytest.approx(-p.log_prob(WINDOWS[:, 1:])[i].numpy(), abs=1e-5)
        assert window.extended == pytest.approx(-q.log_prob(WINDOWS[:, 1:])[i].numpy(), abs=1e-5)
        assert window.kl.dtype == window.base.dtype == numpy.float32
    assert wanted.mean() > 1e-3  # there is a tax to see


@pytest.mark.parametrize("method", ["dynamic", "dynamic-yarn"])
def test_a_causal_plan_takes_no_tax_bit_for_bit(model, method):
    plan = plan_for(model, method)

    windows = list(measure_tax(model, plan, WINDOWS))

    for window in windows:
        assert (window.kl == 0).all()
        assert (window.base == window.extended).all()
    found = tax([("a", windows[0]), ("b", windows[1])])
    assert (found.loss.low, found.loss.high) == (0, 0)
    assert (found.kl.low, found.kl.high) == (0, 0)


def test_longrope_pays_by_the_list_that_an_engine_takes_for_short_texts():
    """Ones, which change nothing there; and factors, by a plain softmax under the plan of that list alone, static."""
    small, (document,) = small_model(), documents(ORIGINAL - 1)
    unchanged = small_plan(small, "longrope", long_factor=(2.0, 3.0, 4.0, 5.0), short_factor=(1.0,) * 4)
    (window,) = measure_tax(small, unchanged, [document.ids])
    assert numpy.abs(window.kl).max() < 1e-6
    assert window.extended == pytest.approx(window.base, abs=1e-5)
    short = (1.0, 1.5, 2.0, 2.5)
    both = small_plan(small, "longrope", long_factor=(2.0, 3.0, 4.0, 5.0), short_factor=short)
    (window,) = measure_tax(small, both, [document.ids])
    with attach(small, small_plan(small, "longrope", long_factor=short, attention_factor=1.0)):
        wanted = plain_nll(small, document.ids)
    assert window.extended == pytest.approx(wanted, abs=1e-5)
    assert numpy.abs(window.extended - window.base).max() > 1e-2


def test_the_model_is_left_as_it_was(model):
    with torch.inference_mode():
        before = model(WINDOWS).logits
        list(measure_tax(model, plan_for(model, "linear"), WINDOWS))
        assert torch.equal(model(WINDOWS).logits, before)


@pytest.mark.parametrize(("windows_kept", "passes"), [(3, 3 + 2 * 3), (2.9, 4 * 3), (0.5, 4 * 3)])
def test_the_model_reads_a_window_once_for_all_plans(model, windows_kept, passes):
    """Three windows under two plans. In order, room for fewer than three helps none: the oldest is always the next."""
    both = [plan_for(model, method) for method in ("yarn", "dynamic-yarn")]
    alone = [list(measure_tax(model, plan, WINDOWS)) for plan in both]
    bases, calls = BaseStates(int(windows_kept * 95 * model.config.hidden_size * 4)), []
    hook = model.base_model.register_forward_hook(lambda module, args, output: calls.append(output[0].shape[1]))
    try:
        shared = [list(measure_tax(model, plan, WINDOWS, bases=bases)) for plan in both]
    finally:
        hook.remove()
    for one, other in zip([*alone[0], *alone[1]], [*shared[0], *shared[1]], strict=True):
        assert all((getattr(one, name) == getattr(other, name)).all() for name in ("base", "extended", "kl"))
    assert calls.count(96) == passes  # the others are of attaching


def test_a_head_that_cannot_run_alone_gives_the_same(model, monkeypatch):
    plan = plan_for(model, "yarn")
    alone = list(measure_tax(model, plan, WINDOWS))
    monkeypatch.setattr("ropewalk.measure.tax.head_of", lambda model, ids: None)

    whole = list(measure_tax(model, plan, WINDOWS))

    for a, b in zip(alone, whole, strict=True):
        assert a.kl == pytest.approx(b.kl, abs=2e-6)
        assert a.extended == pytest.approx(b.extended, abs=1e-5)


@pytest.mark.parametrize("tokens", [1, 2000])
def test_a_window_beyond_the_original_length_is_refused(model, tokens):
    with pytest.raises(BadLength, match=f"window 0 has {tokens:,} tokens; short-context degradation is measured on 2 to"):
        next(measure_tax(model, plan_for(model, "yarn"), [[1] * tokens]))


def test_the_interval_is_over_documents_not_windows():
    """Two windows of one document are one document: by hand, token-pooled means of 3 + 1 and 2 tokens."""
    made = lambda base, extended, kl: WindowTax(*(numpy.array(x, dtype=numpy.float32) for x in (base, extended, kl)))  # noqa: E731
    first, second, other = made([1, 1, 1], [2, 2, 2], [1, 1, 1]), made([1], [5], [3]), made([1, 1], [1, 1], [0, 0])

    found = tax([("a", first), ("b", other), ("a", second)])

    assert found.documents == 2
    assert found.loss.value == pytest.approx((3 + 4) / 6 * BITS)
    assert found.kl.value == pytest.approx(1.0 * BITS)
