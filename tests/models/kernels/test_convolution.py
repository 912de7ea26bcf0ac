"""Fast convolutions equal plain ones; transposed convolutions equal torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close

from audioldm2_jax import backend
from audioldm2_jax.models.kernels import winograd
from audioldm2_jax.models.kernels.dispatch import conv, conv_transpose
from audioldm2_jax.models.kernels.prepacked import (
    prepack_conv,
    prepack_kernels,
    prepack_upsampling,
    prepacked_conv,
    prepacked_upsampling,
)
from audioldm2_jax.models.kernels.resize import nearest
from audioldm2_jax.models.kernels.toom_cook import toom_cook

# Of the result's deviation, for the largest of all errors: fp32 rounding through the transforms.
ROUNDING = 5e-5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def kernel_of(*shape):
    return draw(*shape, seed=1) * np.float32(np.prod(shape[:-1]) ** -0.5)


@pytest.mark.parametrize("outputs, taps", [(2, 3), (4, 3), (4, 4)])
def test_toom_cook_is_a_correlation(outputs, taps):
    after, gather, before = toom_cook(outputs, taps)
    g, d = np.random.default_rng(0).standard_normal((2, 16))
    g, d = g[:taps], d[: outputs + taps - 1]
    expected = np.correlate(d, g, "valid")
    np.testing.assert_allclose(after @ ((gather @ g) * (before @ d)), expected, atol=1e-9)


def plain(x, kernel):
    """The library's own convolution."""
    with backend.targeting("gpu"):
        return conv(x, kernel)


@pytest.mark.parametrize("size", [(16, 8), (9, 5), (1, 2), (3, 16), (64, 16)])
@pytest.mark.parametrize("channels", [(64, 96), (1024, 320)])
def test_fast_3x3(size, channels):
    x, kernel = draw(2, *size, channels[0]), kernel_of(3, 3, *channels)
    fast = prepack_conv(kernel)
    assert fast.shape[0] == (4 if channels[0] == 1024 else 6)
    assert_close(prepacked_conv(x, fast), plain(x, kernel), ROUNDING)


@pytest.mark.parametrize("channels", [(64, 96), (8, 2)])
@pytest.mark.parametrize("size", [(16, 8), (19, 7)])
def test_trained_3x3(size, channels):
    """Values and both gradients, of wide kernels and of those with few outputs."""
    x, kernel = draw(2, *size, channels[0]), kernel_of(3, 3, *channels)
    slope = draw(2, *size, channels[1], seed=2)
    results = []
    for way in (conv, plain):
        value, back = jax.vjp(way, x, kernel)
        results.append((value, *back(slope)))
    assert winograd.pays(x, kernel) == (channels[0] == 64)
    for ours, theirs in zip(*results):
        assert_close(ours, theirs, ROUNDING)


@pytest.mark.parametrize("taps", [7, 11])
@pytest.mark.parametrize("dilation", [1, 3, 5])
@pytest.mark.parametrize("frames", [64, 77, 5])
def test_fast_1d(taps, dilation, frames):
    x, kernel = draw(2, frames, 256), kernel_of(taps, 256, 258)
    expected = conv(x, kernel, dilation=(dilation,))
    assert_close(
        prepacked_conv(x, prepack_conv(kernel), taps=taps, dilation=dilation), expected, ROUNDING
    )


@pytest.mark.parametrize("size", [(16, 8), (15, 8), (15, 7), (16, 7)])
def test_fast_upsampling(size):
    x, kernel = draw(2, 8, 4, 32), kernel_of(3, 3, 32, 48)
    expected = conv(nearest(x, size), kernel)
    assert_close(prepacked_upsampling(x, prepack_upsampling(kernel), size), expected, ROUNDING)


@pytest.mark.parametrize("shape", [(5, 5, 64, 64), (3, 3, 8, 64), (3, 256, 256), (7, 64, 1024)])
def test_kernels_that_gain_nothing_stay(shape):
    assert prepack_conv(np.zeros(shape)) is None


def test_only_kernels_of_stride_one_are_replaced():
    """In a new tree, which shares all other leaves."""
    kernel = jnp.zeros((3, 3, 64, 64))
    params = {
        "conv_in": {"kernel": kernel, "bias": jnp.zeros(64)},
        "downsample": {"kernel": kernel},
        "upsample": {"kernel": kernel},
        "upsample_0": {"kernel": jnp.zeros((16, 256, 128))},
        "deep": {
            "dilated_0": {"kernel": jnp.zeros((11, 256, 256))},
            "query": {"kernel": kernel[0, 0]},
        },
    }
    fast = prepack_kernels(params)
    assert set(fast["conv_in"]) == {"fast", "bias"}
    assert set(fast["downsample"]) == {"kernel"}
    assert fast["upsample"]["fast"].shape == (3, 3, 64, 64)
    assert set(fast["upsample_0"]) == {"kernel"}
    assert set(fast["deep"]["dilated_0"]) == {"fast"}
    assert set(fast["deep"]["query"]) == {"kernel"}
    assert set(params["conv_in"]) == {"kernel", "bias"}
    assert fast["conv_in"]["bias"] is params["conv_in"]["bias"]


@pytest.mark.parametrize(
    "size, stride", [(16, 5), (16, 4), (8, 2), (4, 2), (12, 6), (10, 5), (3, 1)]
)
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_transposed_is_torchs(size, stride, platform):
    """Both ways of computing it; the accelerators' way runs on the CPU as well."""
    padding = (size - stride) // 2
    x, kernel = draw(2, 9, 6), kernel_of(size, 6, 4)
    theirs = torch.nn.functional.conv_transpose1d(
        torch.tensor(x).permute(0, 2, 1),
        torch.tensor(kernel).permute(1, 2, 0),
        stride=stride,
        padding=padding,
    ).permute(0, 2, 1)
    with backend.targeting(platform):
        ours = conv_transpose(jnp.asarray(x), jnp.asarray(kernel), stride=stride, padding=padding)
    assert_close(ours, theirs, 1e-5)


def test_nearest_is_torchs():
    x = draw(1, 32, 7, 2)
    for size in [(63, 14), (64, 13), (40, 9)]:
        theirs = torch.nn.functional.interpolate(torch.tensor(x).permute(0, 3, 1, 2), size=size)
        np.testing.assert_array_equal(
            jax.jit(nearest, static_argnums=1)(x, size), theirs.permute(0, 2, 3, 1)
        )
