"""MusicNN (arXiv 1909.06654): taggers of music whose published weights come inside a wheel."""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.checkpoints import musicnn_files, single
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.base import Backbone, Batches, Row
from audioldm2_jax.evaluation.backbones.weights import sha256
from audioldm2_jax.features.musicnn import FFT, FRAMES, HOP, PATCH, SAMPLE_RATE, musicnn_mel
from audioldm2_jax.models.musicnn import MusicNN as Network
from audioldm2_jax.presets import MusicNNConfig


class MusicNN(Backbone):
    """The penultimate layer [200] of each patch of 3 s; what is left at the end is dropped.

    path: the wheel, what was unpacked from it (`musicnn_files.load`), or a folder that we wrote.
    name_of_weights: MTT_musicnn or MSD_musicnn. A clip's probabilities are the means over its
    patches, as the package's `top_tags` has them, and its logits are those of the means. Zeros fill
    clips of less than 2.976 s. Raises InputError for other models.
    """

    name, sample_rate = "musicnn", SAMPLE_RATE

    def __init__(self, path, name_of_weights: str = "MTT_musicnn", devices=None):
        path = files.user_path(path)
        if (path / "config.json").is_file() and single.kind_of(path) is not None:
            part, self.sha256 = single.load(path), sha256(path)
        else:
            part, self.sha256 = musicnn_files.load(path, name_of_weights)
        if part.name != "musicnn":
            raise InputError(f"{path}: holds a {part.name}; MusicNN is needed")
        self.labels = part.config.labels or tuple(map(str, range(part.config.classes)))
        super().__init__(Batches(part.params, _apply(part.config), devices, most_values=64 * PATCH))

    def rows(self, waveform: np.ndarray) -> list[Row]:
        """Windows of PATCH samples side by side of the clip with both ends reflected."""
        waveform = np.pad(waveform, (0, max(0, PATCH - FFT - len(waveform))))
        padded = np.pad(waveform, FFT // 2, mode="reflect")
        starts = range(0, len(padded) - PATCH + 1, FRAMES * HOP)
        return [Row(padded[start : start + PATCH], FRAMES) for start in starts]

    def clip_logits(self, logits: np.ndarray) -> np.ndarray:
        """The logits of the patches' mean probabilities: [P, K] -> [K]."""
        # log(mean(sigmoid(x))) - log(mean(sigmoid(-x))), without overflow.
        wide = logits.astype(np.float64)
        yes, no = (np.logaddexp.reduce(-np.logaddexp(0, s * wide), axis=0) for s in (-1, 1))
        return (yes - no).astype(np.float32)


def installed() -> Path | None:
    """The folder of the package where pip has put it, without an import of it; None elsewhere."""
    try:
        distribution = importlib.metadata.distribution("musicnn")
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file("musicnn")))


@functools.cache
def _apply(config: MusicNNConfig):
    """The function of rows; see `base.Apply`."""
    network = Network(config)

    def apply(params, waveforms, extents):
        logits, embeddings = network.apply({"params": params}, musicnn_mel(waveforms))
        return embeddings, logits

    return apply
