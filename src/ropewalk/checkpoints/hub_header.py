"""The header of a GGUF on a hub, without the weights behind it: a few megabytes by HTTP ranges, by the standard library alone.

What is fetched lies in a temporary folder, as a file that ends behind the last byte that was asked for. Before lists of rope
factors that lie behind weights there is a hole, which reads as zeros: whoever reads weights asks `check_whole` first.
"""

import atexit
import json
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ropewalk.engines.gguf_file import LARGEST_HEADER, spans
from ropewalk.engines.gguf_values import TooShort
from ropewalk.errors import BadConfig
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import human_bytes

TIMEOUT = 30.0  # seconds without a word from the hub
SLOWEST = 2**10  # bytes per second, beyond the first `TIMEOUT` seconds of an answer: who drips has hung up
STEPS = (2**20, 2**22, 2**24, LARGEST_HEADER)  # bytes asked for, all in all, until the header is whole
STEPS_BEHIND = (2**16, *STEPS)  # of a later part, which holds no vocabulary
LARGEST_ALL = 2**29  # bytes of the headers of all parts
LARGEST_LIST = 2**20  # bytes of rope factors; one for each pair of channels is less than a kilobyte
LARGEST_ANSWER = 2**25  # bytes of a repository's list of files
CHUNK = 2**18
YES = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads its variables
STRANGE = re.compile(r"""[\x00-\x1f\x7f-\x9f\\:*?"<>|]""")
MAIN = "main"
COMMIT = re.compile(r"[0-9a-f]{40}")
RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_sizes: dict[str, int] = {}  # of the wholes
_found: dict[tuple[str, ...], Path] = {}


def size_of(path: Path) -> int | None:
    """Bytes of the whole, where `path` holds its header alone; None where it is a file like any other."""
    return _sizes.get(os.path.realpath(path))  # which no loop of links makes raise, as `resolve` does


def check_whole(path: Path) -> None:
    """BadConfig where `path` holds a header alone, and weights are asked for."""
    if size_of(path) is not None:
        raise BadConfig(f"{path.name} is the header alone of a file on a hub: its weights were not fetched.")


def ask(path: str, span: tuple[int, int] | None = None) -> Any:
    """The hub's answer to a path below its address, to be read and closed; an error of urllib where there is none.

    span: the first byte and the last.
    """
    from urllib.parse import quote, urlsplit
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, asked: Request, *rest: Any) -> Request | None:
            new = super().redirect_request(asked, *rest)
            # Not by `asked.host`: behind a proxy it is the proxy's.
            if new and urlsplit(new.full_url)[:2] != urlsplit(asked.full_url)[:2]:
                new.remove_header("Authorization")  # it is the hub's, not theirs where the hub's files lie
            return new

    check_below(path)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in YES:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    endpoint, key = os.environ.get("HF_ENDPOINT") or "https://huggingface.co", _key()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if span:
        headers["Range"] = f"bytes={span[0]}-{span[1]}"
    request = Request(f"{endpoint.rstrip('/')}/{quote(path)}", headers=headers)
    opener = build_opener(Redirects, HTTPSHandler(context=_trusted())) if request.type == "https" else build_opener(Redirects)
    return opener.open(request, timeout=TIMEOUT)


def received(answer: Any, count: int) -> bytes:
    """So many bytes of an answer, or as many as there are. TimeoutError where they come too slowly for any end."""
    began, pieces, there = time.monotonic(), [], 0
    while there < count and (some := answer.read1(min(count - there, CHUNK))):
        pieces.append(some)
        there += len(some)
        if time.monotonic() - began > TIMEOUT + there / SLOWEST:
            raise TimeoutError(f"{there:,} bytes came in {time.monotonic() - began:.0f} s")
    return b"".join(pieces)


def _trusted() -> Any:
    """The system's certificates, and certifi's where it is there: python.org's builds for macOS have none of their own."""
    import ssl

    context = ssl.create_default_context()
    if find_spec("certifi") is not None:
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def check_below(path: str) -> None:
    """BadConfig for what is no path of names below another: absolute, with .., or with what no file's name has."""
    if any(part in ("", ".", "..") for part in path.split("/")) or STRANGE.search(path):
        raise BadConfig(f"{path[:200]!r} is no name of a file or repository of a hub: it leads outside, or nowhere.")


def _key() -> str | None:
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in YES:
        return None
    key = os.environ.get("HF_TOKEN", "").strip()
    if key or find_spec("huggingface_hub") is None:
        return key or None
    import huggingface_hub

    return huggingface_hub.get_token()  # of its login


def repository_files(repository: str) -> tuple[list[str], str]:
    """(the names of its files, the commit that they are of; main where the hub does not say)."""
    with ask(f"api/models/{repository}") as answer:
        raw = received(answer, LARGEST_ANSWER + 1)
    try:
        said = json.loads(raw[:LARGEST_ANSWER])
        names, commit = [one["rfilename"] for one in said["siblings"]], said.get("sha")
        " ".join(names)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadConfig(
            f"{repository}: the hub was asked for its files and answered with no list of them, but {raw[:40]!r}.\n"
            "  Is HF_ENDPOINT the address of a hub?"
        ) from None
    return names, commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else MAIN


