"""attach: undo, refusals, sabotage, dtypes. Models are tiny and random."""

import copy
import dataclasses
import math

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ropewalk.engines.transformers.read import read
from ropewalk.errors import CannotAttach, Mismatch, NoRope, UnknownName
from ropewalk.models.attach import attach, measure
from ropewalk.models.live import read_live
from ropewalk.models.tables import rotation_tables
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch
from support.architectures import FACTOR, LENGTH, MIXED, build, logits, plan_of, tiny_config, tokens

TARGET = int(LENGTH * FACTOR)


@pytest.fixture
def llama():
    return build(tiny_config("llama"))


@pytest.fixture
def gemma3():
    return build(tiny_config("gemma3_text"))


def forward(model, ids, **kwargs):
    with torch.no_grad():
        return model(ids, **kwargs).logits


# --- attach and undo


def test_the_config_claims_the_target_while_attached(llama):
    with attach(llama, plan_of(llama)) as attached:
        assert llama.config.max_position_embeddings == TARGET
        # transformers resets to this one when its own rules are switched back on
        assert torch.equal(llama.model.rotary_emb.original_inv_freq, llama.model.rotary_emb.inv_freq)
        attached.undo()
        attached.undo()  # a second time does nothing
        assert llama.config.max_position_embeddings == LENGTH
    assert llama.config.max_position_embeddings == LENGTH


def test_undo_ends_its_own_plan_only(llama):
    first = attach(llama, plan_of(llama))
    first.undo()
    with attach(llama, plan_of(llama, "linear")) as second:
        first.undo()
        second.check()
        assert llama.config.max_position_embeddings == TARGET


def test_undo_gives_back_the_very_tensors(llama):
    rotary = llama.model.rotary_emb
    held = dict(rotary.__dict__), dict(rotary._buffers)
    attach(llama, plan_of(llama, "dynamic-yarn-request")).undo()
    assert all(rotary._buffers[name] is tensor for name, tensor in held[1].items())
    assert rotary.__dict__.keys() == held[0].keys()
    assert (rotary.rope_type, rotary.attention_scaling) == ("default", 1.0)
    assert not rotary._forward_pre_hooks


def test_attaching_twice_is_refused(llama):
    plan = plan_of(llama)
    with attach(llama, plan):
        once = logits(llama)
        with pytest.raises(CannotAttach, match=r"a yarn plan is attached to this model already.*\n.*undo"):
            attach(llama, plan)
        with pytest.raises(CannotAttach, match="already"):
            attach(llama.model, plan)  # the same rotary module, through another door
        assert torch.equal(logits(llama), once)
    with attach(llama, plan):  # after undo it may be attached again
        assert torch.equal(logits(llama), once)


def test_a_copy_of_an_attached_model_is_its_own(llama):
    before = logits(llama)
    with attach(llama, plan_of(llama, "dynamic-request")):
        twin = copy.deepcopy(llama)
        stretched = logits(llama)
    assert torch.equal(logits(llama), before)
    assert torch.equal(logits(twin), stretched)
    with pytest.raises(CannotAttach, match=r"copy it\s+before attaching"):
        attach(twin, plan_of(llama))
    twin.to("meta")  # what guards the copy's table must act on the copy
    assert twin.model.rotary_emb.inv_freq.is_meta
    assert not llama.model.rotary_emb.inv_freq.is_meta


STRETCHED = {
    "linear": dict(rope_type="linear", factor=2.0),
    "dynamic": dict(rope_type="dynamic", factor=1.0),
    "yarn": dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=LENGTH),
    "llama3": dict(
        rope_type="llama3", factor=2.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=LENGTH
    ),
    "longrope": dict(
        rope_type="longrope",
        factor=2.0,
        original_max_position_embeddings=LENGTH,
        short_factor=[1.0] * 16,
        long_factor=[1 + i / 8 for i in range(16)],
    ),
}


