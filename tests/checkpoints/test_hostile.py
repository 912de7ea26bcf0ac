"""Weight files made to harm: one line, little memory, little time, and the process as it was."""

import collections
import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from audioldm2_jax.checkpoints.weights import pickles, read
from audioldm2_jax.errors import InputError

PROTO = b"\x80\x02"
_SIXTEEN = np.arange(16, dtype=np.float32).tobytes()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value) -> bytes:
    return value if isinstance(value, bytes) else b"\x8a\x09" + value.to_bytes(9, "little")


def tensor(shape=(4, 4), strides=(4, 1), offset=0, key="0", kind="FloatStorage") -> bytes:
    """The opcodes of one tensor, as torch writes them."""
    sizes = b"".join(b"(" + b"".join(map(integer, values)) + b"t" for values in (shape, strides))
    storage = text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + integer(16)
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + integer(offset) + sizes + hooks
        + b"tR"
    )  # fmt: skip


def state(*tensors: bytes) -> bytes:
    items = b"".join(text(f"t{i}") + content for i, content in enumerate(tensors))
    return PROTO + b"}(" + items + b"u."


def archive(path, pickled: bytes, method=zipfile.ZIP_STORED, content=_SIXTEEN):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/0", content)
    return path


def guarded(path, seconds=10.0, megabytes=200):
    """The file's tensors, or the one line that refuses it, within bounds of time and memory."""
    begin = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        weights = read(path)
        answer = {name: weights[name] for name in list(weights)[:20]}
    except InputError as error:
        answer = str(error)
        assert "\n" not in answer and len(answer) < 2000
    assert time.monotonic() - begin < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024
    assert np.dtype(ml_dtypes.bfloat16).name == "bfloat16" and np.dtype(np.float32).kind == "f"
    assert set(vars(collections.OrderedDict)) == _ORDERED
    return answer


_ORDERED = set(vars(collections.OrderedDict))
BUILD = b"}" + text("name") + text("x") + b"sb"


def test_what_a_pickle_names_cannot_be_changed(tmp_path):
    """BUILD, SETITEMS and APPENDS reach nothing that outlives the file."""
    for name in ("torch\nBFloat16Storage", "torch\nFloatStorage", "collections\nOrderedDict"):
        for change in (BUILD, b"(" + text("a") + integer(1) + b"u", b"(" + integer(1) + b"e"):
            pickled = PROTO + b"c" + name.encode() + b"\n" + change + b"0" + state(tensor())[2:]
            answer = guarded(archive(tmp_path / "a.bin", pickled))
            assert isinstance(answer, str), answer
    pickled = PROTO + b"ctorch._utils\n_rebuild_tensor_v2\n" + BUILD + b"0}."
    assert "a change of torch._utils" in guarded(archive(tmp_path / "a.bin", pickled))


@pytest.mark.parametrize(
    "pickled",
    [
        b"}r\xff\xff\xff\xff.",
        b"\x8d" + struct.pack("<Q", 1 << 40) + b"a.",
        b"\x8e" + struct.pack("<Q", 1 << 62) + b"a.",
        b"\x96" + struct.pack("<Q", 1 << 62) + b"a.",
        b"\x8b" + struct.pack("<i", 1 << 30) + b"a.",
        b"\x95" + struct.pack("<Q", 1 << 62) + b"}.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"]" * 300_000 + b"a" * 299_999 + b".",
        b"]" + b"".join(b"q%c]h%ca" % (i, i) + b"h%ca" % i for i in range(200)) + b".",
        b")" + b"2\x86" * 20_000 + b"}.",
        b"}K\x01" + b"2\x86" * 5_000 + b"K\x02s.",
        b"(" + b"K\x01" * 100_000 + b"tq\x00cfoo\nBar\nq\x01" + b"h\x01h\x00R" * 100_000 + b"}.",
        b"X"
        + struct.pack("<I", 1_000_000)
        + b"a" * 1_000_000
        + b"q\x00"
        + b"h\x00\x93" * 99
        + b".",
        b"cfoo\nBar\n" + b")R" * 200_000 + b".",
        b"\x82\x01.",
        b"(lp0\n" + b"g0\na" * 1000 + b".",
    ],
    ids=range(16),
)
def test_pickles_that_ask_for_more_than_they_hold(tmp_path, pickled):
    guarded(archive(tmp_path / "a.bin", PROTO + pickled), megabytes=150)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(shape=(1 << 40, 4), strides=(0, 1)), "several times the file"),
        (dict(shape=(1 << 62,), strides=(0,)), "impossible shape"),
        (dict(shape=(b"\x8a\x01\xff", 4)), "impossible shape"),
        (dict(shape=(b"\x88", 4)), "impossible shape"),
        (dict(shape=(b"G?\xf0\0\0\0\0\0\0", 4)), "impossible shape"),
        (dict(shape=(b"N", 4)), "impossible shape"),
        (dict(strides=(4,)), "impossible shape"),
        (dict(shape=(0, 1 << 40, 1 << 40), strides=(0, 0, 0)), "impossible shape"),
        (dict(shape=(1,) * 40, strides=(1,) * 40), "impossible shape"),
        (dict(offset=b"\x89"), "impossible shape"),
        (dict(offset=1), "shorter than its tensor"),
        (dict(strides=(1 << 40, 1)), "shorter than its tensor"),
        (dict(key="9"), "is damaged"),
        (dict(key="../a"), "is damaged"),
        (dict(kind="QInt8Storage"), "QInt8Storage, which is not read"),
        (dict(kind="load"), "load, which is not read"),
    ],
)
def test_storages_and_shapes_that_are_none(tmp_path, changes, message):
    answer = guarded(archive(tmp_path / "a.bin", state(tensor(**changes))))
    assert message in answer


