"""KL divergence of paired clips' class probabilities, as the published toolkits define it."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_softmax, softmax

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrices

# audioldm_eval takes the first, stable-audio-metrics the second, audiocraft reports all three.
DIRECTIONS = ("reference||generated", "generated||reference", "both")


def kl_divergence(
    reference,
    generated,
    *,
    independent: bool = False,
    direction: str = "reference||generated",
    epsilon: float = 1e-6,
) -> float:
    """The mean of `per_clip_kl` over pairs."""
    return float(
        per_clip_kl(
            reference, generated, independent=independent, direction=direction, epsilon=epsilon
        ).mean()
    )


def per_clip_kl(
    reference,
    generated,
    *,
    independent: bool = False,
    direction: str = "reference||generated",
    epsilon: float = 1e-6,
) -> np.ndarray:
    """KL of each pair of rows: [N]. reference, generated: logits [N, K].

    direction: of DIRECTIONS; KL(p || q) = sum p (log p - log(q + epsilon)), p and q the softmax, or
    with `independent` the sigmoids (a sum over classes that is no divergence of Bernoulli
    variables; published as KL_sigmoid). "both" is the sum of the two. Raises InputError for unequal
    shapes, no pair at all, and another direction.
    """
    p, q = feature_matrices(reference, generated, least=1)
    if p.shape != q.shape:
        raise InputError(f"logits {p.shape} and {q.shape}: KL takes pairs")
    if direction not in DIRECTIONS:
        raise InputError(f"KL direction {direction!r}: choose one of {', '.join(DIRECTIONS)}")
    divergence = np.zeros(len(p))
    if direction in ("reference||generated", "both"):
        divergence += _divergence(p, q, independent, epsilon)
    if direction in ("generated||reference", "both"):
        divergence += _divergence(q, p, independent, epsilon)
    return divergence


def _divergence(p, q, independent: bool, epsilon: float) -> np.ndarray:
    """KL(p || q) of logits [N, K]: [N]."""
    probabilities = expit if independent else lambda logits: softmax(logits, -1)
    log_p = -np.logaddexp(0, -p) if independent else log_softmax(p, -1)
    return (probabilities(p) * (log_p - np.log(probabilities(q) + epsilon))).sum(-1)
