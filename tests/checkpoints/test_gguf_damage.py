"""Damaged GGUFs through every verb that takes one: an answer or a refusal, never a stray exception, and nothing that a restore
cannot take back. `python tests/checkpoints/test_gguf_damage.py N [SEED]` looks at N files; the test at a few hundred."""

import os
import random
import struct
import sys
import tempfile
from pathlib import Path

import pytest

from ropewalk.checkpoints.gguf import open_gguf, restore_gguf, stretch_gguf
from ropewalk.errors import BadConfig, CannotExpress, RopewalkError
from ropewalk.jobs.doctor.static import examine
from ropewalk.jobs.doctor.target import resolve
from ropewalk.scaling.plan import make_plan
from support.gguf_writer import gguf, text, value

ARCHITECTURES = ("llama", "qwen2", "gemma3", "phi3", "deepseek2")
NUMBERS = (0, 1, 2, 3, 8, 31, 32, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0.0, -1.0, 1e-30, 1e30, 3.4e38, float("inf"), float("nan"), 1.0, 4.0)
WORDS = ("", "linear", "yarn", "longrope", "none", "llama", "clip", "adapter", "\x1b[31m", "x" * 300)
KEYS = (
    "context_length", "rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor",
    "rope.scale_linear", "rope.scaling.original_context_length", "rope.scaling.attn_factor", "embedding_length",
    "attention.head_count", "attention.sliding_window", "rope.freq_base_swa", "attention.key_length",
)  # fmt: skip
COMMON = ("general.architecture", "general.alignment", "general.type", "split.count", "split.no")
OURS = ("ropewalk.added", "ropewalk.data_length", "ropewalk.header_sha256", "ropewalk.plan", "ropewalk.original.x")


def a_file(rng: random.Random) -> bytes:
    """A small whole file, with any of the keys missing or of another kind, before a byte of it is touched."""
    arch = rng.choice(ARCHITECTURES)
    keys: dict = {
        "general.architecture": arch, f"{arch}.context_length": 512, f"{arch}.rope.dimension_count": 16,
        f"{arch}.embedding_length": 64, f"{arch}.attention.head_count": 4, f"{arch}.rope.freq_base": 1e4,
    }  # fmt: skip
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        key = rng.choice((*COMMON, *OURS, *(f"{arch}.{name}" for name in KEYS)))
        keys[key] = any_value(rng)
        if rng.random() < 0.2:
            keys.pop(rng.choice(list(keys)))
    names = rng.sample(
        ["token_embd.weight", "rope_freqs.weight", "rope_factors_long.weight", "blk.0.x.lora_a"], rng.randrange(3)
    )
    return gguf(keys, {name: [1.0 + i for i in range(8)] for name in names}, version=rng.choice((2, 3)))


def any_value(rng: random.Random) -> object:
    return rng.choice(
        [
            rng.choice(NUMBERS) % 2**32,
            rng.choice(FLOATS),
            rng.choice(WORDS),
            [1.0, 2.0],
            ["a", "b"],
            [],
            4,
            2.0,
            "linear",
            "yarn",
        ]
    )


def damaged(data: bytes, rng: random.Random) -> bytes:
    new = bytearray(data)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 5))):
        at = rng.randrange(len(new)) if new else 0
        kind = rng.randrange(6)
        if kind == 0:
            new[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            new[at : at + 8] = struct.pack("<Q", rng.choice(NUMBERS))
        elif kind == 2:
            new[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) % 2**32)
        elif kind == 3:
            new[at : at + 4] = struct.pack("<f", rng.choice(FLOATS))
        elif kind == 4:
            del new[at : at + rng.choice((1, 4, 8, len(new)))]
        else:
            new[at:at] = rng.randbytes(rng.choice((1, 4, 8)))
        if not new:
            break
    return bytes(new)


def through_every_verb(data: bytes, folder: Path, factor: float = 2.0) -> str:
    """What was done with the file; raises what is not a refusal, and AssertionError where a stretch is not taken back."""
    path, out, back = folder / "x.gguf", folder / "y.gguf", folder / "z.gguf"
    path.write_bytes(data)
    done = []
    for name, act in (
        ("doctor", lambda: examine(resolve(str(path), refuse))),
        ("flags", lambda: examine(resolve(f"llama-server -m {path} -c 4096 --rope-scale 2", refuse))),
        ("restore", lambda: restore_gguf(path, back, force=True)),
    ):
        try:
            act()
            done.append(name)
        except RopewalkError:
            pass
    try:
        source = open_gguf(path)
        stretch_gguf(source, make_plan(source.spec(), factor=factor, method="linear"), out, force=True)
    except RopewalkError:
        assert not [left for left in folder.iterdir() if left.name.startswith(".")]
        return ",".join(done)
    was_stretched = "restore" in done
    restore_gguf(out, folder / "w.gguf", force=True)
    assert (folder / "w.gguf").read_bytes() == (back.read_bytes() if was_stretched else data)
    return ",".join([*done, "export"])


