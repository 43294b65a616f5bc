"""Keys that a config leaves out: every text model of transformers, one key at a time, against the module it builds."""

import contextlib
import json
import math
import random
import re
from collections import Counter

import pytest

from ropewalk.engines.transformers.checkpoint import inside, text_of, text_path
from ropewalk.engines.transformers.class_defaults import classes, is_native
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import RopewalkError
from ropewalk.scaling.plan import make_plan
from ropewalk.scaling.stretch import Stretch
from support import config_oracle
from support.mutated_configs import mutated

# Each was misread once, or is of its own kind; all others are slow.
FAST = (
    "apertus cohere2_moe deepseek_v3 ernie4_5 falcon gemma gemma2 gemma3_text gemma4_text gpt_neox gpt_oss internlm3 jetmoe "
    "lfm2 llama minicpm3 minimax_m2 ministral3 mistral modernbert-decoder olmo3 phi3 phi4_multimodal qwen2 qwen2_5_vl_text "
    "qwen3 qwen3_5_moe_text qwen3_next qwen3_vl_text unlimited_ocr_text vaultgemma zamba2"
).split()
# What `read` may refuse where transformers builds something.
REFUSALS = (
    "rotary_dim is \\d+; it must be an even number",  # a class's own default: hidden 4096 over 96 heads, halved
    "max_position_embeddings is missing",  # a class without one
    "takes the whole default of .* and not rope_theta",  # two bases, of which one is not read
    "is flat, but .* has one dict per layer type",
    "rotary_dim is 64, which MiniMaxM3VLTextConfig .* does not read: 128 of 128",  # its own default, half of its head
    "is an encoder beside a decoder",  # transformers' decoder alone: a plan for it would leave the encoder as it was
)
# transformers takes the whole head for a dict without partial_rotary_factor, which this model's attention cannot use.
EXCEPT = {("mistral4", "old, linear"), ("mistral4", "old, no base")}
REORDERED = {"ernie4_5_vl_moe_text"}  # the same frequencies in an order of its own


def answer(config):
    spec = read(config)
    stretches = {name: dict(spec.scaling).get(name) or Stretch(rope) for name, rope in spec.ropes}
    return {name: stretch.scaled() for name, stretch in stretches.items()}


def difference(kind, ours, theirs):
    if set(theirs) == {"all"} and len(ours) == 1:
        ours = {"all": next(iter(ours.values()))}
    for name, (frequencies, m) in theirs.items():
        if name not in ours:
            return f"{name} is missing"
        mine = sorted(ours[name].inv_freq) if kind in REORDERED else ours[name].inv_freq
        wanted = sorted(frequencies) if kind in REORDERED else frequencies
        if len(mine) != len(wanted):
            return f"{name}: {len(mine)} pairs for {len(wanted)}"
        if not all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-12) for a, b in zip(mine, wanted, strict=True)):
            return f"{name}: other frequencies"
        if not math.isclose(ours[name].attention_factor, m, rel_tol=1e-6):
            return f"{name}: m {ours[name].attention_factor} for {m}"
    return ""


def misread(kind):
    """What `read` makes otherwise than transformers, of every variant of a config of this type."""
    for what, config in config_oracle.variants(kind):
        wanted = config_oracle.answer(kind, config)
        if wanted is None or (kind, what) in EXCEPT:
            continue
        if found := compared(kind, config, wanted):
            yield f"{what}: {found}"


def compared(kind, config, wanted):
    try:
        return difference(kind, answer(config), wanted)
    except RopewalkError as error:
        return "" if any(re.search(words, str(error)) for words in REFUSALS) else f"refused: {error}"


@pytest.mark.parametrize("kind", FAST)
def test_a_key_left_out_means_the_classs_default(kind):
    assert list(misread(kind)) == []


@pytest.mark.slow
def test_a_key_left_out_means_the_classs_default_in_every_text_model():
    assert {kind: found for kind in config_oracle.kinds() if (found := list(misread(kind)))} == {}


@pytest.mark.parametrize("kind", FAST)
def test_the_table_is_what_the_installed_classes_say(kind):
    stored = json.loads(config_oracle.generator.TABLE.read_text(encoding="utf-8"))["classes"]

    assert json.loads(json.dumps(config_oracle.generator.entry(kind))) == stored[kind]


