"""Resamplers against torch formulations of the published formulas, and their laws."""

import math

import numpy as np
import pytest
import soxr
import torch

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import resampling, rules

RATES = [(44100, 16000), (48000, 16000), (32000, 16000), (16000, 48000), (22050, 32000)]


def resample(name, audio, source, target):
    blocks = list(resampling.RESAMPLERS[name]([audio], source, target))
    return np.concatenate(blocks) if blocks else audio[:0]


def _noise(samples=5003, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def _torch_sinc(audio, source, target, *, zeros, rolloff, beta=None, julius=False):
    """The formula of torchaudio's documentation, or julius', in float64: a strided convolution."""
    divisor = math.gcd(source, target)
    p, q = source // divisor, target // divisor
    base = min(p, q) * rolloff
    width = math.ceil(zeros * p / base)
    kernels = []
    for phase in range(q):
        t = torch.arange(-width, width + p, dtype=torch.float64) / p - phase / q
        t = (t * base).clamp(-zeros, zeros)
        if beta is None:
            window = torch.cos(t * math.pi / zeros / 2) ** 2
        else:
            shape = torch.tensor(beta, dtype=torch.float64)
            window = torch.i0(shape * torch.sqrt(1 - (t / zeros) ** 2)) / torch.i0(shape)
        kernel = window * torch.where(t == 0, 1.0, torch.sin(math.pi * t) / (math.pi * t))
        kernels.append(kernel / kernel.sum() if julius else kernel * base / p)
    x = torch.from_numpy(audio.astype(np.float64))[None, None]
    pad = torch.nn.functional.pad
    x = pad(x, (width, width + p), **({"mode": "replicate"} if julius else {}))
    y = torch.nn.functional.conv1d(x, torch.stack(kernels)[:, None], stride=p)
    length = q * len(audio) / p
    return y[0].T.reshape(-1)[: math.floor(length) if julius else math.ceil(length)].numpy()


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sinc_hann", {"zeros": 6, "rolloff": 0.99}),
        (
            "sinc_kaiser",
            {"zeros": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492},
        ),
        ("julius", {"zeros": 24, "rolloff": 0.945, "julius": True}),
    ],
)
def test_sinc_resamplers_equal_the_published_formula(name, settings, source, target):
    audio = _noise()
    expected = _torch_sinc(audio, source, target, **settings)
    result = resample(name, audio, source, target)
    assert result.dtype == np.float32
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=3e-6)


@pytest.mark.parametrize(("source", "target"), [(48000, 16000), (44100, 16000), (16000, 24000)])
def test_resampy_is_read_from_a_table_in_whole_steps(source, target):
    """Its documentation's algorithm sample by sample: a table of 8192 values for each zero."""
    steps, zeros, rolloff = 8192, 50, 0.91734737
    grid = np.arange(steps * zeros + 1) / steps
    table = (
        rolloff * np.sinc(rolloff * grid) * np.kaiser(2 * len(grid) - 1, 12.9846)[zeros * steps :]
    )
    audio, ratio = _noise(700).astype(np.float64), target / source
    scale = min(1.0, ratio)
    stride, expected = int(scale * steps), []
    for index in range(int(len(audio) * ratio)):
        whole, rest = divmod(index * source, target)
        value = 0.0
        for position, side in (
            (rest / target, audio[whole::-1]),
            (1 - rest / target, audio[whole + 1 :]),
        ):
            places = position * scale * steps + stride * np.arange(len(side))
            value += side @ np.interp(places, np.arange(len(table)), table, right=0.0)
        expected.append(scale * value)
    result = resample("resampy", audio, source, target)
    np.testing.assert_allclose(result, expected, atol=3e-6)


@pytest.mark.parametrize("name", sorted(set(resampling.RESAMPLERS) - {"soxr_hq"}))
def test_blocks_do_not_matter(name):
    audio = _noise(30011)
    for source, target in [(48000, 16000), (32000, 16000)]:
        whole = resample(name, audio, source, target)
        for size in (1009, 7, 30000):
            step = range(0, len(audio), size)
            blocks = resampling.RESAMPLERS[name](
                [audio[i : i + size] for i in step], source, target
            )
            np.testing.assert_allclose(np.concatenate(list(blocks)), whole, atol=2e-6)


def test_soxr_is_the_library_s_and_streams_it():
    audio = _noise(60000)
    whole = soxr.resample(audio, 44100, 16000, quality="HQ")
    np.testing.assert_array_equal(resample("soxr_hq", audio, 44100, 16000), whole)
    blocks = resampling.RESAMPLERS["soxr_hq"](np.array_split(audio, 9), 44100, 16000)
    streamed = np.concatenate(list(blocks))
    assert len(streamed) == len(whole)
    np.testing.assert_allclose(streamed, whole, atol=1e-5)


@pytest.mark.parametrize("name", ["sinc_hann", "sinc_kaiser", "julius", "resampy", "soxr_hq"])
def test_tones_below_the_cutoff_stay_and_above_it_vanish(name):
    time = np.arange(48000) / 48000
    for frequency, gain in [(1000, 1.0), (5000, 1.0), (11000, 0.0)]:
        tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
        result = resample(name, tone, 48000, 16000)[2000:-2000]
        expected = gain * np.sin(2 * np.pi * frequency * np.arange(16000) / 16000)[2000:-2000]
        np.testing.assert_allclose(result, expected, atol=5e-3)


def test_decimation_aliases():
    tone = np.sin(2 * np.pi * 11000 * np.arange(4800) / 48000).astype(np.float32)
    alias = -np.sin(2 * np.pi * 5000 * np.arange(1600) / 16000)
    np.testing.assert_allclose(resample("decimate", tone, 48000, 16000), alias, atol=1e-4)
    with pytest.raises(InputError, match="decimation from 44100 to 16000 Hz"):
        resample("decimate", tone, 44100, 16000)


def test_tango_reads_each_rate_as_its_code_does():
    audio = _noise(9601)
    hann = resampling.sinc_hann
    np.testing.assert_array_equal(resample("tango", audio, 48000, 16000), audio[::3])
    twice = np.concatenate(list(hann([audio[::2]], 32000, 16000)))
    result = resample("tango", audio, 32000, 16000)
    np.testing.assert_array_equal(result, twice)
    assert abs(len(result) - len(audio) / 4) < 1  # half of what 16 kHz need
    np.testing.assert_array_equal(resample("tango_fad", audio, 32000, 16000), audio[::2])
    for name, other in [("tango", "sinc_hann"), ("tango_fad", "resampy")]:
        np.testing.assert_array_equal(
            resample(name, audio, 44100, 16000), resample(other, audio, 44100, 16000)
        )


@pytest.mark.parametrize("name", sorted(resampling.RESAMPLERS))
def test_same_rate_and_no_samples(name):
    audio = _noise(100)
    np.testing.assert_array_equal(resample(name, audio, 16000, 16000), audio)
    assert resample(name, audio[:0], 48000, 16000).shape == (0,)
    assert 0 < len(resample(name, audio[:3], 48000, 16000)) <= 3


def test_names_are_those_of_the_rules():
    assert set(resampling.RESAMPLERS) == set(rules.RESAMPLERS)


def test_rates_without_a_common_factor_are_refused():
    with pytest.raises(InputError, match="resampling 44101 to 16000 .* convert the files"):
        resample("sinc_hann", _noise(100), 44101, 16000)
