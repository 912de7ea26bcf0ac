"""The result of a pipeline, and how it is saved."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.audio import FORMATS, encode_audio
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.loudness import LoudnessReport, check_loudness, normalize_loudness
from audioldm2_jax.pictures import clip_picture, encode_png
from audioldm2_jax.pipelines.file_names import (
    PICTURE,
    RECORD,
    beside,
    check_names,
    file_stem,
    free_name,
    identity,
    speech_stem,
    taken_in,
)


def check_finite(waves: np.ndarray, dtype) -> None:
    """Raises NumericalError for waveforms with NaN or infinity. dtype: that they came from."""
    if not np.isfinite(waves).all():
        raise NumericalError(
            f"the result holds NaN or infinity (dtype {np.dtype(dtype).name}): nothing was "
            "written; try --dtype fp32, or check the weights"
        )


@dataclass(frozen=True)
class Output:
    """Generated clips.

    audio: [P, samples] fp32, each prompt's best candidate, as the network made it; samples may
    exceed 1, since `save` decides the level. candidates: [P, n, samples], best first; a stereo
    model's clips have an axis of 2 channels behind. sample_rate in Hz. metadata: everything needed
    to repeat the request. score: computes `scores`.
    """

    candidates: np.ndarray
    sample_rate: int
    metadata: dict
    score: Callable[[], np.ndarray]

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """CLAP's cosine similarity of each clip and its prompt: [P, n].

        Known where candidates were ranked; for single clips it is computed when first asked for.
        """
        return self.score()

    @property
    def audio(self) -> np.ndarray:
        """Each prompt's best candidate, [P, samples] fp32."""
        return self.candidates[:, 0]

    def separate(self) -> Output:
        """Each candidate as a clip of its own, [P * n, 1, samples], so that `save` writes all."""
        count = self.candidates.shape[1]
        metadata = dict(self.metadata)
        for name in ("prompts", "transcriptions"):
            metadata[name] = metadata[name] and [x for x in metadata[name] for _ in range(count)]
        if len(negatives := metadata["negative_prompts"]) > 1:
            metadata["negative_prompts"] = [x for x in negatives for _ in range(count)]
        metadata["candidates"] = 1
        waves = self.candidates.reshape(-1, 1, *self.candidates.shape[2:])
        return Output(waves, self.sample_rate, metadata, lambda: self.scores.reshape(-1, 1))

    def save(
        self,
        folder,
        names: list[str] | None = None,
        *,
        pictures: bool = False,
        loudness: str | float = "auto",
        format: str = "wav",
    ) -> list[Path]:
        """Writes a sound file for each prompt and a JSON beside it; returns the sounds' paths.

        folder: made if it is missing. names: one for each prompt, which replace old files; a suffix
        (.wav .flac .ogg .mp3) decides the kind of file. None names the files after the prompts and
        replaces none. pictures: a PNG of each clip's mel spectrogram too. loudness: "auto" brings
        clips within 5 LU of -23 LUFS, a number sets the loudness in LUFS, "raw" writes what the
        network made (see `audioldm2_jax.loudness`); `audio` is always what the network made.
        format: of files whose name has no suffix. A clip's files appear together or not at all.

        Raises InputError for values it cannot use, and where the files cannot be written.
        """
        suffix, loudness = check_format(format), check_loudness(loudness)
        prompts = self.metadata["prompts"]
        if names is not None and len(names) != len(prompts):
            raise InputError(f"{len(names)} file names for {len(prompts)} prompts")
        folder, names = check_target(folder, names, suffix, pictures=pictures)
        clips = [normalize_loudness(wave, self.sample_rate, loudness) for wave in self.audio]
        names = names or self._free_names(folder, suffix)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.cannot(folder, "write", error) from None
        paths = [folder / name for name in names]
        for i, (path, (wave, applied)) in enumerate(zip(paths, clips)):
            files.write_together(self._contents(i, path, wave, applied, pictures))
        return paths

    def _free_names(self, folder: Path, suffix: str) -> list[str]:
        """Names after the prompts or transcriptions that no file of the folder has."""
        transcriptions, taken, names = self.metadata["transcriptions"], taken_in(folder), []
        for i, prompt in enumerate(self.metadata["prompts"]):
            stem = file_stem(prompt)
            if transcriptions:
                stem = speech_stem(prompt, transcriptions[i])
            stem = free_name(stem, taken)
            taken.add(identity(stem))
            names.append(stem + suffix)
        return names

    def _contents(
        self, i: int, path: Path, wave, applied: LoudnessReport, pictures: bool
    ) -> dict[Path, bytes]:
        """The files of one prompt: the sound, its record, its picture."""
        record = self._record(i) | dataclasses.asdict(applied)
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        contents = {
            path: encode_audio(wave, self.sample_rate, path.suffix),
            beside(path, RECORD): text.encode("utf-8", "backslashreplace"),
        }
        if pictures:
            title = record["transcription"] or record["prompt"]
            title = f"{title} (seed {record['seed']})"
            mono = wave if wave.ndim == 1 else wave.mean(1)
            picture = clip_picture(mono, self.sample_rate, title)
            contents[beside(path, PICTURE)] = encode_png(picture)
        return contents

    def _record(self, index: int) -> dict:
        """The metadata of one prompt's clip."""
        record = dict(self.metadata)
        prompts, negatives = record.pop("prompts"), record.pop("negative_prompts")
        record["prompt"] = prompts[index]
        transcriptions = record.pop("transcriptions")
        record["transcription"] = transcriptions[index] if transcriptions else None
        record["negative_prompt"] = (
            None if not negatives else negatives[index if len(negatives) > 1 else 0]
        )
        record["prompt_index"] = index
        record["first_clip"] = record["first_clip"] + index * record["candidates"]
        ranked = self.candidates.shape[1] > 1
        record["scores"] = self.scores[index].tolist() if ranked else None
        record["sample_rate"] = self.sample_rate
        record["samples"] = int(self.audio.shape[1])
        return record


def check_format(format: str) -> str:
    """The suffix of a sound format. Raises InputError for an unsupported one."""
    suffix = f".{str(format).lower().removeprefix('.')}"
    if suffix not in FORMATS:
        kinds = " ".join(known[1:] for known in FORMATS)
        raise InputError(f"format is {format!r}: choose one of {kinds}")
    return suffix


def check_target(
    folder, names: list[str] | None, suffix: str = ".wav", *, pictures: bool = False
) -> tuple[Path, list[str] | None]:
    """Checks that clips can be written; returns the folder and the names with suffixes.

    Raises InputError for a folder that cannot be made or written, a name that cannot be used, two
    names that are one file, or a folder where a file belongs.
    """
    folder = files.user_path(folder)
    names = None if names is None else check_names(names, suffix)
    check_writable(folder)
    kinds = (RECORD, PICTURE) if pictures else (RECORD,)
    for path in map(folder.joinpath, names or []):
        for file in (path, *(beside(path, kind) for kind in kinds)):
            if file.is_dir():
                raise InputError(f"{file}: a folder; a file is to be written there")
    return folder, names


def check_writable(folder: Path) -> None:
    """Checks that a folder can be created and written to; leaves nothing behind.

    Raises InputError otherwise.
    """
    missing: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".audioldm2-jax-{os.getpid()}"
        try:
            # As much as a short clip: a full disk may still take an empty file.
            probe.write_bytes(bytes(1 << 16))
        finally:
            probe.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot write there ({reason})") from None
    finally:
        for path in missing:
            with contextlib.suppress(OSError, ValueError):
                path.rmdir()
