"""Files are whole or absent, whatever happens while they are written."""

import os

import pytest

from audioldm2_jax import files
from audioldm2_jax.errors import InputError, printable


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / ("long" * 60 + ".json")
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError):
        with files.atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_process_left_is_replaced(tmp_path):
    path, folder = tmp_path / "a.txt", tmp_path / "model"
    files._temporary(path).write_text("half")
    files._temporary(folder).mkdir()
    (files._temporary(folder) / "half.bin").write_bytes(b"x")
    files.write_text(path, "whole")
    files.write_folder(folder, lambda beside: (beside / "whole.bin").write_bytes(b"y"))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.txt", "model", "whole.bin"]


@pytest.mark.parametrize("name", ["taken", "missing/a.txt", "x" * 300, "a\0b", "file/a.txt"])
def test_what_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        files.write_text(tmp_path / name, "text")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    with pytest.raises(InputError, match="space"):
        with files.atomic_file("/tmp/never-written"):
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")
    assert not os.path.exists("/tmp/never-written")


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"[" * 100_000, b"{", b"[1]", b'"text"', b"\xef\xbb\xbf[]", b"NaN"],
)
def test_json_that_is_no_object_is_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        files.read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_special_files_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError):
            files.read_text(path)


def test_messages_can_be_printed():
    message = printable("a\x1b[31mred\u2028\udcff\u202eb")
    assert message == "a\\x1b[31mred\\u2028\\udcff\\u202eb"
    assert str(InputError("name\x07")) == "name\\x07"


def test_a_message_is_one_line_of_bounded_length():
    assert str(InputError("a\nb")) == "a\\nb"
    long = str(InputError("begin " + "x" * 10**6 + " end"))
    assert len(long) < 2000 and long.startswith("begin ") and long.endswith(" end")


def test_a_folder_is_made_or_one_line(tmp_path):
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/b: cannot write"):
        files.make_folder(tmp_path / "file" / "b")


def test_the_cache_is_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder("xla") == tmp_path / "audioldm2-jax" / "xla"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder("xla") == tmp_path / ".cache" / "audioldm2-jax" / "xla"
