"""Frozen configurations of AudioLM's semantic tokenizer: its encoders, and k-means.

Both encoders have `sample_rate` (Hz), `hop` and `window` (samples), `width` and `depth`. Frame t is
computed from the samples t * hop to t * hop + window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class HuBERTConfig:
    """HuBERT base (arXiv 2106.07447; facebook/hubert-base-ls960).

    channels, kernels, strides: of the convolutions over the waveform. conv_norm: "group" normalises
    the first one's channels over time, "layer" every frame of each. position_kernel and
    position_groups: of the convolution that gives positions. stable: norms precede attention and
    feed-forward, as in HuBERT large. project_norm: whether a norm precedes the projection.
    normalize: whether waveforms get mean 0 and variance 1. mask: whether the checkpoint holds the
    vector that stands for masked frames in training.
    """

    sample_rate: int = 16000
    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_norm: str = "group"
    conv_bias: bool = False
    conv_activation: str = "gelu"
    project_norm: bool = True
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    position_kernel: int = 128
    position_groups: int = 16
    stable: bool = False
    eps: float = 1e-5
    normalize: bool = False
    mask: bool = True

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def window(self) -> int:
        """Samples that one frame is computed from."""
        samples = 1
        for kernel, stride in zip(self.kernels[::-1], self.strides[::-1]):
            samples = (samples - 1) * stride + kernel
        return samples


@dataclass(frozen=True)
class W2VBERTConfig:
    """w2v-BERT 2.0 (facebook/w2v-bert-2.0): a Conformer over Kaldi's log filter banks at 16 kHz.

    mels: bins of the filter bank. stack: frames of it that become one input. kernel: of the causal
    depthwise convolutions. left, right: the largest distances that attention tells apart. mask: as
    of HuBERT.
    """

    mels: int = 80
    stack: int = 2
    width: int = 1024
    depth: int = 24
    heads: int = 16
    hidden: int = 4096
    activation: str = "silu"
    kernel: int = 31
    left: int = 64
    right: int = 8
    eps: float = 1e-5
    mask: bool = True

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return 16000

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return 160 * self.stack

    @property
    def window(self) -> int:
        """Samples that one frame is computed from, apart from the normalisation of the clip."""
        return 400 + 160 * (self.stack - 1)


@dataclass(frozen=True)
class KMeansConfig:
    """k-means over the standardised hidden states of one layer (AudioLM, section III-C).

    codebook: the number of centroids. layer: 0 is the first block's input, n the n-th block's
    output. frame_rate: tokens a second, 25 or 50; frames are averaged down to it first.
    """

    codebook: int = 500
    width: int = 768
    layer: int = 9
    frame_rate: int = 50
