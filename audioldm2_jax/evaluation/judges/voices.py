"""Voices as embeddings: Resemblyzer's LSTM (GE2E, arXiv 1710.10467), without PyTorch.

The wheel `resemblyzer` is read, not imported. Its front end is written here: volume, WebRTC's voice
detector (from the wheel `pocketsphinx`), mels, and means over windows of 1.6 s.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import numpy as np
from scipy.ndimage import binary_dilation

from audioldm2_jax.checkpoints import speaker_encoder
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.judges.base import Judge, Sound, Wheel, sounds
from audioldm2_jax.evaluation.judges.mel import power_mel
from audioldm2_jax.models.speaker_encoder import SpeakerEncoder

WHEEL = Wheel("resemblyzer", "resemblyzer", "0.1.4", "Apache-2.0", ("pretrained.pt",), alone=True)
RATE, HOP, WINDOW = 16000, 160, 160  # Hz; samples of a frame; frames of a window
_STEP = 77  # frames between windows: 1.3 windows a second
_COVERAGE = 0.75  # of the last window that must hold sound
_VOLUME = -30.0  # dBFS to which quieter clips are raised
_BLOCK = 480  # samples that the voice detector decides on: 30 ms
_SMOOTH, _GAP = 8, 7  # blocks: of the mean over decisions; by which voice is widened
_BATCH = 16  # windows of one call of the network


def embeddings(waveforms: Iterable, sample_rate: int) -> np.ndarray:
    """Voices of clips [samples] of one rate in Hz: float32 [N, 256] of norm 1.

    A row is NaN where no voice is detected, as in silence. Raises InputError if a package is
    missing or a clip is not finite.
    """
    rows = [_embedding(sound) for sound in sounds(waveforms, sample_rate)]
    return np.stack(rows) if rows else np.zeros((0, 256), np.float32)


def speaker_similarity(reference: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Cosines of pairs of embeddings [N, D] -> [N], 0 to 1.

    0 where the generated clip has no voice, nan where the reference has none.
    """
    cosines = np.sum(reference * np.nan_to_num(generated), -1, dtype=np.float64)
    return np.where(np.isnan(reference).any(-1), np.nan, cosines)


def _embedding(sound: Sound) -> np.ndarray:
    voice = _voiced(_raised(sound.at(RATE))) if not sound.is_silent else np.zeros(0, np.float32)
    if not len(voice):
        return np.full(256, np.nan, np.float32)
    mean = _embed(_windows(voice)).mean(0)
    return mean / np.linalg.norm(mean)


def _raised(waveform: np.ndarray) -> np.ndarray:
    """A quiet clip at the volume of the training; a louder one as it is."""
    level = 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)))
    return waveform * np.float32(10 ** (max(_VOLUME - level, 0) / 20))


def _voiced(waveform: np.ndarray) -> np.ndarray:
    """The samples in and around blocks where the detector hears voice."""
    blocks = waveform[: len(waveform) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    if not len(blocks):
        return waveform[:0]
    detector = _detector()
    pcm = np.round(np.clip(blocks, -1, 1) * 32767).astype("<i2")
    voice = np.array([detector.is_speech(block.tobytes()) for block in pcm], np.float64)
    padded = np.pad(voice, ((_SMOOTH - 1) // 2, _SMOOTH // 2))
    mean = np.convolve(padded, np.ones(_SMOOTH) / _SMOOTH, "valid")
    wide = binary_dilation(np.round(mean) > 0, np.ones(_GAP))
    return blocks[wide].reshape(-1)


def _detector():
    """WebRTC's detector in its strictest mode; a new one for each clip, for it adapts."""
    try:
        from pocketsphinx import Vad
    except ImportError:
        raise InputError(
            "pocketsphinx is not installed: pip install 'audioldm2-jax[eval]'"
        ) from None
    return Vad(Vad.STRICT, RATE, _BLOCK / RATE)


def _windows(voice: np.ndarray) -> np.ndarray:
    """Mels of overlapping windows: [samples] -> [W, WINDOW, MELS]."""
    frames = -(-(len(voice) + 1) // HOP)
    starts = list(range(0, max(1, frames - WINDOW + _STEP + 1), _STEP))
    covered = (len(voice) - starts[-1] * HOP) / (WINDOW * HOP)
    if covered < _COVERAGE and len(starts) > 1:
        starts.pop()
    padding = max(0, (starts[-1] + WINDOW) * HOP - len(voice))
    mel = power_mel(np.pad(voice, (0, padding)), RATE, 400, HOP, speaker_encoder.MELS)
    return np.stack([mel[start : start + WINDOW] for start in starts])


def _embed(windows: np.ndarray) -> np.ndarray:
    """[W, WINDOW, MELS] -> [W, 256]; batches of one size, so that one compiled program serves."""
    apply, params = _network()
    rows = []
    for start in range(0, len(windows), _BATCH):
        batch = windows[start : start + _BATCH]
        padded = np.pad(batch, ((0, _BATCH - len(batch)), (0, 0), (0, 0)))
        rows.append(np.asarray(apply({"params": params}, padded))[: len(batch)])
    return np.concatenate(rows)


@functools.cache
def _network():
    return jax.jit(SpeakerEncoder().apply), speaker_encoder.load(WHEEL.path("pretrained.pt"))


def _score(sound: Sound, reference: Sound | None) -> dict[str, tuple[float, float]]:
    assert reference is not None
    similarity = speaker_similarity(_embedding(reference), _embedding(sound))
    return {"speaker_similarity": (float(similarity), 1.0)}


JUDGE = Judge(
    name="voices",
    metrics=("speaker_similarity",),
    wheel=WHEEL,
    rate=RATE,
    score=_score,
    needs="pairs",
    modules=("pocketsphinx",),
)
