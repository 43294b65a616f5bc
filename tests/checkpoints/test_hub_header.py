"""The header of a GGUF on a hub: what it says is what the whole file says, what it costs, and what is refused.

The hub is a server of this process that counts the bytes it sends; what is right comes from the same file, read from the disk.
"""

import re
import shutil
import struct
import time

import huggingface_hub
import pytest

import ropewalk
from ropewalk.checkpoints import hub_header
from ropewalk.checkpoints.gguf_places import find_gguf
from ropewalk.errors import BadConfig, BadOption, RopewalkError
from support.fake_hub import COMMIT, LLAMA, Hub, large_gguf, serving
from support.gguf_writer import QWEN3, gguf

MIB = 2**20
# A list as Llama 3.1 has it: kept, ramped, divided by 8. Its numbers are made up.
FACTORS = [1.0] * 29 + [1.0 + 7 * (i + 1) / 7 for i in range(6)] + [8.0] * 29
LONG = {"rope_factors_long.weight": [1.0 + i / 4 for i in range(48)], "rope_factors_short.weight": [1.0] * 48}
PHI3 = {name.replace("llama", "phi3"): item for name, item in LLAMA.items()} | {
    "general.architecture": "phi3", "phi3.rope.dimension_count": 96, "phi3.embedding_length": 3072,
    "phi3.rope.scaling.original_context_length": 4096,
}  # fmt: skip


def refused(model, kind=BadConfig):
    with pytest.raises(kind) as refusal:
        ropewalk.read(model)
    return str(refusal.value)


FILES = [
    ("nothing", LLAMA, {}, False),
    ("factors first", LLAMA, {"rope_freqs.weight": FACTORS}, False),
    ("factors last", LLAMA, {"rope_freqs.weight": FACTORS}, True),
    ("two lists last", PHI3, LONG, True),
]


@pytest.mark.parametrize(("name", "keys", "lists", "at_end"), FILES, ids=[one[0] for one in FILES])
def test_the_plan_is_that_of_the_whole_file(name, keys, lists, at_end, each_install, serve_hub, tmp_path):
    path = large_gguf(tmp_path / "x-Q4_K_M.gguf", keys, lists, at_end, **{"llama.rope.scaling.original_context_length": 8192})
    hub = serve_hub(Hub(tmp_path))
    for asked in ("owner/name:x-Q4_K_M.gguf", "owner/name:q4_k_m"):
        given = {} if lists.get("rope_freqs.weight") is None else {"original_length": 8192}
        assert ropewalk.read(asked, **given) == ropewalk.read(path, **given)
        plans = [ropewalk.plan(one, factor=4, **given) for one in (asked, path)]
        assert plans[0].fingerprint == plans[1].fingerprint
        assert plans[0].model == asked
    assert hub.sent < 2 * MIB < path.stat().st_size / 100
    assert len({path for path, _, _ in hub.asked}) == 2  # the list, and one file at one commit
    assert {key for _, _, key in hub.asked} == {"Bearer secret"}


@pytest.mark.parametrize(("name", "keys", "lists", "at_end"), FILES[1:], ids=[one[0] for one in FILES[1:]])
def test_without_its_lists_nothing_is_said(name, keys, lists, at_end, online, serve_hub, tmp_path, monkeypatch):
    """A file that ends where they would be is refused, and not read as zeros."""
    large_gguf(tmp_path / "x.gguf", keys, lists, at_end)
    serve_hub(Hub(tmp_path))
    spans = hub_header.spans
    monkeypatch.setattr(hub_header, "spans", lambda beginning: spans(beginning)[:1])
    assert "ends before byte" in refused("owner/name:x.gguf")


@pytest.mark.parametrize(("words", "most"), [(0, 1), (150_000, 4), (600_000, 16)])
def test_a_longer_header_costs_more(words, most, online, serve_hub, tmp_path):
    """Steps of 1, 4, 16 and 64 MiB. A word of five bytes takes 13."""
    tokens = {"tokenizer.ggml.tokens": [f"{number:05d}"[-5:] for number in range(words)]} if words else {}
    path = large_gguf(tmp_path / "x.gguf", **tokens)
    hub = serve_hub(Hub(tmp_path))
    assert ropewalk.read("owner/name:x.gguf") == ropewalk.read(path)
    assert hub.sent == most * MIB