@pytest.mark.slow
def test_the_whole_table_is_what_the_installed_classes_say():
    made = json.loads(json.dumps(config_oracle.generator.table()))
    stored = json.loads(config_oracle.generator.TABLE.read_text(encoding="utf-8"))

    rows = {kind: {k: v for k, v in row.items() if k != "since"} for kind, row in stored["classes"].items()}
    assert {kind: row for kind, row in made["classes"].items() if rows.get(kind) != row} == {}
    assert {kind: row for kind, row in made["wrappers"].items() if stored["wrappers"].get(kind) != row} == {}


# cosmos3_edge_text: nothing is built without sections of M-RoPE.  dbrx: its window has two names, and both are stated.
# neomme, mimo_v2_flash: they fill in a share that is in no key of theirs.
NOT_AT_RANDOM = {kind for kind, _ in EXCEPT} | {"cosmos3_edge_text", "dbrx", "neomme", "mimo_v2_flash"}
SAID = "is missing, and transformers takes"  # an original length that is known better than the config says


def misread_at_random(kinds, count, seed):
    """Configs that `read` makes something else of than transformers, which builds them, and says no word."""
    rng, kinds = random.Random(seed), sorted(set(kinds) - NOT_AT_RANDOM)
    for _ in range(count):
        kind, config = mutated(rng, kinds)
        wanted = config_oracle.answer(kind, config)
        with contextlib.suppress(RopewalkError):
            found = difference(kind, answer(config), wanted) if wanted else ""
            if found and not any(SAID in warning for warning in read(config).warnings):
                yield kind, found, config


def test_configs_at_random_are_refused_or_read_as_transformers_builds_them():
    """Nine in a hundred were misread without a word: shares of a head that no class reads, two dicts of which one wins."""
    assert list(misread_at_random(FAST, 400, seed=0)) == []


@pytest.mark.slow
def test_configs_at_random_of_every_text_model():
    assert list(misread_at_random(config_oracle.kinds(), 8000, seed=1)) == []


