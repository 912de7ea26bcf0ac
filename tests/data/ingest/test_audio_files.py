"""Sound as it is stored: whole or refused by name, never clipped or silenced, croppable."""

import io
import struct

import numpy as np
import pytest
import soundfile

from audioldm2_jax.audio import resample
from audioldm2_jax.data.corpus import examples
from audioldm2_jax.data.ingest import audio_files, containers
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.loading import crops

RATE = 16000


def encoded(wave, rate=RATE, kind="WAV", subtype=None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def tone(samples=8000, rate=RATE, level=0.4, channels=1):
    wave = level * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)
    return np.stack([wave] * channels, 1)


class Bytes:
    """A place in memory."""

    def __init__(self, data, name="a.wav"):
        self.data, self.name = data, name

    def read(self):
        return self.data


def example(data, sample_rate=None, name="a.wav", **span):
    return examples.audio_example(ClipRecord("a", Bytes(data, name), **span), sample_rate)


def decoded(results):
    return soundfile.read(io.BytesIO(results["audio"]), dtype="float32", always_2d=True)[0]


def packed(data, place, layout, *values) -> bytes:
    out = bytearray(data)
    struct.pack_into(layout, out, place, *values)
    return bytes(out)


def piped():
    """Whole files whose header does not tell their length, as programs write them to a pipe."""
    wave, files = tone(), {}
    wav = encoded(wave)
    size = wav.index(b"data") + 4
    for stated in (0, 0x7FFFF000, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF):
        cut = packed(wav, size, "<I", stated)
        files[f"wav {stated:x}"] = packed(cut, 4, "<I", min(stated + 36, 0xFFFFFFFF))
    au = encoded(wave, kind="AU")
    for stated in (0, 0xFFFFFFFF):
        files[f"au {stated:x}"] = packed(au, 8, ">I", stated)
    aiff = encoded(wave, kind="AIFF")
    for stated in (0, 0x7F000000):
        cut = packed(aiff, aiff.index(b"SSND") + 4, ">I", stated)
        files[f"aiff {stated:x}"] = packed(cut, cut.index(b"COMM") + 10, ">I", stated // 2)
    caf = encoded(wave, kind="CAF")
    files["caf"] = packed(caf, caf.index(b"data") + 4, ">q", -1)
    w64 = encoded(wave, kind="W64")
    files["w64"] = packed(w64, w64.index(b"data\xf3") + 16, "<Q", 0)
    flac = encoded(wave, kind="FLAC")
    files["flac"] = flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]
    files["flac without a checksum"] = files["flac"][:26] + bytes(16) + flac[42:]
    return files


@pytest.mark.parametrize("name", list(piped()))
def test_what_was_written_to_a_pipe_is_whole(name):
    data = piped()[name]
    for rate in (None, RATE, 8000):
        record, notes = example(data, rate)
        assert record["seconds"] == pytest.approx(0.5), name
        assert notes == ["length not stated: read to its end"]
        wave, valid = crops.training_clip(record["audio"], 0.1, RATE, np.random.default_rng(0))
        assert np.abs(wave).max() == pytest.approx(0.5, abs=1e-3) and valid == pytest.approx(0.1)
    plain = encoded(tone())
    one, other = (crops.random_crop(d, 0.1, np.random.default_rng(3))[0] for d in (data, plain))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "OPUS", "GSM610"]
)
def test_what_is_cut_off_is_refused(kind):
    """At any place; whole it is kept without a note."""
    wave = np.random.default_rng(0).normal(0, 0.1, 80000)
    container, subtype = {"OPUS": ("OGG", "OPUS"), "GSM610": ("WAV", "GSM610")}.get(
        kind, (kind, None)
    )
    whole = encoded(wave, kind=container, subtype=subtype)
    assert example(whole)[1] == []
    for share in (0.05, 0.3, 0.5, 0.77, 0.9):
        with pytest.raises(Unreadable, match="broken|no audio|no samples"):
            example(whole[: int(share * len(whole))])


