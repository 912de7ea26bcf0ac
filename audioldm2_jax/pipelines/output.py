"""What a pipeline returns, and how it is saved."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.audio import save_wav
from audioldm2_jax.errors import InputError
from audioldm2_jax.pictures import mel_picture, save_png


@dataclass(frozen=True)
class Output:
    """Generated clips.

    audio: [P, samples] fp32, each prompt's best candidate; candidates: [P, n, samples], best first;
    sample_rate in Hz; metadata: everything needed to repeat the request; score: computes `scores`.
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
        return self.candidates[:, 0]

    def save(self, folder, names: list[str] | None = None, *, pictures: bool = False) -> list[Path]:
        """Writes one WAV for each prompt and a JSON beside it; returns the WAVs' paths.

        pictures: a picture of each WAV's mel too, as PNG.

        Files are named after the prompts, without overwriting any; given `names` are used as they
        are and replace old files. Raises InputError if the folder cannot be written.
        """
        folder = Path(folder)
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
        taken, paths = set(), []
        said = self.metadata["transcriptions"]
        for i, prompt in enumerate(self.metadata["prompts"]):
            title = f"{file_stem(prompt)[:38].rstrip('_-')}-TTS-{said[i]}" if said else prompt
            stem = _stem(names[i]) if names else _free(folder, file_stem(title), taken)
            taken.add(stem)
            path = folder / f"{stem}.wav"
            save_wav(path, self.audio[i], self.sample_rate)
            files.write_json(path.with_suffix(".json"), self._record(i), indent=2)
            if pictures:
                picture = mel_picture(self.audio[i], self.sample_rate, height=192, width=512)
                save_png(path.with_suffix(".png"), picture)
            paths.append(path)
        return paths

    def _record(self, index: int) -> dict:
        """The metadata of one prompt's clip."""
        record = dict(self.metadata)
        prompts, negatives = record.pop("prompts"), record.pop("negative_prompts")
        record["prompt"] = prompts[index]
        said = record.pop("transcriptions")
        record["transcription"] = said[index] if said else None
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


def check_writable(folder: Path) -> None:
    """Proves that a folder can be made and written, and leaves nothing behind.

    Raises InputError otherwise.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".audioldm2-jax-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror or error})") from None
    finally:
        for path in missing:
            if path.is_dir():
                path.rmdir()


def file_stem(prompt: str) -> str:
    """A safe file name for a prompt: letters, digits, - and _, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", prompt).strip("_-")[:80].rstrip("_-") or "clip"


def _stem(name: str) -> str:
    return name[:-4] if name.lower().endswith(".wav") else name


def _free(folder, stem, taken):
    """The stem, or with a number behind it, so that no file is replaced."""
    number, name = 1, stem
    while name in taken or (folder / f"{name}.wav").exists():
        number += 1
        name = f"{stem}_{number}"
    return name
