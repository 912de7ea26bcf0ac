"""Loudness of generated clips, set before they are written.

Loudness is ITU-R BS.1770's integrated loudness in LUFS. One gain applies to the whole clip, so that
its dynamics stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.errors import InputError

# The target of broadcasting (EBU R 128). A clip within TOLERANCE of it keeps its loudness, so that
# "a quiet rain" stays quieter than "a loud rain".
TARGET, TOLERANCE = -23.0, 5.0
RAISE = 20.0  # largest gain of "auto" in dB: near silence must not become noise
HEADROOM = 1.0  # dB between a clip's peak and full scale, for the overshoot of lossy codecs
LOWEST, HIGHEST = -60.0, -5.0  # range of a requested loudness in LUFS
BLOCK = 0.4  # seconds, BS.1770's block


@dataclass(frozen=True)
class LoudnessReport:
    """The measured level of a clip and the gain applied to it.

    loudness: "auto", "raw" or the requested LUFS. lufs, peak: of the network's waveform, before the
    gain; lufs is None for silence, peak 1.0 is full scale. clipped_samples: samples beyond full
    scale, which only "raw" clips.
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


def integrated_loudness(wave: np.ndarray, rate: int) -> float | None:
    """Integrated loudness in LUFS (ITU-R BS.1770-4) of one channel, or of two; None for silence.

    wave: [samples] or [samples, 2]. A clip shorter than one block (0.4 s) is measured as if it went
    on repeating.
    """
    block, hop = round(BLOCK * rate), round(BLOCK * rate / 4)
    wave = np.asarray(wave, np.float64)
    length = max(len(wave), block)
    channels = wave.reshape(len(wave), -1).T
    power = sum(k_weighted(np.resize(channel, length), rate) ** 2 for channel in channels)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    starts = np.arange(0, len(power) - block + 1, hop)
    blocks = (sums[starts + block] - sums[starts]) / block
    # The gates of BS.1770: absolute, then 10 LU below the mean of the remaining blocks.
    blocks = blocks[_lufs(blocks) > -70.0]
    if not blocks.size:
        return None
    return float(_lufs(blocks[_lufs(blocks) > _lufs(blocks.mean()) - 10.0].mean()))


def _lufs(power):
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-30))


def k_weighted(wave: np.ndarray, rate: int) -> np.ndarray:
    """K-weighting, BS.1770's shelf and high-pass filters. wave: [samples] -> [samples].

    It filters by FFT, with a second of silence behind the wave for the filters' decay.
    """
    size = len(wave) + rate
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    response = np.ones_like(z)
    for b, a in k_filters(rate):
        response *= np.polynomial.polynomial.polyval(z, b) / np.polynomial.polynomial.polyval(z, a)
    return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)]


def k_filters(rate: int) -> list[tuple[list[float], list[float]]]:
    """Coefficients (b, a) of the two filters at a rate in Hz.

    They are bilinear transforms of analogue filters; at 48 kHz they equal the standard's numbers.
    """
    k, q = math.tan(math.pi * min(1681.974450955533 / rate, 0.45)), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    b = [(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0]
    b += [(high - band * k / q + k * k) / a0]
    shelf = (b, [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return [shelf, ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])]


def normalize_loudness(
    wave, rate: int, loudness: str | float = "auto"
) -> tuple[np.ndarray, LoudnessReport]:
    """The waveform to write, within [-1, 1], and a report. wave: as of `integrated_loudness`.

    "auto" moves the loudness to within 5 LU of -23 LUFS, by at most 20 dB upwards. A number of LUFS
    is reached exactly. Both first of all keep the peak 1 dB below full scale. "raw" has no gain and
    clips at full scale, like the references' 16-bit files. Raises InputError for a waveform that
    is empty or contains NaN or infinity.
    """
    loudness, wave = check_loudness(loudness), np.asarray(wave, np.float32)
    if not wave.ndim or wave.shape[1:] not in ((), (2,)) or not wave.size:
        raise InputError(f"a waveform of shape {wave.shape}: one axis of samples is expected")
    if not np.isfinite(wave).all():
        raise InputError("the waveform holds NaN or infinity")
    peak, lufs = float(np.abs(wave).max()), integrated_loudness(wave, rate)
    if loudness == "raw":
        clipped = int((np.abs(wave) > 1.0).sum())
        return np.clip(wave, -1.0, 1.0), LoudnessReport(loudness, lufs, peak, 0.0, clipped)
    gain = _gain_db(loudness, lufs, peak)
    scaled = wave if gain == 0.0 else wave * np.float32(10 ** (gain / 20))
    return scaled, LoudnessReport(loudness, lufs, peak, gain, 0)


def _gain_db(loudness, lufs, peak) -> float:
    if peak == 0.0:
        return 0.0
    gain = 0.0
    if lufs is not None and loudness == "auto":
        target = min(max(lufs, TARGET - TOLERANCE), TARGET + TOLERANCE)
        gain = min(target - lufs, RAISE)
    elif lufs is not None:
        gain = loudness - lufs
    return min(gain, -HEADROOM - 20 * math.log10(peak))
