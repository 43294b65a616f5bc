"""Stretching a GGUF: what llama.cpp computes from it by a second implementation, and what of it stays, by the gguf package."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import gguf
import numpy as np
import pytest

from ropewalk.checkpoints import gguf as patch
from ropewalk.checkpoints import gguf_edit as splice
from ropewalk.checkpoints.gguf import open_gguf, restore_gguf, stretch_gguf
from ropewalk.engines.gguf import layers_of
from ropewalk.engines.gguf_file import ByteSpan, read_header
from ropewalk.errors import BadConfig, BadOption, CannotExpress, CannotWrite, Mismatch, OutputExists, RopewalkError
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from support import engine_oracles as oracle
from support import gguf_files
from support.plans import static_plans
from support.watching import Advances

PLANS = {name: plan for name, plan in static_plans(32).items() if name != "proportional"}
BY_LIST = {"yarn, betas", "yarn, not rounded", "yarn, paper's ramp", "llama3", "longrope", "resonance"}
# As convert_hf_to_gguf.py writes them for Llama 3.1: 1 for the fast pairs, 8 for the slow ones.
LLAMA31 = np.where(np.arange(32) < 16, 1.0, 8.0)


def plan_of(source, name, factor=8.0, original_length=None):
    method, options = PLANS[name]
    return make_plan(source.spec(original_length), factor=factor, method=method, options=options)


def agrees(path, plan):
    """By the gguf package's reader, and ggml's arithmetic in float64."""
    keys, tensors = gguf_files.contents(path)
    said = {name: value for name, (_, value) in keys.items()}
    if "rope_freqs.weight" in tensors:
        said["rope_freqs.weight"] = np.frombuffer(tensors["rope_freqs.weight"][2], np.float32).astype(np.float64)
    inv_freq, m = oracle.ggml(said)
    scaled = plan.stretches[0][1].scaled()
    assert list(inv_freq) == pytest.approx(list(scaled.inv_freq), rel=1e-6, abs=0)
    assert m == pytest.approx(scaled.attention_factor, rel=1e-6)
    assert said[f"{said['general.architecture']}.context_length"] == plan.target_length


def all_else_stays(path, source, arch="llama"):
    (keys, tensors), (old_keys, old_tensors) = gguf_files.contents(path), gguf_files.contents(source)
    rotary = (f"{arch}.rope.scaling.", f"{arch}.context_length", f"{arch}.rope.freq_base", "ropewalk.")
    assert {k: v for k, v in keys.items() if not k.startswith(rotary)} == {
        k: v for k, v in old_keys.items() if not k.startswith(rotary)
    }
    assert {k: v for k, v in tensors.items() if k != "rope_freqs.weight"} == {
        k: v for k, v in old_tensors.items() if k != "rope_freqs.weight"
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return gguf_files.bundled(tmp_path_factory.mktemp("gguf") / "ropewalk-tiny.gguf")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A plain Llama, one that was stretched by its maker, one with Llama 3.1's factors, and a Qwen2."""
    folder = tmp_path_factory.mktemp("files")
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 512,
            "rope.scaling.attn_factor": 0.5, "rope.scaling.yarn_beta_fast": 8.0}  # fmt: skip
    return {
        "llama": gguf_files.bundled(folder / "llama.gguf"),
        "stretched": gguf_files.bundled(folder / "stretched.gguf", **yarn),
        "llama31": gguf_files.bundled(folder / "llama31.gguf", factors=LLAMA31),
        "qwen2": gguf_files.bundled(folder / "qwen2.gguf", arch="qwen2"),
    }


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("model", ["llama", "stretched", "llama31", "qwen2"])
def test_llama_cpp_computes_the_plan_all_else_stays_and_the_undo_is_exact(tmp_path, files, model, name):
    source, out, back = open_gguf(files[model]), tmp_path / "y.gguf", tmp_path / "z.gguf"
    plan = plan_of(source, name, original_length=512)
    if model == "qwen2" and name in BY_LIST:
        with pytest.raises(CannotExpress):
            stretch_gguf(source, plan, out)
        assert os.listdir(tmp_path) == []
        return

    done = stretch_gguf(source, plan, out)

    assert done.carrier == ("rope_freqs.weight" if name in BY_LIST else "GGUF keys")
    agrees(out, plan)
    all_else_stays(out, files[model], source.found["general.architecture"])
    restore_gguf(out, back)
    assert back.read_bytes() == files[model].read_bytes()


