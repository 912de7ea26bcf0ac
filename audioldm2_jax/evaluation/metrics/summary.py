"""Several sets of clips against one reference set, by a classifier's outputs."""

from __future__ import annotations

from collections.abc import Mapping

from audioldm2_jax.evaluation.backbones.panns import ClassifierOutput
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.inception import inception_score
from audioldm2_jax.evaluation.metrics.kl import kl_divergence


def distances(outputs: Mapping[str, ClassifierOutput], reference: str) -> dict[str, dict]:
    """{set: {"FD", "KL", "IS"}} of each other set against the set named `reference`."""
    embeddings, logits = outputs[reference]
    return {
        name: {
            "FD": frechet_distance(embeddings, output.embeddings),
            "KL": kl_divergence(logits, output.logits),
            "IS": inception_score(output.logits)[0],
        }
        for name, output in outputs.items()
        if name != reference
    }


def gap_closed(value: float, worst: float, best: float) -> float:
    """Share of the way from `worst` to `best` that `value` goes; nan if there is no way."""
    return (worst - value) / (worst - best) if worst != best else float("nan")
