"""From what a person typed to a folder on this machine: a path, the bundled model, or a hub id."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.gguf_names import MOST_PARTS, SPLIT, listed, models_among
from ropewalk.checkpoints.hub_header import ask, check_below, fetched_headers, kept_file, received, repository_files
from ropewalk.engines.transformers.checkpoint import ADAPTER, CONFIG, LARGEST_CONFIG, local_checkpoint
from ropewalk.errors import BadConfig, BadOption, RopewalkError, extra_parts
from ropewalk.progress import SILENT, Progress

# Weights as safetensors and everything small; never pickles, never somebody's code.
WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md")
ANSWERS = {
    401: ": there is no such repository, or it is private or gated",
    403: ": it is gated, and the key that was sent does not open it",
    404: ": there is no such repository or file",
    429: ": too much was asked for, try again later",
}
LONG = 100  # characters


def checkpoint(model: str | Path, *, weights: bool = True) -> Path:
    """The checkpoint's folder, fetched from the hub if it is not here.

    weights: False fetches config.json alone (of an adapter, adapter_config.json), and may give a config file's own path. True
    takes a config.json's folder.
    """
    local = local_checkpoint(model)
    if local is not None:
        return _folder(local) if weights else local
    try:
        return _fetched(str(model), weights)
    except RopewalkError:
        raise
    except Exception as error:  # the hub's errors have many roots (HTTP, offline, gated, names); all end here for a person
        raise _unreachable(str(model), error) from None


def _unreachable(model: str, error: Exception) -> BadConfig:
    return BadConfig(
        f"{model} is not a folder here and could not be fetched from the hub: {type(error).__name__}{_why(error)}.\n"
        "  Check the name and the network; a gated model needs `hf auth login`, or HF_TOKEN, first."
    )


def _why(error: Exception) -> str:
    """What the standard library's errors say, as far as it is for people; other libraries' are pages long."""
    if code := getattr(error, "code", None):
        return f" {code}{ANSWERS.get(code, '')}"
    words = str(error)
    return f" ({words})" if isinstance(error, OSError) and words and len(words) < LONG and "\n" not in words else ""


def _fetched(model: str, weights: bool) -> Path:
    if not weights and find_spec("huggingface_hub") is None:
        return _config(
            model,
            lambda name: _small_file(model, name),
            lambda error: getattr(error, "code", None) == 404,
            lambda: repository_files(model)[0],
        )
    with extra_parts():
        import huggingface_hub

    logging: Any = huggingface_hub.logging
    logging.set_verbosity_error()  # its retries are not ours to narrate
    if not weights:
        return _config(
            model,
            lambda name: Path(huggingface_hub.hf_hub_download(model, name)).parent,
            lambda error: isinstance(error, huggingface_hub.errors.EntryNotFoundError),
            lambda: huggingface_hub.list_repo_files(model),
        )
    folder = Path(huggingface_hub.snapshot_download(model, allow_patterns=list(WANTED)))
    if not any(folder.glob("*.safetensors")):
        check_no_gguf(model, huggingface_hub.list_repo_files(model))
    return folder


def _config(
    model: str, fetch: Callable[[str], Path], is_absence: Callable[[Exception], bool], names: Callable[[], list[str]]
) -> Path:
    """The folder that config.json was fetched into; of an adapter, which has none, adapter_config.json."""
    try:
        return fetch(CONFIG)
    except Exception as error:
        if not is_absence(error):
            raise
        try:
            return fetch(ADAPTER)
        except Exception as second:
            if not is_absence(second):
                raise
        check_no_gguf(model, names())
        raise


def fetched_gguf(model: str, *, weights: bool = True, progress: Progress = SILENT) -> Path:
    """The file on this machine of `owner/name:file.gguf`; of one in parts the first. `owner/name:Q4_K_M` finds the file of
    that quantisation, as llama.cpp does.

    weights: False fetches the header alone, where the file is not in the hub's cache: no whole file (`hub_header`).

    Raises BadOption, with the names that are there, where none or several are meant.
    """
    repository, _, wanted = model.partition(":")
    try:
        return (_whole if weights else _header)(model, repository, wanted, progress)
    except RopewalkError:
        raise
    except Exception as error:  # as in `checkpoint`
        raise _unreachable(model, error) from None


def _whole(model: str, repository: str, wanted: str, progress: Progress) -> Path:
    with extra_parts():
        import huggingface_hub
    try:
        there = huggingface_hub.list_repo_files(repository)
    except Exception:
        if kept := _kept(model, repository, wanted, progress):
            return kept
        raise
    parts = _meant(model, wanted, there)
    files = [Path(huggingface_hub.hf_hub_download(repository, name)) for name in parts]
    return files[0]


def _header(model: str, repository: str, wanted: str, progress: Progress) -> Path:
    try:
        there, commit = repository_files(repository)
    except OSError:
        if kept := _kept(model, repository, wanted, progress):
            return kept
        raise
    parts = _meant(model, wanted, there)
    here = [kept_file(repository, name, commit) for name in parts]
    return here[0] if here[0] and all(here) else fetched_headers(repository, parts, commit, progress)


def _kept(model: str, repository: str, wanted: str, progress: Progress) -> Path | None:
    """What huggingface_hub's cache has of a repository that does not answer."""
    if find_spec("huggingface_hub") is None:
        return None
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(repository, local_files_only=True))
        there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        kept = folder / _meant(model, wanted, there)[0]
    except Exception:  # not there, or not that one: what the network said is what counts
        return None
    progress.note(f"the hub gives no list of {repository}'s files: {kept.name} is read from its cache")
    return kept


