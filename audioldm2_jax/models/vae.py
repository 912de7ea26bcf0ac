"""Mel variational autoencoder (AudioLDM, section 3.2; reference: diffusers' AutoencoderKL)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.layers import Conv, ResBlock, Upsample, maybe_remat
from audioldm2_jax.models.norms import GroupNorm
from audioldm2_jax.presets import VAEConfig


class MidBlock(nn.Module):
    """Residual block, one-head self-attention, residual block. x: [B, T, F, C] -> [B, T, F, C]."""

    config: VAEConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, x):
        c, width = self.config, x.shape[-1]
        resnet = maybe_remat(ResBlock, self.remat)
        x = resnet(width, width, c.groups, c.eps, dtype=self.dtype, name="resnets_0")(x)
        h = GroupNorm(c.groups, c.eps, dtype=self.dtype, name="norm")(x)
        h = h.reshape(x.shape[0], -1, width)
        h = Attention(1, width, width, bias=True, dtype=self.dtype, name="attention")(h)
        x = x + h.reshape(x.shape)
        return resnet(width, width, c.groups, c.eps, dtype=self.dtype, name="resnets_1")(x)


class Encoder(nn.Module):
    """mel: [B, T, F, 1] -> moments [B, T / factor, F / factor, 2 * latent channels]."""

    config: VAEConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, x):
        c, resnet = self.config, maybe_remat(ResBlock, self.remat)
        x = Conv(c.channels[0], dtype=self.dtype, name="conv_in")(x)
        for i, width in enumerate(c.channels):
            for j in range(c.layers):
                name = f"down_{i}_resnets_{j}"
                x = resnet(x.shape[-1], width, c.groups, c.eps, dtype=self.dtype, name=name)(x)
            if i < len(c.channels) - 1:
                # The reference pads right and bottom only.
                x = Conv(
                    width,
                    strides=(2, 2),
                    padding=((0, 1), (0, 1)),
                    dtype=self.dtype,
                    name=f"downsample_{i}",
                )(x)
        x = MidBlock(c, self.dtype, self.remat, name="mid")(x)
        x = GroupNorm(c.groups, c.eps, silu=True, dtype=self.dtype, name="norm_out")(x)
        return Conv(2 * c.latent_channels, dtype=self.dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """latents: [B, T, F, C] -> mel [B, T * factor, F * factor, 1]."""

    config: VAEConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, x):
        c, resnet = self.config, maybe_remat(ResBlock, self.remat)
        x = Conv(c.channels[-1], dtype=self.dtype, name="conv_in")(x)
        x = MidBlock(c, self.dtype, self.remat, name="mid")(x)
        for i, width in enumerate(reversed(c.channels)):
            for j in range(c.layers + 1):
                name = f"up_{i}_resnets_{j}"
                x = resnet(x.shape[-1], width, c.groups, c.eps, dtype=self.dtype, name=name)(x)
            if i < len(c.channels) - 1:
                size = (2 * x.shape[1], 2 * x.shape[2])
                x = Upsample(width, dtype=self.dtype, name=f"upsample_{i}")(x, size)
        x = GroupNorm(c.groups, c.eps, silu=True, dtype=self.dtype, name="norm_out")(x)
        return Conv(c.mel_channels, dtype=self.dtype, name="conv_out")(x)


class VAE(nn.Module):
    """Mel [B, T, F] to and from latents [B, T / factor, F / factor, C], unscaled."""

    config: VAEConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        c = self.config
        self.encoder = Encoder(c, self.dtype, self.remat)
        self.quant = Dense(2 * c.latent_channels, dtype=self.dtype)
        self.post_quant = Dense(c.latent_channels, dtype=self.dtype)
        self.decoder = Decoder(c, self.dtype, self.remat)

    def encode(self, mel):
        """Mean and log variance of the posterior, each [B, T / factor, F / factor, C].

        mel: [B, T, F]. The log variance is clamped to [-30, 20].
        """
        moments = self.quant(self.encoder(mel[..., None]))
        mean, log_variance = jnp.split(moments, 2, -1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def decode(self, latents):
        """latents: [B, T, F, C], unscaled -> mel [B, T * factor, F * factor]."""
        return self.decoder(self.post_quant(latents))[..., 0]

    def __call__(self, mel, key):
        """Reconstruction through a posterior sample, with its moments."""
        mean, log_variance = self.encode(mel)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return self.decode(mean + jnp.exp(0.5 * log_variance) * noise), mean, log_variance


def sample_posterior(mean, logvar, keys) -> jax.Array:
    """mean + std * noise, the noise of each clip from its own key. [B, T, F, C], keys: [B]."""
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], jnp.float32))(keys)
    return mean + jnp.exp(0.5 * logvar) * noise