def test_a_header_that_never_ends(online, serve_hub, tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, 2**40))  # 2^40 numbers of a byte
    with path.open("r+b") as stream:
        stream.truncate(100 * MIB)
    hub = serve_hub(Hub(tmp_path))
    assert "its header goes on behind 64.0 MiB, and no GGUF has one that long" in refused("owner/name:x.gguf")
    assert hub.sent == 64 * MIB


def test_a_server_that_sends_whole_files(online, serve_hub, tmp_path):
    """It is read as far as needed, and left; what its socket holds by then is on top."""
    path = large_gguf(tmp_path / "x.gguf", lists={"rope_freqs.weight": FACTORS})
    hub = serve_hub(Hub(tmp_path, ranges=False, names=["x.gguf", "y.gguf"]))
    given = {"original_length": 8192}
    assert ropewalk.read("owner/name:x.gguf", **given) == ropewalk.read(path, **given)
    assert hub.sent < 30 * MIB
    large_gguf(tmp_path / "y.gguf", lists={"rope_freqs.weight": FACTORS}, at_end=True)
    told = refused("owner/name:y.gguf")
    assert "the server sends whole files and no parts of them, and rope factors lie 300.0 MiB behind its beginning" in told
    assert told.endswith("To have the file: `hf download owner/name y.gguf`.")
    assert hub.sent < 60 * MIB


def says(**headers):
    return lambda had, body: ({key: item for key, item in {**had, **headers}.items() if item is not None}, body)


LIES = [
    (says(**{"Content-Range": "bytes 32-1048607/314572800"}), "answers 206 with 'bytes 32-1048607/314572800'"),
    (says(**{"Content-Range": "bytes 0-1048575/*"}), "answers 206 with 'bytes 0-1048575/*'"),
    (says(**{"Content-Range": "bytes 0-99/314572800"}), "asked for bytes 0 to 1,048,575, the hub answers 206"),
    (says(**{"Content-Range": None}), "answers 206 with 'no size'"),
    (says(**{"Content-Range": "bytes 0-1048575/" + "9" * 5000}), "which cannot be"),
    (lambda had, body: (had, body[:1000]), "the connection ended after 1,000 of 1,048,576 bytes"),
    (lambda had, body: (had, b"<html>" + body[6:]), "it does not start with GGUF"),
]


@pytest.mark.parametrize(("lie", "said"), LIES, ids=map(str, range(len(LIES))))
def test_answers_that_cannot_be(lie, said, online, serve_hub, tmp_path):
    large_gguf(tmp_path / "x.gguf")
    serve_hub(Hub(tmp_path, lie=lie))
    told = refused("owner/name:x.gguf")
    assert told.startswith("the header of owner/name:x.gguf cannot be read from the hub: ")
    assert said in told


def test_the_way_out_is_safe_to_paste():
    told = str(hub_header._RemoteFile("owner/name", "x;$(id).gguf", COMMIT).refused("why"))
    assert told.endswith("To have the file: `hf download owner/name 'x;$(id).gguf'`.")


def test_a_whole_file_of_no_size(online, serve_hub, tmp_path):
    large_gguf(tmp_path / "x.gguf")
    serve_hub(Hub(tmp_path, ranges=False, lie=says(**{"Content-Length": None})))
    assert "answers 200 with 'no size', which cannot be" in refused("owner/name:x.gguf")


def test_a_file_that_is_changed_while_it_is_read(online, serve_hub, tmp_path):
    path = large_gguf(tmp_path / "x.gguf", lists={"rope_freqs.weight": FACTORS}, at_end=True)

    def lie(headers, body):
        with path.open("ab") as stream:
            stream.write(bytes(32))
        return headers, body

    serve_hub(Hub(tmp_path, lie=lie))
    assert "it was changed while it was read" in refused("owner/name:x.gguf")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "HTTPError 416"),
        (gguf(QWEN3)[:200], "it ends before its header does: is it cut off, or no GGUF?"),
        (gguf(QWEN3, {"rope_freqs.weight": [1.0] * 64})[:-200], "a list of rope factors would be bytes"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(64), "its version is 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + bytes(64), "it claims 1152921504606846976 tensors"),
    ],
    ids=["nothing", "cut off in the header", "cut off in the factors", "another version", "too many tensors"],
)
def test_files_that_are_none(content, said, online, serve_hub, tmp_path):
    (tmp_path / "x.gguf").write_bytes(content)
    serve_hub(Hub(tmp_path))
    assert said in refused("owner/name:x.gguf")


