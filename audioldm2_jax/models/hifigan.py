"""HiFi-GAN generator, log-mel to waveform (arXiv 2010.05646; reference: SpeechT5HifiGan)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.layers import Conv, ConvTranspose, maybe_remat
from audioldm2_jax.presets import HiFiGANConfig


class ResidualStack(nn.Module):
    """Pairs of dilated and plain convolutions, each pair with a skip. x: [B, T, C]."""

    size: int
    dilations: tuple[int, ...]
    slope: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        for i, dilation in enumerate(self.dilations):
            h = nn.leaky_relu(x, self.slope)
            h = Conv(
                x.shape[-1],
                (self.size,),
                dilation=(dilation,),
                dtype=self.dtype,
                name=f"dilated_{i}",
            )(h)
            h = nn.leaky_relu(h, self.slope)
            x = x + Conv(x.shape[-1], (self.size,), dtype=self.dtype, name=f"plain_{i}")(h)
        return x


class HiFiGAN(nn.Module):
    """mel: [B, T, F] -> waveform [B, samples] in [-1, 1], fp32; samples is near T * hop.

    The published generator's first kernel and stride make it 160 T + 32.
    """

    config: HiFiGANConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, mel):
        c = self.config
        assert mel.shape[-1] == c.mels, mel.shape
        mean = self.param("mean", nn.initializers.zeros, (c.mels,))
        scale = self.param("scale", nn.initializers.ones, (c.mels,))
        if c.normalize:
            mel = (mel - mean) / scale
        x = Conv(c.channels, (7,), dtype=self.dtype, name="conv_in")(mel)
        for i, (rate, size) in enumerate(zip(c.rates, c.kernels)):
            x = nn.leaky_relu(x, c.slope)
            x = ConvTranspose(
                c.channels // 2 ** (i + 1),
                size,
                rate,
                (size - rate) // 2,
                self.dtype,
                name=f"upsample_{i}",
            )(x)
            first = i * len(c.block_kernels)
            stack = maybe_remat(ResidualStack, self.remat)
            stacks = [
                stack(k, d, c.slope, self.dtype, name=f"blocks_{j}")(x)
                for j, (k, d) in enumerate(zip(c.block_kernels, c.dilations), first)
            ]
            x = sum(stacks) / len(stacks)
        # The reference's last activation keeps torch's default slope.
        x = nn.leaky_relu(x, 0.01)
        # fp32: bf16 steps would be audible.
        return jnp.tanh(Conv(1, (7,), name="conv_out")(x)[..., 0])
