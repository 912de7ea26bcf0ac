"""The examples of prepared corpora that hold audio: their features, and how a clip becomes one."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

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


def audio_example(entry: ClipRecord, sample_rate: int | None = None) -> tuple[dict, list[str]]:
    """An entry's example and notes on it. Raises Unreadable with the reason to leave it out.

    Audio stays as it is encoded; with sample_rate (Hz), where the entry is a piece of its file, or
    where the first channel is silent and another is not, it becomes mono FLAC.
    """
    if entry.file is None:
        raise Unreadable(entry.reason)
    data, name = entry.file.read(), entry.file.name
    sound = audio_files.check_audio(data, name, entry.start, entry.stop)
    rate, notes = sound.sample_rate, list(sound.notes)
    if sample_rate or entry.start is not None or sound.channel:
        rate = sample_rate or min(rate, 384000)
        data, more = audio_files.to_flac(data, name, sound, rate, entry.start, entry.stop)
        notes += more
    texts = {"captions": list(entry.captions), "labels": list(entry.labels)}
    valid = {key: [valid_text(text) for text in values] for key, values in texts.items()}
    transcript = valid_text(entry.transcript)
    if valid != texts or transcript != entry.transcript:
        notes.append("characters that are none in its texts: replaced")
    extra = json.dumps(entry.extra, ensure_ascii=False)
    example = {
        "id": printable(entry.id),
        "audio": data,
        **valid,
        "transcript": transcript,
        "seconds": sound.seconds,
        "sample_rate": rate,
        "extra": extra.encode("utf-8", "backslashreplace").decode(),
    }
    return example, notes


def audio_examples(entries, report: Report, sample_rate: int | None = None) -> Iterator[dict]:
    """The examples of usable entries; the others go into the report."""
    for entry in entries:
        try:
            example, notes = audio_example(entry, sample_rate)
        except Unreadable as error:
            report.skip(entry.id, str(error))
            continue
        except (RuntimeError, ValueError, MemoryError) as error:  # a codec's own
            report.skip(entry.id, f"cannot be converted ({type(error).__name__})")
            continue
        for note in notes:
            report.note(entry.id, note)
        yield example


def valid_text(text: str) -> str:
    """Text that UTF-8 can hold and tokenizers read: U+FFFD for lone surrogates and NUL."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")
