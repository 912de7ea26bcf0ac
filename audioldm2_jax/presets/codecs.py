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


@dataclass(frozen=True)
class SEANetConfig:
    """SEANet's encoder or decoder, as SoundStream, EnCodec and Mimi use it.

    channels: of the audio. filters: after the first convolution; doubled by every stride. width: of
    the latents. strides: in the encoder's order. units: residual units before each stride, whose
    dilations are powers of `dilation_growth`. compress: by which a unit's inner width is smaller.
    shortcut: whether a convolution is a unit's skip. padding, trim_right: see `codecs.layers`.
    group_norm: whether each convolution has one. lstm_layers: at the latents' rate.
    """

    channels: int = 1
    filters: int = 32
    width: int = 128
    strides: tuple[int, ...] = (2, 4, 5, 8)
    units: int = 1
    dilation_growth: int = 2
    kernel: int = 7
    last_kernel: int = 7
    residual_kernel: int = 3
    compress: int = 2
    shortcut: bool = True
    causal: bool = True
    padding: str = "reflect"
    trim_right: float = 1.0
    group_norm: bool = False
    lstm_layers: int = 2

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return math.prod(self.strides)


@dataclass(frozen=True)
class EncodecConfig(SEANetConfig):
    """EnCodec (arXiv 2210.13438). The defaults are those of the published model of 24 kHz.

    codebook: codes of a level. bandwidths: in kbit/s, ascending; the last one sets the levels.
    normalize: whether chunks are scaled to a root mean square of 1. chunk_seconds: a clip's parts
    of that length, which overlap by the share `overlap`, are coded for themselves; None for none.
    """

    sample_rate: int = 24000
    codebook: int = 1024
    bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)
    normalize: bool = False
    chunk_seconds: float | None = None
    overlap: float | None = None

    @property
    def levels(self) -> int:
        """Levels of the residual quantiser."""
        rate = math.ceil(self.sample_rate / self.hop)
        return int(1000 * self.bandwidths[-1] // (rate * math.ceil(math.log2(self.codebook))))

    @property
    def chunk(self) -> int | None:
        """Samples of a chunk; None if clips are coded whole."""
        return None if self.chunk_seconds is None else int(self.chunk_seconds * self.sample_rate)

    @property
    def chunk_stride(self) -> int | None:
        """Samples from the start of one chunk to that of the next."""
        if self.chunk is None or self.overlap is None:
            return None
        return max(1, int((1.0 - self.overlap) * self.chunk))


@dataclass(frozen=True)
class SoundStreamConfig:
    """SoundStream (arXiv 2107.03312) as AudioLM uses it: 16 kHz, 50 Hz, 12 levels of 1024 codes.

    filters, decoder_filters: C of the encoder and of the decoder, None for the same. width: D of
    the latents. kernel: of the first and the last convolution and of the residual units.
    """

    sample_rate: int = 16000
    channels: int = 1
    strides: tuple[int, ...] = (2, 4, 5, 8)
    filters: int = 32
    decoder_filters: int | None = None
    width: int = 512
    levels: int = 12
    codebook: int = 1024
    units: int = 3
    dilation_growth: int = 3
    kernel: int = 7

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return math.prod(self.strides)

    @property
    def encoder(self) -> SEANetConfig:
        """The encoder's network; its last convolution has 3 taps."""
        return self._network(self.filters, 3)

    @property
    def decoder(self) -> SEANetConfig:
        """The decoder's network."""
        return self._network(self.decoder_filters or self.filters, self.kernel)

    def _network(self, filters: int, last_kernel: int) -> SEANetConfig:
        return SEANetConfig(
            channels=self.channels,
            filters=filters,
            width=self.width,
            strides=self.strides,
            units=self.units,
            dilation_growth=self.dilation_growth,
            kernel=self.kernel,
            last_kernel=last_kernel,
            residual_kernel=self.kernel,
            compress=1,
            shortcut=False,
            padding="zero",
            lstm_layers=0,
        )


# {published model of Meta's hub account: its configuration}
ENCODEC = {
    "encodec_24khz": EncodecConfig(),
    "encodec_32khz": EncodecConfig(
        sample_rate=32000,
        strides=(4, 4, 5, 8),
        filters=64,
        codebook=2048,
        bandwidths=(2.2,),
        causal=False,
        shortcut=False,
    ),
    "encodec_48khz": EncodecConfig(
        sample_rate=48000,
        channels=2,
        bandwidths=(3.0, 6.0, 12.0, 24.0),
        causal=False,
        group_norm=True,
        normalize=True,
        chunk_seconds=1.0,
        overlap=0.01,
    ),
}


@dataclass(frozen=True)
class MimiConfig(SEANetConfig):
    """Mimi (arXiv 2410.00037). The defaults are those of the published model.

    width: of the latents and of both transformers. downsample: factor by which a last convolution
    lowers the frame rate, 1 for none. levels: of both quantisers together, the first `semantic` of
    them Mimi's semantic ones; codebook_width: of their vectors. depth, heads, head_width, hidden,
    activation, eps: of a transformer, which rotates queries and keys by `theta` and attends to the
    last `window` frames.
    """

    filters: int = 64
    width: int = 512
    strides: tuple[int, ...] = (4, 5, 6, 8)
    last_kernel: int = 3
    shortcut: bool = False
    padding: str = "zero"
    lstm_layers: int = 0
    sample_rate: int = 24000
    downsample: int = 2
    levels: int = 32
    semantic: int = 1
    codebook: int = 2048
    codebook_width: int = 256
    depth: int = 8
    heads: int = 8
    head_width: int = 64
    hidden: int = 2048
    activation: str = "gelu"
    eps: float = 1e-5
    theta: float = 10000.0
    window: int = 250

    @property
    def hop(self) -> int:
        """Samples of a frame of codes."""
        return math.prod(self.strides) * self.downsample
