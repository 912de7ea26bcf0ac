"""KL divergence of paired clips' class probabilities, as `audioldm_eval` defines it."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_softmax, softmax

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrix

_TINY = 1e-6  # inside the logarithm of what was generated, as in the published toolkit


def kl_divergence(reference, generated, *, independent: bool = False) -> float:
    """Mean over pairs of KL(reference || generated). reference, generated: logits [N, K].

    sum p (log p - log(q + 1e-6)), p and q the softmax; with `independent` the sigmoids (a sum over
    classes that is no divergence of Bernoulli variables; published as KL_sigmoid).
    Raises InputError for unequal shapes.
    """
    p, q = feature_matrix("reference", reference), feature_matrix("generated", generated)
    if p.shape != q.shape:
        raise InputError(f"logits {p.shape} and {q.shape}: KL takes pairs")
    probabilities = expit if independent else lambda logits: softmax(logits, -1)
    log_p = -np.logaddexp(0, -p) if independent else log_softmax(p, -1)
    divergence = probabilities(p) * (log_p - np.log(probabilities(q) + _TINY))
    return float(divergence.sum(-1).mean())
