"""torch.compile on an attached model. fullgraph=True is an error at the first graph break; the backend checks no arithmetic
of a compiler, only that the graph is whole and does the same."""

import pytest
import torch
from transformers import CompileConfig, StaticCache

from models.test_dynamic import L, N, in_chunks, largest, llama, planned, run, tokens
from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import LIBRARY, cache_argument
from support.architectures import build, plan_of, tiny_config


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


pytestmark = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13), reason="torch.compile before 2.13 stops at the cache's update"
)


def compiled(model, backend="eager", **how):
    return torch.compile(model.forward, backend=backend, fullgraph=True, **how)


def one_by_one(forward, ids, cache, first, last, **kwargs):
    with torch.no_grad():
        outputs = []
        for i in range(first, last):
            more = {name: value[:, : i + 1] if "mask" in name else value[:, i : i + 1] for name, value in kwargs.items()}
            outputs.append(forward(ids[:, i : i + 1], **{LIBRARY: cache}, **more).logits)
        return torch.cat(outputs, 1)


NEAR = ["near-linear", "near-0.25-self_extend-log_n", "dpe, causal"]


@pytest.mark.parametrize(
    ("attention", "method"), [("sdpa", "dynamic-yarn"), pytest.param("eager", "dynamic-yarn", marks=pytest.mark.slow),
    ("sdpa", NEAR[0]), *(pytest.param("sdpa", name, marks=pytest.mark.slow) for name in NEAR[1:])],
)  # fmt: skip
def test_decoding_is_one_graph_for_all_steps(attention, method):
    model, ids = llama(torch.float64, attention), tokens()
    with attach(model, planned(model, method)):
        whole = run(model, ids, use_cache=False)
        cache = StaticCache(config=model.config, max_cache_len=N)
        run(model, ids[:, :50], **cache_argument(model, cache))
        places = torch.arange(N)[None]
        got = one_by_one(compiled(model, "aot_eager"), ids, cache, 50, 190, position_ids=places)
        assert largest(got, whole[:, 50:190]) < 1e-12
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
        assert largest(in_chunks(model, ids[:, 190:], [3, 4], cache), whole[:, 190:]) < 1e-12  # and on without it


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dynamic-yarn", *NEAR])
def test_rows_of_different_lengths_have_steps_of_their_own(method):
    model, ids = llama(torch.float64), tokens(N, 2)
    mask = torch.ones_like(ids)
    mask[1, :80] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)
    with attach(model, planned(model, method)):
        cache = StaticCache(config=model.config, max_cache_len=N)
        run(model, ids[:, :100], **cache_argument(model, cache), attention_mask=mask[:, :100], position_ids=places[:, :100])
        got = one_by_one(compiled(model), ids, cache, 100, 190, attention_mask=mask, position_ids=places)
        assert largest(got[1], run(model, ids[1:, 80:])[0, 20:110]) < 1e-12
        assert largest(got[0], run(model, ids[:1])[0, 100:190]) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt_neox", "gemma2", "cohere", "smollm3"])
@pytest.mark.parametrize("method", ["dynamic-yarn", NEAR[0]])
def test_other_layouts(family, method):
    model, ids = build(tiny_config(family)).double(), tokens(270)
    with attach(model, plan_of(model, method)):
        whole = run(model, ids, use_cache=False)
        cache = StaticCache(config=model.config, max_cache_len=270)
        run(model, ids[:, :180], **cache_argument(model, cache))
        got = one_by_one(compiled(model), ids, cache, 180, 190, position_ids=torch.arange(270)[None])
    # gemma2's soft cap makes attention eager, whose softmax is float32: near and far keys are then added up in another order.
    allowed = 2e-5 if (family, method) == ("gemma2", NEAR[0]) else 1e-12
    assert largest(got, whole[:, 180:190]) < allowed * max(1.0, float(whole.abs().max()))


@pytest.mark.slow
def test_longer_calls_break_the_graph_and_give_the_same_numbers():
    model, ids = llama(torch.float64), tokens()
    with attach(model, planned(model)):
        whole = run(model, ids, use_cache=False)
        assert largest(run(torch.compile(model, backend="eager"), ids, use_cache=False), whole) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dynamic-yarn", NEAR[0]])
def test_generate_with_compiled_decoding(method):
    model, ids = llama(torch.float64), tokens(50)
    how = dict(max_new_tokens=60, do_sample=False, eos_token_id=None)
    with attach(model, planned(model, method)):
        wanted = model.generate(ids, use_cache=False, **how)
        config = CompileConfig(fullgraph=True, backend="eager", mode=None)
        config._compile_all_devices = True  # generate compiles on accelerators only, unless told
        assert torch.equal(model.generate(ids, cache_implementation="static", compile_config=config, **how), wanted)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1


def test_a_cache_filled_elsewhere_is_refused():
    model, ids = llama(), tokens(L)
    cache = StaticCache(config=model.config, max_cache_len=N)
    run(model, ids, **cache_argument(model, cache))
    with attach(model, planned(model)), pytest.raises(CannotAttach, match="filled under the attached plan"):
        run(
            torch.compile(model, backend="eager"), ids[:, :1], **cache_argument(model, cache), position_ids=torch.tensor([[L]])
        )


def test_a_model_that_is_compiled_in_place_is_attached_without_compiling_anything():
    """transformers' and torch's `model.compile()` makes every call a compiled one: those of the test at attach, too."""
    model, twin, ids = llama(torch.float64), llama(torch.float64), tokens(70)
    model.compile(backend="eager")
    with attach(model, planned(model)) as attached, attach(twin, planned(twin)):
        assert not torch._dynamo.utils.counters["stats"]
        attached.check()
        assert largest(run(model, ids, use_cache=False), run(twin, ids, use_cache=False)) < 1e-12
