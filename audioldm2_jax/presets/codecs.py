"""Frozen configurations of the neural audio codecs.

Each has `sample_rate` (Hz), `channels`, `hop` (samples of a frame), `levels` (codebooks) and
`codebook` (vectors of each).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DACConfig:
    """Descript's audio codec (arXiv 2306.06546); the defaults are those of 16 kHz.

    width: channels of the encoder's first convolution, doubled by each of `strides`.
    decoder_width: of the decoder's first, halved by each. latent: of a frame, before it is
    quantised. codebook_width: of a codebook's vectors.
    """

    sample_rate: int = 16000
    width: int = 64
    decoder_width: int = 1536
    strides: tuple[int, ...] = (2, 4, 5, 8)
    latent: int = 1024
    levels: int = 12
    codebook: int = 1024
    codebook_width: int = 8

    channels = 1

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return math.prod(self.strides)