def test_what_was_stretched_is_stretched_from_what_it_was(tmp_path, tiny):
    once, twice, back = tmp_path / "once.gguf", tmp_path / "twice.gguf", tmp_path / "back.gguf"
    stretch_gguf(open_gguf(tiny), plan_of(open_gguf(tiny), "yarn, betas"), once)
    again = open_gguf(once)
    plan = plan_of(again, "linear", factor=4)

    stretch_gguf(again, plan, twice)

    assert plan.stretches[0][1].rope == Rope(64, 10_000.0, 512)
    agrees(twice, plan)
    assert "rope_freqs.weight" not in gguf_files.contents(twice)[1]
    restore_gguf(twice, back)
    assert back.read_bytes() == tiny.read_bytes()


def test_in_place_and_back(tmp_path, tiny):
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny.read_bytes())
    path.chmod(0o640)
    plan = plan_of(open_gguf(path), "yarn")

    stretch_gguf(open_gguf(path), plan)
    agrees(path, plan)
    assert (path.stat().st_mode & 0o777, os.listdir(tmp_path)) == (0o640, ["x.gguf"])
    restore_gguf(path)

    assert path.read_bytes() == tiny.read_bytes()
    with pytest.raises(BadConfig, match="nothing to undo"):
        restore_gguf(path)


def test_what_was_done_is_said_in_the_file_without_a_path(tmp_path, tiny):
    source = open_gguf(tiny)
    plan = dataclasses.replace(plan_of(source, "yarn"), model="/home/me/x.gguf")
    stretch_gguf(source, plan, tmp_path / "y.gguf")

    text = gguf_files.contents(tmp_path / "y.gguf")[0]["ropewalk.plan"][1]
    assert ScalingPlan.from_json(text).fingerprint == plan.fingerprint
    assert "/home" not in text


def test_the_types_of_the_keys_are_those_that_llama_cpp_asks_for(tmp_path, tiny):
    stretch_gguf(open_gguf(tiny), plan_of(open_gguf(tiny), "yarn, m = 1.1"), tmp_path / "y.gguf")
    keys = gguf_files.contents(tmp_path / "y.gguf")[0]

    kinds = gguf.GGUFValueType
    assert {name.removeprefix("llama."): kinds_[0] for name, (kinds_, _) in keys.items() if "llama.rope.s" in name} == {
        "rope.scaling.type": kinds.STRING, "rope.scaling.factor": kinds.FLOAT32,
        "rope.scaling.original_context_length": kinds.UINT32, "rope.scaling.attn_factor": kinds.FLOAT32,
    }  # fmt: skip
    assert keys["llama.context_length"][0] == [kinds.UINT32]


@pytest.mark.parametrize(
    ("arch", "keys", "words"),
    [
        ("deepseek2", {"attention.kv_lora_rank": 512}, "latent attention"),
        ("gemma2", {"attention.sliding_window": 512}, "sliding-window layers"),
        ("olmo2", {"attention.sliding_window": 512}, "sliding-window layers"),
        ("gemma3", {"rope.freq_base_swa": 1e4}, "sliding-window layers"),  # without a window there are none
        ("mistral3", {}, "a magnitude or a window of its own"),
        ("llama", {"rope.flux": 2.0}, "the key llama.rope.flux is not known"),
    ],
)
def test_models_that_the_keys_do_not_describe_are_refused(tmp_path, arch, keys, words):
    path = gguf_files.bundled(tmp_path / "x.gguf", arch=arch, **keys)
    with pytest.raises(CannotExpress, match=words):
        open_gguf(path).spec()


