"""PANNs' Cnn14 (arXiv 1912.10211): embeddings for distances, logits for classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints import single
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import decibel_mel
from audioldm2_jax.models.panns import Cnn14


class ClassifierOutput(NamedTuple):
    """embeddings: [N, D]; logits: [N, classes]."""

    embeddings: np.ndarray
    logits: np.ndarray


class Classifier:
    """An audio classifier in PANNs' form, with its class names `labels` and `sample_rate`.

    folder: written by `audioldm2-jax export`, or PANNs' published file; batch: clips of one call of
    the network. Raises InputError for other models.
    """

    def __init__(self, folder, batch: int = 32):
        part = single.load(folder)
        if part.name != "panns":
            raise InputError(f"{folder}: holds a {part.name}; a classifier is needed")
        self.labels, self.sample_rate = part.config.labels, part.config.sample_rate
        self._batch, self._params = batch, part.params
        network, config = Cnn14(part.config), part.config

        @jax.jit
        def apply(params, waveforms):
            mel = decibel_mel(waveforms, config)
            logits, embeddings, _ = network.apply({"params": params}, mel)
            return ClassifierOutput(embeddings, logits)

        self._apply = apply

    def __call__(self, waveforms: Iterable) -> ClassifierOutput:
        """Embeddings and logits of clips [N, samples] at `sample_rate`."""
        waveforms = np.asarray(waveforms, np.float32)
        outputs = []
        for start in range(0, len(waveforms), self._batch):
            batch = waveforms[start : start + self._batch]
            # The last batch is padded: one compiled program serves all.
            padded = np.pad(batch, ((0, self._batch - len(batch)), (0, 0)))
            output = self._apply(self._params, jnp.asarray(padded))
            outputs.append([np.asarray(x)[: len(batch)] for x in output])
        return ClassifierOutput(*(np.concatenate(parts) for parts in zip(*outputs)))
