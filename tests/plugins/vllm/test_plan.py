"""What is asked for, before vLLM is touched: plans read from disk, and everything that is refused, in words."""

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, CannotAttach, CannotExpress, Mismatch
from ropewalk.plugins.vllm import entry
from ropewalk.plugins.vllm import entry as known
from ropewalk.plugins.vllm.plan import ServedPlan, check_engine, check_model, read_plan, served_by, window_asked
from ropewalk.scaling.plan import ScalingPlan, make_plan

LLAMA = {
    "model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2,
    "max_position_embeddings": 512, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip
SPEC = read(LLAMA)
PLAN = make_plan(SPEC, factor=8, method="dynamic-yarn-request-2")


def test_a_plan_is_found_in_a_file_and_in_a_folder(tmp_path):
    (tmp_path / "plan.json").write_text(PLAN.to_json())

    assert read_plan(str(tmp_path)) == read_plan(str(tmp_path / "plan.json")) == PLAN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            None,
            r"plan\.json cannot be read: .*\n  ropewalk plan MODEL --to LENGTH --method dynamic-yarn-request-2 --json > plan",
        ),
        ("{", "this is not a Ropewalk plan: JSONDecodeError"),
        (PLAN.to_json().replace("8.0", "NaN"), "factor is nan"),
    ],
)
def test_a_plan_that_cannot_be_read(tmp_path, text, words):
    if text is not None:
        (tmp_path / "plan.json").write_text(text)
    with pytest.raises((BadConfig, ValueError), match=words):
        read_plan(str(tmp_path))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("yarn", "the plan is yarn, one scale for every request: that needs no plugin"),
        ("dynamic-yarn", "the plan is dynamic-yarn. vLLM caches rotated keys, so that a request keeps one scale for life"),
        ("dynamic-yarn-request", "the meaning request, on a grid. For instance: ropewalk plan MODEL"),
    ],
)
def test_plans_that_requests_cannot_follow(tmp_path, method, words):
    (tmp_path / "plan.json").write_text(make_plan(SPEC, factor=8, method=method).to_json())
    with pytest.raises(CannotExpress) as raised:
        read_plan(str(tmp_path))
    assert words in str(raised.value).replace("\n  ", " ")


def test_two_layer_types_must_agree(tmp_path):
    ((_, stretch),) = PLAN.stretches
    other = dataclasses.replace(stretch, factor=4.0)
    (tmp_path / "plan.json").write_text(ScalingPlan((("a", stretch), ("b", other)), 4096).to_json())
    with pytest.raises(CannotExpress, match=r"layer types \(a, b\) differ in original length, factor or grid"):
        read_plan(str(tmp_path))


def test_the_model_must_be_the_plans_and_unstretched():
    check_model(PLAN, SPEC)
    check_model(PLAN, read({**LLAMA, "max_position_embeddings": 4096}))  # as --hf-overrides has it
    other = read({**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}})
    with pytest.raises(
        CannotAttach, match=r"rope_theta 10000\);\n  this llama model has all \(rotary_dim 64, rope_theta 500000\)"
    ):
        check_model(PLAN, other)
    scaling = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}
    with pytest.raises(CannotAttach, match="the model's config stretches all already, by yarn x4"):
        check_model(PLAN, read({**LLAMA, "max_position_embeddings": 2048, "rope_parameters": scaling}))


def test_a_layer_type_left_alone_must_have_a_table_of_its_own():
    ((_, stretch),) = PLAN.stretches
    plan = ScalingPlan((("full_attention", stretch),), 4096)
    for theta in (10000.0, 5000.0):
        ropes = (("full_attention", stretch.rope), ("sliding_attention", dataclasses.replace(stretch.rope, rope_theta=theta)))
        spec = dataclasses.replace(SPEC, ropes=ropes)
        if theta != 10000:
            check_model(plan, spec)
            continue
        with pytest.raises(
            CannotAttach, match="the plan leaves sliding_attention alone, but it has the rotary_dim and rope_theta"
        ):
            check_model(plan, spec)


