"""What people do with a model while a plan is attached: choose another attention, save it, read it, call it from threads."""

import copy
import threading
import warnings
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM

import ropewalk
from ropewalk.api.read import read
from ropewalk.checkpoints.adapters import find_adapter
from ropewalk.errors import BadOption, CannotAttach
from ropewalk.models.attach import attach
from ropewalk.scaling.plan import ScalingPlan
from support.architectures import FACTOR, LENGTH, TOLERANCE, build, logits, plan_of, tiny_config
from support.deferred import L, largest, llama, planned, run, tokens

DEFERRED = ["dynamic-yarn", "near-linear"]


@pytest.mark.parametrize("method", DEFERRED)
@pytest.mark.parametrize("how", [dict(), dict(use_cache=False)], ids=str)
def test_another_attention_would_not_rotate_and_is_refused(method, how):
    """transformers 5.23, modeling_utils.py: set_attn_implementation changes the function of every layer at its next call."""
    model, ids = llama(torch.float64), tokens()
    with attach(model, planned(model, method)) as attached:
        wanted = run(model, ids, **how)
        model.set_attn_implementation("eager")
        with pytest.raises(CannotAttach, match="attention was set to 'eager'"):
            run(model, ids, **how)
        with pytest.raises(CannotAttach, match="attention was set to 'eager'"):
            attached.check()
    model.set_attn_implementation("eager")
    with attach(model, planned(model, method)):
        assert largest(run(model, ids, **how), wanted) < 2e-6 * float(wanted.abs().max())  # eager takes its softmax in float32


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn-request"])
def test_another_attention_is_as_good_where_keys_are_rotated_at_once(method):
    model, ids = llama(torch.float64), tokens()
    with attach(model, planned(model, method)) as attached:
        wanted = run(model, ids)
        model.set_attn_implementation("eager")
        assert largest(run(model, ids), wanted) < 2e-6 * float(wanted.abs().max())
        attached.check()


# --- saved


SAVED = {"llama": "yarn", "gpt_neox": "ntk", "gemma3_text": "linear", "deepseek_v3": "yarn", "phi3": "resonance"}


@pytest.mark.parametrize("family", SAVED)
def test_a_static_plan_is_in_what_is_saved(family, tmp_path):
    """Stock transformers reads the folder and gives the attached model's logits: its own rotation is the other arithmetic."""
    model = build(tiny_config(family))
    before, config = logits(model), model.config.to_dict()
    with attach(model, plan_of(model, SAVED[family])) as attached:
        wanted, longest = logits(model), model.config.get_text_config().max_position_embeddings
        model.save_pretrained(tmp_path)
        assert model.config.get_text_config().max_position_embeddings == longest == LENGTH * FACTOR
        assert ScalingPlan.from_json((tmp_path / "ropewalk.json").read_text()) == attached.plan
    fresh = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert largest(wanted, before) > 1e-2
    assert largest(logits(fresh), wanted) < TOLERANCE * largest(wanted, before)
    assert fresh.config.max_position_embeddings == LENGTH * FACTOR
    assert {k: v for k, v in model.config.to_dict().items() if k not in BY_SAVING} == {
        k: v for k, v in config.items() if k not in BY_SAVING
    }
    model.save_pretrained(tmp_path / "after")
    assert read(tmp_path / "after").max_length == read(config).max_length


BY_SAVING = ("architectures", "dtype")  # transformers 5.23 notes these in the config that it saves


@pytest.mark.parametrize("method", [*DEFERRED, "dynamic-ntk-request"])
def test_a_plan_that_no_config_says_leaves_the_models_own(method, tmp_path):
    model, ids = llama(), tokens()
    plain = run(model, ids)
    with attach(model, planned(model, method)) as attached:
        wanted = run(model, ids, use_cache=False)
        with pytest.warns(UserWarning, match=rf"saved without its plan: no config can say {attached.plan.name}\."):
            model.save_pretrained(tmp_path)
    fresh = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert fresh.config.max_position_embeddings == L
    assert largest(run(fresh, ids), plain) < 1e-5
    with attach(fresh, ScalingPlan.from_json((tmp_path / "ropewalk.json").read_text())):
        assert largest(run(fresh, ids, use_cache=False), wanted) < 1e-5


