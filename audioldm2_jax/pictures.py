"""Log-mel spectrograms as pictures."""

from __future__ import annotations

import numpy as np

from audioldm2_jax import files

# Dark to bright, even in lightness (anchors of matplotlib's magma).
_COLOURS = np.array(
    [
        (0, 0, 4),
        (40, 17, 89),
        (114, 31, 129),
        (183, 55, 121),
        (241, 96, 93),
        (254, 159, 109),
        (252, 253, 191),
    ],
    np.float32,
)


def mel_picture(audio: np.ndarray, sample_rate: int, *, height: int = 96, width: int = 256):
    """audio: [samples] -> uint8 [height, width, 3]; time to the right, pitch upwards, 60 dB."""
    import librosa

    hop = max(1, len(audio) // width)
    power = librosa.feature.melspectrogram(
        y=np.asarray(audio, np.float32), sr=sample_rate, n_fft=1024, hop_length=hop, n_mels=height
    )[:, :width]
    decibels = librosa.power_to_db(power, ref=np.max, top_db=60)
    return colours(decibels[::-1], -60, 0)


def colours(values: np.ndarray, low: float | None = None, high: float | None = None):
    """values: [H, W] -> uint8 [H, W, 3]; low and high are the ends, by default their extremes."""
    bottom = values.min() if low is None else low
    top = values.max() if high is None else high
    place = np.clip((values - bottom) / max(top - bottom, 1e-9), 0, 1) * (len(_COLOURS) - 1)
    low = np.clip(place.astype(int), 0, len(_COLOURS) - 2)
    part = (place - low)[..., None]
    return (_COLOURS[low] * (1 - part) + _COLOURS[low + 1] * part).astype(np.uint8)


def save_png(path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] in 64 colours; the file is whole or absent."""
    from PIL import Image

    with files.beside(path) as beside:
        Image.fromarray(picture).quantize(64).save(beside, format="PNG", optimize=True)
