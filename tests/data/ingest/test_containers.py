"""MP3 and Ogg as splitters, old encoders and stream rips leave them: whole, or noted."""

import io
import struct

import numpy as np
import pytest
import soundfile

from audioldm2_jax.data.ingest import audio_files, containers, mpeg
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.loading import crops

RATE = 44100
OPEN = ("length not stated: read to its end",)


def encoded(wave, rate=RATE, kind="MP3", **settings) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, **settings)
    return file.getvalue()


def wave(parts, rate=RATE, channels=2):
    """Two seconds of each part one after another."""
    rng, size = np.random.default_rng(0), (2 * rate, channels)
    pieces = {"noise": 0.3 * rng.standard_normal(size), "silence": 1e-5 * rng.standard_normal(size)}
    pieces["tone"] = np.tile(0.3 * np.sin(np.arange(2 * rate) * 0.05)[:, None], channels)
    return np.concatenate([pieces[part] for part in parts])


def bare(data) -> bytes:
    """An MP3 without the frame that describes it."""
    return data[mpeg._frame(data, 0) :]


def tag(size, footer=False) -> bytes:
    """ID3v2 with a picture whose bytes look like frames."""
    body = b"APIC" + struct.pack(">I", size + 14) + b"\0\0\0image/jpeg\0\3\0"
    body += (b"\xff\xfb\x90\x44" * (size // 4 + 1))[:size]
    length = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    head = b"\4\0" + (b"\x10" if footer else b"\0") + length
    return b"ID3" + head + body + (b"3DI" + head if footer else b"")


@pytest.mark.parametrize(
    "rate, channels", [(44100, 2), (48000, 1), (22050, 2), (16000, 1), (8000, 2)]
)
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
@pytest.mark.parametrize("parts", [("noise", "silence"), ("silence", "noise"), ("tone", "noise")])
def test_mp3_without_a_description_is_read_to_its_end(rate, channels, mode, parts):
    whole = encoded(wave(parts, rate, channels), rate, bitrate_mode=mode)
    assert audio_files.check_audio(whole).notes == ()
    data = bare(whole)
    with audio_files.open_audio(whole) as file, audio_files.open_audio(data) as other:
        a, b = file.read_range()[:, 0], other.read_range()[:, 0]
    # The description also states the encoder's delay and padding.
    assert 0 <= len(b) - len(a) < 3000
    for form in (data, tag(30000) + data, tag(300) + tag(300, True) + data):
        sound = audio_files.check_audio(form)
        assert (sound.samples, sound.notes) == (len(b), OPEN)
    size = 1 << (len(b) - 1).bit_length()
    both = np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size)
    lag = int(np.fft.irfft(both)[:3000].argmax())
    length = min(len(a), len(b) - lag)
    np.testing.assert_allclose(b[lag:][4000 : length - 4000], a[4000 : length - 4000], atol=2e-3)
    piece, _ = crops.training_clip(data, 0.1, rate, np.random.default_rng(0))
    assert piece.any()


def test_fraunhofers_description_counts():
    data = bare(encoded(wave(["noise", "silence"]), bitrate_mode="VARIABLE"))
    count = sum(1 for _ in mpeg._frames(data))
    size = mpeg._frame(data[:2] + b"\x90" + data[3:4], 0)
    for stated in (count, 3 * count):
        text = b"VBRI" + struct.pack(">3HII", 1, 0, 0, len(data), stated)
        first = (data[:2] + b"\x90" + data[3:4] + bytes(32) + text).ljust(size, b"\0")
        if stated == count:
            assert (
                audio_files.check_audio(first + data).samples
                == audio_files.check_audio(data).samples
            )
            assert audio_files.check_audio(first + data).notes == ()
        else:
            with pytest.raises(Unreadable, match="cut off"):
                audio_files.check_audio(first + data)


@pytest.mark.parametrize("kind", ["FLAC", "MP3", "OGG", "WAV"])
def test_tags_before_the_sound(kind):
    data = encoded(wave(["noise"]), kind=kind)
    plain = audio_files.check_audio(data)
    for mark in (tag(30000), tag(20, True) + tag(300000)):
        assert audio_files.check_audio(mark + data) == plain
        with pytest.raises(Unreadable, match="broken"):
            audio_files.check_audio(mark + data[: len(data) // 2])
    if kind == "FLAC":
        piped = data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]
        assert audio_files.check_audio(tag(2000) + piped).notes == OPEN


@pytest.mark.parametrize("kind, subtype", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_joined_streams_are_noted(kind, subtype):
    one, two = (
        encoded(wave([part], 48000), 48000, kind, subtype=subtype) for part in ("noise", "tone")
    )
    assert audio_files.check_audio(one).notes == ()
    (note,) = audio_files.check_audio(one + two).notes
    assert "only the first" in note and not containers.has_several_streams(one)
    if kind == "MP3":
        (note,) = audio_files.check_audio(one + bare(two)).notes
        assert "only the first" in note


def test_an_ogg_cut_within_its_header_is_cut_off():
    data = encoded(wave(["tone"]), kind="OGG")
    with pytest.raises(Unreadable, match="cut off|no audio"):
        audio_files.check_audio(data[:4000])
