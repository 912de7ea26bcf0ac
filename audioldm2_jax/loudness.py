"""Levels of generated sound: every clip passes here before it is written.

Loudness is ITU-R BS.1770's integrated loudness in LUFS. A gain is one number for the whole clip:
nothing is compressed, and a clip's own dynamics stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.errors import InputError

# Broadcast's target (EBU R 128). A clip within TOLERANCE of it keeps its loudness, so that "a quiet
# rain" stays below "a loud rain" while both can be heard in one list.
TARGET, TOLERANCE = -23.0, 5.0
RAISE = 20.0  # dB at most by "auto": what is nearly silence is not made into noise
HEADROOM = 1.0  # dB that a clip's peak stays below full scale, also after a lossy codec
LOWEST, HIGHEST = -60.0, -5.0  # LUFS that can be asked for
BLOCK = 0.4  # seconds, BS.1770's block


@dataclass(frozen=True)
class Level:
    """What was done to a clip.

    loudness: "auto", "raw" or the LUFS asked for; lufs and peak: of the network's waveform, before
    the gain (None: silence; 1.0 is full scale); gain_db: 0 leaves it as it is; clipped_samples: how
    many exceeded full scale and were cut, by "raw" alone.
    """

    loudness: str | float
    lufs: float | None
    peak: float
    gain_db: float
    clipped_samples: int


def check_loudness(value) -> str | float:
    """ "auto", "raw", or a loudness in LUFS, also as text. Raises InputError for anything else."""
    if value in ("auto", "raw"):
        return value
    try:
        lufs = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        lufs = math.nan
    if not LOWEST <= lufs <= HIGHEST:
        raise InputError(
            f"loudness is {value!r}: it must be auto, raw, or LUFS from {LOWEST:g} to {HIGHEST:g}"
        )
    return lufs


def integrated(wave: np.ndarray, rate: int) -> float | None:
    """Integrated loudness in LUFS; None for silence. wave: [samples].

    A clip shorter than one block (0.4 s) is measured as if it went on repeating.
    """
    import pyloudnorm

    wave = np.asarray(wave, np.float64)
    wave = np.resize(wave, max(len(wave), math.ceil(BLOCK * rate)))
    with np.errstate(divide="ignore", invalid="ignore"):
        lufs = pyloudnorm.Meter(rate).integrated_loudness(wave)
    return float(lufs) if np.isfinite(lufs) else None


def level(wave, rate: int, loudness: str | float = "auto") -> tuple[np.ndarray, Level]:
    """The waveform as it is written, within [-1, 1], and what was done to it. wave: [samples].

    "auto" brings the loudness within 5 LU of -23 LUFS, by at most 20 dB upwards; a number of LUFS
    is reached exactly; both keep the peak 1 dB below full scale, whatever the loudness then is.
    "raw" changes nothing, and cuts what exceeds full scale as 16-bit files of the references do.
    Raises InputError for a waveform that is empty or holds NaN or infinity.
    """
    loudness, wave = check_loudness(loudness), np.asarray(wave, np.float32)
    if wave.ndim != 1 or not wave.size:
        raise InputError(f"a waveform of shape {wave.shape}: one axis of samples is expected")
    if not np.isfinite(wave).all():
        raise InputError("the waveform holds NaN or infinity")
    peak, lufs = float(np.abs(wave).max()), integrated(wave, rate)
    if loudness == "raw":
        clipped = int((np.abs(wave) > 1.0).sum())
        return np.clip(wave, -1.0, 1.0), Level(loudness, lufs, peak, 0.0, clipped)
    gain = _gain_db(loudness, lufs, peak)
    scaled = wave if gain == 0.0 else wave * np.float32(10 ** (gain / 20))
    return scaled, Level(loudness, lufs, peak, gain, 0)


def _gain_db(loudness, lufs, peak) -> float:
    if peak == 0.0:
        return 0.0
    gain = 0.0
    if lufs is not None and loudness == "auto":
        wanted = min(max(lufs, TARGET - TOLERANCE), TARGET + TOLERANCE)
        gain = min(wanted - lufs, RAISE)
    elif lufs is not None:
        gain = loudness - lufs
    return min(gain, -HEADROOM - 20 * math.log10(peak))