def test_the_window_served():
    assert ServedPlan.of(PLAN, 1500).steps.rows == (512, 724, 1024, 1448, 1500)
    for longest in (512, 4097):
        with pytest.raises(CannotAttach, match=rf"--max-model-len is {longest:,}; the plan stretches 512 tokens to 4,096"):
            ServedPlan.of(PLAN, longest)
    served = ServedPlan.of(PLAN, 4096)
    assert served.stretch(64, 10000) == PLAN.stretches[0][1]
    assert served.stretch(64, 5000.0) is served.stretch(32, 10000) is None


def config(**changes):
    """As much of a VllmConfig as is looked at, with nothing unusual in it."""
    values = dict(
        use_v2_model_runner=False, speculative_config=None, kv_transfer_config=None, additional_config={}, max_model_len=4096,
        is_multimodal_model=False, uses_mrope=False, is_encoder_decoder=False, runner_type="generate", use_mla=False,
        distributed_executor_backend="mp", nnodes=1,
    )  # fmt: skip
    whole = SimpleNamespace(**values | changes)
    whole.model_config = whole.parallel_config = whole
    return whole


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("use_v2_model_runner", True, "set VLLM_USE_V2_MODEL_RUNNER=0"),
        ("speculative_config", object(), "speculative decoding"),
        ("kv_transfer_config", object(), "a KV transfer"),
        ("is_multimodal_model", True, "pictures or sound"),
        ("uses_mrope", True, "pictures or sound"),
        ("is_encoder_decoder", True, "an encoder"),
        ("runner_type", "pooling", "pooling"),
        ("use_mla", True, "multi-head latent attention"),
        ("distributed_executor_backend", "ray", "under Ray"),
        ("nnodes", 2, "workers on other machines"),
        ("additional_config", object(), "an additional_config of a class of its own"),
    ],
)
def test_settings_that_are_refused(setting, value, words):
    check_engine(config())
    with pytest.raises(CannotAttach) as raised:
        check_engine(config(**{setting: value}))
    assert words in str(raised.value)
    assert "Unset ROPEWALK_VLLM_PLAN" in str(raised.value)


def test_the_plan_travels_in_vllms_config():
    carried = json.loads(json.dumps(config(additional_config={"ropewalk": PLAN.to_dict()}).additional_config))
    assert served_by(config(additional_config=carried)) == ServedPlan.of(PLAN, 4096)
    with pytest.raises(Mismatch, match="configured before Ropewalk's plugin was loaded"):
        served_by(config())


def test_the_window_is_asked_of_vllm():
    assert window_asked({}, PLAN) == window_asked(None, PLAN) == {"max_position_embeddings": 4096}
    assert window_asked({"max_position_embeddings": 2048, "a": 1}, PLAN) == {"max_position_embeddings": 2048, "a": 1}
    assert window_asked(dict, PLAN) is dict  # a function of the user's own: it is called by vLLM


@pytest.mark.parametrize("version", ["0.31.0", "0.32.1", "0.32.0rc1", "0.33.0", "dev", ""])
def test_unknown_versions_are_refused(version):
    with pytest.raises(CannotAttach) as raised:
        known.check_version(version, "plan.json")
    assert f"of vLLM {version}; known is 0.32.0" in str(raised.value)
    assert "vLLM does not start instead" in str(raised.value)


def test_known_versions_are_not():
    known.check_version("0.32.0", "plan.json")
    known.check_version("0.32.0+cpu", "plan.json")


def test_unasked_it_does_nothing(monkeypatch):
    """Neither vLLM, which is not even here, nor torch is imported."""
    for value in (None, ""):
        monkeypatch.delenv(entry.VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(entry.VARIABLE, value)
        entry.register()
    code = "import sys; from ropewalk.plugins.vllm.entry import register; register(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_entry_point_names_it():
    import tomllib
    from importlib import import_module
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["vllm.general_plugins"]["ropewalk"].split(":")
    assert getattr(import_module(module), name) is entry.register
    assert project["optional-dependencies"]["vllm"] == [f"vllm=={known.KNOWN[-1]}"]
