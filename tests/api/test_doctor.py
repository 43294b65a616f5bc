"""`ropewalk.doctor` from Python: what is written, a live model, servers."""

import pytest

import ropewalk
from ropewalk.engines.transformers.checkpoint import bundled_model
from support.fake_server import Fake, serving
from support.gguf_files import bundled
from support.published import GPT_OSS_20B, QWEN3_8B, QWEN3_8B_YARN
from support.refusing import NO_LENGTHS, NO_MODELS, NO_PLANS, refuses
from support.watching import Watching


@pytest.fixture(scope="module")
def live():
    return ropewalk.load_model("ropewalk-tiny")


def test_every_way_to_name_a_target(live, tmp_path):
    folder = bundled_model()
    wanted = ropewalk.doctor("ropewalk-tiny").to_dict()["engines"]
    for target in (folder, str(folder), folder / "config.json", live, live.config):
        assert ropewalk.doctor(target).to_dict()["engines"] == wanted, target
    (one,) = ropewalk.doctor(bundled(tmp_path / "x.gguf")).to_dict()["engines"]
    assert one["engine"] == "llama_cpp"


def test_findings_tables_and_a_code():
    found = ropewalk.doctor(GPT_OSS_20B, engines=["vllm", "mlx"], versions={"vllm": "0.32"})
    assert (found.exit_code, found.healthy, len(found.findings)) == (1, False, 1)
    assert "ignores truncate: false" in found.findings[0]
    assert [row[0] for row in found.tables[0].rows] == ["vLLM 0.32", f"MLX-LM {found.detail.found[1].version}"]
    assert found._repr_html_().startswith("<table>")
    assert ropewalk.doctor(GPT_OSS_20B, engines="vllm").exit_code == 0


def test_two_stacks_that_are_read(tmp_path):
    import json

    for name, config in (("a", QWEN3_8B_YARN), ("b", QWEN3_8B)):
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    found = ropewalk.doctor(trainer=str(tmp_path / "a.json"), rollout=str(tmp_path / "b.json"))
    assert (found.exit_code, found.tables[0].rows[0][1]) == (1, "x4")
    assert found.findings == found.detail.sentences


def test_a_live_model_is_measured_where_it_is(live):
    found = ropewalk.doctor(live, numeric=True)
    assert (found.exit_code, found.detail[0].right) == (0, True)
    live.model.rotary_emb.inv_freq.mul_(1.5)
    try:
        assert ropewalk.doctor(live, numeric=True).exit_code == 1
    finally:
        live.model.rotary_emb.inv_freq.div_(1.5)
    assert ropewalk.doctor("ropewalk-tiny", numeric=True, device="cpu", dtype="float32").exit_code == 0


def test_a_server_is_watched_while_it_is_asked():
    watch = Watching()
    with serving(Fake(claimed=600)) as url:
        found = ropewalk.doctor(url, original_length="256", passages=2, progress=watch)
    assert (watch.done, found.exit_code) == (watch.total, found.detail.verdict == "INCONCLUSIVE" and 3)
    assert [table.columns[0] for table in found.tables] == ["tokens", "tokens"]


@pytest.mark.parametrize("target", NO_MODELS)
def test_what_is_no_target(target):
    refuses(ropewalk.doctor, target)
    refuses(ropewalk.doctor, target, numeric=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"engines": 3}, {"versions": 3}, {"config": 3}, {"factor": 2}, {"trainer": "x"}, {"trainer": 3, "rollout": 4},
        {"numeric": True, "device": "cdua"}, {"numeric": True, "dtype": "float3"},
    ],
)  # fmt: skip
def test_other_arguments_of_the_wrong_kind(wrong):
    refuses(ropewalk.doctor, None if "trainer" in wrong else "ropewalk-tiny", **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"to": length} for length in NO_LENGTHS),
        {"timeout": "x"},
        {"timeout": 0},
        {"plot": 3},
        {"margin": "x"},
        {"passages": "x"},
    ],
)
def test_arguments_of_servers(wrong):
    with serving(Fake(claimed=600)) as url:
        refuses(ropewalk.doctor, url, **{"original_length": 256} | wrong)


@pytest.mark.parametrize("plan", NO_PLANS)
def test_plans_beside_a_server(plan):
    with serving(Fake(claimed=600)) as url:
        refuses(ropewalk.doctor, trainer="ropewalk-tiny", rollout=url, plan=plan)
