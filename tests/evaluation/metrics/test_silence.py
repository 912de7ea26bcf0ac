"""A clip is silent by its loudest sample, whatever its length."""

import numpy as np

from audioldm2_jax.evaluation.metrics.silence import is_silent


def test_is_silent():
    quiet, sound = np.full(50, -9e-5), np.zeros(80)
    sound[3] = -2e-4
    assert is_silent(quiet) and is_silent(np.zeros(0))
    assert not is_silent(sound)
