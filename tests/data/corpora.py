"""Small corpora of known sound for the tests of what reads them."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from audioldm2_jax.data.corpus.prepare import prepare
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.report import Report


def tone(number: int, seconds: float = 0.5, rate: int = 16000) -> bytes:
    """A sine of its own frequency, as FLAC."""
    wave = 0.4 * np.sin(2 * np.pi * (200 + 10 * number) * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC")
    return file.getvalue()


def write_corpus(folder, count: int, *, first: int = 0, seconds: float = 0.5, splits=("train",)):
    """`count` tones for each split, two captions and a label each, ids `SPLIT/NUMBER`."""
    raw = folder.with_name(f"{folder.name}-raw")
    raw.mkdir(parents=True, exist_ok=True)
    plan = {}
    for split in splits:
        for i in range(first, first + count):
            (raw / f"{split}-{i}.flac").write_bytes(tone(i, seconds))
        plan[split] = [
            ClipRecord(
                f"{split}/{i}",
                FileRef(str(raw / f"{split}-{i}.flac")),
                captions=(f"tone {i}", f"a sine, number {i}"),
                labels=("even" if i % 2 == 0 else "odd", "tone"),
                transcript=f"this is tone number {i}",
            )
            for i in range(first, first + count)
        ]
    prepare(plan, folder, metadata={"name": folder.name}, report=Report(), workers=1)
    return folder
