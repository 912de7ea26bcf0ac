"""From an encoded file to the samples that a network reads, by a protocol's rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.data.ingest import audio_files
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.silence import is_silent
from audioldm2_jax.evaluation.resampling import RESAMPLERS
from audioldm2_jax.evaluation.rules import LoaderRules

CLIPPED_SHARE = 1e-3  # of samples at or above full scale, from which a clip counts as clipped
_FULL_SCALE = 32767 / 32768
_IN_MEMORY = 1 << 24  # samples of a file; longer ones are decoded again instead of kept


@dataclass(frozen=True)
class ClipFacts:
    """What a file holds, and what of it a network reads.

    sample_rate: Hz. seconds: its length. silent: whether the network reads silence; an offset alone
    is silence, before any scaling. clipped: whether too many samples are at full scale.
    """

    sample_rate: int
    seconds: float
    silent: bool
    clipped: bool


def read_facts(data: bytes, rules: LoaderRules, sample_rate: int, name: str = "") -> ClipFacts:
    """Decodes a whole file, and loads it for a network at `sample_rate` (Hz).

    name: the file's, for messages. Raises Unreadable for data that is not audio, damaged, not
    finite, or shorter than 0.01 s, and as `load_clip` does.
    """
    low, high, full = math.inf, -math.inf, np.zeros(1)

    def watch(block: np.ndarray) -> None:
        nonlocal low, high, full
        mono = _mono(block, rules)
        low, high = min(low, float(mono.min())), max(high, float(mono.max()))
        full = full + (np.abs(block) >= _FULL_SCALE).sum(0)

    with _codec_errors(), np.errstate(invalid="ignore"):
        info = audio_files.check_audio(data, name, watch=watch)
    # What resampling removes, as sound above the network's band, is silence to the network.
    silent = is_silent(np.array([low, high])) or is_silent(
        load_clip(data, rules, sample_rate, name)
    )
    clipped = bool(full.max() > CLIPPED_SHARE * info.samples)
    return ClipFacts(info.sample_rate, info.seconds, silent, clipped)


def _mono(block: np.ndarray, rules: LoaderRules) -> np.ndarray:
    """[samples, channels] -> [samples]."""
    return block[:, 0] if rules.channels == "first" else block.mean(1)


def load_clip(data: bytes, rules: LoaderRules, sample_rate: int, name: str = "") -> np.ndarray:
    """The samples of an encoded file at `sample_rate` (Hz): float32 [samples].

    name: the file's, for messages. The file may be long: memory is that of the result. Raises
    Unreadable for data that does not decode, is not finite or has no samples, and for a rate that
    the resampler does not take.
    """
    with _codec_errors():
        with audio_files.open_audio(data, name) as file:
            source = file.samplerate
        blocks, offset, gain = _statistics(data, name, rules)
        pieces = ((block - offset) * gain for block in blocks)
        if rules.via_rate:
            pieces = RESAMPLERS[rules.resampler](pieces, source, rules.via_rate)
            pieces = _filled(pieces, round(rules.min_seconds * rules.via_rate))
            source = rules.via_rate
        pieces = RESAMPLERS[rules.resampler](pieces, source, sample_rate)
        return _finish(_first_seconds(pieces, rules, sample_rate), rules, sample_rate)


@contextmanager
def _codec_errors() -> Iterator[None]:
    """Raises Unreadable for what codecs and resamplers raise."""
    try:
        yield
    except InputError as error:  # of rates
        raise Unreadable(str(error)) from None
    except (RuntimeError, ValueError, MemoryError) as error:
        raise Unreadable(f"cannot be decoded ({type(error).__name__})") from None


def mono_blocks(data: bytes, name: str, rules: LoaderRules) -> Iterator[np.ndarray]:
    """Yields a file's first channel, or the mean of all: float32 [samples]. Raises Unreadable."""
    with audio_files.open_audio(data, name) as file:
        for block in file.blocks():
            if rules.int16 == "read":
                block = np.clip(np.floor(block * 32768), -32768, 32767) / 32768
            mono = _mono(block, rules)
            if not np.isfinite(mono).all():
                raise Unreadable(audio_files.NOT_FINITE)
            yield np.ascontiguousarray(mono, np.float32)


def _statistics(
    data: bytes, name: str, rules: LoaderRules
) -> tuple[Iterable[np.ndarray], np.float32, np.float32]:
    """A file's mono blocks, what is subtracted from them, and what they are multiplied by then."""
    loaded: list[np.ndarray] = []
    total, count, low, high = 0.0, 0, 0.0, 0.0
    for block in mono_blocks(data, name, rules):
        total, count = total + float(block.sum(dtype=np.float64)), count + len(block)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        if count <= _IN_MEMORY:
            loaded.append(block)
    if not count:
        raise Unreadable("no samples")
    offset = total / count if rules.demean else 0.0
    peak = max(high - offset, offset - low)
    gain = 10 ** (rules.peak_db / 20) / peak if _scales(rules, "input") and peak > 0 else 1.0
    blocks = loaded if count <= _IN_MEMORY else mono_blocks(data, name, rules)
    return blocks, np.float32(offset), np.float32(gain)


def _scales(rules: LoaderRules, stage: str) -> bool:
    return rules.peak_db is not None and rules.peak_at == stage


def _filled(pieces: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """The pieces, and zeros after them where they are fewer than `samples`."""
    for piece in pieces:
        samples -= len(piece)
        yield piece
    yield np.zeros(max(0, samples), np.float32)


def _first_seconds(
    pieces: Iterable[np.ndarray], rules: LoaderRules, sample_rate: int
) -> np.ndarray:
    """The pieces in one array, as far as `max_seconds` reaches; what follows is not read."""
    limit = round(rules.max_seconds * sample_rate) if rules.max_seconds else None
    parts, count = [np.zeros(0, np.float32)], 0
    for piece in pieces:
        parts.append(piece)
        count += len(piece)
        if limit is not None and count >= limit:
            break
    return np.concatenate(parts)[:limit]


def _finish(audio: np.ndarray, rules: LoaderRules, sample_rate: int) -> np.ndarray:
    """The rules that follow resampling, on float32 [samples]."""
    peak = float(np.abs(audio).max(initial=0.0))
    if _scales(rules, "output") and peak > 0:
        audio = audio * np.float32(10 ** (rules.peak_db / 20) / peak)
    if rules.int16 == "write":
        audio = np.clip(np.rint(audio * 32768), -32768, 32767) / 32768
    elif rules.int16 == "clap":
        audio = np.trunc(np.clip(audio, -1, 1) * 32767) / 32767
    if rules.full_scale:
        audio = audio / max(0.1, float(audio.max(initial=0.0)))
    pieces = _filled([audio], round(rules.min_seconds * sample_rate))
    return np.concatenate(list(pieces)).astype(np.float32)
