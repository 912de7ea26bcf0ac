"""Top-1 accuracy of a classifier on clips whose class is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def top_1_accuracy(logits, targets: Sequence[str], labels: Sequence[str]) -> float:
    """Share of clips whose highest logit is that of their target.

    logits: [N, K]; labels: [K], the columns' class names; targets: [N] class names.
    """
    predicted = np.asarray(logits).argmax(1)
    return float(np.mean([labels[i] == target for i, target in zip(predicted, targets)]))
