"""Writes the synthetic corpus as FLAC files and JSON lines, in shards, resumable after a stop."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from audioldm2_jax import audio, files, pictures
from audioldm2_jax.data.corpus.parallel import parallel_map
from audioldm2_jax.data.soundscapes.scene import KINDS, Clip, make_clip
from audioldm2_jax.data.soundscapes.sound_classes import SOUND_CLASSES
from audioldm2_jax.data.soundscapes.voices import check_voices
from audioldm2_jax.errors import InputError

SHARD_CLIPS = 250


def metadata_line(clip: Clip, file: str) -> dict:
    """A clip's metadata: `wav`, `caption_N` and `labels` as in the authors' training files."""
    captions = {f"caption_{i + 1}": text for i, text in enumerate(clip.captions)}
    line = {"wav": file, **captions, "labels": clip.labels, "kind": clip.kind}
    line["seconds"] = round(len(clip.audio) / clip.sample_rate, 4)
    return line | {"events": clip.events, "transcript": clip.transcript}


def build(
    folder,
    count: int,
    *,
    seed: int = 0,
    seconds: float = 10.24,
    speech: float = 0.0,
    kinds: Mapping[str, float] = KINDS,
    voices: str = "varied",
    classes: Sequence[str] = (),
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Writes clips 0 to `count` and returns `statistics`.

    Writes folder/audio/NNNNNNN.flac and folder/metadata.jsonl. Existing shards of an equal call are
    kept, so a stopped build resumes. seconds, speech, kinds, voices: as in `make_clip`. classes:
    clips of one of these classes each, in turn, instead of scenes. progress: called with the number
    of clips after each shard. Raises InputError for unknown voices or classes, and for a folder
    with a build of other settings.
    """
    folder = Path(folder)
    settings = {"seed": seed, "seconds": seconds, "speech": speech, "kinds": dict(kinds)}
    check_voices(voices)
    if unknown := sorted(set(classes) - set(SOUND_CLASSES)):
        raise InputError(f"class {unknown[0]!r}: choose of {' '.join(sorted(SOUND_CLASSES))}")
    # Only if they differ from the default: builds from before these settings can resume.
    settings |= {"voices": voices} if voices != "varied" else {}
    settings |= {"classes": list(classes)} if classes else {}
    _open_folder(folder, settings)
    starts = range(0, count, SHARD_CLIPS)
    write = functools.partial(_write_shard, folder, count=count, **settings)
    for done in parallel_map(write, starts, workers):
        if progress:
            progress(done)
    lines = [line for start in starts for line in _lines(folder, start)]
    text = "".join(json.dumps(line) + "\n" for line in lines[:count])
    files.write_text(folder / "metadata.jsonl", text)
    _remove_partial_files(folder)
    return statistics(lines[:count])


def _open_folder(folder: Path, settings: dict) -> None:
    """Creates the folder, or checks that it is a build with these settings."""
    path = folder / "settings.json"
    if path.exists():
        try:
            stored = files.read_json(path)
        except InputError as error:
            raise InputError(f"{error}; delete {folder} to begin anew") from None
        if stored != settings:
            what = f"{stored}"[:200]
            raise InputError(f"{folder}: holds a build with {what}; choose another folder")
        _remove_partial_files(folder)
        return

    def write(new: Path) -> None:
        for name in ("audio", "parts"):
            (new / name).mkdir()
        files.write_json(new / "settings.json", settings)

    files.write_folder(folder, write)


def _remove_partial_files(folder: Path) -> None:
    """Removes files that a killed build left half-written."""
    for path in (*folder.glob(".*.part*"), *folder.glob("*/.*.part*")):
        with suppress(OSError):
            path.unlink()


def _shard_path(folder: Path, start: int) -> Path:
    return folder / "parts" / f"{start:07d}.jsonl"


def _lines(folder: Path, start: int) -> list[dict]:
    """A shard's metadata lines; [] for a shard that is missing or damaged."""
    try:
        lines = [
            json.loads(line)
            for line in files.read_text(_shard_path(folder, start)).split("\n")[:-1]
        ]
        intact = all((folder / line["wav"]).is_file() and _complete(line) for line in lines)
    except (InputError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return lines if intact else []


def _complete(line: dict) -> bool:
    """Whether a line has the values that `statistics` counts."""
    kinds = {"seconds": float, "kind": str, "labels": list, "caption_1": str}
    return all(isinstance(line.get(key), kind) for key, kind in kinds.items())


def _write_shard(folder: Path, start: int, *, count, seed, classes=(), **settings) -> int:
    """Writes a shard's audio, then its lines, and returns its number of clips."""
    stop = min(start + SHARD_CLIPS, count)
    if len(_lines(folder, start)) >= stop - start:
        return stop - start
    lines = []
    for index in range(start, stop):
        only = classes[index % len(classes)] if classes else None
        clip = make_clip(seed, index, only=only, **settings)
        file = f"audio/{index:07d}.flac"
        audio.save_audio(folder / file, clip.audio, clip.sample_rate)
        lines.append(json.dumps(metadata_line(clip, file)) + "\n")
    files.write_text(_shard_path(folder, start), "".join(lines))
    return stop - start


def statistics(lines) -> dict:
    """Counts a build's metadata lines: clips, hours, kinds, labels, distinct captions and words."""
    kinds, labels, captions, words, seconds, clips = Counter(), Counter(), set(), Counter(), 0.0, 0
    for line in lines:
        clips += 1
        seconds += line["seconds"]
        kinds[line["kind"]] += 1
        labels.update(line["labels"])
        captions.add(line["caption_1"])
        words.update(line["caption_1"].lower().replace(",", " ").replace(".", " ").split())
    return {
        "clips": clips,
        "hours": round(seconds / 3600, 3),
        "kinds": dict(kinds.most_common()),
        "labels": dict(labels.most_common()),
        "distinct captions": len(captions),
        "distinct words": len(words),
    }


def write_examples(folder, *, seconds: float = 4.0, seed: int = 0) -> list[Path]:
    """Writes one clip of each class as WAV and mel plot, and all plots in table.png.

    Returns the paths of the WAVs. Raises InputError if the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot(folder, "write there", error) from None
    paths = []
    for name in sorted(SOUND_CLASSES):
        clip = make_clip(seed, 0, seconds=seconds, only=name)
        path = folder / f"{name}.wav"
        audio.save_audio(path, clip.audio, clip.sample_rate)
        picture = pictures.mel_picture(clip.audio, clip.sample_rate)
        pictures.save_png(path.with_suffix(".png"), picture)
        paths.append(path)
    pictures.save_png(folder / "table.png", picture_table(seed=seed))
    return paths


def picture_table(columns: int = 8, *, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """The mel plots of all classes in one image, sorted by name, row by row: uint8 [H, W, 3]."""
    tiles = []
    for name in sorted(SOUND_CLASSES):
        clip = make_clip(seed, 0, seconds=seconds, only=name)
        tile = pictures.mel_picture(clip.audio, clip.sample_rate, height=48, width=120)
        tiles.append(np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)
