"""The examples of prepared corpora that hold audio: their features, and how a clip becomes one."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator

import numpy as np

from audioldm2_jax.data.ingest import audio_files
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import printable


@functools.cache
def audio_features():
    """The TFDS features of an example with audio.

    `id`, `audio` (the encoded file's bytes), `captions`, `labels`, `transcript`, `seconds`,
    `sample_rate` (Hz) and `extra` (JSON).
    """
    import tensorflow_datasets as tfds

    text, number = tfds.features.Text, np.float32
    return tfds.features.FeaturesDict(
        {
            "id": text(),
            "audio": tfds.features.Tensor(shape=(), dtype=np.bytes_),
            "captions": tfds.features.Sequence(text()),
            "labels": tfds.features.Sequence(text()),
            "transcript": text(),
            "seconds": number,
            "sample_rate": np.int32,
            "extra": text(),
        }
    )


def audio_example(clip: ClipRecord, sample_rate: int | None = None) -> tuple[dict, list[str]]:
    """Returns a clip's example and notes on it.

    The audio stays as it is encoded, except in three cases, in which it becomes mono FLAC: with
    `sample_rate` (Hz); for a range of a file; where the first channel is silent but another is not.
    Raises Unreadable with the reason to skip the clip.
    """
    if clip.file is None:
        raise Unreadable(clip.reason)
    data, name = clip.file.read(), clip.file.name
    info = audio_files.check_audio(data, name, clip.start, clip.stop)
    rate, notes = info.sample_rate, list(info.notes)
    if sample_rate or clip.start is not None or info.channel:
        rate = sample_rate or min(rate, 384000)
        data, more = audio_files.to_flac(data, name, info, rate, clip.start, clip.stop)
        notes += more
    texts = {"captions": list(clip.captions), "labels": list(clip.labels)}
    valid = {key: [valid_text(text) for text in values] for key, values in texts.items()}
    transcript = valid_text(clip.transcript)
    if valid != texts or transcript != clip.transcript:
        notes.append("characters that are none in its texts: replaced")
    extra = json.dumps(clip.extra, ensure_ascii=False)
    example = {
        "id": printable(clip.id),
        "audio": data,
        **valid,
        "transcript": transcript,
        "seconds": info.seconds,
        "sample_rate": rate,
        "extra": extra.encode("utf-8", "backslashreplace").decode(),
    }
    return example, notes


def audio_examples(
    clips: Iterable[ClipRecord], report: Report, sample_rate: int | None = None
) -> Iterator[dict]:
    """Yields the examples of usable clips; the report receives the others."""
    for clip in clips:
        try:
            example, notes = audio_example(clip, sample_rate)
        except Unreadable as error:
            report.skip(clip.id, str(error))
            continue
        except (RuntimeError, ValueError, MemoryError) as error:  # a codec's own
            report.skip(clip.id, f"cannot be converted ({type(error).__name__})")
            continue
        for note in notes:
            report.note(clip.id, note)
        yield example


def valid_text(text: str) -> str:
    """Replaces lone surrogates and NUL by U+FFFD, so that UTF-8 and tokenizers accept the text."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")
