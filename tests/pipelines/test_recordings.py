"""Recordings of any format, rate and channel count; what cannot be continued is one line."""

import numpy as np
import pytest
import soundfile

from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.recordings import check_recording, read_recording


def tone(rate, seconds, channels=1):
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(rate * seconds)) / rate)
    return wave[:, None].repeat(channels, 1)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 44100, 2, "PCM_24"),
        ("a.wav", 8000, 1, "ULAW"),
        ("a.flac", 48000, 6, "PCM_16"),
        ("a.ogg", 22050, 2, "VORBIS"),
        ("a.mp3", 16000, 1, "MPEG_LAYER_III"),
        ("a.aiff", 11025, 3, "FLOAT"),
    ],
)
def test_any_file_becomes_one_channel(tmp_path, name, rate, channels, subtype):
    soundfile.write(tmp_path / name, tone(rate, 1.0, channels), rate, subtype)
    recording = read_recording(tmp_path / name)
    assert recording.name == name and recording.sample_rate == rate and recording.cut == 0
    assert recording.seconds == pytest.approx(1.0, abs=0.1)
    wave = recording.at(16000)
    assert wave.dtype == np.float32 and wave.ndim == 1
    middle = wave[4000:12000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 110  # 220 Hz
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.02)


def test_the_last_seconds_are_kept(tmp_path):
    wave = np.concatenate([np.zeros(30000), tone(8000, 1.0)[:, 0]])
    soundfile.write(tmp_path / "long.wav", wave, 8000, "FLOAT")
    recording = read_recording(tmp_path / "long.wav", last=0.5)
    np.testing.assert_array_equal(recording.wave, wave[-4000:].astype(np.float32))
    assert recording.cut == pytest.approx(len(wave) / 8000 - 0.5)
    array = check_recording(wave, 8000, last=0.5)
    np.testing.assert_array_equal(array.wave, recording.wave)
    assert array.cut == recording.cut and read_recording(tmp_path / "long.wav", last=99).cut == 0


def test_channels_are_averaged():
    stereo = np.stack([np.full(100, 0.5), np.linspace(-1, 1, 100)], 1)
    np.testing.assert_allclose(check_recording(stereo, 8000).wave, stereo.mean(1), atol=1e-7)


BAD = np.full(100, 0.5)
BAD[50] = np.nan


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros(100), 16000, "silence"),
        (np.full(100, 0.2), 16000, "silence"),
        (BAD, 16000, "NaN or infinity"),
        (np.outer(np.sin(np.arange(100)), [1, -1]), 16000, "its channels cancel"),
        (np.zeros((0,)), 16000, "no samples"),
        (np.arange(100), 16000, "an array of int64"),
        (np.zeros((2, 3, 4)), 16000, "of shape \\(2, 3, 4\\)"),
        (np.ones((2, 16000)), 16000, "transpose it"),
        (np.ones(100), 0, "sample_rate is 0"),
        (np.ones(100), 44.1, "sample_rate is 44.1"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(wave, rate, message):
    with pytest.raises(InputError, match=f"^here: .*{message}"):
        check_recording(wave, rate, "here")


def test_silence_at_the_end_is_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.r_[tone(8000, 1)[:, 0], np.zeros(16000)], 8000)
    with pytest.raises(InputError, match="silence in its last 1 s"):
        read_recording(tmp_path / "a.wav", last=1.0)
    with pytest.raises(InputError, match="silence in its last 1 s"):
        check_recording(np.r_[np.ones(10), np.zeros(9000)], 8000, last=1.0)


def test_files_that_are_no_sound_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "header.wav", np.zeros(0), 8000)
    for name, message in (
        ("text.wav", "no audio"),
        ("empty.wav", "empty file"),
        ("header.wav", "no samples in it"),
        ("none.wav", "no such file"),
        ("", "no ordinary file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_recording(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
