"""Encoded audio in memory: decoding a range of it, checking all of it, converting it to FLAC.

Audio is read in blocks as far as it decodes. No allocation depends on a size that a header states.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import soundfile
import soxr

from audioldm2_jax.data.ingest import containers
from audioldm2_jax.data.ingest.file_ref import UNSUPPORTED_SUFFIXES, Unreadable

SILENCE = 1e-4  # peak below which the reference implementation draws a crop again
SAMPLE_RATES = (1000, 768000)  # Hz
MIN_SECONDS = 0.01  # one frame of the mel spectrogram
MAX_SAMPLES = 1 << 32  # about a day at 48 kHz
_BLOCK = 1 << 20  # values
# An MP3 frame depends on up to 511 bytes before it: 15 of the smallest frames. After a seek,
# libsndfile decodes without them, to silence.
_MP3_LEAD_IN = 16 * 1152
_MAX_VALUE = 1e10  # 32-bit integers stored as floats are below it
NOT_AUDIO = "no audio that libsndfile reads"
NOT_FINITE = "broken: it holds values that are not finite, or above 1e10"
UNDECODABLE = "broken: it cannot be decoded to its end"
TRUNCATED = "broken: cut off before the length that it states"


@dataclass(frozen=True)
class AudioInfo:
    """Properties of an audio file, or of a range of it.

    sample_rate: Hz. peak: of all channels. channel: the first audible one, which training reads.
    quiet: whether that channel's peak is too low for 16 bits. notes: what is odd about the file.
    """

    samples: int
    sample_rate: int
    channels: int
    peak: float
    channel: int = 0
    quiet: bool = False
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return self.samples / self.sample_rate


class Decoder(soundfile.SoundFile):
    """An encoded file that is read forward, so that formats without seeking work too."""

    def __init__(self, data: bytes, name: str = ""):
        self._encoded = data, name
        super().__init__(io.BytesIO(containers.with_length(data)))

    def seekable(self) -> bool:
        """Always False, so that soundfile never seeks by itself."""
        # soundfile would seek after each read, which fails for GSM 6.10, G.721 and others, and at
        # the end of a FLAC of unknown length.
        return False

    def blocks(self, start: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        """Yields float32 blocks [samples, channels] of a range, as far as the file decodes.

        start, count: samples; None reads to the end. Raises Unreadable.
        """
        lead = min(start, _MP3_LEAD_IN if self.format == "MP3" else 0)
        try:
            if start:
                self.seek(start - lead)
        except soundfile.LibsndfileError:
            # A failed seek may leave the file anywhere.
            with open_audio(*self._encoded) as file:
                yield from _skip(file._forward(_sum(start, count)), start)
            return
        yield from _skip(self._forward(_sum(lead, count)), lead)

    def _forward(self, count: int | None) -> Iterator[np.ndarray]:
        """Yields blocks from the current position."""
        size, left = max(1, _BLOCK // self.channels), count
        while left is None or left > 0:
            try:
                block = self.read(size if left is None else min(size, left), "float32", True)
            except (soundfile.LibsndfileError, RuntimeError):
                raise Unreadable(UNDECODABLE) from None
            if not len(block):
                return
            yield block
            left = None if left is None else left - len(block)

    def read_range(self, start: int = 0, count: int | None = None) -> np.ndarray:
        """Reads float32 [samples, channels], fewer than `count` at the end. Raises Unreadable."""
        blocks = list(self.blocks(start, count))
        if not blocks:
            return np.zeros((0, self.channels), np.float32)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _sum(start: int, count: int | None) -> int | None:
    return None if count is None else start + count


def _skip(blocks: Iterator[np.ndarray], lead: int) -> Iterator[np.ndarray]:
    """Drops the first `lead` samples."""
    for block in blocks:
        if lead < len(block):
            yield block[lead:]
        lead = max(0, lead - len(block))


def open_audio(data: bytes, name: str = "") -> Decoder:
    """Opens encoded audio. name: the file's, for messages.

    Raises Unreadable for data that is not audio, and for a sample rate outside SAMPLE_RATES.
    """
    if not data:
        raise Unreadable("empty file")
    try:
        file = Decoder(data, name)
    except (soundfile.LibsndfileError, TypeError, RuntimeError):
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in UNSUPPORTED_SUFFIXES:
            raise Unreadable(
                f"{suffix} is not decoded here: convert it first (ffmpeg -i in{suffix} out.flac)"
            ) from None
        raise Unreadable(NOT_AUDIO) from None
    if not SAMPLE_RATES[0] <= file.samplerate <= SAMPLE_RATES[1]:
        rate = file.samplerate
        file.close()
        raise Unreadable(f"sample rate {rate} Hz is outside {SAMPLE_RATES[0]} to {SAMPLE_RATES[1]}")
    return file


def first_audible_channel(low: np.ndarray, high: np.ndarray) -> int:
    """The first channel whose amplitude exceeds SILENCE; 0 if there is none.

    low, high: minimum and maximum of each channel. A constant offset counts as silence.
    """
    audible = (high - low) / 2 > SILENCE
    return int(audible.argmax())


def check_audio(
    data: bytes,
    name: str = "",
    start: float | None = None,
    stop: float | None = None,
    watch: Callable[[np.ndarray], object] | None = None,
) -> AudioInfo:
    """Decodes a file, or its range from `start` to `stop` (seconds), and returns its properties.

    watch: receives each float32 block [samples, channels] of finite values. Raises Unreadable if it
    is not audio, truncated, empty, not finite, too long or too short.
    """
    with open_audio(data, name) as file:
        first, count = _range(file.samplerate, start, stop)
        low = np.full(file.channels, np.inf)
        high, samples = -low, 0
        for block in file.blocks(first, count):
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
            samples += len(block)
            if not np.all(np.abs([low, high]) < _MAX_VALUE):
                raise Unreadable(NOT_FINITE)
            if watch:
                watch(block)
            if samples > MAX_SAMPLES:
                raise Unreadable(f"longer than {MAX_SAMPLES} samples: cut it into shorter files")
        if start is None and containers.is_truncated(data):
            raise Unreadable(TRUNCATED)
        if not samples:
            raise Unreadable("no samples" if start is None else "broken: shorter than its segments")
        notes = _oddities(data, file, samples) if start is None else []
        if start is not None and samples < count - 1:
            notes = ["shorter than its segment"]
        if samples < MIN_SECONDS * file.samplerate:
            raise Unreadable(f"shorter than {MIN_SECONDS} s")
        channel = first_audible_channel(low, high)
        peak = np.maximum(-low, high)
        if channel:
            notes.append("first channel silent: the first one with sound is kept")
        if not (high[channel] - low[channel]) / 2 > SILENCE:
            notes.append("silent")
        quiet = bool(peak[channel] < 2**-5)
        rate, channels = file.samplerate, file.channels
        return AudioInfo(samples, rate, channels, float(peak.max()), channel, quiet, tuple(notes))


def _range(rate: int, start: float | None, stop: float | None) -> tuple[int, int | None]:
    if start is None:
        return 0, None
    if not (math.isfinite(start) and math.isfinite(stop) and 0 <= start < stop):
        raise Unreadable("its start and stop are no part of a file")
    return round(start * rate), max(1, round((stop - start) * rate))


def _oddities(data: bytes, file: Decoder, samples: int) -> list[str]:
    """Notes on a decoded file's length. Raises Unreadable if it is truncated."""
    if containers.has_several_streams(data):
        return ["several streams one after another: only the first is read"]
    if containers.lacks_length(data):
        return ["length not stated: read to its end"]
    missing = file.frames - samples
    # MP3 encoders may state some samples of padding that the file does not hold.
    if missing > max(min(4608, samples), 0.01 * file.frames):
        raise Unreadable(TRUNCATED)
    return ["shorter than its header states"] if missing > 0 else []