def test_many_views_of_one_storage(tmp_path):
    """Reading them all would take many times the file."""
    every = tensor(shape=(1 << 18,), strides=(1,))
    path = archive(tmp_path / "a.bin", state(*[every] * 50), content=b"\0" * (1 << 20))
    assert "several times" in guarded(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members(tmp_path, method):
    assert "compressed" in guarded(archive(tmp_path / "a.bin", state(tensor()), method))


@pytest.mark.parametrize(
    "place, content",
    [(8, b"\1"), (10, b"\x63\0"), (20, b"\0\0\0\x7f\0\0\0\x7f"), (42, b"\xff\xff\xff\x7f")],
    ids=["encrypted", "unknown method", "size", "offset"],
)
def test_members_that_are_not_as_stored(tmp_path, place, content):
    path = archive(tmp_path / "a.bin", state(tensor()))
    data = bytearray(path.read_bytes())
    start = data.rfind(b"PK\x01\x02") + place
    data[start : start + len(content)] = content
    path.write_bytes(data)
    assert isinstance(guarded(path), str)


def test_keys_that_are_no_names(tmp_path):
    for key in (3, 2.5, (1, 2), None, True, b"a"):
        torch.save({"state_dict": {key: torch.zeros(2)}}, tmp_path / "a.pt")
        assert "key that is no name" in guarded(tmp_path / "a.pt")
    # Keys whose text would be deep, long, or larger than memory.
    for key in (b"N" + b"\x85" * 200_000, b"\x8b" + struct.pack("<I", 4000) + b"\x7f" * 4000,
                b")" + b"2\x86" * 40):  # fmt: skip
        answer = guarded(archive(tmp_path / "a.bin", PROTO + b"}" + key + tensor() + b"s."))
        assert "key that is no name" in answer
    torch.save({"a\nb\x1b": torch.zeros(2)}, tmp_path / "a.pt")
    assert "is no name of a tensor" in guarded(tmp_path / "a.pt")


def header(path, content, data=b"\0" * 64, length=None):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes((length or len(text)).to_bytes(8, "little") + text + data)
    return path


def entry(**changes) -> dict:
    return {"t": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]} | changes}


@pytest.mark.parametrize(
    "content, message",
    [
        (entry(shape=[-4, -4]), "its shape"),
        (entry(shape=[4.0, 4]), "its shape"),
        (entry(shape=[True, 16]), "its shape"),
        (entry(shape=["4", 4]), "its shape"),
        (entry(shape="44"), "its shape"),
        (entry(shape=None), "its shape"),
        (entry(shape=[1 << 62, 0]), "its shape"),
        (entry(shape=[1] * 40), "its shape"),
        (entry(data_offsets=[-64, 0]), "data_offsets"),
        (entry(data_offsets=[0, 64.0]), "data_offsets"),
        (entry(data_offsets=[0]), "data_offsets"),
        (entry(data_offsets=[64, 0]), "not its size"),
        (entry(data_offsets=[0, 32]), "not its size"),
        (entry(dtype="F8_E4M3"), "stored as 'F8_E4M3', which is not read"),
        (entry(dtype="F8_E5M2"), "F8_E5M2"),
        (entry(dtype="F4"), "F4"),
        (entry(dtype=["F32"]), "which is not read"),
        ({"t": 3}, "no object"),
        ({"t": None}, "no object"),
        ([], "no object"),
        ({"": None}, "no object"),
        (entry() | {"u": entry()["t"]}, "overlap"),
        (entry(shape=[4, 2], data_offsets=[32, 64]), "leave a gap"),
        (entry(shape=[4, 2], data_offsets=[0, 32]), "not a complete"),
        (b'{"t": 1, "t": 2}', "a name stands in it twice"),
        (b"[" * 100_000, "damaged"),
        (b'{"t": ' + b"9" * 10_000 + b"}", "damaged"),
        (b"\xff\xfe{}", "damaged"),
        (b"\0" * 10, "damaged"),
        (entry() | {"a\x1b[31mb": entry()["t"]}, "overlap"),
    ],
)
def test_safetensors_headers(tmp_path, content, message):
    assert message in guarded(header(tmp_path / "a.safetensors", content))


