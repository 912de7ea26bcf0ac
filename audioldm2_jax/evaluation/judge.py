"""A trained classifier as a judge of sound: embeddings for distances, logits for classes."""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints import single
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import decibel_mel
from audioldm2_jax.models.panns import Cnn14


class Judge:
    """A classifier in PANNs' form; `labels` are its classes.

    folder: written by `audioldm2-jax export`, or PANNs' published file. Raises InputError for other
    models.
    """

    def __init__(self, folder, batch: int = 32):
        found = single.load(folder)
        if found.name != "panns":
            raise InputError(f"{folder}: holds a {found.name}; a classifier is needed")
        self.labels, self.sample_rate = found.config.labels, found.config.sample_rate
        self._batch, self._params = batch, found.params
        network, front = Cnn14(found.config), found.config

        @jax.jit
        def hear(params, waves):
            mel = decibel_mel(waves, front)
            logits, embedding, _ = network.apply({"params": params}, mel)
            return embedding, logits

        self._hear = hear

    def __call__(self, waves: Iterable) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings [N, D], logits [N, classes]) of clips [N, samples] at `sample_rate`."""
        waves = np.asarray(waves, np.float32)
        found = []
        for start in range(0, len(waves), self._batch):
            piece = waves[start : start + self._batch]
            # One program for all batches: the last is filled up.
            full = np.pad(piece, ((0, self._batch - len(piece)), (0, 0)))
            heard = self._hear(self._params, jnp.asarray(full))
            found.append([np.asarray(x)[: len(piece)] for x in heard])
        embeddings, logits = (np.concatenate(parts) for parts in zip(*found))
        return embeddings, logits
