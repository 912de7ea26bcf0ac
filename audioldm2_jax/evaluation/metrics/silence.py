"""Silence: metrics of distributions may reward it, so each judge and report asks for it first."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.data.ingest.audio_files import SILENCE


def is_silent(waveform: np.ndarray) -> bool:
    """Whether the amplitude is at most SILENCE, 80 dB below full scale; also of no samples at all.

    waveform: [samples]. The amplitude is half the range: an offset alone is silence.
    """
    return not len(waveform) or bool(np.ptp(waveform) / 2 <= SILENCE)