def kept_file(repository: str, name: str, commit: str) -> Path | None:
    """The whole file in huggingface_hub's cache, where it is there; of main it may be yesterday's."""
    if commit == MAIN or find_spec("huggingface_hub") is None:
        return None
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(repository, name, revision=commit)
    return Path(found) if isinstance(found, str) else None


def fetched_headers(repository: str, names: Sequence[str], commit: str, progress: Progress = SILENT) -> Path:
    """The header of a GGUF, of one in parts that of each beside the others; the first one's file.

    The folder is this process's own, and goes with it. Raises BadConfig for names, answers and headers that cannot be.
    """
    key = (os.environ.get("HF_ENDPOINT", ""), repository, commit, *names)
    if (known := _found.get(key)) and known.exists() and commit != MAIN:
        return known
    files = [_RemoteFile(repository, name, commit) for name in names]
    progress.begin(f"reading the header of {files[0].title}")
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for number, file in enumerate(files):
        path = folder / file.name.rpartition("/")[2]
        with path.open("wb") as stream:
            for start, content in file.header(STEPS_BEHIND if number else STEPS):
                stream.seek(start)
                stream.write(content)
        _sizes[os.path.realpath(path)] = file.size
        if sum(one.fetched for one in files) > LARGEST_ALL:
            raise file.refused(
                f"those before it and it are beyond {human_bytes(LARGEST_ALL)}, and no model in parts needs that."
            )
    fetched, whole = sum(file.fetched for file in files), sum(file.size for file in files)
    of = f", in {len(files)} parts" if len(files) > 1 else ""
    progress.note(f"fetched the header of {files[0].title}: {human_bytes(fetched)} of {human_bytes(whole)}{of}")
    _found[key] = folder / files[0].name.rpartition("/")[2]
    return _found[key]


class _RemoteFile:
    """size: bytes of the whole, once it has answered.  fetched: bytes that were read of it."""

    def __init__(self, repository: str, name: str, commit: str):
        self.title, self.name = f"{repository}:{name}", name
        self.path, self.download = f"{repository}/resolve/{commit}/{name}", f"hf download {repository} {shlex.quote(name)}"
        self.size = self.fetched = 0

    def header(self, steps: Sequence[int]) -> list[tuple[int, bytes]]:
        """(where it begins, bytes): the header, and each list of rope factors."""
        start = b""
        for step in steps:
            start += self.read(len(start), step - len(start))
            try:
                found = spans(start)
                break
            except TooShort as error:
                if len(start) == self.size:
                    raise self.refused(f"{error}: is it cut off, or no GGUF?") from None
            except ValueError as error:
                raise self.refused(f"{error}.") from None
        else:
            raise self.refused(f"its header goes on behind {human_bytes(LARGEST_HEADER)}, and no GGUF has one that long.")
        header, *lists = found
        pieces = [(0, start[: header.end])]
        for span in lists:
            if span.end > self.size or span.end - span.start > LARGEST_LIST:
                raise self.refused(
                    f"a list of rope factors would be bytes {span.start:,} to {span.end:,} of {self.size:,}, which cannot be."
                )
            held = start[span.start : span.end]
            pieces.append((span.start, held + self.read(span.start + len(held), span.end - span.start - len(held))))
        return pieces

    def read(self, start: int, count: int) -> bytes:
        """So many bytes, or as many as there are. From a server that sends no ranges everything before them is read too."""
        if count <= 0:
            return b""
        with ask(self.path, (start, start + count - 1)) as answer:
            begins, end = self._sent(answer, start, start + count)
            self._pass_over(answer, start - begins)
            found = received(answer, end - start)
        self.fetched += len(found)
        if len(found) < end - start:
            raise self.refused(
                f"the connection ended after {len(found):,} of {end - start:,} bytes. Try again; is the file whole on the hub?"
            )
        return found

    def _sent(self, answer: Any, start: int, end: int) -> tuple[int, int]:
        """The first byte of an answer, and where what is wanted of it ends."""
        said = answer.headers.get("Content-Range" if answer.status == 206 else "Content-Length") or ""
        if answer.status == 206:
            found = RANGE.fullmatch(said.strip())
            first, last, size = map(int, found.groups()) if found else (-1, -1, 0)
            right = first == start and last == min(end, size) - 1
        else:
            size, first = int(said) if re.fullmatch(r"\d{1,18}", said.strip()) else 0, 0
            right = answer.status == 200 and size > start
        if not right:
            raise self.refused(
                f"asked for bytes {start:,} to {end - 1:,}, the hub answers {answer.status} with {said[:60] or 'no size'!r}, "
                "which cannot be."
            )
        if self.size not in (0, size):
            raise self.refused(
                f"it had {self.size:,} bytes and has {size:,} now: it was changed while it was read. Try again."
            )
        self.size = size
        if first < start and end > LARGEST_HEADER:
            raise self.refused(
                f"the server sends whole files and no parts of them, and rope factors lie {human_bytes(start)} behind its "
                f"beginning."
            )
        return first, min(end, size)

    def _pass_over(self, answer: Any, count: int) -> None:
        while count > 0 and (some := received(answer, min(count, CHUNK))):
            self.fetched += len(some)
            count -= len(some)

    def refused(self, why: str) -> BadConfig:
        return BadConfig(
            f"the header of {self.title} cannot be read from the hub: {why}\n  To have the file: `{self.download}`."
        )