def test_keys_of_latent_attention_in_a_class_without_it():
    """HunYuan's configs carry DeepSeek's keys, unused. Written from memory; transformers' answer counts."""
    config = {"model_type": "hunyuan_v1_moe", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
              "head_dim": 128, "num_hidden_layers": 32, "max_position_embeddings": 32_768, "rope_theta": 10_000.0,
              "use_mla": False, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "q_lora_rank": 1536,
              "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}}  # fmt: skip
    spec = read(config)

    assert spec.rope("all").rotary_dim == 128
    assert spec.cache_bytes(1, 2) == 2 * 8 * 128 * 2 * 32  # keys and values of 8 heads, and not a latent of 512 + 64
    assert difference("", answer(config), config_oracle.answer("hunyuan_v1_moe", config)) == ""


def test_the_sweep_can_fail():
    wanted = config_oracle.answer("gemma3_text", {"model_type": "gemma3_text"})

    assert "120 pairs for 128" in difference("", answer({"model_type": "gemma3_text", "head_dim": 240}), wanted)
    assert "other frequencies" in difference("", answer({"model_type": "gemma3_text", "rope_theta": 2e6}), wanted)
    assert "missing" in difference("", answer({"model_type": "gemma"}), wanted)


def test_provenance_names_the_class():
    spec = read({"model_type": "gemma3", "text_config": {"hidden_size": 3840, "num_attention_heads": 16}})
    said = {reading.name: reading.source for reading in spec.readings}

    assert said["full_attention.rotary_dim"] == "default of Gemma3TextConfig in transformers 5.23"
    assert spec.rope("full_attention").rotary_dim == 256  # 3840 / 16 is 240


def test_a_missing_window_is_said_or_given():
    falcon = {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71}  # tiiuae/falcon-7b as published

    assert read(falcon).rope("all").original_length == 2048  # FalconConfig's
    assert "2048 is the default of FalconConfig" in " ".join(read(falcon).warnings)
    assert read(falcon, original_length=4096).max_length == 4096
    unknown = {"model_type": "newcomer", "rope_theta": 1e4, "head_dim": 64}
    assert read(unknown, original_length=4096).rope("all").original_length == 4096
    with pytest.raises(RopewalkError, match="--original-length"):
        read(unknown)


# Where the language model is: model types of transformers and of published code, with the path of its part.
NESTED = [
    ({"model_type": "llava", "text_config": {}}, ("text_config",), "llama"),
    ({"model_type": "qwen2_5_omni", "thinker_config": {"text_config": {"model_type": "qwen2_5_omni_text"}}},
     ("thinker_config", "text_config"), "qwen2_5_omni_text"),
    ({"model_type": "qwen3_omni_moe", "thinker_config": {"text_config": {"head_dim": 128}}},
     ("thinker_config", "text_config"), "qwen3_omni_moe_text"),
    ({"model_type": "internvl_chat", "llm_config": {"model_type": "qwen2"}}, ("llm_config",), "qwen2"),
    ({"model_type": "deepseek_vl_v2", "language_config": {"model_type": "deepseek_v2"}}, ("language_config",), "deepseek_v2"),
    ({"model_type": "colpali", "vlm_config": {"model_type": "paligemma", "text_config": {}}},
     ("vlm_config", "text_config"), "gemma"),
    ({"model_type": "gemma3", "text_config": {"model_type": "whatever"}}, ("text_config",), "gemma3_text"),
    ({"model_type": "qwen2_5_vl"}, (), "qwen2_5_vl"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "path", "kind"), NESTED, ids=lambda value: str(value)[:40])
def test_the_language_model_is_found(config, path, kind):
    assert text_path(config) == path
    assert read(config).model_type == kind
    assert text_of(inside(config, {"rope_theta": 1.0})) == {"rope_theta": 1.0}


@pytest.mark.slow
def test_every_wrapper_of_transformers_is_read_as_it_is_built():
    """An empty part in every vision-language model: its type and its sizes are what the wrapper's own class makes of it."""
    wrong = {}
    for kind, row in config_oracle.wrapped().items():
        config = {"model_type": kind, row["part"]: {}}
        text = config_oracle.text_of_wrapper(config)
        wanted = text and config_oracle.answer(text["model_type"], text)
        if wanted and (found := compared(text["model_type"], config, wanted)):
            wrong[kind] = found
    assert wrong == {}


def test_every_type_in_the_table_is_one_of_transformers():
    assert all(is_native(kind) for kind in classes())
    assert is_native("gpt2")
    assert not is_native("internlm2")


WRITTEN = ("complete", "without head_dim", "without rope_parameters", "without max_position_embeddings", "empty", "old, plain")
UNBUILT = {"cosmos3_edge_text", "ernie4_5_vl_moe_text"}  # sections of M-RoPE for another head size, which `variants` doubles


def planned(plan, spec):
    """What every layer type turns by under a plan, those that it leaves alone included."""
    stretches = {name: plan.stretch(name) or dict(spec.scaling).get(name) or Stretch(rope) for name, rope in spec.ropes}
    return {name: stretch.scaled() for name, stretch in stretches.items()}


def miswritten(kind):
    """Where transformers computes another rotation than planned from what `write` makes of a config, or builds none."""
    for what, config in config_oracle.variants(kind):
        if what not in WRITTEN or config_oracle.answer(kind, config) is None:
            continue
        for method in ("yarn", "linear"):
            try:
                spec = read(config)
                factor = 4 * max([stretch.factor for _, stretch in spec.scaling if not stretch.dynamic], default=1)
                plan = make_plan(spec, factor=factor, method=method)
                new = write(plan, config)
            except RopewalkError:
                continue
            built = config_oracle.answer(kind, new)
            if built is None and kind not in UNBUILT:
                yield f"{what}, {method}: not built"
            if built and (found := difference(kind, planned(plan, spec), built)):
                yield f"{what}, {method}: {found}"


@pytest.mark.parametrize("kind", [*FAST, "mixtral", "phimoe", "hunyuan_v1_dense"])
def test_a_plan_written_into_such_a_config_is_what_transformers_computes(kind):
    assert list(miswritten(kind)) == []


@pytest.mark.slow
def test_a_plan_written_is_what_transformers_computes_in_every_text_model():
    assert {kind: found for kind in config_oracle.kinds() if (found := list(miswritten(kind)))} == {}


METHODS = (
    ("yarn", {}), ("linear", {}), ("ntk", {}), ("ntk_by_parts", {}), ("llama3", {}), ("none", {}),
    ("yarn", {"truncate": False}), ("yarn", {"beta_fast": 16.0}), ("yarn", {"attention_factor": 1.0}),
)  # fmt: skip


def miswritten_at_random(kinds, count, seed):
    """Configs of which transformers builds another rotation than was planned."""
    rng, kinds = random.Random(seed), sorted(set(kinds) - NOT_AT_RANDOM - UNBUILT)
    for _ in range(count):
        kind, config = mutated(rng, kinds)
        method, options = rng.choice(METHODS)
        try:
            spec = read(config)
            factor = 4 * max([stretch.factor for _, stretch in spec.scaling if not stretch.dynamic], default=1)
            plan = make_plan(spec, factor=factor, method=method, options=options)
            built = config_oracle.answer(kind, write(plan, config))
        except RopewalkError:
            continue
        if built and (found := difference(kind, planned(plan, spec), built)):
            yield kind, method, options, found, config


def test_plans_written_into_configs_at_random_are_what_transformers_computes():
    assert list(miswritten_at_random(FAST, 200, seed=3)) == []


@pytest.mark.slow
def test_plans_written_at_random_into_configs_of_every_text_model():
    assert list(miswritten_at_random(config_oracle.kinds(), 4000, seed=4)) == []


def test_a_layer_type_that_a_plan_leaves_alone_keeps_its_own_original_length():
    """It was written with the plan's: another ramp in layers that nobody asked about."""
    own = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 4096}
    plain = {"rope_type": "default", "rope_theta": 1e6}
    config = {"model_type": "gemma3_text", "rope_parameters": {"sliding_attention": own, "full_attention": plain}}
    before = config_oracle.answer("gemma3_text", config)["sliding_attention"]

    written = write(make_plan(read(config), factor=2), config)

    assert config_oracle.answer("gemma3_text", written)["sliding_attention"] == before
    assert written["rope_parameters"]["full_attention"]["rope_type"] == "yarn"


