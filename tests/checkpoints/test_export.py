"""An export: every config computed by a second implementation of its engine, every command passed to the doctor."""

import json
import os

import pytest

import ropewalk
from ropewalk.checkpoints.export import export, ladder, plan_export
from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, CannotExpress, OutputExists
from ropewalk.jobs.doctor.static import examine
from ropewalk.jobs.doctor.target import resolve
from ropewalk.scaling.plan import make_plan
from support import engine_oracles as oracle
from support.gguf_writer import gguf
from support.published import LLAMA2_7B

TINY = bundled_model()
ALL = ["transformers", "vllm", "sglang", "mlx", "llama.cpp", "ollama"]
D = 64  # rotated channels of the bundled model


def plan_of(method="yarn", factor=8, **options):
    return make_plan(read(read_config(TINY)), factor=factor, method=method, options=options)


def agrees(plan, answer):
    scaled = plan.stretches[0][1].scaled()
    assert list(answer[0]) == pytest.approx(list(scaled.inv_freq), rel=1e-6)
    assert answer[1] == pytest.approx(scaled.attention_factor, rel=1e-6)


@pytest.mark.parametrize("method", ["none", "linear", "ntk", "yarn", "ntk_by_parts"])
def test_one_config_serves_them_all_and_each_computes_the_plan(tmp_path, method):
    plan = plan_of(method)
    found = export(TINY, plan, ALL, tmp_path / "out")

    config = json.loads((tmp_path / "out" / "checkpoint" / "config.json").read_text())
    assert [part.folder for part in found.parts] == ["checkpoint", "llama_cpp", "ollama"]
    for answer in (oracle.vllm(config, D, (0, 33)), oracle.sglang(config, D), oracle.mlx_lm(config, D)):
        agrees(plan, answer)
    agrees(plan, oracle.ggml(json.loads((tmp_path / "out" / "llama_cpp" / "gguf-keys.json").read_text())))
    assert (tmp_path / "out" / "ollama" / "Modelfile").read_text().startswith("FROM ")
    card = (tmp_path / "out" / "checkpoint" / "README.md").read_text()
    assert json.loads(card.partition("```json")[2].partition("```")[0]) == config["rope_parameters"]
    assert "`llama_cpp/gguf-keys.json` says put into it" in (tmp_path / "out" / "COMMANDS.md").read_text()


def test_commands_name_files_where_they_are(tmp_path):
    """Each is run in the folder of COMMANDS.md: a word that is a written file must be one from there."""
    plans = [plan_of(), plan_of("dynamic-yarn")]
    for index, plan in enumerate(plans):
        out = tmp_path / str(index)
        found = export(TINY, plan, ALL, out)
        page = (out / "COMMANDS.md").read_text()
        for part in found.parts:
            for command in (line for commands in part.commands.values() for line in commands):
                assert command in page
                named = [word for word in command.split() if word.rsplit("/", 1)[-1] in part.written.files]
                assert all((out / word).is_file() for word in named), command
        assert "ollama create NAME -f ollama/Modelfile" in page or index


