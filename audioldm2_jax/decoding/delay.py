"""The delay pattern of parallel token streams (MusicGen, arXiv 2306.05284, section 2.2).

Level q of the codec is `delays[q]` steps late, so that one step predicts a token of every level.
"""

from __future__ import annotations

import numpy as np

# Stands for a token that is still to be predicted.
UNKNOWN = -1


def delayed(codes: np.ndarray, frames: int, delays: tuple[int, ...], pad: int) -> np.ndarray:
    """The sequence of `frames` frames that begin with `codes`, in the order of prediction.

    codes: [B, F, Q], F <= frames, known already. Each level stands behind a `pad`, `delays[q]`
    steps late; pads fill its ends; what follows the codes is `UNKNOWN`. -> [B, L, Q] int32 with
    L = 1 + frames + max(delays).
    """
    batch, known, levels = codes.shape
    assert known <= frames and levels == len(delays), (codes.shape, frames, delays)
    sequence = np.full((batch, 1 + frames + max(delays), levels), pad, np.int32)
    for level, delay in enumerate(delays):
        own = sequence[:, 1 + delay : 1 + delay + frames, level]
        own[:] = UNKNOWN
        own[:, :known] = codes[:, :, level]
    return sequence


def undelayed(sequence: np.ndarray, delays: tuple[int, ...]) -> np.ndarray:
    """The inverse: [B, L, Q] -> codes [B, L - 1 - max(delays), Q]."""
    frames = sequence.shape[1] - 1 - max(delays)
    assert frames >= 0, (sequence.shape, delays)
    rows = [sequence[:, 1 + d : 1 + d + frames, q] for q, d in enumerate(delays)]
    return np.stack(rows, -1)
