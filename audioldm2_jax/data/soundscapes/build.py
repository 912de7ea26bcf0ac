"""Writing the synthetic corpus as a folder of FLAC and JSON lines, in parts that survive a stop."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from audioldm2_jax import audio, files, pictures
from audioldm2_jax.data.corpus import parallel
from audioldm2_jax.data.soundscapes.scene import KINDS, Clip, make_clip
from audioldm2_jax.data.soundscapes.sound_classes import SOUND_CLASSES
from audioldm2_jax.data.soundscapes.voices import check_voices
from audioldm2_jax.errors import InputError

PART = 250  # clips


def record(clip: Clip, file: str) -> dict:
    """A clip's line: `wav`, `caption*`, `labels` as the authors' training files have them."""
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
    report: Callable[[int], None] | None = None,
) -> dict:
    """Writes clips 0 to count and returns `statistics`.

    folder/audio/NNNNNNN.flac and folder/metadata.jsonl; a part already written by the same call is
    kept, so a stopped build goes on where it stood. report(clips done) after each part.
    kinds, voices: as of `make_clip`. classes: instead, clips of one of these each, in turn. Raises
    InputError for unknown voices or classes, or if the folder holds a build with other settings.
    """
    folder = Path(folder)
    settings = {"seed": seed, "seconds": seconds, "speech": speech, "kinds": dict(kinds)}
    check_voices(voices)
    if unknown := sorted(set(classes) - set(SOUND_CLASSES)):
        raise InputError(f"class {unknown[0]!r}: choose of {' '.join(sorted(SOUND_CLASSES))}")
    # Only where they are asked for: builds from before these settings can go on.
    settings |= {"voices": voices} if voices != "varied" else {}
    settings |= {"classes": list(classes)} if classes else {}
    _claim(folder, settings)
    starts = range(0, count, PART)
    write = functools.partial(_write_part, folder, count=count, **settings)
    for done in parallel.parallel_map(write, starts, workers):
        if report:
            report(done)
    lines = [line for start in starts for line in _lines(folder, start)]
    files.write_text(
        folder / "metadata.jsonl", "".join(json.dumps(x) + "\n" for x in lines[:count])
    )
    _sweep(folder)
    return statistics(lines[:count])


def _claim(folder: Path, settings: dict) -> None:
    """Makes the folder, or sees that it is a build with these settings."""
    path = folder / "settings.json"
    if path.exists():
        try:
            found = files.read_json(path)
        except InputError as error:
            raise InputError(f"{error}; delete {folder} to begin anew") from None
        if found != settings:
            what = f"{found}"[:200]
            raise InputError(f"{folder}: holds a build with {what}; choose another folder")
        _sweep(folder)
        return

    def write(new: Path) -> None:
        for name in ("audio", "parts"):
            (new / name).mkdir()
        files.write_json(new / "settings.json", settings)

    files.write_folder(folder, write)


def _sweep(folder: Path) -> None:
    """Takes away what a killed build left half-written."""
    for path in (*folder.glob(".*.part*"), *folder.glob("*/.*.part*")):
        with suppress(OSError):
            path.unlink()


def _part(folder: Path, start: int) -> Path:
    return folder / "parts" / f"{start:07d}.jsonl"


def _lines(folder: Path, start: int) -> list[dict]:
    """A part's records; [] for one that is not there, or damaged."""
    try:
        lines = [
            json.loads(line) for line in files.read_text(_part(folder, start)).split("\n")[:-1]
        ]
        whole = all((folder / line["wav"]).is_file() and _complete(line) for line in lines)
    except (InputError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return lines if whole else []


def _complete(line: dict) -> bool:
    """Whether a record has what `statistics` counts."""
    kinds = {"seconds": float, "kind": str, "labels": list, "caption_1": str}
    return all(isinstance(line.get(key), kind) for key, kind in kinds.items())


def _write_part(folder: Path, start: int, *, count, seed, classes=(), **settings) -> int:
    """One part's audio, then its lines: a part with lines is whole. Returns its number of clips."""
    stop = min(start + PART, count)
    if len(_lines(folder, start)) >= stop - start:
        return stop - start
    lines = []
    for index in range(start, stop):
        only = classes[index % len(classes)] if classes else None
        clip = make_clip(seed, index, only=only, **settings)
        file = f"audio/{index:07d}.flac"
        audio.save_wav(folder / file, clip.audio, clip.sample_rate)
        lines.append(json.dumps(record(clip, file)) + "\n")
    files.write_text(_part(folder, start), "".join(lines))
    return stop - start


def statistics(records) -> dict:
    """Counts of a build: clips, seconds, kinds, labels, distinct captions, words."""
    kinds, labels, captions, words, seconds, clips = Counter(), Counter(), set(), Counter(), 0.0, 0
    for line in records:
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
    """One clip of each class as WAV and mel picture, and all pictures in table.png; the WAVs."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot(folder, "write there", error) from None
    paths = []
    for name in sorted(SOUND_CLASSES):
        clip = make_clip(seed, 0, seconds=seconds, only=name)
        path = folder / f"{name}.wav"
        audio.save_wav(path, clip.audio, clip.sample_rate)
        picture = pictures.mel_picture(clip.audio, clip.sample_rate)
        pictures.save_png(path.with_suffix(".png"), picture)
        paths.append(path)
    pictures.save_png(folder / "table.png", picture_table(seed=seed))
    return paths


def picture_table(columns: int = 8, *, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """All classes' pictures in one, row by row in the order of their names: uint8 [H, W, 3]."""
    tiles = []
    for name in sorted(SOUND_CLASSES):
        clip = make_clip(seed, 0, seconds=seconds, only=name)
        tile = pictures.mel_picture(clip.audio, clip.sample_rate, height=48, width=120)
        tiles.append(np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)