@pytest.mark.parametrize("chunks", [b"", b"LIST\4\0\0\0INFO", b"id3 \3\0\0\0abc\0"])
def test_an_empty_file_stays_empty(chunks):
    data = encoded(np.zeros(0)) + chunks
    with pytest.raises(Unreadable, match="no samples"):
        example(data)


def codecs():
    for kind in ("WAV", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC", "OGG", "MP3"):
        for subtype in soundfile.available_subtypes(kind):
            yield kind, subtype


@pytest.mark.parametrize("kind, subtype", list(codecs()))
def test_every_encoding_is_kept_converted_and_cropped(kind, subtype):
    """A crop is the same piece as decoding everything gives; converting keeps the tone."""
    rate = 8000 if subtype and "NMS" in subtype else RATE
    try:
        data = encoded(tone(20000, rate), rate, kind, subtype)
    except (soundfile.LibsndfileError, ValueError):
        return  # libsndfile decodes this one only
    name = f"{kind} {subtype}"
    with audio_files.open_audio(data) as file:
        whole = file.read_range()
    for start, count in ((0, 4000), (7777, 3333), (len(whole) - 100, 500)):
        with audio_files.open_audio(data) as file:
            piece = file.read_range(start, count)
        np.testing.assert_allclose(piece, whole[start : start + count], atol=1e-4, err_msg=name)
    record, _ = example(data, 8000)
    wave = decoded(record)[:, 0]
    spectrum = np.abs(np.fft.rfft(wave[2000:6000] * np.hanning(4000), 8000))
    assert abs(int(spectrum.argmax()) - 440) <= 2, name
    crops.training_clip(data, 0.25, RATE, np.random.default_rng(0))


LOUD = [1.3, 4.0, 32768.0, 8388608.0, 1e9]


@pytest.mark.parametrize("level", LOUD)
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("target", [RATE, 22050])
def test_above_full_scale_nothing_is_clipped(level, subtype, target):
    wave = np.random.default_rng(0).normal(0, 0.25, 8000)
    wave *= level / np.abs(wave).max()
    data = encoded(wave, subtype=subtype)
    record, notes = example(data, target)
    assert notes == ["above full scale: scaled down"]
    stored = decoded(record)
    assert (np.abs(stored) > 0.999).mean() < 1e-3
    one, _ = crops.training_clip(data, 0.5, RATE, np.random.default_rng(0))
    other, _ = crops.training_clip(record["audio"], 0.5, RATE, np.random.default_rng(0))
    if target == RATE:
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_resampling_that_passes_full_scale():
    """A square wave at full scale rings above it."""
    wave = np.sign(np.sin(2 * np.pi * 441 * np.arange(44100) / 44100 + 0.1))
    record, notes = example(encoded(wave, 44100), RATE)
    assert notes == ["above full scale: scaled down"]
    unclipped = resample(wave, 44100, RATE)
    expected = unclipped / np.abs(unclipped).max()
    np.testing.assert_allclose(decoded(record)[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("level", [2e-4, 1e-3, 0.01])
def test_quiet_sound_is_not_coarsened(level):
    data = encoded(tone(level=level), subtype="FLOAT")
    record, _ = example(data, RATE)
    one, _ = crops.training_clip(data, 0.5, RATE, np.random.default_rng(0))
    other, _ = crops.training_clip(record["audio"], 0.5, RATE, np.random.default_rng(0))
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("silent", [0.0, 1e-5, 0.1, -0.7], ids="zeros faint offset low".split())
@pytest.mark.parametrize("channels, voice", [(2, 1), (3, 1), (6, 5), (8, 3)])
def test_a_silent_first_channel(silent, channels, voice):
    """In both modes, and in training on the file itself, the first channel with sound counts."""
    wave = np.full((8000, channels), silent)
    wave[:, voice] = tone()[:, 0]
    data = encoded(wave, subtype="FLOAT")
    expected, _ = crops.training_clip(encoded(tone()), 0.1, RATE, np.random.default_rng(5))
    for rate in (None, RATE):
        record, notes = example(data, rate)
        assert notes == ["first channel silent: the first one with sound is kept"]
        got, _ = crops.training_clip(record["audio"], 0.1, RATE, np.random.default_rng(5))
        np.testing.assert_allclose(got, expected, atol=1e-3)
    raw, _ = crops.training_clip(data, 0.1, RATE, np.random.default_rng(5))
    assert np.abs(raw).max() == pytest.approx(0.5, abs=1e-3)


def test_both_modes_draw_the_same_crops():
    """Also where the first channel rests while another sounds."""
    wave = tone(RATE, channels=2)
    wave[:12000, 0] = 0
    data = encoded(wave, subtype="PCM_24")
    record, one = example(data)
    converted, other = example(data, RATE)
    assert one == other == []
    for seed in range(20):
        a, b = (
            crops.training_clip(f["audio"], 0.2, RATE, np.random.default_rng(seed))[0]
            for f in (record, converted)
        )
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize(
    "wave, note",
    [
        (np.zeros(8000), "silent"),
        (np.full(8000, 0.3), "silent"),
        (np.full(8000, 1e-40), "silent"),
        (np.zeros((8000, 2)), "silent"),
        (tone() + 0.5, None),
    ],
)
def test_silence_is_counted_and_stays_finite(wave, note):
    data = encoded(wave, subtype="FLOAT")
    for rate in (None, 22050):
        record, notes = example(data, rate)
        assert notes == ([note] if note else [])
        clip, _ = crops.training_clip(record["audio"], 0.2, RATE, np.random.default_rng(0))
        assert np.isfinite(clip).all() and abs(clip.mean()) < 0.02
        assert clip.any() or note


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 1e300])
@pytest.mark.parametrize("place", [(0, 0), (7999, 1)])
def test_values_that_are_no_sound_are_refused(value, place):
    wave = tone(channels=2)
    wave[place] = value
    for rate in (None, 8000):
        with pytest.raises(Unreadable, match="not finite"):
            example(encoded(wave, subtype="DOUBLE"), rate)


@pytest.mark.parametrize("rate", [1, 8, 999, 768001, 2**31 - 1])
def test_rates_out_of_range_are_named(rate):
    data = packed(encoded(tone()), 24, "<I", rate)
    with pytest.raises(Unreadable, match=f"sample rate {rate} Hz is outside"):
        example(data, RATE)


@pytest.mark.parametrize("rate", [1000, 4000, 11025, 44100, 384000, 768000])
@pytest.mark.parametrize("samples", [1, 5, 50, 500, 5000])
@pytest.mark.parametrize("channels", [1, 2, 40])
def test_what_is_accepted_can_be_cropped(rate, samples, channels):
    """Whatever the length and the rate, at the settings of every model."""
    wave = np.random.default_rng(samples).normal(0, 0.1, (samples, channels))
    data = encoded(wave, rate)
    for target in (None, 1000, 16000, 48000):
        try:
            record, _ = example(data, target)
        except Unreadable as error:
            assert str(error) == "shorter than 0.01 s" and samples / rate < 0.01
            continue
        assert record["seconds"] == pytest.approx(samples / rate)
        for seconds, model in ((0.1, 16000), (0.64, 16000), (2.5, 48000), (10.24, 22050)):
            clip, valid = crops.training_clip(
                record["audio"], seconds, model, np.random.default_rng(samples)
            )
            assert clip.shape == (int(seconds * model),) and np.isfinite(clip).all()
            assert 0 < valid <= seconds + 1e-6


@pytest.mark.parametrize("promise", [1, 500, 3517, 4600])
def test_an_mp3_that_promises_more_than_it_holds(promise):
    """Every crop can be drawn, and only out of what decodes."""
    data = encoded(np.random.default_rng(0).normal(0, 0.1, 44100), 44100, "MP3")
    frame = 144 * 128000 // 44100
    cut = data[: len(data) - max(1, round(promise / 1152)) * frame]
    with audio_files.open_audio(cut) as file:
        stated, held = file.frames, len(file.read_range())
    assert stated > held
    try:
        record, notes = example(cut)
    except Unreadable as error:
        assert "cut off" in str(error) and stated - held > 4608
        return
    assert notes == ["shorter than its header states"]
    for seed in range(60):
        crops.training_clip(record["audio"], 0.5, RATE, np.random.default_rng(seed))


def test_pieces_of_a_recording():
    wave = 3.0 * tone(3 * RATE)
    data = encoded(wave, subtype="FLOAT")
    record, notes = example(data, None, start=1.0, stop=1.5)
    assert record["seconds"] == 0.5 and notes == ["above full scale: scaled down"]
    expected = wave[RATE : RATE + 8000] / np.abs(wave).max()
    np.testing.assert_allclose(decoded(record), expected, atol=1e-3)
    record, notes = example(data, None, start=2.75, stop=3.5)
    assert record["seconds"] == 0.25 and "shorter than its segment" in notes
    for start, stop in (
        (-1.0, 1.0),
        (1.0, 1.0),
        (2.0, 1.0),
        (float("nan"), 1.0),
        (0, float("inf")),
    ):
        with pytest.raises(Unreadable, match="no part of a file"):
            example(data, None, start=start, stop=stop)
    with pytest.raises(Unreadable, match="shorter than its segments"):
        example(data, None, start=3.5, stop=4.0)


def test_stated_sizes_allocate_nothing(monkeypatch):
    """Channels, samples and rates of a header alone; a block is bounded whatever they say."""
    largest, read = [0], soundfile.SoundFile.read

    def measured(self, frames=-1, *args, **kwargs):
        largest[0] = max(largest[0], frames * self.channels)
        assert frames >= 0
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", measured)
    flac = bytearray(encoded(tone(), kind="FLAC"))
    flac[21] |= 0xF
    flac[22:26] = b"\xff" * 4
    with pytest.raises(Unreadable, match="cut off"):
        example(bytes(flac), RATE)
    clip, _ = crops.training_clip(bytes(flac), 0.1, RATE, np.random.default_rng(0))
    assert clip.any()
    wide = encoded(np.random.default_rng(0).normal(0, 0.1, (2000, 1024)))
    example(wide, 8000)
    crops.training_clip(wide, 10.24, RATE, np.random.default_rng(0))
    assert largest[0] <= 1 << 20


def test_junk_has_no_extent():
    rng = np.random.default_rng(0)
    for data in [encoded(tone(100), kind=k) for k in ("WAV", "AIFF", "CAF", "W64", "AU", "OGG")]:
        for _ in range(200):
            torn = bytearray(data[: rng.integers(len(data))])
            for place in rng.integers(len(torn), size=4) if torn else ():
                torn[place] = rng.integers(256)
            for read in (containers.find_extent, containers.is_truncated, containers.lacks_length):
                read(bytes(torn))
            containers.with_length(bytes(torn))


def test_damaged_bytes_are_refused_or_can_be_cropped():
    """Bytes changed, taken out, put in; from then on no other exception, and no broken sound."""
    rng = np.random.default_rng(0)
    wave, kinds = tone(3000), ("WAV", "AIFF", "AU", "CAF", "W64", "FLAC", "OGG", "MP3")
    for kind in kinds:
        whole = encoded(wave, kind=kind)
        for _ in range(25):
            data = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                place = int(
                    rng.integers(min(len(data), 200)) if rng.random() < 0.7 else len(data) // 2
                )
                change = rng.integers(3)
                if change == 0:
                    data[place : place + 4] = rng.bytes(4)
                elif change == 1:
                    del data[place : place + int(rng.integers(1, 40))]
                else:
                    data[place:place] = rng.bytes(int(rng.integers(1, 40)))
            for rate in (None, 8000):
                try:
                    record, _ = example(bytes(data), rate)
                except Unreadable:
                    continue
                for seed in range(3):
                    clip, _ = crops.training_clip(
                        record["audio"], 0.1, RATE, np.random.default_rng(seed)
                    )
                    assert np.isfinite(clip).all() and np.abs(clip).max() <= 0.51
