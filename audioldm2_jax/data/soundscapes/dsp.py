"""Building blocks of synthesis. Audio is float32 [samples] at RATE; units are seconds, Hz, dB."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter, oaconvolve

RATE = 16000


def samples(seconds: float) -> int:
    """The number of samples in `seconds`, at least 1."""
    return max(1, round(seconds * RATE))


def times(seconds: float) -> np.ndarray:
    """The time of each sample, in seconds: [samples]."""
    return np.arange(samples(seconds), dtype=np.float32) / RATE


def phase(frequency, seconds: float | None = None) -> np.ndarray:
    """The phase in cycles of a constant frequency, or of a frequency for each sample (Hz)."""
    if np.ndim(frequency) == 0:
        return float(frequency) * times(seconds)
    return np.cumsum(np.asarray(frequency, np.float64) / RATE).astype(np.float32)


def sine(cycles) -> np.ndarray:
    """A sine wave. cycles: phase [samples]."""
    return np.sin(2 * np.pi * cycles).astype(np.float32)


def square(cycles, hardness: float = 6.0) -> np.ndarray:
    """A square wave with soft edges, which alias less. cycles: phase [samples]."""
    return np.tanh(hardness * sine(cycles))


def saw(cycles, harmonics: int = 12) -> np.ndarray:
    """A sawtooth of the first harmonics. cycles: phase [samples]."""
    return sum(sine(k * cycles) / k for k in range(1, harmonics + 1)).astype(np.float32) * 0.6


def glide(start: float, end: float, seconds: float) -> np.ndarray:
    """An exponential glide between two frequencies: [samples]."""
    fraction = np.linspace(0.0, 1.0, samples(seconds), dtype=np.float32)
    return start * (end / start) ** fraction


def envelope(count: int, attack: float, release: float) -> np.ndarray:
    """A linear envelope of `count` samples. attack, release: seconds."""
    gain = np.ones(count, np.float32)
    rise, fall = min(samples(attack), count // 2), min(samples(release), count // 2)
    gain[:rise] = np.linspace(0, 1, rise, dtype=np.float32)
    gain[count - fall :] *= np.linspace(1, 0, fall, dtype=np.float32)
    return gain


def decay(count: int, seconds: float) -> np.ndarray:
    """An exponential decay of 60 dB in `seconds`: [count]."""
    return np.exp(-6.9 * np.arange(count, dtype=np.float32) / (seconds * RATE))


def shaped(x, attack: float = 0.01, release: float = 0.02) -> np.ndarray:
    """`x` with an envelope."""
    return x * envelope(len(x), attack, release)


def noise(rng, seconds: float, low: float = 0.0, high: float = RATE / 2, tilt: float = 0.0):
    """Band noise of unit standard deviation. low, high: Hz. tilt: dB per octave."""
    count = samples(seconds)
    white = rng.standard_normal(count, np.float32)
    if low <= 0 and high >= RATE / 2 and tilt == 0:
        return white
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(count, 1 / RATE).astype(np.float32)
    gain = 1 / (1 + (frequency / max(high, 1.0)) ** 8)
    if low > 0:
        gain *= 1 - 1 / (1 + (frequency / low) ** 8)
    if tilt:
        gain *= np.maximum(frequency, 20.0) ** (tilt / 6.02)
    out = np.fft.irfft(spectrum * gain, count).astype(np.float32)
    return out / max(float(out.std()), 1e-6)


def resonate(x, frequency: float, width: float) -> np.ndarray:
    """Filters by a two-pole resonator with unit peak gain. width: bandwidth in Hz."""
    radius = np.exp(-np.pi * width / RATE)
    angle = 2 * np.pi * min(frequency, 0.49 * RATE) / RATE
    gain = (1 - radius) * np.sqrt(1 - 2 * radius * np.cos(2 * angle) + radius**2)
    feedback = [1, -2 * radius * np.cos(angle), radius**2]
    return lfilter([gain], feedback, x).astype(np.float32)


def formants(x, peaks) -> np.ndarray:
    """Filters by parallel resonators. peaks: (frequency, bandwidth, gain) of each."""
    return sum(gain * resonate(x, f, w) for f, w, gain in peaks).astype(np.float32)


def modes(frequencies, decays, amplitudes, seconds: float) -> np.ndarray:
    """A sum of damped sines, as of struck bodies. decays: seconds for 60 dB."""
    t, out = times(seconds), np.zeros(samples(seconds), np.float32)
    for f, d, a in zip(frequencies, decays, amplitudes):
        if f < RATE / 2:
            out += a * np.exp(-6.9 / d * t) * np.sin(2 * np.pi * f * t)
    return out


def grains(rng, seconds: float, density: float, grain) -> np.ndarray:
    """A short sound repeated at random times and levels, `density` times per second."""
    train = np.zeros(samples(seconds), np.float32)
    count = max(1, rng.poisson(density * seconds))
    np.add.at(train, rng.integers(0, len(train), count), rng.normal(0, 1, count))
    return oaconvolve(train, grain)[: len(train)].astype(np.float32)


def repeated(rng, seconds: float, rate: float, hit, jitter: float = 0.02) -> np.ndarray:
    """A short sound repeated at a steady rate (Hz), with jitter of times and levels."""
    train = np.zeros(samples(seconds), np.float32)
    count = max(1, int(seconds * rate))
    onsets = (np.arange(count) + rng.normal(0, jitter, count)) / rate
    indices = np.clip((onsets * RATE).astype(int), 0, len(train) - 1)
    np.add.at(train, indices, 1 + 0.15 * rng.standard_normal(count))
    return oaconvolve(train, hit)[: len(train)].astype(np.float32)


def tremble(seconds: float, rate: float, depth: float) -> np.ndarray:
    """A gain that oscillates between 1 - depth and 1 at `rate` Hz."""
    return 1 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * rate * times(seconds)))


def wander(rng, seconds: float, rate: float, low: float, high: float) -> np.ndarray:
    """A random curve between `low` and `high` with about `rate` turns per second."""
    knots = rng.uniform(low, high, max(2, int(seconds * rate) + 2))
    positions = np.linspace(0, len(knots) - 1, samples(seconds))
    return np.interp(positions, np.arange(len(knots)), knots).astype(np.float32)


def level(x, decibels: float = -12.0) -> np.ndarray:
    """Scales the RMS of the audible part to a level in dB of full scale."""
    audible = np.abs(x) > 0.1 * max(float(np.abs(x).max()), 1e-9)
    power = float(np.sqrt(np.mean(np.square(x[audible])))) if audible.any() else 1.0
    return (x * (10 ** (decibels / 20) / max(power, 1e-9))).astype(np.float32)
