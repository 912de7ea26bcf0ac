"""CLAP score: how near a caption and a sound are in a joint embedding."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrices, feature_matrix


def clap_score(text_features, audio_features) -> np.ndarray:
    """Cosine of each pair of embeddings [N, D]: [N], neither clipped nor scaled.

    The published figure is its mean; it depends on the checkpoint. Raises InputError for unequal
    shapes, no pair at all, and an embedding of zeros.
    """
    text, audio = feature_matrices(text_features, audio_features, least=1)
    if text.shape != audio.shape:
        raise InputError(f"embeddings {text.shape} and {audio.shape}: a CLAP score takes pairs")
    return (unit_rows("texts", text) * unit_rows("clips", audio)).sum(1)


def unit_rows(name: str, features) -> np.ndarray:
    """Rows [N, D] scaled to length 1, float64. Raises InputError for a row of zeros."""
    features = feature_matrix(name, features, least=1)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError(f"{name}: embedding {int(np.argmin(lengths))} is all zeros")
    return features / lengths
