"""Encoded audio in memory: what it is, whether it is whole, a piece of it, another encoding.

Sizes that a header states (samples, channels, rate) decide no allocation: sound is read in blocks,
as far as it decodes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import soundfile
import soxr

from audioldm2_jax.data.ingest import containers
from audioldm2_jax.data.ingest.file_ref import UNSUPPORTED_SUFFIXES, Unreadable

SILENCE = 1e-4  # the reference's bound of a crop that is not worth training on
RATES = (1000, 768000)  # Hz
SHORTEST = 0.01  # seconds: one frame of the mel spectrogram
LONGEST = 1 << 32  # samples, about a day at 48 kHz
_BLOCK = 1 << 20  # values
# MP3's frames lean on up to 511 bytes of those before them: 15 of the smallest ones. libsndfile
# decodes without them after a seek, to silence.
_RUN_IN = 16 * 1152
_LOUDEST = 1e10  # integers of 32 bits stored as floats are below it
UNDECODABLE = "broken: it cannot be decoded to its end"
_CUT = "broken: cut off before the length that it states"


@dataclass(frozen=True)
class Sound:
    """What a file, or a piece of it, holds.

    peak: of all channels; channel: the first one with sound, which training reads; quiet: whether
    that channel's peak is so low that 16 bits would coarsen it; notes: what is odd about it.
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
        return self.samples / self.sample_rate


