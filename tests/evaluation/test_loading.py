"""Loading: each rule against its formula in NumPy, and what a file holds."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.evaluation import loading
from audioldm2_jax.evaluation.judges.base import Sound
from audioldm2_jax.evaluation.protocol import PROTOCOLS, LoaderRules
from audioldm2_jax.evaluation.resampling import RESAMPLERS

RAW = LoaderRules(demean=False)


def resample(name, audio, source, target):
    return np.concatenate(list(RESAMPLERS[name]([audio], source, target)))


def _encode(audio, rate=16000, subtype="FLOAT"):
    file = io.BytesIO()
    soundfile.write(file, audio, rate, subtype=subtype, format="WAV")
    return file.getvalue()


def _stereo(seconds=0.7, rate=44100):
    noise = np.random.default_rng(0).standard_normal((int(seconds * rate), 2)) * 0.1 + 0.05
    return np.clip(noise, -0.9, 0.9).astype(np.float32)


def _loader(protocol, slot):
    spec = PROTOCOLS[protocol].slot(slot)
    return spec.loader, spec.sample_rate


def _wave_dataset(x, rate, target):
    """audioldm_eval's reader: first channel, minus its mean, torchaudio, 32000 samples."""
    y = resample("sinc_hann", x[:, 0] - x[:, 0].mean(), rate, target)
    return np.pad(y, (0, max(0, 32000 - len(y))))


def test_named_loaders_are_what_their_code_does():
    audio, rate = _stereo(), 44100
    data, mean = _encode(audio, rate), audio.mean(1)
    wave_32k = _wave_dataset(audio, rate, 32000)
    peak = resample("soxr_hq", mean, rate, 48000)
    peak = peak * 10 ** (-1 / 20) / np.abs(peak).max()
    written = resample("julius", mean, rate, 16000)
    written = np.rint(written * 10 ** (-1 / 20) / np.abs(written).max() * 32768) / 32768
    cut = np.floor(audio.astype(np.float64) * 32768) / 32768
    kaiser = np.rint(resample("sinc_kaiser", mean, rate, 16000) * 32768) / 32768
    expected = {
        ("audioldm_eval", "classifier"): _wave_dataset(audio, rate, 16000),
        ("audioldm_eval_32k", "classifier"): wave_32k,
        ("audioldm_eval", "clap"): resample("sinc_hann", wave_32k, 32000, 48000),
        ("tango", "fad"): resample("resampy", cut.mean(1), rate, 16000),
        ("stable-audio-metrics", "clap"): np.trunc(peak * 32767) / 32767,
        ("audiocraft", "fad"): written / max(0.1, written.max()),
        ("kadtk", "fad"): kaiser,
        ("musicnn", "fad"): np.pad(
            resample("soxr_hq", mean, rate, 16000), (0, 48000 - round(0.7 * 16000))
        ),
    }
    for (protocol, slot), wave in expected.items():
        result = loading.load_clip(data, *_loader(protocol, slot))
        assert result.dtype == np.float32
        assert result.shape == wave.shape, (protocol, slot)
        # A value at the edge of a 16-bit step may fall to its other side.
        np.testing.assert_allclose(result, wave, atol=4e-5, err_msg=f"{protocol} {slot}")
        assert np.mean(np.abs(result - wave) > 2e-6) < 0.01, (protocol, slot)


def test_decimated_rates_of_tango():
    audio = _stereo(rate=32000)
    mean = audio[:, 0] - audio[:, 0].mean()
    rules = replace(_loader("tango", "classifier")[0], min_seconds=0.0)
    result = loading.load_clip(_encode(audio, 32000), rules, 16000)
    np.testing.assert_allclose(result, resample("sinc_hann", mean[::2], 32000, 16000), atol=2e-6)
    result = loading.load_clip(_encode(audio, 48000), rules, 16000)
    np.testing.assert_allclose(result, mean[::3], atol=2e-6)


@pytest.mark.parametrize("resampler", ["sinc_hann", "soxr_hq", "julius"])
def test_long_files_are_decoded_again_instead_of_kept(monkeypatch, resampler):
    monkeypatch.setattr("audioldm2_jax.data.ingest.audio_files._BLOCK", 5000)
    rules = LoaderRules("mean", peak_db=-3.0, resampler=resampler, max_seconds=0.5)
    data = _encode(_stereo(), 44100)
    whole = loading.load_clip(data, rules, 16000)
    monkeypatch.setattr(loading, "_IN_MEMORY", 6000)
    long = loading.load_clip(data, rules, 16000)
    assert len(long) == 8000
    np.testing.assert_allclose(long, whole, atol=1e-5)