@pytest.mark.parametrize("how", ["save_pretrained", "push_to_hub"])
def test_the_plan_goes_to_the_hub_with_the_model(how, tmp_path, monkeypatch):
    """transformers 5.23 uploads the files that are new or newer than before (PushToHubMixin._upload_modified_files)."""
    sent = []
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *_, **__: SimpleNamespace(repo_id="o/n"))
    monkeypatch.setattr(huggingface_hub.HfApi, "preupload_lfs_files", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", lambda *_, operations, **__: sent.extend(operations))
    monkeypatch.setattr(huggingface_hub.ModelCard, "load", lambda *_, **__: huggingface_hub.ModelCard("---\n---\n"))
    model = llama()
    with attach(model, planned(model, "dynamic-yarn")), warnings.catch_warnings(action="ignore"):
        (tmp_path / "ropewalk.json").write_text("an older one")
        if how == "save_pretrained":
            model.save_pretrained(tmp_path, push_to_hub=True, repo_id="o/n")
        else:
            model.push_to_hub("o/n")
    assert {"config.json", "ropewalk.json", "model.safetensors"} <= {one.path_in_repo for one in sent}


def test_adapters_that_are_merged_into_an_attached_model_are_saved_with_the_plan(tmp_path):
    """peft gives back the model that it was laid over: the one that the plan is attached to."""
    peft = pytest.importorskip("peft")
    model, ids = llama(), tokens()
    with attach(model, planned(model, "yarn")):
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        whole = peft.get_peft_model(model, config).merge_and_unload()
        wanted = run(whole, ids)
        whole.save_pretrained(tmp_path)
    assert largest(run(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), ids), wanted) < 1e-4


def saved_llama(folder):
    """As loaded from somewhere: peft takes its base's name from there."""
    model = llama()
    model.save_pretrained(folder)
    model.name_or_path = str(folder)
    return model


def adapters(peft):
    return peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)


def test_a_plan_that_is_attached_to_peft_s_wrapper_is_saved_beside_its_adapters(tmp_path):
    """peft 0.18, peft_model.py: `save_pretrained` writes the default adapter here, others into folders of their names."""
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(saved_llama(tmp_path / "base"), adapters(peft))
    model.add_adapter("second", adapters(peft))
    with attach(model, planned(llama(), "dynamic-yarn")) as attached, warnings.catch_warnings(record=True) as told:
        model.save_pretrained(tmp_path)
    assert not [one for one in told if "saves no plan" in str(one.message)]
    for folder in (tmp_path, tmp_path / "second"):
        assert (folder / "adapter_model.safetensors").is_file()
        assert ScalingPlan.from_json((folder / "ropewalk.json").read_text()) == attached.plan
        assert "trained under dynamic-yarn to" in find_adapter(folder).note
    model.save_pretrained(tmp_path / "after")
    assert not (tmp_path / "after/ropewalk.json").exists()


def test_adapters_that_are_laid_over_an_attached_model_are_saved_without_a_plan_which_is_said(tmp_path):
    peft = pytest.importorskip("peft")
    model = saved_llama(tmp_path / "base")
    with attach(model, planned(model, "yarn")):
        model.state_dict()
        wrapped = peft.get_peft_model(model, adapters(peft))
        with pytest.warns(UserWarning, match="taken while yarn is attached, and peft saves no plan: put it beside") as told:
            wrapped.save_pretrained(tmp_path)
        assert len(told) == 1
        with warnings.catch_warnings(action="error"):
            wrapped.state_dict()  # it was told
    assert "it does not say" in find_adapter(tmp_path).note
    (tmp_path / "ropewalk.json").write_text("{}")
    assert "ropewalk.json there does not say" in find_adapter(tmp_path).note


def test_adapters_that_transformers_puts_in_are_saved_with_the_plan(tmp_path):
    """PreTrainedModel.add_adapter: its own `save_pretrained` writes the adapters alone."""
    peft = pytest.importorskip("peft")
    model = llama()
    try:
        model.add_adapter(adapters(peft))
    except ValueError as error:  # transformers 5.24 wants peft 0.22, which may not be there
        pytest.skip(str(error))
    with attach(model, planned(model, "near-linear")) as attached, warnings.catch_warnings(action="ignore"):
        model.save_pretrained(tmp_path)
    assert not (tmp_path / "config.json").exists()
    assert ScalingPlan.from_json((tmp_path / "ropewalk.json").read_text()) == attached.plan


