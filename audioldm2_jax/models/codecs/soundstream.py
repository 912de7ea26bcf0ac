"""SoundStream (arXiv 2107.03312) as AudioLM uses it: causal, without a denoising condition.

The paper does not say where its activations stand: they are where SEANet's are, before every
convolution but the first.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.codecs.quantizer import ResidualQuantizer
from audioldm2_jax.models.codecs.seanet import Decoder, Encoder
from audioldm2_jax.presets.codecs import SoundStreamConfig


class SoundStream(nn.Module):
    """wave: [B, samples, channels] <-> codes [B, T, Q]; samples are filled with zeros to T * hop.

    `encode_step` and `decode_step` take the samples (codes) that follow a state and give what
    `encode` (`decode`) of the whole clip gives for them. A state is a tree of arrays, of one size
    however long the clip is.
    """

    config: SoundStreamConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        self.encoder = Encoder(c.encoder, self.dtype)
        self.decoder = Decoder(c.decoder, self.dtype)
        # fp32, or a level would quantise the rounding of those before it.
        self.quantizer = ResidualQuantizer(c.levels, c.codebook, c.width, c.width)

    def __call__(self, wave):
        return self.decode(self.encode(wave))

    def encode(self, wave, levels: int | None = None) -> jax.Array:
        """Codes [B, T, Q] int32. levels: Q, the first ones; None for all."""
        wave = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % self.config.hop), (0, 0)))
        return self.quantizer.encode(self.encoder(wave).astype(jnp.float32), levels)

    def decode(self, codes) -> jax.Array:
        """codes: [B, T, Q] of the first Q levels -> wave [B, T * hop, channels] fp32."""
        return self.decoder(self.quantizer.decode(codes)).astype(jnp.float32)

    def encoder_state(self, batch: int) -> list:
        """The state of `encode_step` before the first sample."""
        return self.encoder.initial(batch)

    def encode_step(self, wave, state: list, levels: int | None = None) -> tuple[jax.Array, list]:
        """wave: [B, n * hop, channels] -> (codes [B, n, Q], the state behind them)."""
        latents, state = self.encoder.step(wave, state)
        return self.quantizer.encode(latents.astype(jnp.float32), levels), state

    def decoder_state(self, batch: int) -> list:
        """The state of `decode_step` before the first frame."""
        return self.decoder.initial(batch)

    def decode_step(self, codes, state: list) -> tuple[jax.Array, list]:
        """codes: [B, n, Q] -> (wave [B, n * hop, channels] fp32, the state behind it)."""
        wave, state = self.decoder.step(self.quantizer.decode(codes), state)
        return wave.astype(jnp.float32), state
