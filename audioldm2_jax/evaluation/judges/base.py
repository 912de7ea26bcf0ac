"""What all judges share: wheels that hold networks, scores of clips, rules for sound."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.silence import is_silent


@dataclass(frozen=True)
class Wheel:
    """A package of PyPI that holds a network.

    name: on PyPI. module: its folder. version: that the tests ran with. licence: SPDX. files: of
    the network, relative to the folder. alone: whether it is installed without its dependencies,
    which are not needed and clash with ours.
    """

    name: str
    module: str
    version: str
    licence: str
    files: tuple[str, ...]
    alone: bool = False

    def missing(self) -> str | None:
        """A line that says how to install the package; None if it is there."""
        if self._folder() is not None:
            return None
        line = f"pip install --no-deps {self.name}=={self.version}"
        return f"{self.name} is not installed: " + (
            line if self.alone else "pip install 'audioldm2-jax[eval]'"
        )

    def path(self, file: str) -> Path:
        """A file of the package, whose code does not run. Raises InputError if it is absent."""
        if line := self.missing():
            raise InputError(line)
        path = Path(self._folder()) / file
        if not path.is_file():
            raise InputError(
                f"{path}: not in the installed {self.name}; version {self.version} has it"
            )
        return path

    def sha256(self) -> str:
        """The hash of the network's files, in the order of `files`. Raises InputError."""
        return _sha256(tuple(map(self.path, self.files)))

    def _folder(self) -> str | None:
        spec = importlib.util.find_spec(self.module)
        return spec.submodule_search_locations[0] if spec else None


@functools.cache
def _sha256(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Scores:
    """A metric of each clip: values float64 [N], NaN where it is not judged, and weights [N]."""

    values: np.ndarray
    weights: np.ndarray

    @property
    def judged(self) -> np.ndarray:
        """Numbers of the clips that have a value and a weight."""
        return np.flatnonzero(np.isfinite(self.values) & (self.weights > 0))

    def mean(self, indices=None) -> float:
        """The weighted mean over the judged clips (of `indices`, which may repeat); nan of none."""
        chosen = slice(None) if indices is None else np.asarray(indices)
        values, weights = self.values[chosen], self.weights[chosen]
        judged = np.isfinite(values) & (weights > 0)
        if not judged.any():
            return float("nan")
        return float(np.average(values[judged], weights=weights[judged]))


class Sound(NamedTuple):
    """One clip: [samples] at `sample_rate` Hz; transcript: what is said in it, if known."""

    waveform: np.ndarray
    sample_rate: int
    transcript: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether the judge hears silence: the report's rule for what the protocol reads."""
        return is_silent(self.waveform)

    def at(self, sample_rate: int) -> np.ndarray:
        """float32 [samples] at another rate, cut to [-1, 1] as a sound file would cut it."""
        return np.clip(resample(self.waveform, self.sample_rate, sample_rate), -1, 1)


def sounds(waveforms: Iterable, sample_rate: int) -> list[Sound]:
    """Clips [samples] of one rate. Raises InputError for more axes and for values not finite."""
    return [checked(str(i), waveform, sample_rate) for i, waveform in enumerate(waveforms)]


def checked(name: str, waveform, sample_rate: int, transcript: str = "") -> Sound:
    """A clip of float32. Raises InputError unless it is one axis of finite samples."""
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1:
        raise InputError(f"clip {name}: shape {waveform.shape}; one axis of samples is expected")
    if not np.isfinite(waveform).all():
        raise InputError(f"clip {name}: holds NaN or infinity; leave it out")
    return Sound(waveform, sample_rate, transcript)


@dataclass(frozen=True)
class Judge:
    """A published network behind metric keys.

    rate: Hz that the network hears. score: (clip, its reference or None) -> {metric: (value,
    weight)}. needs: "transcript" of each clip, "pairs" of clip and reference, or "". modules:
    packages beside the wheel that it imports.
    """

    name: str
    metrics: tuple[str, ...]
    wheel: Wheel
    rate: int
    score: Callable[[Sound, Sound | None], dict[str, tuple[float, float]]]
    needs: str = ""
    modules: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The wheel's name on PyPI."""
        return self.wheel.name

    def missing(self) -> str | None:
        """A line that says what to install; None if the judge can run."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed: pip install 'audioldm2-jax[eval]'"
        return self.wheel.missing()

    def sha256(self) -> str:
        """The hash of the network's files. Raises InputError if the package is missing."""
        return self.wheel.sha256()

    def run(self, clips: Iterable, references: Iterable | None = None) -> dict[str, Scores]:
        """{metric: scores in the order of the clips}; holds one clip at a time.

        clips, references: (name, waveform [samples], sample rate, Clip or None) each. The Clip's
        `transcript` is read. References pair with clips in order, where `needs` is "pairs". Raises
        InputError if a package or the references are missing, or their number differs.
        """
        if line := self.missing():
            raise InputError(line)
        paired = self.needs == "pairs"
        if paired and references is None:
            raise InputError(f"{' '.join(self.metrics)}: need a reference for each clip")
        rows = []
        for clip, reference in zip_longest(clips, references) if paired else _alone(clips):
            if clip is None or (paired and reference is None):
                raise InputError(f"{' '.join(self.metrics)}: clips and references differ in number")
            rows.append(self.score(_sound(clip), _sound(reference) if paired else None))
        columns = {metric: np.array([row[metric] for row in rows], np.float64).reshape(-1, 2)
                   for metric in self.metrics}  # fmt: skip
        return {metric: Scores(*pairs.T) for metric, pairs in columns.items()}


def _alone(clips: Iterable):
    return ((clip, None) for clip in clips)


def _sound(item) -> Sound:
    name, waveform, sample_rate, clip = item
    return checked(name, waveform, sample_rate, getattr(clip, "transcript", "") or "")
