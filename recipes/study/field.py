"""Field recordings: synthetic sounds through a room, a microphone and a noisy place.

The corpora of the study are made by this generator, the corpus of pre-training is not. Its sounds
also differ in speed, so that what a model knows of the plain sounds has to be transferred.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, oaconvolve, sosfilt

from audioldm2_jax.audio import resample
from audioldm2_jax.data.soundscapes import dsp, make_clip

SPEED = 0.8, 1.25  # of the playback
REVERBERATION = 0.15, 0.6  # seconds in which the room's sound falls by 60 dB
WET = 0.1, 0.5  # amplitude of the room's sound, of the direct sound
LOW_CUT, HIGH_CUT = (60.0, 250.0), (3500.0, 7500.0)  # of the microphone, Hz
NOISE = 12.0, 30.0  # the place's noise is that many dB below the sound
PEAK = -20.0, -3.0  # dBFS


def record(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A recording of a sound. sound: [samples] at dsp.RATE -> float32 of the same length."""
    speed = np.exp(rng.uniform(*np.log(SPEED)))
    # Played faster, a sound is shorter: it is repeated to the full length.
    played = resample(sound, round(dsp.RATE * speed), dsp.RATE)
    repeated = np.tile(played, -(-len(sound) // len(played)))[: len(sound)]
    reverberant = repeated + rng.uniform(*WET) * _room(repeated, rng)
    filtered = _microphone(reverberant, rng)
    power = np.mean(np.square(filtered)) + 1e-12
    noise = dsp.noise(rng, len(sound) / dsp.RATE, 20.0, dsp.RATE / 2, tilt=-3.0)[: len(sound)]
    noise *= np.sqrt(power / np.mean(np.square(noise)) / 10 ** (rng.uniform(*NOISE) / 10))
    mixed = filtered + noise
    peak = 10 ** (rng.uniform(*PEAK) / 20)
    return (mixed * peak / np.abs(mixed).max()).astype(np.float32)


def make_recording(seed: int, index: int, name: str, seconds: float) -> np.ndarray:
    """A recording of one sound class: [samples] at dsp.RATE.

    Equal arguments give equal recordings. name: of data.soundscapes.SOUND_CLASSES.
    """
    clip = make_clip(seed, index, seconds=seconds, only=name)
    return record(clip.audio, np.random.default_rng([seed, index, 1]))


def _room(sound, rng):
    """The sound's reverberation, without the direct sound, at the power of the sound."""
    seconds = rng.uniform(*REVERBERATION)
    count = dsp.samples(seconds)
    response = rng.standard_normal(count) * dsp.decay(count, seconds)
    response /= np.sqrt(np.sum(np.square(response)))
    return oaconvolve(sound, response)[: len(sound)]


def _microphone(sound, rng):
    """A band of the sound, with slopes of 12 dB an octave."""
    band = rng.uniform(*LOW_CUT), rng.uniform(*HIGH_CUT)
    return sosfilt(butter(2, band, "bandpass", fs=dsp.RATE, output="sos"), sound)
