"""A cache only saves time: bounded, whole or absent, and safe for writers at the same time."""

import os
import subprocess
import sys
import time

import pytest

from audioldm2_jax import caching

WRITER = """
import sys, time
from pathlib import Path
from audioldm2_jax import caching

def write(file):
    with file.open("wb") as out:
        for _ in range(50):
            out.write(sys.argv[2].encode() * 1000)
            time.sleep(0.002)

for _ in range(3):
    assert caching.store(Path(sys.argv[1]), write, limit=1 << 20)
"""


def put(path, size, age=0.0):
    assert caching.store(path, lambda file: file.write_bytes(b"x" * size), limit=250)
    os.utime(path, (time.time() - age,) * 2)


def test_the_longest_unused_files_go(tmp_path):
    put(tmp_path / "a", 100, age=30)
    put(tmp_path / "b", 100, age=20)
    caching.mark_used(tmp_path / "a")
    put(tmp_path / "c", 100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c"]


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    for name, age in {".old.1.1.part": 2 * 86400, ".new.2.2.part": 60}.items():
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    put(tmp_path / "a", 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".new.2.2.part", "a"]


@pytest.mark.parametrize("name", ["file/a", "folder"])
def test_what_cannot_be_written_is_told(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    assert not caching.store(tmp_path / name, lambda file: file.write_bytes(b"x"), limit=9)


def test_a_full_disk_leaves_nothing(tmp_path):
    def write(file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    assert not caching.store(tmp_path / "a", write, limit=9)
    assert not list(tmp_path.iterdir())


def test_two_processes_write_at_once(tmp_path):
    path = tmp_path / "a"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "xy"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert path.read_bytes() in (b"x" * 50_000, b"y" * 50_000)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_replaced_file_has_another_stamp(tmp_path):
    (tmp_path / "a").write_bytes(b"1234")
    before = caching.stamps([tmp_path])
    assert caching.stamps([tmp_path]) == before
    stat = (tmp_path / "a").stat()
    (tmp_path / "b").write_bytes(b"5678")
    os.utime(tmp_path / "b", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "b").replace(tmp_path / "a")
    assert caching.stamps([tmp_path]) != before
