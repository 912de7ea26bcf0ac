"""Frechet distance, KL and inception score of a classifier's features and logits.

As the published toolkit of AudioLDM's benchmark (`audioldm_eval`) defines them. On the host in
float64: the matrices are small, and the distance is a difference of large sums.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_softmax, softmax

from audioldm2_jax.errors import InputError

_TINY = 1e-6  # inside the logarithm of what was generated, as in the published toolkit


def frechet_distance(reference, generated) -> float:
    """Squared Frechet distance of two Gaussians fitted to features [N, D] and [M, D].

    |m - n|^2 + tr(C) + tr(E) - 2 tr((C E)^(1/2)), covariances with ddof 1. The last trace is the
    nuclear norm of X Y^T / sqrt((N - 1) (M - 1)), X and Y the centred features: exact also where
    covariances are singular, which matrix square roots are not. Raises InputError for fewer than
    two clips or unequal widths.
    """
    x, y = _matrix("reference", reference), _matrix("generated", generated)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"features of {x.shape[1]} and of {y.shape[1]} numbers, not of one kind")
    offset = x.mean(0) - y.mean(0)
    x, y = ((m - m.mean(0)) / np.sqrt(len(m) - 1) for m in (x, y))
    # Of more clips than features the triangular factor has the same covariance.
    x, y = (np.linalg.qr(m, mode="r") if len(m) > m.shape[1] else m for m in (x, y))
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(offset @ offset + (x * x).sum() + (y * y).sum() - 2 * shared)


def kl_divergence(reference, generated, *, independent: bool = False) -> float:
    """Mean over pairs of the divergence of what was generated from its reference: logits [N, K].

    sum p (log p - log(q + 1e-6)), p the softmax of the reference; with `independent`, of sigmoids
    (a sum over classes that is no divergence of Bernoulli variables; published as KL_sigmoid).
    Raises InputError for unequal shapes.
    """
    p, q = _matrix("reference", reference), _matrix("generated", generated)
    if p.shape != q.shape:
        raise InputError(f"logits {p.shape} and {q.shape}: KL takes pairs")
    to = expit if independent else lambda logits: softmax(logits, -1)
    log_p = -np.logaddexp(0, -p) if independent else log_softmax(p, -1)
    return float((to(p) * (log_p - np.log(to(q) + _TINY))).sum(-1).mean())


def inception_score(logits, *, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """(mean, standard deviation) over splits of exp(mean divergence from the split's mean): [N, K].

    The rows are permuted by numpy's RandomState(seed), as in the published toolkit. At most N /
    splits; compare only at one N. Raises InputError for fewer clips than splits.
    """
    x = _matrix("generated", logits)
    if len(x) < splits:
        raise InputError(f"{len(x)} clips: the inception score takes at least {splits}")
    x = x[np.random.RandomState(seed).permutation(len(x))]
    scores = []
    for i in range(splits):
        part = x[i * len(x) // splits : (i + 1) * len(x) // splits]
        p, log_p = softmax(part, -1), log_softmax(part, -1)
        # Where the mean is 0, so is every p, and nothing is added.
        log_mean = np.log(np.maximum(p.mean(0), np.finfo(np.float64).tiny))
        gaps = np.where(p > 0, p * (log_p - log_mean), 0.0)
        scores.append(np.exp(gaps.sum(-1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _matrix(name: str, values) -> np.ndarray:
    """float64 [N, D] of at least two finite rows."""
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or len(found) < 2:
        raise InputError(f"{name}: {found.shape} instead of at least two rows of features")
    if not np.isfinite(found).all():
        raise InputError(f"{name}: features that are not finite")
    return found
