"""Silent clips are counted, whatever their length and rate."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.silence import is_silent, silent_share


def test_silent_share():
    quiet, sound = np.full(50, -9e-5), np.zeros(80)
    sound[3] = -2e-4
    assert is_silent(quiet) and is_silent(np.zeros(0)) and not is_silent(sound)
    assert silent_share(iter([quiet, sound, np.zeros(10), sound])) == 0.5
    assert silent_share([sound]) == 0
    with pytest.raises(InputError, match="at least 1 clip"):
        silent_share([])