def test_length_rules_cut_and_fill():
    audio = _stereo(rate=16000)[:, 0]
    data = _encode(audio)
    np.testing.assert_array_equal(loading.load_clip(data, RAW, 16000), audio)
    cut = loading.load_clip(data, replace(RAW, max_seconds=0.25), 16000)
    np.testing.assert_array_equal(cut, audio[:4000])
    filled = loading.load_clip(data, replace(RAW, min_seconds=1.0), 16000)
    np.testing.assert_array_equal(filled, np.pad(audio, (0, 16000 - len(audio))))


def test_16_bit_files_keep_their_values_when_cut_to_16_bits():
    audio = _stereo(rate=16000)[:, 0]
    data = _encode(audio, subtype="PCM_16")
    plain = loading.load_clip(data, RAW, 16000)
    for rule in ("read", "write"):
        result = loading.load_clip(data, replace(RAW, int16=rule), 16000)
        np.testing.assert_array_equal(result, plain)


def test_peak_is_that_of_the_rule_and_silence_stays():
    data = _encode(_stereo(rate=48000), 48000)
    for stage in ("input", "output"):
        rules = replace(RAW, peak_db=-6.0, peak_at=stage)
        result = loading.load_clip(data, rules, 48000 if stage == "input" else 16000)
        np.testing.assert_allclose(np.abs(result).max(), 10 ** (-6 / 20), rtol=1e-5)
        silent = loading.load_clip(_encode(np.zeros(4000)), rules, 16000)
        np.testing.assert_array_equal(silent, np.zeros(4000))


def _facts(data, channels="first", sample_rate=16000):
    return loading.read_facts(data, replace(RAW, channels=channels), sample_rate)


def test_facts_of_a_file():
    audio = np.zeros((8000, 2), np.float32)
    audio[:, 0] = 0.3  # an offset is silence
    audio[:, 1] = np.sin(np.arange(8000)) * 0.5
    facts = _facts(_encode(audio))
    assert (facts.sample_rate, facts.seconds, facts.clipped) == (16000, 0.5, False)
    assert facts.silent and not _facts(_encode(audio), "mean").silent
    assert _facts(_encode(np.clip(audio * 4, -1, 1))).clipped


def test_silence_is_what_the_network_reads():
    wave = 0.5 * np.sin(2 * np.pi * 15000 * np.arange(48000) / 48000)
    high, soxr = _encode(wave * np.hanning(48000), 48000), replace(RAW, resampler="soxr_hq")
    assert loading.read_facts(high, soxr, 16000).silent
    assert not loading.read_facts(high, soxr, 48000).silent
    opposite = _encode(np.stack([wave, -wave], 1), 48000)
    assert _facts(opposite, "mean", 48000).silent and not _facts(opposite, "first", 48000).silent
    faint = replace(RAW, peak_db=-1.0)  # scaling does not make a sound of silence
    assert loading.read_facts(_encode(wave * 1e-4, 48000), faint, 48000).silent


@pytest.mark.parametrize("level", [0, 9e-5, 1.1e-4, 1.9e-4, 0.1])
@pytest.mark.parametrize("offset", [0, 5e-5, 0.3])
def test_judges_and_the_report_have_one_silence(level, offset):
    wave = (level * np.sin(np.arange(8000) / 9) + offset).astype(np.float32)
    assert _facts(_encode(wave)).silent == Sound(wave, 16000).is_silent == (level < 1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF", "no audio"),
        (b"", "empty file"),
        (_encode(np.array([0.1, np.nan] * 4000)), "not finite"),
        (_encode(np.zeros(0)), "no samples"),
    ],
    # By name: a header that libsndfile writes holds the time, and workers must agree.
    ids=["truncated", "empty", "not finite", "no samples"],
)
def test_bad_files_are_unreadable(data, message):
    for read in (_facts, lambda data: loading.load_clip(data, RAW, 16000)):
        with pytest.raises(Unreadable, match=message):
            read(data)


def test_rates_that_a_resampler_lacks_are_unreadable():
    with pytest.raises(Unreadable, match="decimation from 44100 to 16000 Hz"):
        loading.load_clip(_encode(_stereo(), 44100), replace(RAW, resampler="decimate"), 16000)


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), MemoryError()])
def test_what_codecs_raise_is_unreadable(monkeypatch, error):
    data = _encode(_stereo())

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("audioldm2_jax.data.ingest.audio_files.Decoder.read", fail)
    for read in (_facts, lambda data: loading.load_clip(data, RAW, 16000)):
        with pytest.raises(Unreadable, match="broken: it cannot be decoded|cannot be decoded"):
            read(data)
