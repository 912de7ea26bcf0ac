"""Gradients of grouped convolutions on the CPU against the library's."""

import jax
import numpy as np
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.kernels import dispatch


@pytest.mark.parametrize("groups, inputs, outputs", [(4, 16, 32), (2, 6, 128)])
@pytest.mark.parametrize("stride, taps, frames", [(1, 5, 7), (2, 41, 100), (4, 41, 61), (4, 3, 30)])
def test_gradients_are_the_librarys(groups, inputs, outputs, stride, taps, frames):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, frames, inputs)).astype(np.float32)
    kernel = rng.standard_normal((taps, inputs // groups, outputs)).astype(np.float32)

    def gradients():
        def conv(x, kernel):
            pad = [(taps // 2, taps // 2)]
            return dispatch.conv(x, kernel, strides=(stride,), padding=pad, groups=groups)

        y, back = jax.vjp(conv, x, kernel)
        weights = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
        return y, *back(weights)

    ours = gradients()
    with backend.targeting("gpu"):
        theirs = gradients()
    for value, expected in zip(ours, theirs):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("window", [(5,), (3, 3)])
def test_defaults_keep_the_size(window):
    """Also of wide 3x3 kernels, which without groups would be transformed."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, *(16 for _ in window), 128)).astype(np.float32)
    kernel = rng.standard_normal((*window, 64, 128)).astype(np.float32)
    ours = dispatch.conv(x, kernel, groups=2)
    assert ours.shape == x.shape
    with backend.targeting("gpu"):
        theirs = dispatch.conv(x, kernel, groups=2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
