"""Inception score of clips' class probabilities, as `audioldm_eval` defines it."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrix


def inception_score(logits, *, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """(mean, standard deviation) over splits of exp(mean KL from the split's mean): [N, K].

    The rows are permuted by numpy's RandomState(seed), as in the published toolkit. At most N /
    splits; compare only at one N. Raises InputError for fewer clips than splits.
    """
    if splits < 1:
        raise InputError(f"{splits} splits: the inception score takes at least 1")
    x = feature_matrix("generated", logits, least=splits)
    x = x[np.random.RandomState(seed).permutation(len(x))]
    scores = []
    for i in range(splits):
        split = x[i * len(x) // splits : (i + 1) * len(x) // splits]
        p, log_p = softmax(split, -1), log_softmax(split, -1)
        # Where the mean is 0, so is every p, and nothing is added.
        log_mean = np.log(np.maximum(p.mean(0), np.finfo(np.float64).tiny))
        divergence = np.where(p > 0, p * (log_p - log_mean), 0.0)
        scores.append(np.exp(divergence.sum(-1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