@pytest.mark.parametrize("name", ["linear", "ntk", "rope_theta", "none"])
@pytest.mark.parametrize("swa", [{}, {"rope.freq_base_swa": 20_000.0}])
def test_sliding_layers_of_gemma_3_keep_their_own_base(tmp_path, name, swa):
    """src/models/gemma3.cpp: sliding layers take rope_freq_base_train_swa (10000, or the key) and a scale of 1, whatever the
    keys of the others say; so a base and a linear factor reach the full-attention layers alone."""
    path = gguf_files.bundled(tmp_path / "x.gguf", arch="gemma3", **{"attention.sliding_window": 512, **swa})
    source = open_gguf(path)
    plan = plan_of(source, name)
    assert [layer_type for layer_type, _ in plan.stretches] == ["full_attention"]
    stretch_gguf(source, plan, tmp_path / "y.gguf")
    agrees(tmp_path / "y.gguf", plan)
    all_else_stays(tmp_path / "y.gguf", path, "gemma3")
    _, sliding = layers_of(read_header(tmp_path / "y.gguf"))
    assert (sliding.rope_type, sliding.rope.rope_theta) == ("default", swa.get("rope.freq_base_swa", 10_000.0))
    assert restore_gguf(tmp_path / "y.gguf", tmp_path / "z.gguf").read_bytes() == path.read_bytes()


def test_a_ramp_of_gemma_3_is_refused_with_what_would_do(tmp_path):
    path = gguf_files.bundled(tmp_path / "x.gguf", arch="gemma3", **{"attention.sliding_window": 512})
    with pytest.raises(CannotExpress, match="--method linear, or ntk"):
        stretch_gguf(open_gguf(path), plan_of(open_gguf(path), "yarn"), tmp_path / "y.gguf")


@pytest.mark.parametrize("arch", ["gpt-oss", "phi3"])
def test_a_sliding_window_that_changes_nothing_is_none(tmp_path, arch):
    path = gguf_files.bundled(tmp_path / "x.gguf", arch=arch, **{"attention.sliding_window": 128})
    plan = plan_of(open_gguf(path), "yarn")
    stretch_gguf(open_gguf(path), plan, tmp_path / "y.gguf")
    agrees(tmp_path / "y.gguf", plan)


@pytest.mark.parametrize("arch", ["phi3", "smollm3", "cohere2", "minicpm3", "hunyuan-dense"])
def test_factors_are_only_added_where_the_loader_takes_them(tmp_path, arch):
    """src/models/phi3.cpp and minicpm3.cpp load the long and the short list alone; smollm3.cpp hands null to ggml_rope_ext;
    cohere2.cpp and hunyuan-vl.cpp ask for factors that they never load."""
    path = gguf_files.bundled(tmp_path / "x.gguf", arch=arch)
    with pytest.raises(
        CannotExpress, match=f"llama.cpp does not load rope_freqs.weight for {arch}|the graph of {arch} has no rope factors"
    ):
        stretch_gguf(open_gguf(path), plan_of(open_gguf(path), "yarn, paper's ramp"), tmp_path / "y.gguf")
    assert os.listdir(tmp_path) == ["x.gguf"]