@pytest.mark.parametrize("method", ["ntk_by_parts", "dynamic-yarn-request"])
@pytest.mark.parametrize("stretched", STRETCHED)
def test_a_stretch_of_the_config_gives_way_and_comes_back(llama, stretched, method):
    """Whatever the config asked for, and whatever state transformers' own rule was in."""
    rope = dict(rope_theta=1e4, **STRETCHED[stretched])
    model = build(tiny_config("llama", dict(rope_parameters=rope, max_position_embeddings=LENGTH)))
    plan = plan_of(llama, method)
    logits(model)  # lets dynamic and longrope grow
    rotary, before = model.model.rotary_emb, logits(model, LENGTH)
    logits(model)
    state = {name: copy.deepcopy(getattr(rotary, name)) for name in ("inv_freq", "max_seq_len_cached", "attention_scaling")}
    with attach(llama, plan):
        wanted = [logits(llama, count) for count in (LENGTH, 200)]
    with attach(model, plan):
        assert all(torch.equal(logits(model, count), one) for count, one in zip((LENGTH, 200), wanted, strict=True))
    assert all(torch.equal(torch.as_tensor(getattr(rotary, name)), torch.as_tensor(held)) for name, held in state.items())
    assert torch.equal(logits(model, LENGTH), before)


def test_a_model_that_is_stretched_already_is_replaced_and_restored():
    model = build(tiny_config("gpt_oss"))
    before = logits(model)
    plan = plan_of(model, "linear")
    with attach(model, plan):
        cos, _ = measure(model, "all", [40])
        wanted = [math.cos(40 / FACTOR * 150_000 ** (-i / 16)) for i in range(16)]
        assert cos[0].tolist() == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(logits(model), before)


# --- what fits and what does not


def test_a_plan_of_another_model_is_refused(llama):
    for rope, reason in [
        (Rope(32, 5e5, LENGTH), "made for rotary_dim 32 and rope_theta 500000; this model has 32 and 10000"),
        (Rope(16, 1e4, LENGTH), "made for rotary_dim 16"),
    ]:
        with pytest.raises(CannotAttach, match=reason):
            attach(llama, ScalingPlan((("all", Stretch(rope, "linear", 2.0)),), 2 * LENGTH))
    with pytest.raises(CannotAttach, match="the plan stretches 'full_attention' layers; this llama model has all"):
        attach(llama, ScalingPlan((("full_attention", Stretch(Rope(32, 1e4, LENGTH))),), LENGTH))


def test_a_table_of_another_size_is_refused(llama):
    plan = plan_of(llama)
    llama.model.rotary_emb.inv_freq = llama.model.rotary_emb.inv_freq[:12]
    with pytest.raises(CannotAttach, match="the plan rotates 16 pairs, this model's 'all' table has 12"):
        attach(llama, plan)


def test_not_a_transformers_model(llama):
    with pytest.raises(CannotAttach, match="Linear has no transformers config"):
        attach(torch.nn.Linear(2, 2), plan_of(llama))


def test_a_rotary_module_of_an_unknown_kind(llama):
    plan = plan_of(llama)
    llama.model.rotary_emb = torch.nn.Identity()
    with pytest.raises(CannotAttach, match="no rotary module found in LlamaForCausalLM"):
        attach(llama, plan)


def test_a_model_without_weights_yet():
    with torch.device("meta"):
        model = build(tiny_config("llama"))
    with pytest.raises(CannotAttach, match="meta device"):
        attach(model, plan_of(model))


def test_partial_rotation_leaves_the_rest_alone():
    model = build(tiny_config("stablelm"))
    with attach(model, plan_of(model)) as attached:
        assert attached.tables[0][0].inv_freq.numel() == 4  # a quarter of 32 channels, in pairs
        cos, _ = measure(model, "all", [1, 2])
        assert cos.shape == (2, 4)


# --- per layer type


def test_only_the_layer_types_of_the_plan_change(gemma3):
    positions = [0, 1, 77, LENGTH + 5]
    local, full = (torch.stack(measure(gemma3, name, positions)) for name in ("sliding_attention", "full_attention"))
    plan = make_plan(read_live(gemma3), factor=FACTOR)
    assert [name for name, _ in plan.stretches] == ["full_attention"]
    with attach(gemma3, plan):
        assert torch.equal(torch.stack(measure(gemma3, "sliding_attention", positions)), local)
        assert not torch.equal(torch.stack(measure(gemma3, "full_attention", positions)), full)
    assert torch.equal(torch.stack(measure(gemma3, "full_attention", positions)), full)


