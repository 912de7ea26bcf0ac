"""Discriminators for the training of VAE and vocoder.

PatchGAN over mels (arXiv 1611.07004, as in taming-transformers); multi-period and multi-scale
discriminators over waveforms (HiFi-GAN, arXiv 2010.05646, section 2.3).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.kernels import dispatch
from audioldm2_jax.models.layers import Conv
from audioldm2_jax.models.norms import BatchNorm


class PatchGAN(nn.Module):
    """mel: [B, T, F] -> logits [B, T', F'] of overlapping patches.

    Its norms use the batch's own statistics.
    """

    width: int = 64
    layers: int = 3

    @nn.compact
    def __call__(self, mel):
        x, pad = mel[..., None].astype(jnp.float32), ((1, 1), (1, 1))
        x = nn.leaky_relu(Conv(self.width, (4, 4), (2, 2), pad, name="conv_in")(x), 0.2)
        for i in range(1, self.layers + 1):
            strides = (2, 2) if i < self.layers else (1, 1)
            width = self.width * min(2**i, 8)
            x = dispatch.conv(x, self._kernel(f"conv_{i}", x, width), strides=strides, padding=pad)
            x, _ = BatchNorm(stored=False, name=f"norm_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        return Conv(1, (4, 4), (1, 1), pad, name="conv_out")(x)[..., 0]

    def _kernel(self, name, x, width):
        """The kernel of a convolution without bias, which the norm after it would remove."""
        return Kernel((4, 4, x.shape[-1], width), name=name)()


class Kernel(nn.Module):
    """The kernel of a convolution."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self):
        return self.param("kernel", nn.initializers.normal(0.02), self.shape)


class WeightNormConv(nn.Module):
    """Convolution with weight normalisation, or spectral normalisation if `spectral`.

    x: [B, *space, I] -> [B, *space', O]. groups: as torch's. The spectral norm is computed anew at
    each call, so that there is no state.
    """

    features: int
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int = 1
    spectral: bool = False

    @nn.compact
    def __call__(self, x):
        shape = (*self.window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.spectral:
            kernel = kernel / spectral_norm(kernel.reshape(-1, self.features))
        else:
            length = jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))) + 1e-12)
            scale = self.param("scale", nn.initializers.constant(1.0), (self.features,))
            kernel = kernel * (scale / length)
        y = dispatch.conv(x, kernel, strides=self.strides, padding=self.padding, groups=self.groups)
        return y + bias


def spectral_norm(matrix, iterations: int = 12):
    """The largest singular value of [I, O], by power iteration.

    Gradients treat the singular vectors as constants.
    """
    fixed = jax.lax.stop_gradient(matrix)
    right = jnp.ones(matrix.shape[1]) / matrix.shape[1] ** 0.5
    for _ in range(iterations):
        left = fixed @ right
        left = left / (jnp.linalg.norm(left) + 1e-12)
        right = fixed.T @ left
        right = right / (jnp.linalg.norm(right) + 1e-12)
    return left @ matrix @ right


class PeriodDiscriminator(nn.Module):
    """Convolutions over every `period`-th sample.

    wave: [B, samples] -> (logits, features by layer).
    """

    period: int
    widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)

    @nn.compact
    def __call__(self, wave):
        extra = -wave.shape[1] % self.period
        wave = jnp.pad(wave, ((0, 0), (0, extra)), mode="reflect")
        x, features = wave.reshape(wave.shape[0], -1, self.period, 1), []
        for i, width in enumerate(self.widths):
            stride = 3 if i < len(self.widths) - 1 else 1
            conv = WeightNormConv(width, (5, 1), (stride, 1), ((2, 2), (0, 0)), name=f"conv_{i}")
            x = nn.leaky_relu(conv(x), 0.1)
            features.append(x)
        x = WeightNormConv(1, (3, 1), (1, 1), ((1, 1), (0, 0)), name="conv_out")(x)
        return x.reshape(x.shape[0], -1), [*features, x]


class ScaleDiscriminator(nn.Module):
    """wave: [B, samples] -> (logits, features by layer)."""

    spectral: bool = False
    width: int = 128

    @nn.compact
    def __call__(self, wave):
        w = self.width
        layers = (
            (w, 15, 1, 1),
            (w, 41, 2, 4),
            (2 * w, 41, 2, 16),
            (4 * w, 41, 4, 16),
            (8 * w, 41, 4, 16),
            (8 * w, 41, 1, 16),
            (8 * w, 5, 1, 1),
        )
        x, features = wave[..., None], []
        for i, (width, size, stride, groups) in enumerate(layers):
            groups = min(groups, x.shape[-1], width)
            pad = ((size // 2, size // 2),)
            conv = WeightNormConv(
                width, (size,), (stride,), pad, groups, self.spectral, name=f"conv_{i}"
            )
            x = nn.leaky_relu(conv(x), 0.1)
            features.append(x)
        x = WeightNormConv(1, (3,), (1,), ((1, 1),), 1, self.spectral, name="conv_out")(x)
        return x[..., 0], [*features, x]


class WaveDiscriminators(nn.Module):
    """HiFi-GAN's discriminators of five periods and three scales.

    wave: [B, samples] -> list of (logits, features by layer). Each scale is half the previous one,
    by average pooling.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scale_width: int = 128
    scales: int = 3

    @nn.compact
    def __call__(self, wave):
        outputs = [
            PeriodDiscriminator(p, self.period_widths, name=f"period_{p}")(wave)
            for p in self.periods
        ]
        for i in range(self.scales):
            scale = ScaleDiscriminator(i == 0, self.scale_width, name=f"scale_{i}")
            outputs.append(scale(wave))
            # Average pooling of 4 by 2 with padding 2, zeros counted, as torch's AvgPool1d.
            wave = jnp.pad(wave, ((0, 0), (2, 2)))
            length = (wave.shape[1] - 4) // 2 + 1
            wave = sum(wave[:, i : i + 2 * length - 1 : 2] for i in range(4)) / 4
        return outputs
