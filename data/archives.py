"""Small archives in the published layout, for the builders' tests."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.corpus_builder import load_builder
from audioldm2_jax.data.corpus.prepare import prepare
from audioldm2_jax.data.ingest.report import Report


def sound(seed: int = 0, seconds: float = 0.2, rate: int = 16000, kind: str = "WAV", channels=1):
    """Noise as the bytes of a file. kind: WAV, FLAC, MP3, OGG or OPUS."""
    wave = np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate), channels))
    file = io.BytesIO()
    container, subtype = ("OGG", "OPUS") if kind == "OPUS" else (kind, None)
    soundfile.write(file, wave, rate, format=container, subtype=subtype)
    return file.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files by name below a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Writes a deflated zip of files by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_split(path: Path, files: dict[str, bytes], parts: int) -> None:
    """Writes a split zip of `parts` volumes; its directory holds (volume, offset), like zip -s."""
    memory = io.BytesIO(b"PK\7\x08")  # split archives begin with this mark
    memory.seek(4)
    with zipfile.ZipFile(memory, "a") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    whole = bytearray(memory.getvalue())
    end = whole.rindex(b"PK\5\6")
    count, _, start = struct.unpack_from("<HLL", whole, end + 10)
    size = start // (parts - 1) + 1 if parts > 1 else len(whole)
    entry = start
    for _ in range(count):
        lengths = struct.unpack_from("<3H", whole, entry + 28)
        (offset,) = struct.unpack_from("<L", whole, entry + 42)
        struct.pack_into("<H", whole, entry + 34, offset // size)
        struct.pack_into("<L", whole, entry + 42, offset % size)
        entry += 46 + sum(lengths)
    struct.pack_into("<HH", whole, end + 4, parts - 1, start // size)
    struct.pack_into("<L", whole, end + 16, start % size)
    for i in range(parts - 1):
        name = path.with_suffix(f".z{i + 1:02d}")
        name.write_bytes(whole[i * size : (i + 1) * size])
    path.write_bytes(whole[(parts - 1) * size :])


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    """Writes a tar of files by name. mode: w, w:gz or w:bz2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_7z(path: Path, files: dict[str, bytes]) -> None:
    """Writes a 7z archive of files by name."""
    import py7zr

    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writef(io.BytesIO(data), name)


class Built:
    """A corpus built from a folder of dummy archives.

    splits: {split: {id: example}}; skipped: {name: reason}.
    """

    def __init__(self, builder: str, source: Path, target: Path, scratch: Path):
        corpus, report = load_builder(builder), Report()
        splits = corpus.splits(source, scratch, report)
        metadata = corpus.metadata()
        self.statistics = prepare(splits, target, metadata=metadata, report=report, workers=1)
        self.skipped = dict(report.skipped)
        self.splits = {split: read(target, split) for split in self.statistics["splits"]}


def read(folder: Path, split: str) -> dict[str, dict]:
    """All examples of a split by id, texts decoded."""
    source = reader.open_split(folder, split)
    return {example["id"]: example for example in map(_decoded, source)}


def _decoded(example: dict) -> dict:
    texts = {k: example[k].decode() for k in ("id", "transcript", "extra")}
    lists = {k: [text.decode() for text in example[k]] for k in ("captions", "labels")}
    return example | texts | lists
