"""PANNs' Cnn14 (arXiv 1912.10211): embeddings for distances, logits for classes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from audioldm2_jax.checkpoints import single
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.base import Backbone, Batches, Row
from audioldm2_jax.evaluation.backbones.weights import sha256
from audioldm2_jax.features.mel import framed_decibel_mel
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import PANNsConfig


class PANNs(Backbone):
    """Cnn14: one embedding a clip, of its last hidden layer after the ReLU, and logits.

    path: a published file, or a folder that `audioldm2-jax export` or `convert` wrote. Clips whose
    blocks would pool them to nothing (Cnn14: below 0.32 s) are filled with zeros at their end.
    Raises InputError for other models.
    """

    name = "panns"

    def __init__(self, path, devices=None):
        part = single.load(path)
        if part.name != "panns":
            raise InputError(f"{path}: holds a {part.name}; a classifier is needed")
        self.config: PANNsConfig = part.config
        self.labels = part.config.labels or tuple(map(str, range(part.config.classes)))
        self.sample_rate, self.sha256 = part.config.sample_rate, sha256(path)
        step = 16 * part.config.hop
        super().__init__(Batches(part.params, _apply(part.config), devices, step=step))

    def rows(self, waveform: np.ndarray) -> list[Row]:
        """The clip with both ends reflected, and its number of frames."""
        c = self.config
        least = max(c.fft // 2 + 1, (2 ** (len(c.channels) - 1) - 1) * c.hop)
        waveform = np.pad(waveform, (0, max(0, least - len(waveform))))
        padded = np.pad(waveform, c.fft // 2, mode="reflect")
        return [Row(padded, 1 + len(waveform) // c.hop)]


@functools.cache
def _apply(config: PANNsConfig):
    """The function of rows; see `base.Apply`."""
    network = Cnn14(config)

    def apply(params, waveforms, frames):
        mel = framed_decibel_mel(waveforms, config)
        logits, embeddings, _ = network.apply({"params": params}, mel, frames=frames)
        return embeddings, logits

    return apply


class ClassifierOutput(NamedTuple):
    """embeddings: [N, D]; logits: [N, classes]."""

    embeddings: np.ndarray
    logits: np.ndarray


class Classifier:
    """An audio classifier in PANNs' form, with its class names `labels` and `sample_rate`.

    folder: as of `PANNs`; batch: clips of one call of the network, at most. Raises InputError for
    other models.
    """

    def __init__(self, folder, batch: int = 32):
        self._backbone = PANNs(folder)
        self._backbone.batches.most_rows = batch
        self.labels, self.sample_rate = self._backbone.config.labels, self._backbone.sample_rate

    def __call__(self, waveforms: Iterable) -> ClassifierOutput:
        """Embeddings and logits of clips [N, samples] at `sample_rate`."""
        outputs = self._backbone([np.asarray(waveform) for waveform in waveforms])
        embeddings = np.stack([output.embeddings[0] for output in outputs])
        return ClassifierOutput(embeddings, np.stack([output.logits for output in outputs]))