def test_longrope_files_are_refused(tmp_path):
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "phi3")
    writer.add_context_length(4096)
    writer.add_rope_dimension_count(64)
    writer.add_tensor("rope_factors_long.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CannotExpress, match="takes the factors from there"):
        stretch_gguf(open_gguf(path), plan_of(open_gguf(path), "yarn"), tmp_path / "y.gguf")


@pytest.mark.parametrize(
    ("arch", "keys", "length"),
    [
        ("llama", {}, 512),
        ("llama", {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 256}, 256),
        # the Qwen3 model cards: 32,768, where the file has 40,960
        ("qwen3", {"context_length": 40_960, "rope.freq_base": 1e6}, 32_768),
        ("qwen3moe", {"context_length": 40_960, "rope.freq_base": 1e6}, 32_768),
    ],
)
def test_the_original_length_is_what_the_file_says_or_the_model_is_known_by(tmp_path, arch, keys, length):
    base = {"general.architecture": arch, f"{arch}.context_length": 512, f"{arch}.rope.dimension_count": 64}
    spec = patch.read_spec({**base, **{f"{arch}.{name}": value for name, value in keys.items()}})
    assert spec.rope("all").original_length == length
    assert patch.read_spec({**base}, 100).rope("all").original_length == 100


def test_a_stretched_window_whose_original_is_not_said_is_asked_for(files, tmp_path):
    with pytest.raises(BadConfig, match=r"Give original_length \(--original-length\)"):
        open_gguf(files["llama31"]).spec()
    path = gguf_files.bundled(tmp_path / "x.gguf", **{"rope.scaling.type": "linear", "rope.scaling.factor": 2.0})
    with pytest.raises(BadConfig, match=r"\(linear\)"):
        open_gguf(path).spec()


def test_a_plan_for_another_model_a_dynamic_one_and_one_that_only_flags_say(tmp_path, tiny, files):
    source = open_gguf(tiny)
    plan = plan_of(source, "yarn")
    ((name, stretch),) = plan.stretches
    other = dataclasses.replace(plan, stretches=((name, dataclasses.replace(stretch, rope=Rope(64, 5e5, 512))),))
    for wrong, error, words in (
        (other, BadConfig, "made for another model"),
        (make_plan(source.spec(), factor=4, method="dynamic"), CannotExpress, "ladder"),
    ):
        with pytest.raises(error, match=words):
            stretch_gguf(source, wrong, tmp_path / "y.gguf")
    qwen = open_gguf(files["qwen2"])
    with pytest.raises(CannotExpress, match=r"its command line does.*\n.*--yarn-beta-fast 16"):
        stretch_gguf(qwen, plan_of(qwen, "yarn, betas"), tmp_path / "y.gguf")
    assert os.listdir(tmp_path) == []


def test_places_that_are_not_written_to(tmp_path, tiny):
    path, link, other = tmp_path / "x.gguf", tmp_path / "link.gguf", tmp_path / "other.gguf"
    path.write_bytes(tiny.read_bytes())
    link.symlink_to(path)
    other.write_bytes(b"mine")
    source = open_gguf(path)
    plan = plan_of(source, "yarn")

    for out, error, words in (
        (other, OutputExists, "exists already"),
        (path, BadOption, "the file itself"),
        (link, BadOption, "the file itself"),
        (tmp_path, BadOption, "is a folder"),
    ):
        with pytest.raises(error, match=words):
            stretch_gguf(source, plan, out)
    with pytest.raises(BadOption, match="is a link"):
        stretch_gguf(open_gguf(link), plan)
    assert (path.read_bytes(), other.read_bytes()) == (tiny.read_bytes(), b"mine")
    stretch_gguf(source, plan, other, force=True)
    agrees(other, plan)


def _shifted(piece):
    return piece if isinstance(piece, bytes) else ByteSpan(piece.start - 1, piece.end - 1)


def test_a_source_that_shrinks_meanwhile_is_no_copy(tmp_path, tiny):
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny.read_bytes())
    source = open_gguf(path)
    os.truncate(path, 2_000_000)
    with pytest.raises(CannotWrite, match="the source became shorter"):
        stretch_gguf(source, plan_of(source, "yarn"), tmp_path / "y.gguf")
    assert os.listdir(tmp_path) == ["x.gguf"]


