"""A hub on this machine: a repository over HTTP, with ranges; it counts what it sends, and can lie. And GGUFs to lie in it."""

import json
import re
import struct
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from support.gguf_writer import text, value

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 2**16


class Hub:
    """folder: of the one repository, owner/name.  names: what it says it holds, where that is something else.

    ranges: does it send parts of files?  refuses: the status of every answer about files.
    lie(headers, body) -> (headers, body): of an answer with a part of a file.  away: where files are, on another server.
    renamed: what the repository was called before; who asks for that is sent on, as by the hub.
    """

    def __init__(self, folder, names=None, ranges=True, refuses=None, lie=None, away=None, listing=None, renamed=None):
        self.folder, self.ranges, self.refuses, self.lie, self.away = Path(folder), ranges, refuses, lie, away
        self.renamed = renamed
        self.names = names or sorted(path.relative_to(folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        self.listing = (
            listing or json.dumps({"sha": COMMIT, "siblings": [{"rfilename": name} for name in self.names]}).encode()
        )
        self.sent, self.asked = 0, []  # bytes of files; (path, range, key)

    @property
    def files_asked(self):
        return [path for path, _, _ in self.asked if "/resolve/" in path]


@contextmanager
def serving(hub, name="127.0.0.1"):
    """Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hub.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
            path = urlsplit(self.path).path  # a proxy is asked for whole addresses
            if hub.refuses:
                self.send_error(hub.refuses)
            elif hub.renamed and hub.renamed in self.path:
                self._send(307, {"Location": urlsplit(self.path).path.replace(hub.renamed, "owner/name")}, b"")
            elif path == "/api/models/owner/name":
                self._send(200, {"Content-Length": len(hub.listing)}, hub.listing)
            elif (found := re.fullmatch(rf"/owner/name/resolve/(?:{COMMIT}|main)/(.+)", path)) and hub.away:
                self._send(302, {"Location": f"{hub.away}{found[0]}", "Content-Length": 0}, b"")
            elif found and (hub.folder / found[1]).is_file():
                self._file(hub.folder / found[1])
            else:
                self.send_error(404)

        def _file(self, path):
            size, asked = path.stat().st_size, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            with path.open("rb") as stream:
                if not (hub.ranges and asked):
                    headers, body = {"Content-Length": size}, iter(lambda: stream.read(PIECE), b"")
                    status = 200
                else:
                    first, last = int(asked[1]), min(int(asked[2]), size - 1)
                    if first >= size:
                        return self.send_error(416)
                    stream.seek(first)
                    headers = {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Length": last - first + 1}
                    status, body = 206, stream.read(last - first + 1)
                if hub.lie:
                    headers, body = hub.lie(headers, body)
                self._send(status, headers, body)

        def _send(self, status, headers, body):
            self.send_response(status)
            for key, item in headers.items():
                self.send_header(key, str(item))
            self.end_headers()
            pieces = (body[at : at + PIECE] for at in range(0, len(body), PIECE)) if isinstance(body, bytes) else body
            with suppress(BrokenPipeError, ConnectionResetError):  # who had enough has gone
                for piece in pieces:
                    self.wfile.write(piece)
                    hub.sent += len(piece) if "/resolve/" in self.path else 0

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((name, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://{name}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


LLAMA = {
    "general.architecture": "llama", "general.name": "x", "llama.context_length": 131_072, "llama.block_count": 1,
    "llama.embedding_length": 4096, "llama.feed_forward_length": 14_336, "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": 128,
    "llama.rope.freq_base": 5e5,
}  # fmt: skip
F32, F16 = 0, 1


def large_gguf(path, keys=LLAMA, lists=None, at_end=False, size=300 * 2**20, **more):
    """A file whose weights take no room on the disk: they are holes, and of `size` bytes, about.

    lists: one-dimensional float32 tensors, before all weights or behind them.
    """
    keys = {**keys, **more}
    width = 4096
    weights = [("token_embd.weight", (width, size // width // 2), F16)]
    some = [(name, (len(numbers),), F32) for name, numbers in (lists or {}).items()]
    head, offset, places = b"GGUF", 0, {}
    infos = [*weights, *some] if at_end else [*some, *weights]
    head += struct.pack("<IQQ", 3, len(infos), len(keys)) + b"".join(text(name) + value(item) for name, item in keys.items())
    for name, shape, kind in infos:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        places[name] = offset
        count = shape[0] * (shape[1] if len(shape) > 1 else 1) * (4 if kind == F32 else 2)
        offset += count + -count % 32
    head += bytes(-len(head) % 32)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + offset)
        for name, numbers in (lists or {}).items():
            stream.seek(len(head) + places[name])
            stream.write(struct.pack(f"<{len(numbers)}f", *numbers))
    return path