def refuse(name: str) -> Path:
    raise BadConfig(name)


def look(count: int, seed: int, folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for index in range(count):
        rng = random.Random(f"{seed} {index}")
        data = damaged(a_file(rng), rng)
        if rng.random() < 0.3:  # a file that was stretched already, and damaged then
            data = stretched_first(data, rng, folder)
        try:
            what = through_every_verb(data, folder)
        except BaseException:
            print(f"seed {seed}, file {index}", file=sys.stderr)
            raise
        found[what] = found.get(what, 0) + 1
    return found


def stretched_first(data: bytes, rng: random.Random, folder: Path) -> bytes:
    path, out = folder / "s.gguf", folder / "t.gguf"
    path.write_bytes(data)
    try:
        source = open_gguf(path)
        method = rng.choice(("linear", "yarn", "llama3"))
        stretch_gguf(source, make_plan(source.spec(), factor=4.0, method=method), out, force=True)
    except RopewalkError:
        return data
    return damaged(out.read_bytes(), rng)


def test_damaged_files_are_answered_or_refused(tmp_path):
    found = look(400, 1, tmp_path)
    assert len(found) >= 4, found  # some of each: refused at once, read, stretched, restored
    assert sum(count for what, count in found.items() if "export" in what) > 20, found


@pytest.mark.parametrize("kind", ["4", "[4.0]", "words"])
def test_a_number_that_is_no_number(tmp_path, kind):
    """Field case 20, 391b82c94a: split.count of another kind was a TypeError."""
    item = {"4": "4", "[4.0]": [4.0, 1.0], "words": ["a", "b"]}[kind]
    path = tmp_path / "x.gguf"
    keys = {"general.architecture": "llama", "llama.context_length": 512, "llama.rope.dimension_count": 16}
    path.write_bytes(gguf({**keys, "split.count": item}))
    with pytest.raises(BadConfig, match=r"split\.count is .* whole number"):
        open_gguf(path).spec()


def test_a_count_that_no_machine_holds(tmp_path):
    """Field case 20, ee3fe9b879: an alignment of 2^31 was a MemoryError, before anything else was looked at."""
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf({"general.architecture": "llama", "general.alignment": 2**31}))
    with pytest.raises(BadConfig, match="no power of 2 up to 1,048,576"):
        open_gguf(path)
    many = text("a") + struct.pack("<IIQ", 9, 0, 2**62)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + many + bytes(64))
    with pytest.raises(BadConfig, match="ends before its header"):
        open_gguf(path)


def test_what_is_cut_off_behind_a_stretch_is_refused_before_anything_is_written(tmp_path):
    """Field case 20, 2d5c97005e: ropewalk.data_length said less than the tensors take, and a stretch was written."""
    path, out = tmp_path / "x.gguf", tmp_path / "y.gguf"
    keys = {"general.architecture": "llama", "llama.context_length": 512, "llama.rope.dimension_count": 16}
    path.write_bytes(gguf(keys, {"token_embd.weight": [1.0] * 64}))
    source = open_gguf(path)
    stretch_gguf(source, make_plan(source.spec(), factor=2.0, method="linear"), out)
    length = text("ropewalk.data_length") + struct.pack("<I", 10)
    data = out.read_bytes()
    at = data.index(length) + len(length)
    out.write_bytes(data[:at] + struct.pack("<Q", 32) + data[at + 8 :])
    with pytest.raises(BadConfig, match="changed by something else after the stretch"):
        open_gguf(out)
    with pytest.raises(BadConfig, match="changed by something else after the stretch"):
        restore_gguf(out, tmp_path / "z.gguf")


def test_a_number_beyond_float32(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf({"general.architecture": "llama", "llama.context_length": 512, "llama.rope.dimension_count": 16}))
    source = open_gguf(path)
    plan = make_plan(source.spec(), factor=2.0, method="rope_theta", options={"rope_theta": 1e39})
    with pytest.raises(CannotExpress, match=r"in float32, and 1e\+39 does not fit"):
        stretch_gguf(source, plan, tmp_path / "y.gguf")
    assert value(1.0)  # what gguf_writer makes of a float is float32 too
    assert [left.name for left in tmp_path.iterdir()] == ["x.gguf"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as here:
        print(look(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1, Path(here)))
