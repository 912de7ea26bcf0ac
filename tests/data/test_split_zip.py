"""Split zips read as what was zipped; parts that are missing are named."""

import io
import shutil
import struct
import subprocess
import zipfile

import numpy as np
import pytest

from audioldm2_jax.data import split_zip
from audioldm2_jax.data.places import Shelf
from audioldm2_jax.data.report import Report


def write_split(path, files, parts):
    """A zip cut in `parts` anywhere, its directory numbered as zip -s does: part, offset in it."""
    memory = io.BytesIO(b"PK\7\x08")  # split archives begin with this mark
    memory.seek(4)
    with zipfile.ZipFile(memory, "a") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    whole = bytearray(memory.getvalue())
    end = whole.rindex(b"PK\5\6")
    count, _, start = struct.unpack_from("<HLL", whole, end + 10)
    size = start // (parts - 1) + 1 if parts > 1 else len(whole)
    entry = start
    for _ in range(count):
        lengths = struct.unpack_from("<3H", whole, entry + 28)
        (offset,) = struct.unpack_from("<L", whole, entry + 42)
        struct.pack_into("<H", whole, entry + 34, offset // size)
        struct.pack_into("<L", whole, entry + 42, offset % size)
        entry += 46 + sum(lengths)
    struct.pack_into("<HH", whole, end + 4, parts - 1, start // size)
    struct.pack_into("<L", whole, end + 16, start % size)
    for i in range(parts - 1):
        name = path.with_suffix(f".z{i + 1:02d}")
        name.write_bytes(whole[i * size : (i + 1) * size])
    path.write_bytes(whole[(parts - 1) * size :])


FILES = {f"a/{i}.bin": np.random.default_rng(i).bytes(1000 * i) for i in range(6)}


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_any_cut_reads_back(tmp_path, parts):
    write_split(tmp_path / "x.zip", FILES, parts)
    found = split_zip.parts(tmp_path / "x.zip")
    assert (found is None) == (parts == 1)
    with zipfile.ZipFile(split_zip.Joined(found) if found else tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


@pytest.mark.skipif(not shutil.which("zip"), reason="the program zip is not here")
def test_the_program_zip(tmp_path):
    """Info-ZIP's own split archives, which is what WavCaps is made of."""
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data * 20)
    subprocess.run(["zip", "-q", "-0", "-r", "-s", "64k", "s.zip", "a"], cwd=tmp_path, check=True)
    assert (tmp_path / "s.z02").is_file()
    with zipfile.ZipFile(split_zip.Joined(split_zip.parts(tmp_path / "s.zip"))) as archive:
        for name, data in FILES.items():
            assert archive.read(name) == data * 20


def test_a_missing_part_is_named(tmp_path):
    write_split(tmp_path / "x.zip", FILES, 4)
    (tmp_path / "x.z03").unlink()
    report = Report()
    Shelf(tmp_path, tmp_path / "scratch", report)
    ((name, reason),) = report.skipped
    assert name == "x.zip" and "4 parts are needed, 3 are there" in reason