def test_a_list_beyond_all_measure(online, serve_hub, tmp_path):
    """Eight channels at most can be counted in a megabyte; a list of 100 MiB inside the file is not fetched."""
    large_gguf(tmp_path / "x.gguf", size=4096 * 64)
    raw = (tmp_path / "x.gguf").read_bytes()
    raw = raw.replace(b"\x11\0\0\0\0\0\0\0token_embd.weight", b"\x11\0\0\0\0\0\0\0rope_freqs.weight")
    (tmp_path / "x.gguf").write_bytes(raw.replace(struct.pack("<QQ", 4096, 32), struct.pack("<QQ", 4096, 2**14)))
    with (tmp_path / "x.gguf").open("r+b") as stream:
        stream.truncate(200 * MIB)
    hub = serve_hub(Hub(tmp_path))
    assert "a list of rope factors would be bytes" in refused("owner/name:x.gguf")
    assert hub.sent == MIB


def test_a_list_that_is_there_twice(online, serve_hub, tmp_path):
    """A header of 64 MiB has room for a million of them, and each was asked for."""
    lists = {"rope_freqs.weight": FACTORS, "rope_freqs_weight": FACTORS}
    with large_gguf(tmp_path / "x.gguf", lists=lists, at_end=True).open("r+b") as stream:
        head = stream.read(4096)
        stream.seek(0)
        stream.write(head.replace(b"rope_freqs_weight", b"rope_freqs.weight"))
    hub = serve_hub(Hub(tmp_path))
    assert "the tensor rope_freqs.weight is there twice" in refused("owner/name:x.gguf")
    assert len(hub.files_asked) == 1


def test_a_server_that_drips(online, serve_hub, tmp_path, monkeypatch):
    """A byte now and then was waited for without an end: each came in time, and a header has a million."""

    def drip(headers, body):
        return headers, (time.sleep(0.05) or body[at : at + 1] for at in range(len(body)))

    monkeypatch.setattr(hub_header, "TIMEOUT", 0.4)
    large_gguf(tmp_path / "x.gguf")
    serve_hub(Hub(tmp_path, lie=drip))
    assert re.search(r"fetched from the hub: TimeoutError \(\d+ bytes came in 0 s\)", refused("owner/name:x.gguf"))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "HTTPError 401: there is no such repository, or it is private or gated."),
        (403, "HTTPError 403: it is gated, and the key that was sent does not open it."),
        (404, "HTTPError 404: there is no such repository or file."),
        (500, "HTTPError 500."),
    ],
)
def test_a_hub_that_refuses(status, said, each_install, serve_hub, tmp_path):
    serve_hub(Hub(tmp_path, refuses=status))
    told = refused("owner/name:x.gguf")
    assert f"owner/name:x.gguf is not a folder here and could not be fetched from the hub: {said}\n" in told
    assert "a gated model needs `hf auth login`, or HF_TOKEN, first" in told


