"""Resampling inside a program against the resampler of files."""

import numpy as np
import pytest

from audioldm2_jax import audio
from audioldm2_jax.features.upsampling import upsample


@pytest.mark.parametrize("samples", [1, 100, 8001])
@pytest.mark.parametrize("source", [16000, 24000, 48000])
def test_the_same_filter(source, samples):
    """Noise, to its very ends, so that every frequency counts."""
    wave = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    np.testing.assert_allclose(
        upsample(wave, source, 48000), audio.resample(wave, source, 48000), atol=1e-5
    )
