"""How far a reconstruction is from its own clip: PSNR, SSIM and LSD, as `audioldm_eval` has them.

For auto-encoders and vocoders: text to audio does not repeat a reference. Clips are [samples], of
one rate.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.silence import is_silent
from audioldm2_jax.features.mel_scale import slaney_filters

_WINDOW = 7  # of SSIM: skimage's default
# Windows and hops of the mel by sampling rate: (FFT, hop, lowest Hz, highest Hz).
_MELS = {16000: (512, 160, 50, 8000), 32000: (1024, 320, 50, 14000)}


def mel_image(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The normalised mel that PSNR and SSIM compare: [T, 64] within [0, 1].

    1 is a magnitude of 1, 0 one of 1e-4 (80 dB below), by SpecVQGAN's scale of 20 log10. Raises
    InputError for another rate than 16 and 32 kHz, and a clip shorter than half a window.
    """
    if sample_rate not in _MELS:
        raise InputError(f"{sample_rate} Hz: PSNR and SSIM are of 16000 or 32000 Hz")
    size, hop, low, high = _MELS[sample_rate]
    waveform = np.clip(_clip(waveform, size // 2 + 1), -1, 1)
    magnitudes = _magnitudes(waveform, size, hop, mode="reflect")
    mel = magnitudes @ slaney_filters(sample_rate, size, 64, low, high).T.astype(np.float64)
    return np.clip((20 * np.log10(np.maximum(mel, 1e-5)) - 20 + 100) / 100, 0, 1)


def mel_images(reference, generated, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """`mel_image` of two clips, [T, 64] each, T of the shorter one. Raises its InputError."""
    x, y = mel_image(reference, sample_rate), mel_image(generated, sample_rate)
    length = min(len(x), len(y))
    return x[:length], y[:length]


def psnr(reference, generated, sample_rate: int) -> float:
    """`psnr_of` the clips' mels. Raises InputError as `mel_image` does."""
    return psnr_of(*mel_images(reference, generated, sample_rate))


def psnr_of(x: np.ndarray, y: np.ndarray) -> float:
    """Peak signal-to-noise ratio of mels [T, 64] in dB; infinite for equal ones.

    The published figure leaves infinite values out of the mean.
    """
    error = np.square(x - y).mean()
    return float(10 * np.log10(1 / error)) if error else float("inf")


def ssim(reference, generated, sample_rate: int) -> float:
    """`ssim_of` the clips' mels. Raises InputError as it and `mel_image` do."""
    return ssim_of(*mel_images(reference, generated, sample_rate))


def ssim_of(x: np.ndarray, y: np.ndarray) -> float:
    """Structural similarity of mels [T, 64] (Wang et al. 2004), 1 for equal ones.

    Uniform windows of 7 x 7, sample covariances, the values' common range, and the mean without
    borders of 3: skimage's defaults. Raises InputError for fewer than 7 frames.
    """
    if len(x) < _WINDOW:
        raise InputError(f"{len(x)} frames of mel: SSIM needs at least {_WINDOW}")
    value_range = max(x.max(), y.max()) - min(x.min(), y.min())
    if not value_range:
        return 1.0
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    mean = lambda values: uniform_filter(values, _WINDOW)  # noqa: E731
    mx, my = mean(x), mean(y)
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    vx, vy = unbiased * (mean(x * x) - mx * mx), unbiased * (mean(y * y) - my * my)
    covariance = unbiased * (mean(x * y) - mx * my)
    similarity = (2 * mx * my + c1) * (2 * covariance + c2)
    similarity /= (mx * mx + my * my + c1) * (vx + vy + c2)
    border = _WINDOW // 2
    return float(similarity[border:-border, border:-border].mean())


def lsd(reference, generated, sample_rate: int, *, shift_samples: int = 0) -> float:
    """Log-spectral distance: the mean over frames of the RMS difference of log10 powers.

    Windows of 46 ms, 10 ms apart; both clips without their mean and at a peak of 1. shift_samples:
    by which the generated clip is late. `audioldm_eval` takes 1120 at any rate, HiFi-GAN's delay as
    its authors measured it at 16 kHz. A silent clip (`silence.is_silent`, without its mean) is not
    scaled up: then this is large, 24 for no sound at all, and 12 where the reference has none, or
    both.
    """
    size, hop = int(2048 / (44100 / sample_rate)), sample_rate // 100
    generated = np.asarray(generated)[shift_samples:]
    clips = [_clip(clip, 1) for clip in (reference, generated)]
    clips = [clip - clip.mean() for clip in clips]
    length = min(map(len, clips))
    peaks = [1.0 if is_silent(clip) else np.abs(clip).max() for clip in clips]
    target, estimate = (
        _magnitudes(clip[:length] / peak, size, hop, mode="constant")
        for clip, peak in zip(clips, peaks)
    )
    # The two constants are those of ssr_eval.
    logs = np.log10(np.square(target) / np.square(estimate + 1e-12) + 1e-12)
    return float(np.sqrt(np.square(logs).mean(1)).mean())


def _magnitudes(waveform: np.ndarray, size: int, hop: int, *, mode: str) -> np.ndarray:
    """Magnitudes of the centred STFT with a periodic Hann window: [T, 1 + size // 2]."""
    padded = np.pad(waveform, size // 2, mode=mode)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return np.abs(np.fft.rfft(frames * window))


def _clip(waveform, least: int) -> np.ndarray:
    waveform = np.asarray(waveform, np.float64)
    if waveform.ndim != 1 or len(waveform) < least:
        raise InputError(f"a clip of shape {waveform.shape}: at least {least} samples are needed")
    return waveform
