"""A clip is silent by its amplitude, whatever its length and offset."""

import numpy as np

from audioldm2_jax.evaluation.metrics.silence import is_silent


def test_is_silent():
    quiet, sound = np.full(50, -9e-5), np.zeros(80)
    sound[3] = -3e-4
    assert is_silent(quiet) and is_silent(np.zeros(0))
    assert not is_silent(sound)
    assert is_silent(0.5 + quiet) and is_silent(sound / 2) and not is_silent(0.5 + sound)
