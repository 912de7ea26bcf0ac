"""PSNR, SSIM and LSD against torch and window-by-window definitions, and of known distortions."""

import librosa
import numpy as np
import pytest
import torch

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.reconstruction import lsd, mel_image, psnr, ssim

RATE = 16000


@pytest.fixture
def waves():
    rng = np.random.default_rng(0)
    clean = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8000) / RATE) * np.linspace(0, 1, 8000)
    clean += 0.02 * rng.standard_normal(8000)
    return clean, 0.8 * clean[:7500] + 0.05 * rng.standard_normal(7500)


def mel_in_torch(wave, rate):
    size, hop, low, high = {16000: (512, 160, 50, 8000), 32000: (1024, 320, 50, 14000)}[rate]
    wave = torch.tensor(wave).clip(-1, 1)
    window = torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.stft(wave, size, hop, window=window, pad_mode="reflect", return_complex=True)
    filters = librosa.filters.mel(sr=rate, n_fft=size, n_mels=64, fmin=low, fmax=high)
    mel = torch.tensor(filters, dtype=torch.float64) @ spectrum.abs()
    return ((20 * mel.clamp(min=1e-5).log10() + 80) / 100).clip(0, 1).numpy()


def pair(waves, rate=RATE):
    mels = [mel_in_torch(wave, rate) for wave in waves]
    length = min(m.shape[1] for m in mels)
    return [m[:, :length] for m in mels]


@pytest.mark.parametrize("rate", [16000, 32000])
def test_mel_image(waves, rate):
    image = mel_image(5 * waves[0], rate)
    np.testing.assert_allclose(image, mel_in_torch(5 * waves[0], rate).T, atol=1e-6)
    assert image.min() >= 0 and image.max() <= 1
    # No sound at all: 100 dB below a magnitude of 1, cut to the scale's end.
    assert mel_image(np.zeros(8000), rate).max() == 0


def test_psnr(waves):
    x, y = pair(waves)
    expected = -10 * np.log10(np.mean((x - y) ** 2))
    assert psnr(*waves, RATE) == pytest.approx(expected, rel=1e-6)
    assert psnr(waves[0], waves[0], RATE) == np.inf


def test_psnr_of_a_known_distortion():
    """Ten times quieter is 20 dB or 0.2 of the scale, where nothing is cut: 14 dB."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
    assert psnr(noise, noise / 10, RATE) == pytest.approx(-20 * np.log10(0.2), rel=0.01)


def ssim_by_windows(x, y):
    value_range = max(x.max(), y.max()) - min(x.min(), y.min())
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    values = []
    for i in range(x.shape[0] - 6):
        for j in range(x.shape[1] - 6):
            a, b = (m[i : i + 7, j : j + 7].ravel() for m in (x, y))
            (va, cov), (_, vb) = np.cov(a, b)
            top = (2 * a.mean() * b.mean() + c1) * (2 * cov + c2)
            values.append(top / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (va + vb + c2)))
    return np.mean(values)


def test_ssim(waves):
    assert ssim(*waves, RATE) == pytest.approx(ssim_by_windows(*pair(waves)), rel=1e-5)
    assert ssim(waves[1], waves[0], RATE) == pytest.approx(ssim(*waves, RATE))
    assert ssim(waves[0], waves[0], RATE) == pytest.approx(1)
    assert ssim(np.zeros(8000), np.zeros(8000), RATE) == 1
    noise = 0.3 * np.random.default_rng(2).standard_normal(8000)
    assert ssim(waves[0], noise, RATE) < ssim(*waves, RATE) < 1


@pytest.mark.parametrize("rate,size", [(16000, 743), (32000, 1486)])
def test_lsd(waves, rate, size):
    """ssr_eval's: librosa's transform of clips without mean, at full scale."""
    clips = [wave - wave.mean() for wave in waves]
    clips = [clip[:7500] / np.abs(clip).max() for clip in clips]
    x, y = (np.abs(librosa.stft(c, n_fft=size, hop_length=rate // 100)) for c in clips)
    logs = np.log10(x**2 / (y + 1e-12) ** 2 + 1e-12)
    expected = np.mean(np.sqrt(np.mean(logs**2, 0)))
    assert lsd(*waves, rate) == pytest.approx(expected, rel=1e-6)


def test_lsd_of_known_distortions(waves):
    clean = waves[0]
    assert lsd(clean, clean, RATE) == pytest.approx(0, abs=1e-6)
    assert lsd(clean, 0.1 * clean + 0.2, RATE) == pytest.approx(0, abs=1e-6)
    late = np.concatenate([np.zeros(7 * 160), clean])
    assert lsd(clean, late, RATE, shift_samples=1120) == pytest.approx(0, abs=1e-6)
    assert lsd(clean, late, RATE) > 0.5
    # Frames of half the amplitude in all bins differ by log10(4).
    noise = np.random.default_rng(1).standard_normal(32000)
    half = noise * np.where(np.arange(32000) < 16000, 1, 0.5)
    half[:10] = noise[:10] = 5  # the same peak, and the mean shifts by next to nothing
    assert lsd(noise, half, RATE) == pytest.approx(np.log10(4) / 2, rel=0.05)


def test_silence_has_a_bad_lsd(waves):
    """Far worse than noise of another sound, also where an offset or a last bit is left of it."""
    clean, random = waves[0], np.random.default_rng(3)
    noise = random.standard_normal(8000)
    worst = lsd(clean, noise, RATE)
    assert worst < 3
    # ssr_eval's constants: log10 of power over 1e-24 for no sound at all.
    power = np.mean(np.log10(np.square(clean / np.abs(clean).max()) + 1e-30))
    assert lsd(clean, np.zeros(8000), RATE) == pytest.approx(24 + power, abs=2)
    assert lsd(np.zeros(8000), clean, RATE) == lsd(np.zeros(8000), np.zeros(8000), RATE) == 12
    offset = np.full(8000, 0.3, np.float32)
    faint = 5e-5 * np.sign(noise)
    for silent in (offset, offset + 1e-8 * noise, faint):
        assert 2 * worst < lsd(clean, silent, RATE) < 30
        assert 2 * worst < lsd(silent, clean, RATE) < 30
    assert lsd(faint, faint, RATE) == pytest.approx(0, abs=1e-6)


def test_clips_too_short(waves):
    for call, message in (
        (lambda: psnr(waves[0][:100], waves[1], RATE), "at least 257 samples"),
        (lambda: ssim(waves[0][:800], waves[1], RATE), "6 frames of mel: SSIM needs at least 7"),
        (lambda: lsd(waves[0], waves[1][:1000], RATE, shift_samples=1120), "at least 1 samples"),
        (lambda: psnr(*waves, 22050), "of 16000 or 32000 Hz"),
        (lambda: psnr(np.stack([waves[0]] * 2), waves[0], RATE), "a clip of shape"),
    ):
        with pytest.raises(InputError, match=message):
            call()