class Decoder(soundfile.SoundFile):
    """An encoded file that is read forward, also where libsndfile cannot seek."""

    def __init__(self, data: bytes, name: str = ""):
        self._encoded = data, name
        super().__init__(io.BytesIO(containers.with_length(data)))

    def seekable(self) -> bool:
        # soundfile would seek after each read, which fails for GSM 6.10, G.721 and others, and at
        # the end of a FLAC of unknown length.
        return False

    def pieces(self, start: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        """[samples, channels] fp32, one after another, as far as it decodes. Raises Unreadable."""
        lead = min(start, _RUN_IN if self.format == "MP3" else 0)
        try:
            if start:
                self.seek(start - lead)
        except soundfile.LibsndfileError:
            # A failed seek may leave the file anywhere.
            with open_audio(*self._encoded) as file:
                yield from _without(file._forward(_sum(start, count)), start)
            return
        yield from _without(self._forward(_sum(lead, count)), lead)

    def _forward(self, count: int | None) -> Iterator[np.ndarray]:
        """From where it stands."""
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

    def piece(self, start: int = 0, count: int | None = None) -> np.ndarray:
        """[samples, channels] fp32, fewer than `count` at the end. Raises Unreadable."""
        blocks = list(self.pieces(start, count))
        if not blocks:
            return np.zeros((0, self.channels), np.float32)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _sum(start: int, count: int | None) -> int | None:
    return None if count is None else start + count


def _without(blocks: Iterator[np.ndarray], lead: int) -> Iterator[np.ndarray]:
    """The blocks less their first `lead` samples."""
    for block in blocks:
        if lead < len(block):
            yield block[lead:]
        lead = max(0, lead - len(block))


def open_audio(data: bytes, name: str = "") -> Decoder:
    """Raises Unreadable for what is no audio, or has a rate outside RATES."""
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
        raise Unreadable("no audio that libsndfile reads") from None
    if not RATES[0] <= file.samplerate <= RATES[1]:
        rate = file.samplerate
        file.close()
        raise Unreadable(f"sample rate {rate} Hz is outside {RATES[0]} to {RATES[1]}")
    return file


def first_audible_channel(low: np.ndarray, high: np.ndarray) -> int:
    """The first channel whose values spread over more than SILENCE; 0 if there is none.

    low, high: least and greatest value of each channel. A constant offset is no sound.
    """
    loud = (high - low) / 2 > SILENCE
    return int(loud.argmax())


def check_audio(
    data: bytes, name: str = "", start: float | None = None, stop: float | None = None
) -> Sound:
    """Decodes all of a file, or from start to stop (seconds).

    Raises Unreadable if it is no audio, cut off, empty, or not finite.
    """
    with open_audio(data, name) as file:
        first, count = _range(file.samplerate, start, stop)
        low = np.full(file.channels, np.inf)
        high, samples = -low, 0
        for block in file.pieces(first, count):
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
            samples += len(block)
            if not np.all(np.abs([low, high]) < _LOUDEST):
                raise Unreadable("broken: it holds values that are not finite, or above 1e10")
            if samples > LONGEST:
                raise Unreadable(f"longer than {LONGEST} samples: cut it into shorter files")
        if start is None and containers.is_truncated(data):
            raise Unreadable(_CUT)
        if not samples:
            raise Unreadable("no samples" if start is None else "broken: shorter than its segments")
        notes = _oddities(data, file, samples) if start is None else []
        if start is not None and samples < count - 1:
            notes = ["shorter than its segment"]
        if samples < SHORTEST * file.samplerate:
            raise Unreadable(f"shorter than {SHORTEST} s")
        channel = first_audible_channel(low, high)
        peak = np.maximum(-low, high)
        if channel:
            notes.append("first channel silent: the first one with sound is kept")
        if not (high[channel] - low[channel]) / 2 > SILENCE:
            notes.append("silent")
        quiet = bool(peak[channel] < 2**-5)
        rate, channels = file.samplerate, file.channels
        return Sound(samples, rate, channels, float(peak.max()), channel, quiet, tuple(notes))


def _range(rate: int, start: float | None, stop: float | None) -> tuple[int, int | None]:
    if start is None:
        return 0, None
    if not (math.isfinite(start) and math.isfinite(stop) and 0 <= start < stop):
        raise Unreadable("its start and stop are no part of a file")
    return round(start * rate), max(1, round((stop - start) * rate))


def _oddities(data: bytes, file: Decoder, samples: int) -> list[str]:
    """Notes on a decoded file's length. Raises Unreadable if it is cut off."""
    if containers.has_several_streams(data):
        return ["several streams one after another: only the first is read"]
    if containers.lacks_length(data):
        return ["length not stated: read to its end"]
    missing = file.frames - samples
    # Encoders of MP3 may promise some samples of padding that are not there.
    if missing > max(min(4608, samples), 0.01 * file.frames):
        raise Unreadable(_CUT)
    return ["shorter than its header states"] if missing > 0 else []


def to_flac(
    data: bytes,
    name: str,
    sound: Sound,
    sample_rate: int,
    start: float | None = None,
    stop: float | None = None,
) -> tuple[bytes, list[str]]:
    """`sound`'s channel at another rate as mono FLAC, and notes. Raises Unreadable.

    Where the result would pass full scale it is scaled down to it, for FLAC would clip; quiet sound
    is kept in 24 bits.
    """
    subtype = "PCM_24" if sound.quiet else "PCM_16"
    scale, notes = 1.0, []
    while True:
        out, peak = io.BytesIO(), 0.0
        with open_audio(data, name) as file:
            first, count = _range(file.samplerate, start, stop)
            with soundfile.SoundFile(out, "w", sample_rate, 1, subtype, format="FLAC") as sink:
                for block in _resampled(file, first, count, sound.channel, sample_rate):
                    peak = max(peak, float(np.abs(block).max(initial=0.0)))
                    sink.write(np.clip(block * scale, -1.0, 1.0))
        if peak * scale <= 1.0 + 1e-6:
            return out.getvalue(), notes
        scale, notes = 1.0 / peak, ["above full scale: scaled down"]


def _resampled(file: Decoder, first, count, channel, sample_rate) -> Iterator[np.ndarray]:
    """One channel at `sample_rate`, block by block."""
    pieces = (block[:, channel] for block in file.pieces(first, count))
    if file.samplerate == sample_rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in pieces:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
