"""Pitch by SwiftF0, a small convolutional network (arXiv 2508.18440), from the wheel `swift-f0`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.judges.base import Judge, Sound, Wheel, sounds

WHEEL = Wheel("swift-f0", "swift_f0", "0.3.0", "MIT", ("model.onnx",))
RATE = 16000
HOP = 256 / RATE  # seconds between frames
VOICED = 0.5  # the confidence from which on a frame has a pitch
TOLERANCE = 50.0  # cents


class Pitch(NamedTuple):
    """hertz, confidence (0 to 1): [T], a frame each HOP seconds."""

    hertz: np.ndarray
    confidence: np.ndarray

    @property
    def voiced(self) -> np.ndarray:
        """bool [T]: which frames have a pitch."""
        return self.confidence >= VOICED


def fundamental(waveforms: Iterable, sample_rate: int) -> list[Pitch]:
    """The fundamental frequency of clips [samples], between 47 and 2093 Hz.

    Silent clips have frames without pitch. Raises InputError if the package is missing or a clip is
    not finite.
    """
    return [_pitch(sound) for sound in sounds(waveforms, sample_rate)]


def pitch_accuracy(reference: Pitch, generated: Pitch) -> float:
    """The share of the reference's voiced frames where the other has the same pitch (50 cents).

    A frame without pitch, or after the end, counts as wrong. nan if the reference has no pitch.
    """
    voiced = np.flatnonzero(reference.voiced)
    if not len(voiced):
        return float("nan")
    both = voiced[voiced < len(generated.hertz)]
    both = both[generated.voiced[both]]
    cents = 1200 * np.abs(np.log2(generated.hertz[both] / reference.hertz[both]))
    return float((cents <= TOLERANCE).sum() / len(voiced))


def _pitch(sound: Sound) -> Pitch:
    waveform = sound.at(RATE)
    if sound.is_silent:
        frames = max(1, int(len(waveform) / RATE / HOP))
        return Pitch(np.ones(frames), np.zeros(frames))
    result = _detector().detect(waveform, RATE)
    return Pitch(result.pitch_hz, result.confidence)


@functools.cache
def _detector():
    if line := WHEEL.missing():
        raise InputError(line)
    from swift_f0 import SwiftF0

    return SwiftF0(spin=False)


def _score(sound: Sound, reference: Sound | None) -> dict[str, tuple[float, float]]:
    assert reference is not None
    return {"pitch_accuracy": (pitch_accuracy(_pitch(reference), _pitch(sound)), 1.0)}


JUDGE = Judge(
    name="pitch",
    metrics=("pitch_accuracy",),
    wheel=WHEEL,
    rate=RATE,
    score=_score,
    needs="pairs",
    modules=("onnxruntime",),
)
