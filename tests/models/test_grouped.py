"""Gradients of grouped convolutions on the CPU against the library's."""

import jax
import numpy as np
import pytest

from audioldm2_jax.models import convolution


@pytest.mark.parametrize("groups, inputs, outputs", [(4, 16, 32), (2, 6, 128)])
@pytest.mark.parametrize("stride, taps, frames", [(1, 5, 7), (2, 41, 100), (4, 41, 61), (4, 3, 30)])
def test_gradients_are_the_librarys(monkeypatch, groups, inputs, outputs, stride, taps, frames):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, frames, inputs)).astype(np.float32)
    kernel = rng.standard_normal((taps, inputs // groups, outputs)).astype(np.float32)

    def gradients():
        def conv(x, kernel):
            pad = [(taps // 2, taps // 2)]
            return convolution.conv(x, kernel, strides=(stride,), padding=pad, groups=groups)

        y, back = jax.vjp(conv, x, kernel)
        weights = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
        return y, *back(weights)

    ours = gradients()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for found, wanted in zip(ours, gradients()):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
