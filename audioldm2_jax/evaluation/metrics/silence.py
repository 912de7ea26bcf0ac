"""Silent clips: no metric of a distribution names them, so their share stands beside each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from audioldm2_jax.errors import InputError

PEAK = 1e-4  # of full scale, -80 dB: what is not louder anywhere is silent


def is_silent(waveform: np.ndarray) -> bool:
    """Whether no sample exceeds PEAK; also of a clip without samples. waveform: [samples]."""
    return not np.any(np.abs(waveform) > PEAK)


def silent_share(waveforms: Iterable[np.ndarray]) -> float:
    """The share of silent clips. waveforms: [samples] each, one at a time.

    Raises InputError for no clip at all.
    """
    silent = [is_silent(waveform) for waveform in waveforms]
    if not silent:
        raise InputError("the share of silent clips needs at least 1 clip")
    return float(np.mean(silent))
