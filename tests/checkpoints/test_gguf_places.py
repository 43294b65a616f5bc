"""Which GGUF a name stands for: files, parts, folders, and repositories of a hub."""

import huggingface_hub
import pytest

from ropewalk.checkpoints import hub
from ropewalk.checkpoints.gguf_places import find_gguf, parts_of
from ropewalk.errors import BadConfig, BadOption
from ropewalk.models.source import Source

TWENTY = [f"model-{quant}.gguf" for quant in "Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_0 Q4_1 Q4_K_S Q4_K_M Q5_0 Q5_K_S Q5_K_M".split()]
TWENTY += [f"model-IQ{bits}_XS.gguf" for bits in range(1, 5)] + ["model-Q6_K.gguf", "model-Q8_0.gguf", "model-F16.gguf"]
TWENTY += ["model-BF16-00001-of-00002.gguf", "model-BF16-00002-of-00002.gguf", "mmproj-model.gguf"]


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A hub with one repository of the names given; what is downloaded is an empty GGUF in a folder."""

    def holds(*names):
        def download(model, name):
            if name not in names:
                raise huggingface_hub.errors.EntryNotFoundError(name)
            (tmp_path / name).write_bytes(b"GGUF")
            return str(tmp_path / name)

        monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda model: ["README.md", *names])
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda model, allow_patterns: str(tmp_path))
        return tmp_path

    return holds


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"GGUF")
    return folder


def test_a_file_by_its_name_or_its_first_bytes(tmp_path):
    touch(tmp_path, "x.gguf", "sha256-0")
    assert find_gguf(tmp_path / "x.gguf") == tmp_path / "x.gguf"
    assert find_gguf(str(tmp_path / "sha256-0")) == tmp_path / "sha256-0"
    assert find_gguf("ropewalk-tiny") is find_gguf("owner/name") is find_gguf(tmp_path / "no.gguf") is None


def test_a_folder(tmp_path):
    assert find_gguf(tmp_path) is None
    touch(tmp_path, "x-Q4_K_M.gguf", "mmproj-x-f16.gguf")
    (tmp_path / "config.json").write_text("{}")
    assert find_gguf(tmp_path) == tmp_path / "x-Q4_K_M.gguf"
    touch(tmp_path, "model.safetensors")
    assert find_gguf(tmp_path) is None  # a checkpoint with a GGUF beside it


def test_a_folder_of_parts(tmp_path):
    touch(tmp_path, *(f"x-{number:05d}-of-00003.gguf" for number in (1, 2, 3)))
    first = tmp_path / "x-00001-of-00003.gguf"
    assert find_gguf(tmp_path) == find_gguf(tmp_path / "x-00002-of-00003.gguf") == first
    assert [path.name[:7] for path in parts_of(first)] == ["x-00001", "x-00002", "x-00003"]


@pytest.mark.parametrize("name", ["x-00004-of-00003.gguf", "x-00000-of-00003.gguf", "x-00001-of-99999.gguf"])
def test_parts_that_cannot_be(name, tmp_path):
    touch(tmp_path, name)
    with pytest.raises(BadConfig, match="is called a part of"):
        find_gguf(tmp_path / name)


def test_a_file_of_a_hub(repository):
    folder = repository(*TWENTY)
    assert find_gguf("owner/name:model-Q4_K_M.gguf") == folder / "model-Q4_K_M.gguf"
    assert find_gguf("owner/name:q4_k_m") == folder / "model-Q4_K_M.gguf"  # as llama.cpp has it
    assert Source("owner/name:Q8_0").gguf == folder / "model-Q8_0.gguf"


def test_all_parts_of_it_are_fetched(repository):
    folder = repository(*TWENTY)
    assert find_gguf("owner/name:BF16") == folder / "model-BF16-00001-of-00002.gguf"
    assert (folder / "model-BF16-00002-of-00002.gguf").exists()


def test_a_repository_of_twenty_lists_them(repository):
    repository(*TWENTY)
    for asked in (lambda: hub.checkpoint("owner/name"), lambda: hub.checkpoint("owner/name", weights=False)):
        with pytest.raises(BadOption) as refusal:
            asked()
        said = str(refusal.value)
        assert said.startswith(
            "owner/name is a repository of 19 GGUFs: name one of them, as in\n  owner/name:model-Q2_K.gguf\n"
        )
        assert said.count("\n") == 19
        assert "mmproj" not in said
        assert "00002-of" not in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Q9_9", "'Q9_9' is not among its GGUFs.\n  owner/name:model-Q2_K.gguf"),
        ("model", "'model' names several of its GGUFs"),
        ("other.gguf", "'other.gguf' is not among its GGUFs"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(name, said, repository):
    repository(*TWENTY)
    with pytest.raises(BadOption) as refusal:
        find_gguf(f"owner/name:{name}")
    assert said in str(refusal.value)


def test_a_repository_without_any(repository):
    repository("model.safetensors", "config.json")
    with pytest.raises(BadOption, match="it holds no GGUF"):
        find_gguf("owner/name:Q4_0")


def test_more_than_a_screen_of_them_is_cut(tmp_path):
    touch(tmp_path, *(f"{number:02d}.gguf" for number in range(30)))
    with pytest.raises(BadOption, match=r"(?s)holds 30 models.*\n  \.\.\. and 6 more$") as refusal:
        find_gguf(tmp_path)
    assert "23.gguf" in str(refusal.value)


def test_a_hub_that_is_not_reached(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda model: (_ for _ in ()).throw(ConnectionError()))
    with pytest.raises(BadConfig, match="owner/name:Q4_0 is not a folder here and could not be fetched from the hub: Conn"):
        find_gguf("owner/name:Q4_0")