def to_flac(
    data: bytes,
    name: str,
    info: AudioInfo,
    sample_rate: int,
    start: float | None = None,
    stop: float | None = None,
) -> tuple[bytes, list[str]]:
    """Converts channel `info.channel` to mono FLAC at `sample_rate` (Hz); returns it and notes.

    A result above full scale is scaled down to it, since FLAC would clip. Quiet audio gets 24 bits.
    start, stop: seconds. Raises Unreadable.
    """
    subtype = "PCM_24" if info.quiet else "PCM_16"
    scale, notes = 1.0, []
    while True:
        out, peak = io.BytesIO(), 0.0
        with open_audio(data, name) as file:
            first, count = _range(file.samplerate, start, stop)
            with soundfile.SoundFile(out, "w", sample_rate, 1, subtype, format="FLAC") as sink:
                for block in _resampled(file, first, count, info.channel, sample_rate):
                    peak = max(peak, float(np.abs(block).max(initial=0.0)))
                    sink.write(np.clip(block * scale, -1.0, 1.0))
        if peak * scale <= 1.0 + 1e-6:
            return out.getvalue(), notes
        scale, notes = 1.0 / peak, ["above full scale: scaled down"]


def _resampled(file: Decoder, first, count, channel, sample_rate) -> Iterator[np.ndarray]:
    """Yields one channel at `sample_rate`, block by block."""
    pieces = (block[:, channel] for block in file.blocks(first, count))
    if file.samplerate == sample_rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in pieces:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