def test_a_copy_that_reads_back_otherwise_never_gets_its_name(tmp_path, tiny, monkeypatch):
    source = open_gguf(tiny)
    plan = plan_of(source, "yarn")
    wrong = plan_of(source, "yarn", factor=4)
    with monkeypatch.context() as patched:  # the keys of another plan
        keys = patch.keys_for(source, wrong)
        patched.setattr(patch, "keys_for", lambda *_: keys)
        with pytest.raises(Mismatch, match="does not say yarn"):
            stretch_gguf(source, plan, tmp_path / "y.gguf")
    piece = splice._write_piece
    with monkeypatch.context() as patched:  # a byte too far
        patched.setattr(splice, "_write_piece", lambda what, *rest: piece(_shifted(what), *rest))
        with pytest.raises(CannotWrite, match="was not written as it is"):
            stretch_gguf(source, plan, tmp_path / "y.gguf")
    assert os.listdir(tmp_path) == []


def test_progress_adds_up_to_the_file(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(splice, "CHUNK", 2**19)
    monkeypatch.setattr(splice, "STEP", 2**19)
    told = []
    stretch_gguf(open_gguf(tiny), plan_of(open_gguf(tiny), "yarn, betas"), tmp_path / "y.gguf", progress=Advances(told))
    assert sum(told) == (tmp_path / "y.gguf").stat().st_size
    assert len(told) > 9


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("lies", [False, True], ids=["said at once", "found on the way"])
def test_a_full_disk(tmp_path, tiny, monkeypatch, lies):
    """A file system of 4 MiB for a file of 5: refused at once, or, where the room vanishes, left as it was."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (disk / "mine").write_bytes(b"mine")
        if lies:
            monkeypatch.delattr(os, "posix_fallocate")
        monkeypatch.setattr(splice, "STEP", 1)
        told = []
        with pytest.raises(CannotWrite, match=r"No space left on device\. Nothing was left behind"):
            stretch_gguf(open_gguf(tiny), plan_of(open_gguf(tiny), "yarn"), disk / "y.gguf", progress=Advances(told))
        assert bool(told) == lies
        assert os.listdir(disk) == ["mine"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_is_read_only(tmp_path, tiny, monkeypatch):
    """Root writes anywhere, so the refusal is made here."""
    import tempfile

    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    with pytest.raises(CannotWrite, match="was not written: Permission denied"):
        stretch_gguf(open_gguf(tiny), plan_of(open_gguf(tiny), "yarn"), tmp_path / "y.gguf")
    assert os.listdir(tmp_path) == []


SLOW = """
import sys, time
from pathlib import Path
from ropewalk.checkpoints import gguf_edit as splice
from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf
from ropewalk.progress import Silent
from ropewalk.scaling.plan import make_plan
source = open_gguf(Path(sys.argv[1]))
splice.STEP = 1
class Slow(Silent):
    def advance(self, count):
        print(count, flush=True)
        time.sleep(0.2)
stretch_gguf(source, make_plan(source.spec(), factor=4, method="yarn"), None, progress=Slow())
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_in_the_middle_leaves_the_original(tmp_path, tiny, kind):
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny.read_bytes())
    run = subprocess.Popen([sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(3):  # header, and two pieces of the weights
        run.stdout.readline()
    time.sleep(0.05)
    run.send_signal(kind)
    assert run.wait() != 0
    run.stdout.close()

    assert path.read_bytes() == tiny.read_bytes()
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".x.gguf.part-")] == ["x.gguf"]


def test_a_truncated_file_is_refused_with_nothing_written(tmp_path, tiny):
    path = tmp_path / "x.gguf"
    raw = tiny.read_bytes()
    for count in (0, 3, 100, 10_000, len(raw) // 2, len(raw) - 40):
        path.write_bytes(raw[:count])
        with pytest.raises(RopewalkError, match="Nothing was written"):
            open_gguf(path)
    assert os.listdir(tmp_path) == ["x.gguf"]