def test_pairs_that_stand_still_are_not_turned():
    """Gemma 4's full attention turns a quarter of its pairs; a plan may slow those, and no plan may turn the others."""
    whole = {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}
    kinds = {"full_attention": whole, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    config = CONFIG_MAPPING["gemma4_text"](
        hidden_size=64, intermediate_size=64, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=2, head_dim=32,
        global_head_dim=64, vocab_size=64, hidden_size_per_layer_input=0, max_position_embeddings=128, sliding_window=32,
        layer_types=["sliding_attention", "full_attention"], num_kv_shared_layers=0, rope_parameters=kinds,
    )  # fmt: skip
    model, ids = AutoModelForCausalLM.from_config(config).eval(), torch.arange(40)[None]
    spec = read_live(model)
    with torch.no_grad():
        before = model(ids).logits
        with attach(model, make_plan(spec, factor=2, method="none")):
            assert torch.allclose(model(ids).logits, before, atol=1e-5)
        with attach(model, make_plan(spec, factor=2, method="proportional")):
            assert not torch.allclose(model(ids).logits, before, atol=1e-3)
    saved = ScalingPlan((("full_attention", Stretch(spec.rope("full_attention"), "yarn", 2.0)),), 256)
    with pytest.raises(CannotAttach, match="pairs stand still"):
        attach(model, saved)


@pytest.mark.parametrize("shares", [True, False])
def test_the_cache_of_heads_that_differ_by_layer_is_counted(shares):
    """What transformers 5.23 keeps for one token of a Gemma 4, in numbers, against what its own config says."""
    config = CONFIG_MAPPING["gemma4_text"](
        hidden_size=64, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4, num_global_key_value_heads=1,
        attention_k_eq_v=shares, num_hidden_layers=2, head_dim=32, global_head_dim=64, vocab_size=64, sliding_window=32,
        hidden_size_per_layer_input=0, layer_types=["sliding_attention", "full_attention"], num_kv_shared_layers=0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        kept = model(torch.arange(10)[None], use_cache=True).past_key_values.layers
    sliding, full = ((layer.keys.numel() + layer.values.numel()) / 10 for layer in kept)
    published = {**config.to_dict(), "global_head_dim": 64, "num_global_key_value_heads": 1}
    del published["per_layer_config"]

    for spec in (read_live(model), read(published)):
        assert [group.values_per_token for group in spec.cache] == [full, sliding]


def test_other_layer_types_keep_their_own_rule():
    ropes = {name: dict(rope_type="default", rope_theta=1e4) for name in ("full_attention", "sliding_attention")}
    ropes["sliding_attention"] |= dict(rope_type="linear", factor=2.0)
    model = build(tiny_config("gemma3_text", dict(MIXED, rope_parameters=ropes)))
    with attach(model, make_plan(read_live(model), factor=FACTOR)):
        assert model.model.rotary_emb.rope_type == {"full_attention": "default", "sliding_attention": "linear"}
    assert model.model.rotary_emb.rope_type == {"full_attention": "default", "sliding_attention": "linear"}


def test_the_rotary_module_of_a_vision_tower_is_not_touched(llama):
    llama.eye = build(tiny_config("qwen3")).model.rotary_emb
    held = llama.eye.inv_freq
    with attach(llama, plan_of(llama)) as attached:
        assert llama.eye.inv_freq is held
        assert [table.module for table, _ in attached.tables] == [llama.model.rotary_emb]


def test_dynamic_per_layer_type(gemma3):
    before = logits(gemma3, LENGTH)
    with attach(gemma3, make_plan(read_live(gemma3), factor=FACTOR, method="dynamic-request")):
        assert (logits(gemma3, LENGTH) - before).abs().max() < 1e-4  # no longer than L: nothing is stretched
        cos, _ = measure(gemma3, "full_attention", [0, TARGET // 2 - 1])
        # s = 2: dynamic NTK by hand, b' = b 2^(32/30)
        wanted = [math.cos((TARGET // 2 - 1) * (1e6 * 2 ** (32 / 30)) ** (-i / 16)) for i in range(16)]
        assert cos[1].tolist() == pytest.approx(wanted, abs=1e-4)
        local, _ = measure(gemma3, "sliding_attention", [TARGET - 1])  # static, so it may start anywhere
        assert local[0, 5] == pytest.approx(math.cos((TARGET - 1) * 1e4 ** (-5 / 16)), abs=1e-4)


def test_measure_names_what_there_is(llama):
    with pytest.raises(UnknownName, match=r"'sliding_attention'(.|\n)*known: all"):
        measure(llama, "sliding_attention", [0])
    with pytest.raises(NoRope):
        measure(build(tiny_config("gpt2", {})), "all", [0])


# --- sabotage: what measuring is for


def test_measure_is_the_model_and_not_the_plan(llama):
    wanted = plan_of(llama).stretches[0][1].scaled()
    with attach(llama, plan_of(llama)) as attached:
        cos, _ = measure(llama, "all", [0, 3, TARGET - 1])
        exact, _ = rotation_tables(wanted, torch.tensor([0, 3, TARGET - 1]))
        assert (cos - exact).abs().max() < 1e-4
        llama.model.rotary_emb.inv_freq[4] *= 1.001
        assert (measure(llama, "all", [TARGET - 1])[0][0, 4] - exact[2, 4]).abs() > 1e-3
        with pytest.raises(Mismatch, match=r"layer type 'all', position \d+, pair 4: (cos|sin) should be"):
            attached.check()


@pytest.mark.parametrize("damage", ["attention_scaling", "forward", "rounded", "not a number", "swapped"])
def test_every_kind_of_damage_is_found(llama, damage):
    rotary = llama.model.rotary_emb
    with attach(llama, plan_of(llama)) as attached:
        attached.check()
        if damage == "attention_scaling":
            rotary.attention_scaling = 1.0
        elif damage == "forward":
            honest = rotary.forward
            rotary.forward = lambda x, position_ids: honest(x, position_ids + 1)
        elif damage == "not a number":
            rotary.inv_freq[3] = math.nan
        elif damage == "rounded":
            rotary.inv_freq = rotary.inv_freq.bfloat16().float()
        else:
            honest = rotary.forward
            rotary.forward = lambda x, position_ids: honest(x, position_ids)[::-1]
        with pytest.raises(Mismatch):
            attached.check()


def test_a_module_that_ignores_its_frequencies(llama):
    rotary, before = llama.model.rotary_emb, logits(llama)
    stale = rotary.inv_freq.clone()

    def forward_of_its_own(x, position_ids):
        angles = position_ids[..., None].float() * stale
        return torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()

    rotary.forward = forward_of_its_own
    with pytest.raises(Mismatch, match="LlamaRotaryEmbedding does not rotate as the plan says"):
        attach(llama, plan_of(llama))
    assert torch.equal(logits(llama), before)  # undone
    attach_again = plan_of(llama, "none")
    attach(llama, attach_again).undo()  # and it may be attached where the plan is what the module does


def test_a_model_that_is_not_what_its_config_says(llama):
    llama.model.rotary_emb.inv_freq *= 0.9
    with pytest.raises(Mismatch, match=r"as its config says(.|\n)*before anything was changed"):
        attach(llama, plan_of(llama))


def test_rounding_inside_transformers_is_no_mismatch():
    # The worst of 1344 configs: 44 x 2^-24 off float64 in one pair, which is 0.4 radians at position 10 million.
    rope = dict(rope_type="yarn", rope_theta=1e6, factor=40.0, truncate=False, original_max_position_embeddings=262_144)
    model = build(tiny_config("llama", dict(rope_parameters=rope, head_dim=128, max_position_embeddings=40 * 262_144)))
    exact = torch.tensor(dict(read_live(model).scaling)["all"].scaled().inv_freq, dtype=torch.float64)
    assert ((model.model.rotary_emb.inv_freq - exact).abs() / exact).max() > 16 * 2.0**-24
    attach(model, plan_of(model)).undo()


def test_an_unknown_order_of_pairs_is_refused(llama):
    honest = llama.model.rotary_emb.forward
    shuffle = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    llama.model.rotary_emb.forward = lambda x, position_ids: tuple(t[..., shuffle] for t in honest(x, position_ids))
    with pytest.raises(Mismatch, match="in an order Ropewalk does not know"):
        attach(llama, plan_of(llama))


# --- dtypes


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn-request"])
def test_frequencies_stay_float32_in_a_bfloat16_model(llama, method):
    llama.to(torch.bfloat16)  # rounds transformers' own buffer: the classic accident
    rounded = llama.model.rotary_emb.inv_freq
    assert rounded.dtype == torch.bfloat16
    with attach(llama, plan_of(llama, method)):
        assert llama.model.rotary_emb.inv_freq.dtype == torch.float32
    assert llama.model.rotary_emb.inv_freq is rounded
    with pytest.raises(Mismatch, match="overwritten or rounded"):  # once it is float32 again, nothing tells why it is off
        attach(llama.float(), plan_of(llama, method))

    fresh = build(tiny_config("llama"))
    with attach(fresh, plan_of(fresh, method)) as attached:
        fresh.to(torch.bfloat16)
        assert fresh.lm_head.weight.dtype == torch.bfloat16
        assert fresh.model.rotary_emb.inv_freq.dtype == torch.float32
        attached.check()
        fresh.half().float()
        attached.check()
        assert forward(fresh, tokens(200), use_cache=False).isfinite().all()
    fresh.to(torch.bfloat16)
    assert fresh.model.rotary_emb.inv_freq.dtype == torch.bfloat16  # the guard is gone


def test_undo_after_a_cast_gives_back_the_unrounded_table(llama):
    held = llama.model.rotary_emb.inv_freq.clone()
    with attach(llama, plan_of(llama)):
        llama.to(torch.bfloat16)
    assert torch.equal(llama.model.rotary_emb.inv_freq, held)


@pytest.mark.parametrize("off", [2.0**-19, 2.0**-16, 2.0**-13])
@pytest.mark.parametrize("pair", [0, 1])
def test_a_frequency_that_is_off_by_more_than_three_roundings_is_found(llama, pair, off):
    """Three roundings of float32 are 3 x 2^-24 of an angle. 2^-19 is ten times that, and 512 times a bit of the mantissa."""
    with attach(llama, plan_of(llama)) as attached:
        llama.model.rotary_emb.inv_freq[pair] *= 1 + off
        with pytest.raises(Mismatch, match=rf"pair {pair}: (cos|sin) should be"):
            attached.check()


def test_one_rounding_of_a_frequency_is_none_of_our_business(llama):
    with attach(llama, plan_of(llama)) as attached:
        rotary = llama.model.rotary_emb
        rotary.inv_freq = torch.nextafter(rotary.inv_freq, torch.full_like(rotary.inv_freq, 2.0))
        attached.check()


@pytest.mark.parametrize(("off", "seen"), [(1e-7, False), (1e-5, True)])
def test_an_attention_factor_that_is_off(llama, off, seen):
    """cos, sin and m add 1e-6."""
    with attach(llama, plan_of(llama)) as attached:
        llama.model.rotary_emb.attention_scaling *= 1 + off
        if seen:
            with pytest.raises(Mismatch):
                attached.check()
        else:
            attached.check()


@pytest.mark.parametrize(("off", "seen"), [(2.0**-18, False), (2.0**-14, True)])
def test_the_table_that_a_config_means_may_have_been_computed_in_float32(llama, off, seen):
    """2^-16 of an angle before anything is attached: what transformers' own arithmetic in float32 may be off."""
    llama.model.rotary_emb.inv_freq *= 1 + off
    if seen:
        with pytest.raises(Mismatch, match="Measured before anything was changed"):
            attach(llama, plan_of(llama))
    else:
        attach(llama, plan_of(llama)).undo()


@pytest.mark.parametrize("method", ["dynamic-yarn-causal", "dynamic-yarn-rotate"])
def test_every_step_of_a_schedule_is_held_to_the_plan(llama, method, monkeypatch):
    """A list that is off at the last step alone, by 2^-16."""
    from ropewalk.models.dynamic.ladder import Ladder

    with attach(llama, plan_of(llama, method)) as attached:
        attached.check()
        honest = Ladder.scaled

        def scaled(self, step):
            found = honest(self, step)
            last = self.schedule.step(2**62)
            return found if step != last else dataclasses.replace(
                found, inv_freq=tuple(theta * (1 + 2.0**-16) for theta in found.inv_freq)
            )  # fmt: skip

        monkeypatch.setattr(Ladder, "scaled", scaled)
        with pytest.raises(Mismatch):
            attached.check()