# google/gemma-4-31b-it (support/corpus.py), abridged: full-attention heads of 512, of which a quarter of the pairs turns
GEMMA4 = {"model_type": "gemma4_text", "hidden_size": 5376, "num_attention_heads": 32, "num_key_value_heads": 16,
          "num_hidden_layers": 6, "head_dim": 256, "global_head_dim": 512, "max_position_embeddings": 262_144,
          "layer_types": ["sliding_attention"] * 5 + ["full_attention"], "rope_parameters": {
              "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
              "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}  # fmt: skip


def test_pairs_that_stand_still_in_a_model_stand_still_in_its_plans():
    """transformers' Gemma4TextRotaryEmbedding: 192 of 256 frequencies are 0, stretched or not."""
    frequencies, _ = config_oracle.answer("gemma4_text", GEMMA4)["full_attention"]
    assert sum(frequency == 0 for frequency in frequencies) == 192
    spec = read(GEMMA4)

    unchanged = make_plan(spec, factor=2, method="none").stretch("full_attention").scaled()
    assert difference("", {"full_attention": unchanged}, {"full_attention": (frequencies, 1.0)}) == ""
    slowed = write(make_plan(spec, factor=2, method="proportional"), GEMMA4)
    built, _ = config_oracle.answer("gemma4_text", slowed)["full_attention"]
    assert built == pytest.approx([frequency / 2 for frequency in frequencies])
    for method in ("yarn", "linear", "ntk", "dynamic-yarn", "near-linear"):
        with pytest.raises(RopewalkError, match="lets the others stand still"):
            make_plan(spec, factor=2, method=method)


def test_the_heads_of_a_layer_type_are_read_as_transformers_saves_them():
    """5.23 keeps global_head_dim under per_layer_config, and there alone."""
    saved = config_oracle.generator.CONFIG_MAPPING["gemma4_text"].from_dict({**GEMMA4, "global_head_dim": 128}).to_dict()
    assert "global_head_dim" not in saved
    wanted = config_oracle.answer("gemma4_text", saved)

    assert len(wanted["full_attention"][0]) == 64  # pairs; the class's own would be 256
    longer = config_oracle.generator.CONFIG_MAPPING["gemma4_text"](global_head_dim=96).to_dict()
    assert "05" in longer["per_layer_config"]
    assert read(longer).rope("full_attention").rotary_dim == 96
    assert difference("gemma4_text", answer(saved), wanted) == ""


def test_caches_of_layers_with_two_attentions_or_windows_of_their_own():
    """transformers' own counts: LongCat-Flash has two attentions in a layer, NeoMME's sliding layers take turns."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    longcat, neomme = CONFIG_MAPPING["longcat_flash"](), CONFIG_MAPPING["neomme"]()
    (group,) = read(longcat.to_dict()).cache
    assert group.layers == longcat.num_hidden_layers == 56
    windows = Counter(layer.sliding_window for layer in neomme.per_layer_config)
    assert (
        {group.window: group.layers for group in read(neomme.to_dict()).cache} == dict(windows) == {None: 3, 256: 7, 1024: 7}
    )
