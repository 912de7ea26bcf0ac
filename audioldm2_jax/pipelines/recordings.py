"""Recordings that a model continues: read from sound files, checked, cut to their end."""

from __future__ import annotations

import collections
import dataclasses
import os
from dataclasses import dataclass

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.audio import resample
from audioldm2_jax.data.ingest.audio_files import SAMPLE_RATES, SILENCE, open_audio
from audioldm2_jax.data.ingest.file_ref import FileRef, Unreadable
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.pipelines.values import check_count

_CHANNELS = 1024  # libsndfile's most


@dataclass(frozen=True)
class Recording:
    """A checked recording of one channel.

    wave: [samples] fp32. sample_rate: Hz. name: what messages and records call it. cut: seconds
    that were left out before it, 0 for a whole one.
    """

    wave: np.ndarray
    sample_rate: int
    name: str
    cut: float = 0.0

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return len(self.wave) / self.sample_rate

    def at(self, sample_rate: int) -> np.ndarray:
        """The waveform at another rate in Hz, [samples]."""
        return resample(self.wave, self.sample_rate, sample_rate)


def recordings_of(wave, sample_rate: int, *, last: float | None = None) -> list[Recording]:
    """The recordings of one or a list of paths and arrays, which are at `sample_rate`.

    last: seconds of which only the end is kept, with a note. Raises InputError.
    """
    waves = wave if isinstance(wave, (list, tuple)) else [wave]
    if not waves:
        raise InputError("wave: no recordings in the list")
    recordings = []
    for i, one in enumerate(waves):
        if isinstance(one, (str, os.PathLike)):
            recording = read_recording(one, last=last)
        else:
            name = "wave" if len(waves) == 1 else f"wave {i + 1} of {len(waves)}"
            recording = check_recording(one, sample_rate, name, last=last)
        if recording.cut:
            note(f"{recording.name}: its last {last:g} s go on; {recording.cut:.1f} s are left out")
        recordings.append(recording)
    return recordings


def read_recording(path, *, last: float | None = None) -> Recording:
    """Reads a sound file of any format, rate and number of channels that libsndfile reads.

    last: how many seconds of the file's end are returned. Raises InputError for a file that cannot
    be read, or whose sound cannot be used.
    """
    wave, rate, total = read_sound(path, last=last)
    path = files.user_path(path)
    return dataclasses.replace(_mono(wave, rate, str(path), total), name=path.name)


def read_sound(
    path, *, last: float | None = None, longest: float | None = None
) -> tuple[np.ndarray, int, int]:
    """(samples fp32 [samples, channels], Hz, number of samples of the whole file).

    last: how many seconds of the file's end are returned. longest: seconds that a file may have.
    Raises InputError for a file that cannot be read, or is longer.
    """
    path = files.user_path(path)
    try:
        data = FileRef(str(path)).read()
        with open_audio(data, path.name) as file:
            rate = file.samplerate
            blocks = file.blocks() if longest is None else _bounded(file.blocks(), rate, longest)
            wave, total = _end(blocks, None if last is None else round(last * rate))
    except Unreadable as error:
        reason = str(error) if path.exists() else "no such file"
        raise InputError(f"{path}: {reason}") from None
    return wave, rate, total


def _bounded(blocks, rate: int, longest: float):
    """The blocks of a file of at most `longest` seconds. Raises Unreadable for another."""
    total = 0
    for block in blocks:
        total += len(block)
        if total > longest * rate:
            raise Unreadable(f"longer than {longest:g} s: cut it into shorter files")
        yield block


def _end(blocks, count: int | None) -> tuple[np.ndarray, int]:
    """(the last `count` samples of blocks [samples, channels], the number of all)."""
    tail: collections.deque = collections.deque()
    total = length = 0
    for block in blocks:
        tail.append(block)
        total, length = total + len(block), length + len(block)
        while count is not None and length - len(tail[0]) >= count:
            length -= len(tail.popleft())
    wave = np.concatenate(tail) if tail else np.zeros((0, 1), np.float32)
    return wave if count is None else wave[-count:], total


def check_recording(
    wave, sample_rate, name: str = "wave", *, last: float | None = None
) -> Recording:
    """A `Recording` of an array [samples] or [samples, channels], whose channels are averaged.

    last: how many seconds of the end are returned. Raises InputError for what is no sound: another
    shape, integers, NaN, silence, no samples.
    """
    rate = check_count(f"{name}: sample_rate", sample_rate, *SAMPLE_RATES)
    wave = np.asarray(wave)
    if wave.dtype.kind != "f" or wave.ndim not in (1, 2):
        raise InputError(
            f"{name}: an array of {wave.dtype} of shape {wave.shape}; floats [samples] or "
            "[samples, channels] are expected"
        )
    if wave.ndim == 2 and wave.size and wave.shape[1] > min(len(wave), _CHANNELS):
        raise InputError(
            f"{name}: shape {wave.shape}; [samples, channels] is expected: transpose it"
        )
    end = wave if last is None else wave[-max(1, round(last * rate)) :]
    return _mono(end, rate, name, len(wave))


def _mono(wave, rate: int, name: str, total: int) -> Recording:
    """The end of a recording of `total` samples, which must be finite and no silence.

    Raises InputError.
    """
    if not wave.size:
        raise InputError(f"{name}: no samples in it")
    cut = (total - len(wave)) / rate
    if not np.isfinite(wave).all():
        raise InputError(f"{name}: NaN or infinity in its samples")
    mono = wave.astype(np.float32) if wave.ndim == 1 else wave.mean(1, dtype=np.float32)
    if np.abs(mono - mono.mean()).max() <= SILENCE:
        if wave.ndim == 2 and np.ptp(wave, axis=0).max() > 2 * SILENCE:
            raise InputError(f"{name}: its channels cancel in their average; give one of them")
        span = f" in its last {len(wave) / rate:g} s" if cut else ""
        raise InputError(f"{name}: silence{span}; a recording with sound is needed")
    return Recording(mono, rate, name, cut)
