"""The recorded program of an H100: what is read of it equals closed forms."""

import re

import pytest

from audioldm2_jax.rehearsal import hlo
from audioldm2_jax.rehearsal.chips import CHIPS
from audioldm2_jax.rehearsal.kernels import read_kernels
from audioldm2_jax.rehearsal.report import kernel_figures, table
from tests.rehearsal.small import CHANNELS, CLIPS, HEIGHT, RECORDED, STEPS, WIDTH

TOKENS = HEIGHT * WIDTH


def recorded():
    return read_kernels(hlo.parse(RECORDED.read_text()))


@pytest.fixture(scope="module")
def kernels():
    return recorded().kernels


def test_a_loop_of_unknown_length_runs_as_often_as_is_said():
    text = re.sub(r'"known_trip_count":{"n":"3"},', "", RECORDED.read_text())
    text = text.replace("direction=LT", "direction=NE")
    once, often = (read_kernels(hlo.parse(text), trips) for trips in (None, 5))
    assert (once.unknown_loops, often.unknown_loops) == (1, 0)
    assert [k.count for k in once.kernels if k.category == "gemm"] == [1]
    assert [k.count for k in often.kernels if k.category == "gemm"] == [5]


def only(kernels, category):
    (kernel,) = [k for k in kernels if k.category == category]
    return kernel


def test_the_product(kernels):
    kernel = only(kernels, "gemm")
    assert kernel.count == STEPS and kernel.flops == 2 * CLIPS * TOKENS * CHANNELS**2
    assert kernel.bytes == 2 * (2 * CLIPS * TOKENS * CHANNELS + CHANNELS**2)
    assert kernel.source == "tests/rehearsal/small.py:29"


def test_the_convolution(kernels):
    kernel = only(kernels, "convolution")
    # Of three taps an axis of n has 3 n - 2 that do not fall on the padding.
    pairs = (3 * HEIGHT - 2) * (3 * WIDTH - 2)
    assert kernel.count == 1 and kernel.flops == 2 * CLIPS * pairs * CHANNELS**2
    assert kernel.bytes == 2 * (2 * CLIPS * TOKENS * CHANNELS + 9 * CHANNELS**2)


def test_attention(kernels):
    kernel = only(kernels, "attention")
    assert kernel.count == STEPS and kernel.flops == 2 * 2 * CLIPS * TOKENS**2 * CHANNELS
    assert kernel.bytes == 2 * 4 * CLIPS * TOKENS * CHANNELS


def test_the_figures_are_the_sums(kernels):
    chip = CHIPS["h100"]
    figures = kernel_figures(recorded(), chip)
    assert figures["kernels"] == sum(k.count for k in kernels) == 17
    categories = figures["categories"].values()
    for name in ("kernels", "GB moved", "GFLOP", "ms roofline"):
        assert figures[name] == pytest.approx(sum(sums[name] for sums in categories))
    assert figures["categories"]["transpose"]["kernels"] == 1
    slowest = figures["heaviest"][0]
    assert slowest["category"] == "attention" and slowest["kernels"] == STEPS
    # All of this program waits for memory.
    assert figures["ms roofline"] == pytest.approx(figures["GB moved"] * 1e12 / chip.bandwidth)


def test_the_table_names_the_source():
    memory = {"GB total": 1.0, "GB chip": 80.0, "fits": True}
    text = table(memory | kernel_figures(recorded(), CHIPS["h100"]))
    assert "small.py:29" in text and "convolution" in text and "not fit" not in text
    assert "does not fit" in table({"GB total": 90.0, "GB chip": 80.0, "fits": False})
