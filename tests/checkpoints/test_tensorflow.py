"""TensorFlow's bundles: read exactly, and refused where a byte of them is wrong."""

import ml_dtypes
import numpy as np
import pytest

from audioldm2_jax.checkpoints.weights import read, read_bundle
from audioldm2_jax.checkpoints.weights.crc32c import crc32c
from audioldm2_jax.errors import InputError
from tests.checkpoints import bundles

RNG = np.random.default_rng(0)
STATE = {
    "conv2d.bias": RNG.standard_normal(5).astype(np.float32),
    "conv2d.kernel": RNG.standard_normal((7, 3, 1, 5)).astype(np.float32),
    "conv2d.kernel.Adam": RNG.standard_normal((2, 0)).astype(np.float16),
    "dense.kernel": RNG.standard_normal((40, 30)),
    "global_step": np.array(7, np.int64),
}


def test_checksums_are_those_of_the_polynomial():
    assert crc32c(b"123456789") == 0xE3069283
    for size in (0, 1, 1023, 1024, 5000):
        data = RNG.bytes(size)
        assert crc32c(data) == bundles.crc32c(data)


def test_tensors_are_read_exactly(tmp_path):
    bundles.write_bundle(tmp_path / "model.index", STATE)
    weights = read(tmp_path / "model.index")
    assert list(weights) == sorted(STATE)
    for name, value in STATE.items():
        assert weights.shape(name) == value.shape and weights[name].dtype == value.dtype
        np.testing.assert_array_equal(weights[name], value)


def test_every_changed_byte_is_noticed():
    index, data = bundles.bundle(STATE)
    for at in range(0, len(index), 3):
        damaged = bytearray(index)
        damaged[at] ^= 0x41
        try:
            weights = read_bundle(bytes(damaged), data, "x.index")
        except InputError as error:
            assert str(error).startswith("x.index")
        else:  # what fills the footer is not read
            assert at >= len(index) - 48 and list(weights) == sorted(STATE)
    for name, place in (("conv2d.bias", 3), ("dense.kernel", len(data) - 20)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(InputError, match="its checksum differs"):
            read_bundle(index, bytes(damaged), "x.index")[name]


@pytest.mark.parametrize("length", [0, 20, 47, 48, 200, -1])
def test_cut_files_are_refused(length):
    index, data = bundles.bundle(STATE)
    with pytest.raises(InputError, match="x.index.*fetch it again"):
        read_bundle(index[:length], data, "x.index")
    with pytest.raises(InputError, match="does not fit into the data"):
        read_bundle(index, data[:-1], "x.index")


def entries(**changed):
    """An index with one tensor, whose message is changed."""
    header = bundles.field(1, 1)
    content = bundles.entry(STATE["conv2d.bias"], 0)
    return bundles.table(
        [(b"", changed.get("header", header)), (b"a", changed.get("entry", content))]
    )


HUGE = bundles.field(2, bundles.field(2, bundles.field(1, 1 << 45)))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"header": bundles.field(1, 2)}, "several shards"),
        ({"header": bundles.field(1, 1) + bundles.field(2, 1)}, "big-endian"),
        ({"entry": bundles.field(1, 7)}, "of type 7, which no weights have"),
        ({"entry": bundles.field(1, 1) + HUGE}, "impossible shape"),
        ({"entry": bundles.field(1, 1) + bundles.field(4, 1 << 60)}, "does not fit into the data"),
        ({"entry": bundles.field(1, b"x")}, "a field of another kind"),
        ({"entry": b"\x0b"}, "a field of unknown kind"),
        ({"entry": b"\xff" * 20}, "an endless number"),
        ({"entry": bundles.field(1, 1) + bundles.field(7, b"")}, "in pieces"),
        ({"entry": b"\x12\x7f"}, "cut off"),
    ],
)
def test_impossible_entries_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        read_bundle(entries(**changed), bytes(20), "x.index")


def test_half_precision_of_brains():
    value = np.array([1.5, -2], ml_dtypes.bfloat16)
    content = bundles.entry(value.view(np.float16), 0).replace(b"\x08\x13", b"\x08\x0e", 1)
    weights = read_bundle(entries(entry=content), value.tobytes(), "x.index")
    assert weights["a"].dtype == ml_dtypes.bfloat16 and weights["a"][1] == -2