def test_a_copy_saves_what_it_does(tmp_path):
    model, ids = llama(), tokens()
    with attach(model, planned(model, "yarn")):
        twin = copy.deepcopy(model)
    wanted = run(twin, ids)
    twin.save_pretrained(tmp_path)
    assert largest(run(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), ids), wanted) < 1e-4


# --- read and run


def test_what_is_read_meanwhile_is_the_models_own():
    model = llama()
    own, planned_before = read(model), ropewalk.plan(model, factor=2)
    with ropewalk.attach(model, "yarn", factor=FACTOR):
        assert model.config.max_position_embeddings == FACTOR * L
        assert read(model) == own
        assert ropewalk.plan(model, factor=2) == planned_before
    assert read(model) == own


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn"])
def test_generate_says_the_plan_that_was_attached_before(method):
    """The account is that of generate with the same plan."""
    model = ropewalk.load_model("ropewalk-tiny")
    plan = ropewalk.plan(model, factor=FACTOR, method=method)
    prompt, how = "def area(width, height):\n" * 60, dict(max_new_tokens=8)
    wanted = ropewalk.generate(model, prompt, plan=plan, **how)
    with ropewalk.attach(model, plan):
        found = ropewalk.generate(model, prompt, **how)
    assert (found.text, found.plan, found.account.scales) == (wanted.text, plan, wanted.account.scales)


def test_a_request_plan_that_was_attached_before_is_refused():
    model = ropewalk.load_model("ropewalk-tiny")
    with (
        ropewalk.attach(model, "dynamic-yarn-request"),
        pytest.raises(BadOption, match="only whoever attached it can say"),
    ):
        ropewalk.generate(model, "def area(", max_new_tokens=4)


# --- threads


@pytest.mark.parametrize(
    ("method", "place"), [("dynamic-yarn", "attention"), ("near-linear", "attention"), ("dynamic-yarn-request", "rotary")]
)
def test_a_call_that_begins_within_another_threads_waits_for_its_end(method, place):
    """One call stops in the middle, between what it notes on a module and what reads it, until another has been made."""
    model, long, short = llama(torch.float64), tokens(), tokens(100, seed=5)
    halted, done, found = threading.Event(), threading.Event(), {}

    def halt(*_):
        if not halted.is_set():
            halted.set()
            done.wait(0.5)

    with attach(model, planned(model, method)):
        wanted = {name: run(model, ids, use_cache=False) for name, ids in (("long", long), ("short", short))}
        module = model.model.rotary_emb if place == "rotary" else model.model.layers[0].self_attn
        module.register_forward_pre_hook(halt)
        first = threading.Thread(target=lambda: found.update(long=run(model, long, use_cache=False)))
        first.start()
        assert halted.wait(30)
        found["short"] = run(model, short, use_cache=False)
        done.set()
        first.join()
    assert "forward" not in model.model.__dict__
    assert {name: torch.equal(logits, wanted[name]) for name, logits in found.items()} == {"long": True, "short": True}


def test_a_copy_runs_its_own_layers_and_what_a_module_had_comes_back():
    model, ids = llama(), tokens()
    calls, stock = [], model.model.forward
    model.model.forward = lambda *args, **kwargs: calls.append(1) or stock(*args, **kwargs)  # as accelerate puts its own
    own = model.model.forward
    with attach(model, planned(model)):
        calls.clear()
        run(model, ids)
        assert len(calls) == 1
    assert model.model.forward is own
    del model.model.forward
    with attach(model, planned(model)):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin.model.layers[0].mlp.down_proj.weight.zero_()
        assert largest(run(twin, ids[:, :L], use_cache=False), run(model, ids[:, :L], use_cache=False)) > 1e-3


@pytest.mark.parametrize("method", ["yarn", *DEFERRED])
def test_weights_that_are_offloaded(method):
    """accelerate's cpu_offload leaves no weight in its place: all are on the meta device between calls."""
    accelerate = pytest.importorskip("accelerate")
    model, whole, ids = llama(), llama(), tokens()
    accelerate.cpu_offload(model, execution_device="cpu")
    assert all(weight.is_meta for weight in model.parameters())
    with attach(model, planned(model, method)), attach(whole, planned(whole, method)):
        assert torch.equal(run(model, ids), run(whole, ids))
