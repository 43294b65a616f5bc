"""Nothing half-written ever looks finished."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from ropewalk.checkpoints.files import new_file, new_folder, write_file
from ropewalk.errors import CannotWrite, OutputExists


def test_a_finished_folder_gets_its_name(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("1")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "a").read_text() == "1"


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExists, match=r"exists already.*--force"), new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_dir()


def test_force_replaces_only_when_the_new_folder_is_complete(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), new_folder(out, force=True) as folder:
        (folder / "new").write_text("half")
        raise ZeroDivisionError
    assert [p.name for p in out.iterdir()] == ["old"]
    with new_folder(out, force=True) as folder:
        (folder / "new").write_text("whole")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_leaves_nothing(tmp_path):
    with pytest.raises(CannotWrite, match="No space left on device"), new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_write_file_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_file(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ropewalk.checkpoints.files.os.replace", full)
    with pytest.raises(CannotWrite, match=r"was not written: No space left on device"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_killed_writer_leaves_no_folder_of_that_name(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from ropewalk.checkpoints.files import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1])) as f:\n"
        "    (f / 'a').write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "writing\n"
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not (tmp_path / "out").exists()
    with new_folder(tmp_path / "out") as folder:  # and the remains are not in the way
        (folder / "a").write_text("whole")
    assert (tmp_path / "out" / "a").read_text() == "whole"


def test_a_large_file_takes_its_name_once_it_is_whole(tmp_path):
    out = tmp_path / "new" / "x"
    with new_file(out) as (part, stream):
        stream.write(b"half")
        assert not out.exists()
        assert part.read_bytes() == b"half"
        stream.write(b" and half")
    assert (out.read_bytes(), os.listdir(out.parent)) == (b"half and half", ["x"])
    with pytest.raises(OutputExists), new_file(out):
        pass
    with pytest.raises(CannotWrite, match=r"x was not written: no room\. Nothing was left behind"), new_file(out, force=True):
        raise OSError("no room")
    with pytest.raises(ZeroDivisionError), new_file(out, force=True) as (_, stream):
        stream.write(b"less")
        raise ZeroDivisionError
    assert (out.read_bytes(), os.listdir(out.parent)) == (b"half and half", ["x"])


WRITERS = {
    "file": "with new_file(out, force=True) as (_, stream):\n    stream.write(b'half'); wait()\n",
    "folder": "with new_folder(out, force=True) as f:\n    (f / 'a').write_text('half'); wait()\n",
    "small": "import ropewalk.checkpoints.files as files\nfiles.os.chmod = lambda *_: wait()\nwrite_file(out, 'half')\n",
}


@contextmanager
def writing(out, kind):
    """A process in the middle of writing `out`; killed at the end, unless it is already."""
    code = (
        "import sys, time, pathlib\nfrom ropewalk.checkpoints.files import new_file, new_folder, write_file\n"
        "out = pathlib.Path(sys.argv[1])\n"
        f"def wait():\n    print('writing', flush=True); time.sleep(60)\n{WRITERS[kind]}"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "writing\n"
        yield writer
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def again(out, kind):
    if kind == "small":
        return write_file(out, "whole")
    if kind == "folder":
        with new_folder(out, force=True) as folder:
            (folder / "a").write_text("whole")
    else:
        with new_file(out, force=True) as (_, stream):
            stream.write(b"whole")


@pytest.mark.parametrize("kind", WRITERS)
def test_the_next_writer_removes_what_a_killed_one_left_and_says_so(tmp_path, kind, capsys):
    out = tmp_path / "x.gguf"
    with writing(out, kind):
        pass  # and it is killed
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".x.gguf.part-")
    again(out, kind)
    assert os.listdir(tmp_path) == ["x.gguf"]
    assert f"note: removed {left} (" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_living_process_writes_is_left_alone(tmp_path, kind, capsys):
    out = tmp_path / "x"
    with writing(out, kind):
        again(out, kind)
        assert len(os.listdir(tmp_path)) == 2
        (part,) = (path for path in tmp_path.iterdir() if path.name != "x")
        # a writer in another container: its number says nothing here, and its lock does
        renamed = part.with_name(".x.part-4194303999-abc")
        part.rename(renamed)
        again(out, kind)
        dead = part.with_name(".x.part-4194303-abc")  # a number that no Linux gives (pid_max is 4,194,304)
        renamed.rename(dead)
        again(out, kind)
        assert dead.exists()
    assert capsys.readouterr().err == ""


def test_other_files_and_other_names_are_nobodys_leftovers(tmp_path):
    for name in (".y.part-4194303-abc", ".x.part-abc", "x.part-4194303-abc", ".x.part-4194303"):
        (tmp_path / name).touch()
    before = set(os.listdir(tmp_path))
    again(tmp_path / "x", "file")
    assert set(os.listdir(tmp_path)) == before | {"x"}


def test_a_replacement_that_was_killed_between_its_two_renames_is_undone(tmp_path, capsys):
    old = tmp_path / ".out.old-4194303-abc" / "out"
    old.mkdir(parents=True)
    (old / "a").write_text("old")
    with pytest.raises(OutputExists), new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]
    assert "it is back as it was" in capsys.readouterr().err