def _meant(model: str, wanted: str, there: list[str]) -> list[str]:
    """The names of the one model that is meant: in several files, where it is in parts."""
    there = [name for name in there if name.lower().endswith(".gguf")]
    firsts = models_among(there)
    found = [name for name in there if name == wanted] or [
        name for name in firsts if re.search(rf"(?:^|[-._/]){re.escape(wanted)}(?=[-._/])", name, re.IGNORECASE)
    ]
    if len(found) != 1:
        many = (
            "names several of its GGUFs" if found else "is not among its GGUFs" if there else "is not there: it holds no GGUF"
        )
        raise BadOption(f"{model}: {wanted!r} {many}.\n{listed(found or firsts, model.partition(':')[0] + ':')}".rstrip())
    check_below(found[0])
    if (split := SPLIT.fullmatch(found[0])) is None:
        return found
    same = ((n, s) for n in there if (s := SPLIT.fullmatch(n)) and (s["stem"], s["count"]) == (split["stem"], split["count"]))
    parts = {int(s["number"]): name for name, s in same}
    if int(split["count"]) > MOST_PARTS:
        raise BadConfig(f"{model}: {found[0]} is called a part of {int(split['count'])}, which cannot be.")
    if sorted(parts) != list(range(1, int(split["count"]) + 1)):
        raise BadConfig(
            f"{model}: {found[0]} is one of {int(split['count'])} parts, and the repository holds {len(parts)} of them.\n"
            "  Is it still being uploaded?"
        )
    return [parts[number] for number in sorted(parts)]


def check_no_gguf(model: str, names: list[str]) -> None:
    """BadOption where a hub's repository holds GGUFs and nothing that transformers reads: which of them is meant?"""
    ggufs = models_among([name for name in names if name.lower().endswith(".gguf")])
    if ggufs and not any(name.endswith(".safetensors") for name in names):
        many = "a GGUF" if len(ggufs) == 1 else f"{len(ggufs)} GGUFs"
        raise BadOption(f"{model} is a repository of {many}: name one of them, as in\n{listed(ggufs, f'{model}:')}")


def _small_file(model: str, name: str) -> Path:
    """In a folder that lives as long as this process: the base install has no library of the hub."""
    with ask(f"{model}/resolve/main/{name}") as answer:
        content = received(answer, LARGEST_CONFIG + 1)  # one more than a config may have: who reads it says so
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / name).write_bytes(content)
    return folder


def _folder(path: Path) -> Path:
    if not path.is_file():
        return path
    if path.name != CONFIG:
        raise BadConfig(f"{path} is a file. Name the folder that holds {CONFIG} and the weights.")
    return path.parent