def test_safetensors_lengths(tmp_path):
    path = tmp_path / "a.safetensors"
    for length in (1, 1 << 20, 1 << 40, (1 << 64) - 1):
        assert "not a complete" in guarded(header(path, entry(), length=length))
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_001)}
    assert "tensors, more than" in guarded(header(path, many, b""), megabytes=400)
    with path.open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little"))
        file.truncate(1 << 31)
    assert "more than any model's" in guarded(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "not expected"),
        ({}, "not a shard index"),
        ({"weight_map": []}, "not a shard index"),
        ({"weight_map": {"a": 3}}, "not a shard index"),
        ({"weight_map": {"a": ["x"]}}, "not a shard index"),
        ({"weight_map": {"a": "../one.safetensors"}}, "no name of a shard"),
        ({"weight_map": {"a": "/etc/passwd"}}, "no name of a shard"),
        ({"weight_map": {"a": "x" * 5000}}, "no name of a shard"),
        ({"weight_map": {"a": "b\0c"}}, "no name of a shard"),
        ({"weight_map": {"a": ""}}, "no name of a shard"),
        ({"weight_map": {"a": "m.safetensors.index.json"}}, "no name of a shard"),
        ({"weight_map": {"a": "folder"}}, "is missing"),
        ({"weight_map": {"a": "two.safetensors"}}, "lacks tensor 'a'"),
        ({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}, "in two shards"),
    ],
)
def test_shard_indices(tmp_path, content, message):
    save_file({"a": np.ones(2), "c": np.ones(2)}, tmp_path / "one.safetensors")
    save_file({"b": np.ones(2), "c": np.ones(2)}, tmp_path / "two.safetensors")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(json.dumps(content))
    assert message in guarded(path)


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    (tmp_path / "b.bin").mkdir()
    for name in ("a.safetensors", "b.bin", "c.bin", "x" * 300 + ".bin"):
        assert "no such file" in guarded(tmp_path / name)


def mutated(rng, content: bytes) -> bytes:
    """One to four places changed, cut out, doubled or overwritten with numbers."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place, size = int(rng.integers(len(content))), int(rng.integers(1, 9))
        kind = rng.integers(5)
        if kind == 0:
            content[place] = rng.integers(256)
        elif kind == 1:
            del content[place : place + size]
        elif kind == 2:
            content[place:place] = content[place : place + 4 * size]
        elif kind == 3:
            number = int(rng.choice([0, 1, 255, 2**31 - 1, 2**32 - 1, 2**40]))
            content[place : place + 8] = number.to_bytes(8, "little")
        else:
            content = content[: max(1, place)]
    return bytes(content)


def test_seeded_mutations(tmp_path):
    """Damaged files of every form load or are refused in one line."""
    tensors = {"a": torch.arange(12.0).reshape(3, 4).T, "b": torch.ones(3).bfloat16()}
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "zip.pt")
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file({k: np.ones(3, np.float32) for k in "ab"}, tmp_path / "plain.safetensors")
    index = {"weight_map": dict.fromkeys("ab", "plain.safetensors")}
    (tmp_path / "plain.safetensors.index.json").write_text(json.dumps(index))
    for name in ("zip.pt", "old.pt", "plain.safetensors", "plain.safetensors.index.json"):
        original, rng = (tmp_path / name).read_bytes(), np.random.default_rng(5)
        loaded = 0
        for _ in range(150):
            (tmp_path / name).write_bytes(mutated(rng, original))
            loaded += not isinstance(guarded(tmp_path / name, 2, 100), str)
        (tmp_path / name).write_bytes(original)
        assert loaded < 150 and len(guarded(tmp_path / name)) == 2


def test_mutated_pickles(tmp_path):
    """The interpreter alone, where no checksum stands before it."""
    content = {"a": [1, 2.5, None, (True, "x")], "b": {"c": b"bytes", 3: {4}}, "d": 1 << 70}
    for protocol in range(6):
        original, rng = pickle.dumps(content, protocol), np.random.default_rng(protocol)
        value = pickles.load(io.BytesIO(original))
        assert value["a"] == content["a"] and value["d"] == content["d"]
        for _ in range(200):
            try:
                pickles.load(io.BytesIO(mutated(rng, original)))
            except Exception as error:
                assert not isinstance(error, (MemoryError, SystemError))