def test_no_hub_and_no_network(each_install, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    assert "could not be fetched from the hub: URLError (<urlopen error" in refused("owner/name:x.gguf")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "could not be fetched from the hub: ConnectionError (HF_HUB_OFFLINE is set)" in refused("owner/name:x.gguf")


@pytest.mark.parametrize(
    "listing",
    [b"<html>", b"[]", b"{}", b'{"siblings": 1}', b'{"siblings": [{"rfilename": 1}]}', b'{"siblings": [1]}', b"[" * 10_000],
)
def test_a_list_of_files_that_is_none(listing, online, serve_hub, tmp_path):
    serve_hub(Hub(tmp_path, listing=listing))
    assert "owner/name: the hub was asked for its files and answered with no list of them" in refused("owner/name:x.gguf")


@pytest.mark.parametrize(
    "name",
    ["../x-Q4_0.gguf", "/etc/x-Q4_0.gguf", "a/../../x-Q4_0.gguf", "a//x-Q4_0.gguf", "..\\x-Q4_0.gguf", "a\nx-Q4_0.gguf"],
)
def test_names_that_lead_outside(name, each_install, serve_hub, tmp_path):
    hub = serve_hub(Hub(tmp_path, names=[name]))
    assert "is no name of a file or repository of a hub: it leads outside, or nowhere" in refused("owner/name:Q4_0")
    assert not hub.files_asked


def test_a_repository_that_leads_outside(online, serve_hub, tmp_path):
    hub = serve_hub(Hub(tmp_path))
    assert "it leads outside, or nowhere" in refused("owner/..:Q4_0")
    assert not hub.asked


def test_what_is_not_there_is_refused_with_what_is(each_install, serve_hub, tmp_path):
    (tmp_path / "sub").mkdir()
    large_gguf(tmp_path / "sub" / "x-Q4_K_M.gguf")
    serve_hub(Hub(tmp_path))
    assert "'Q9_9' is not among its GGUFs.\n  owner/name:sub/x-Q4_K_M.gguf" in refused("owner/name:Q9_9", BadOption)
    assert ropewalk.read("owner/name:sub/x-Q4_K_M.gguf") == ropewalk.read(tmp_path / "sub" / "x-Q4_K_M.gguf")


def test_more_parts_than_can_be(online, serve_hub, tmp_path):
    hub = serve_hub(Hub(tmp_path, names=[f"x-Q4_0-{number:05d}-of-05000.gguf" for number in range(1, 5001)]))
    assert "x-Q4_0-00001-of-05000.gguf is called a part of 5000, which cannot be" in refused("owner/name:Q4_0")
    assert not hub.files_asked


def in_parts(folder, missing=()):
    """Keys in the first, the vocabulary's matrix in the second, the rope factors in the third: headers alone tell it all."""
    parts = []
    for number in range(3):
        keys = {**(LLAMA if number == 0 else {}), "split.no": number, "split.count": 3, "split.tensors.count": 4}
        path = folder / f"x-Q4_K_M-{number + 1:05d}-of-00003.gguf"
        if number == 1:
            large_gguf(path, keys)
        else:
            lists = {"output_norm.weight": [1.0] * 4096} if number == 0 else {"blk.0.attn_norm.weight": [1.0] * 4096}
            path.write_bytes(gguf(keys, lists | ({"rope_freqs.weight": FACTORS} if number == 2 else {})))
        if number + 1 in missing:
            path.unlink()
        parts.append(path)
    return parts


def test_a_model_in_parts(each_install, serve_hub, tmp_path):
    first, _, last = in_parts(tmp_path)
    hub = serve_hub(Hub(tmp_path))
    for asked in ("owner/name:Q4_K_M", f"owner/name:{last.name}"):
        assert ropewalk.read(asked, original_length=8192) == ropewalk.read(first, original_length=8192)
    assert hub.sent < MIB  # of a later part 64 KiB are asked for at first, and what is behind them is a hole


def test_headers_of_parts_beyond_all_measure(online, serve_hub, tmp_path, monkeypatch):
    in_parts(tmp_path)
    serve_hub(Hub(tmp_path))
    monkeypatch.setattr(hub_header, "LARGEST_ALL", 40_000)  # they have 16,900, 65,536 and 17,000 bytes, about
    told = refused("owner/name:Q4_K_M")
    assert told.startswith("the header of owner/name:x-Q4_K_M-00002-of-00003.gguf cannot be read")
    assert "those before it and it are beyond 39.1 KiB" in told


def test_a_part_that_is_missing(online, serve_hub, tmp_path):
    in_parts(tmp_path, missing=(2,))
    hub = serve_hub(Hub(tmp_path))
    told = refused("owner/name:Q4_K_M")
    assert "x-Q4_K_M-00001-of-00003.gguf is one of 3 parts, and the repository holds 2 of them" in told
    assert not hub.files_asked


def test_the_key_stays_with_the_hub(online, serve_hub, tmp_path, monkeypatch):
    """Files lie elsewhere; the range goes there, and the key does not."""
    path = large_gguf(tmp_path / "x.gguf")
    stored = Hub(tmp_path)
    with serving(stored, "localhost") as away:
        serve_hub(Hub(tmp_path, away=away))
        assert ropewalk.read("owner/name:x.gguf") == ropewalk.read(path)
    assert [(asked, key) for _, asked, key in stored.asked] == [("bytes=0-1048575", None)]


def test_the_key_comes_along_behind_a_proxy(online, serve_hub, tmp_path, monkeypatch):
    """urllib writes the proxy's address into the request; a renamed repository then looked like another host."""
    path, hub = large_gguf(tmp_path / "x.gguf"), Hub(tmp_path, renamed="owner/old")
    with serving(hub) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        assert ropewalk.read("owner/old:x.gguf") == ropewalk.read(path)
    assert {key for _, _, key in hub.asked} == {"Bearer secret"}
    assert len(hub.asked) == 4  # both by the old name and by the new one


@pytest.mark.parametrize(("variable", "sent"), [("HF_TOKEN", "Bearer of mine"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", None)])
def test_which_key_is_sent(variable, sent, each_install, serve_hub, tmp_path, monkeypatch):
    """As huggingface_hub has it: of a file with its last newline, and none where that is asked for."""
    large_gguf(tmp_path / "x.gguf")
    hub = serve_hub(Hub(tmp_path))
    monkeypatch.setenv(variable, {"HF_TOKEN": "of mine\n"}.get(variable, "1"))
    ropewalk.read("owner/name:x.gguf")
    assert {key for _, _, key in hub.asked} == {sent}


def in_cache(path, root):
    """As huggingface_hub lays out what it has downloaded."""
    folder = root / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    shutil.copy(path, folder / "snapshots" / COMMIT / path.name)
    return folder / "snapshots" / COMMIT / path.name


@pytest.mark.parametrize("network", ["there", "503", "403", "offline"])
def test_what_is_in_the_hubs_cache_is_used(network, online, serve_hub, tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    path = large_gguf(tmp_path / "hub" / "x-Q4_K_M.gguf", size=4096)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    kept = in_cache(path, tmp_path / "cache")
    hub = serve_hub(Hub(tmp_path / "hub", refuses=int(network) if network.isdigit() else None))
    if network == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for asked in ("owner/name:x-Q4_K_M.gguf", "owner/name:Q4_K_M"):
        assert find_gguf(asked, weights=False) == kept
    if network != "there":
        told = "ConnectionError (HF_HUB_OFFLINE is set)" if network == "offline" else f"HTTPError {network}"
        assert told in refused("owner/name:Q8_0")  # and not: is not among its GGUFs

        def unheard(*_):
            raise ConnectionError("no route to the hub")

        monkeypatch.setattr(huggingface_hub, "list_repo_files", unheard)
        assert find_gguf("owner/name:Q4_K_M") == kept  # with its weights
        with pytest.raises(BadConfig, match="no route to the hub"):
            find_gguf("owner/name:Q8_0")
    assert not hub.files_asked
    assert hub_header.size_of(kept) is None


def test_the_cache_is_no_answer_where_the_hub_names_no_commit(online, serve_hub, tmp_path, monkeypatch):
    """Its main may be yesterday's: then the header of today's is read."""
    (tmp_path / "hub").mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    in_cache(large_gguf(tmp_path / "hub" / "x.gguf", size=4096), tmp_path / "cache")
    today = large_gguf(tmp_path / "hub" / "x.gguf", size=4096, **{"llama.rope.freq_base": 1e6})
    serve_hub(Hub(tmp_path / "hub", listing=b'{"siblings": [{"rfilename": "x.gguf"}]}'))
    assert ropewalk.read("owner/name:x.gguf") == ropewalk.read(today)


def test_what_is_fetched_is_told_in_a_line(online, serve_hub, tmp_path):
    class Ear:
        def __init__(self):
            self.heard = []
            self.note = self.heard.append

        def begin(self, what, total=None, *, found=False):
            self.heard.append(what)

    ear = Ear()
    large_gguf(tmp_path / "x.gguf")
    serve_hub(Hub(tmp_path))
    find_gguf("owner/name:x.gguf", weights=False, progress=ear)
    assert ear.heard == [
        "reading the header of owner/name:x.gguf", "fetched the header of owner/name:x.gguf: 1.0 MiB of 300.0 MiB",
    ]  # fmt: skip


def test_every_refusal_is_one_of_ours(online, serve_hub, tmp_path, monkeypatch):
    """Also of what no rule foresees."""
    large_gguf(tmp_path / "x.gguf")
    serve_hub(Hub(tmp_path))
    monkeypatch.setattr(hub_header, "spans", lambda beginning: 1 / 0)
    assert "could not be fetched from the hub: ZeroDivisionError" in refused("owner/name:x.gguf", RopewalkError)
