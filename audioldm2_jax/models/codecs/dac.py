"""Descript's audio codec (arXiv 2306.06546; reference: transformers' DacModel)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.codecs.layers import Conv1d, Snake
from audioldm2_jax.models.codecs.quantizer import ResidualQuantizer
from audioldm2_jax.models.layers import ConvTranspose
from audioldm2_jax.presets import DACConfig

_DILATIONS = (1, 3, 9)


class ResidualUnit(nn.Module):
    """Two convolutions with a skip, a Snake before each. x: [B, T, C]."""

    dilation: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        c = {"causal": False, "dtype": self.dtype}
        h = Snake(self.dtype, name="snake_in")(x)
        h = Conv1d(x.shape[-1], (7,), dilation=(self.dilation,), name="conv_in", **c)(h)
        h = Snake(self.dtype, name="snake_out")(h)
        return x + Conv1d(x.shape[-1], (1,), name="conv_out", **c)(h)


class EncoderBlock(nn.Module):
    """Three residual units, then a convolution with a stride. x: [B, T, C] -> [B, T', 2 C]."""

    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        for i, dilation in enumerate(_DILATIONS):
            x = ResidualUnit(dilation, self.dtype, name=f"units_{i}")(x)
        x = Snake(self.dtype, name="snake")(x)
        size, stride = (2 * self.stride,), (self.stride,)
        return Conv1d(
            2 * x.shape[-1], size, stride, causal=False, dtype=self.dtype, name="downsample"
        )(x)


class DecoderBlock(nn.Module):
    """A transposed convolution, then three residual units. x: [B, T, C] -> [B, T', C / 2].

    T' is T * stride, for an odd stride one less.
    """

    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x, s = Snake(self.dtype, name="snake")(x), self.stride
        x = ConvTranspose(
            x.shape[-1] // 2, 2 * s, s, -(-s // 2), dtype=self.dtype, name="upsample"
        )(x)
        for i, dilation in enumerate(_DILATIONS):
            x = ResidualUnit(dilation, self.dtype, name=f"units_{i}")(x)
        return x


class DACEncoder(nn.Module):
    """wave: [B, T * hop, 1] -> latents [B, T, D]."""

    config: DACConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave):
        c, conv = self.config, {"causal": False, "dtype": self.dtype}
        x = Conv1d(c.width, (7,), name="conv_in", **conv)(wave)
        for i, stride in enumerate(c.strides):
            x = EncoderBlock(stride, self.dtype, name=f"blocks_{i}")(x)
        x = Snake(self.dtype, name="snake")(x)
        return Conv1d(c.latent, (3,), name="conv_out", **conv)(x)


class DACDecoder(nn.Module):
    """latents: [B, T, D] -> wave [B, T * hop - short, 1] in [-1, 1], fp32.

    short: what odd strides leave out, 8 samples of the published 16 and 24 kHz codecs.
    """

    config: DACConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latents):
        c = self.config
        x = Conv1d(c.decoder_width, (7,), causal=False, dtype=self.dtype, name="conv_in")(latents)
        for i, stride in enumerate(reversed(c.strides)):
            x = DecoderBlock(stride, self.dtype, name=f"blocks_{i}")(x)
        x = Snake(self.dtype, name="snake")(x)
        # fp32: bf16 steps would be audible.
        return jnp.tanh(Conv1d(1, (7,), causal=False, name="conv_out")(x))


class DAC(nn.Module):
    """The codec: encoder, residual quantiser, decoder."""

    config: DACConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        self.encoder = DACEncoder(c, self.dtype)
        self.quantizer = ResidualQuantizer(
            c.levels, c.codebook, c.codebook_width, c.latent, normalized=True, dtype=self.dtype
        )
        self.decoder = DACDecoder(c, self.dtype)

    def encode(self, wave, levels: int | None = None) -> jax.Array:
        """wave: [B, T * hop, 1] -> codes [B, T, Q] int32 of the first `levels`, None for all."""
        assert wave.shape[1] % self.config.hop == 0 and wave.shape[2] == 1, wave.shape
        return self.quantizer.encode(self.encoder(wave), levels)

    def decode(self, codes) -> jax.Array:
        """codes: [B, T, Q], of the first Q levels -> wave [B, T * hop, 1].

        The reference's is shorter by some samples (see `DACDecoder`); here they are zeros.
        """
        wave = self.decoder(self.quantizer.decode(codes))
        short = codes.shape[1] * self.config.hop - wave.shape[1]
        return jnp.pad(wave, ((0, 0), (0, short), (0, 0)))

    def __call__(self, wave):
        return self.decode(self.encode(wave))
