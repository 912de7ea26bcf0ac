"""Text to audio retrieval in a joint embedding such as CLAP's."""

from __future__ import annotations

import numpy as np


def recall_at_1(text_features, audio_features, group: int) -> float:
    """Share of texts whose nearest clip is their own, within groups of `group` pairs.

    text_features, audio_features: [N, D] of unit length; an incomplete last group is left out.
    Chance is 1 / group.
    """
    hits = []
    for start in range(0, len(text_features) - group + 1, group):
        rows = slice(start, start + group)
        similarity = text_features[rows] @ audio_features[rows].T
        hits += list(similarity.argmax(1) == np.arange(group))
    return float(np.mean(hits))