def test_weights_are_linked_and_never_copied(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for path in TINY.iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    export(source, plan_of("dynamic-yarn"), ["vllm", "mlx"], tmp_path / "out")

    inodes = {path.stat().st_ino for path in (tmp_path / "out").rglob("*.safetensors")}
    assert inodes == {(source / "model.safetensors").stat().st_ino}
    assert len(list((tmp_path / "out").rglob("README.md"))) == 3  # a model card per checkpoint


def test_a_dynamic_plan_is_a_ladder_of_static_configs(tmp_path):
    found = export(TINY, plan_of("dynamic-yarn", factor=6), ["vllm", "sglang"], tmp_path / "out")

    assert [(part.folder, part.plan.target_length) for part in found.parts] == [
        ("x2/checkpoint", 1024), ("x4/checkpoint", 2048), ("x6/checkpoint", 3072),
    ]  # fmt: skip
    for path in (tmp_path / "out").rglob("config.json"):
        assert "dynamic" not in path.read_text()
    for rung in found.parts:
        factor = float(rung.folder[1])
        config = json.loads((tmp_path / "out" / rung.folder / "config.json").read_text())
        agrees(make_plan(read(read_config(TINY)), factor=factor, method="yarn"), oracle.vllm(config, D, (0, 33)))
    assert [name for name, _ in ladder(plan_of())] == [""]
    assert [name for name, _ in ladder(plan_of("dynamic", factor=2))] == ["x2"]


def test_a_folder_per_engine_where_no_config_serves_them_all():
    """vLLM before 0.32 needs attn_factor, which SGLang multiplies once more beside the two mscales."""
    found = plan_export(
        LLAMA2_7B, make_plan(read(LLAMA2_7B), factor=8, method="ntk_by_parts"), ["vllm", "mlx"], {"vllm": "0.29"}
    )

    assert [(part.folder, part.written.carrier) for part in found.parts] == [("vllm", "attn_factor"), ("mlx_lm", "mscale")]


def test_an_engine_that_cannot_is_reported_and_the_others_are_written(tmp_path):
    found = export(TINY, plan_of(truncate=False), ["vllm", "mlx"], tmp_path / "out")

    assert [part.folder for part in found.parts] == ["vllm"]
    assert "MLX-LM ignores truncate: false" in found.refused["mlx_lm"]
    page = (tmp_path / "out" / "COMMANDS.md").read_text()
    assert "## mlx_lm: refused" in page
    assert json.loads((tmp_path / "out" / "export.json").read_text())["refused"] == dict(found.refused)
    with pytest.raises(CannotExpress, match="MLX-LM ignores truncate"):
        export(TINY, plan_of(truncate=False), ["mlx"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            "near-0.25-linear-log_n",
            "no engine tells near distances from far ones: what is written is linear for every distance",
        ),
        ("dynamic-yarn", "no engine scales as dynamic-yarn does: what is written are static plans"),
        ("yarn", ""),
    ],
)
def test_what_no_engine_can_be_given_is_said_wherever_an_export_speaks(tmp_path, method, words):
    """`near-linear` became `linear`, which reads 5 bits where the plan reads 3, without a word of it."""
    made = ropewalk.export("ropewalk-tiny", method, tmp_path / "out", factor=2)
    places = ["\n".join(made.notes), (tmp_path / "out" / "COMMANDS.md").read_text(), json.dumps(made.to_dict())]
    for text in places:
        assert ("no engine" in text) == bool(words)
        assert words in text


@pytest.mark.parametrize("method", ["yarn", "ntk_by_parts", "ntk", "linear"])
def test_every_command_passes_the_doctor(tmp_path, monkeypatch, method):
    """As printed: with the exported folder, and with the override on the checkpoint it was made from."""
    plan = plan_of(method)
    found = export(TINY, plan, ["vllm", "sglang", "mlx"], tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")

    for part in found.parts:
        for engine, commands in part.commands.items():
            for command in commands:
                target = resolve(command.replace("ORIGINAL", str(TINY)), lambda name: pytest.fail(name))
                (diagnosis,) = examine(target)
                assert (diagnosis.engine, diagnosis.losses) == (engine, ()), command
                scaled = diagnosis.rotations[0].scaled
                agrees(plan, (scaled.inv_freq, scaled.attention_factor))


@pytest.mark.parametrize("method", ["yarn", "ntk", "linear"])
def test_flags_for_the_gguf_as_it_is_pass_the_doctor(tmp_path, method):
    """llama-server caps a slot at context_length (server-context.cpp), which flags of yarn raise and others do not."""
    plan = plan_of(method)
    found = plan_export(read_config(TINY), plan, ["llama.cpp"], {})
    (*_, command) = found.parts[0].commands["llama_cpp"]
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf({"general.architecture": "llama", "llama.context_length": 512, "llama.rope.dimension_count": D,
                           "llama.rope.freq_base": 1e4}))  # fmt: skip
    assert command.startswith("llama-server -m ORIGINAL.gguf -c 4096 --rope-")
    (diagnosis,) = examine(resolve(command.replace("ORIGINAL.gguf", str(path)), lambda name: pytest.fail(name)))
    assert diagnosis.losses == (), command
    agrees(plan, (diagnosis.rotations[0].scaled.inv_freq, diagnosis.rotations[0].scaled.attention_factor))


def test_bad_places(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExists):
        export(TINY, plan_of(), ["vllm"], tmp_path / "out")
    with pytest.raises(BadConfig, match="is the source checkpoint, or inside it"):
        export(TINY, plan_of(), ["vllm"], TINY / "x")
    assert os.listdir(tmp_path) == ["out"]
