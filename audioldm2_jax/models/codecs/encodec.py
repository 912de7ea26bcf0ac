"""EnCodec (arXiv 2210.13438; reference: transformers' EncodecModel)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.codecs.layers import overlap_add
from audioldm2_jax.models.codecs.quantizer import ResidualQuantizer
from audioldm2_jax.models.codecs.seanet import Decoder, Encoder
from audioldm2_jax.presets.codecs import EncodecConfig

# Chunks that are coded at once, which bounds the memory of long clips.
_CHUNKS = 16


class Encodec(nn.Module):
    """wave: [B, samples, channels] <-> codes [B, T, Q].

    A model that codes chunks takes clips of whole chunks, and fills others with zeros. Its codes
    are those of all chunks in turn: their overlaps have codes twice.
    """

    config: EncodecConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        self.encoder = Encoder(c, self.dtype)
        self.decoder = Decoder(c, self.dtype)
        # fp32, or a level would quantise the rounding of those before it.
        self.quantizer = ResidualQuantizer(c.levels, c.codebook, c.width, c.width)

    def __call__(self, wave):
        return self.decode(self.encode(wave))

    def encode(self, wave, levels: int | None = None) -> jax.Array:
        """Codes [B, T, Q] int32. levels: Q, the first ones; None for all."""
        chunks = self._chunks(wave)
        if self.config.normalize:
            chunks = chunks / _root_mean_square(chunks)

        def encode(chunk):
            return self.quantizer.encode(self.encoder(chunk).astype(jnp.float32), levels)

        codes = _by_chunk(encode, chunks)
        return codes.reshape(codes.shape[0], -1, codes.shape[-1])

    def scales(self, wave) -> jax.Array:
        """What `decode` multiplies each chunk by: [B, chunks]; ones without normalisation."""
        chunks = self._chunks(wave)
        if not self.config.normalize:
            return jnp.ones(chunks.shape[:2], jnp.float32)
        return _root_mean_square(chunks)[..., 0, 0]

    def decode(self, codes, scales=None, chunks=None) -> jax.Array:
        """codes: [B, T, Q] of the first Q levels -> wave fp32.

        scales: of `scales`, None for ones. chunks: how many of the chunks sound, None for all; the
        wave is silent behind them.
        """
        frames, length = codes.shape[1], self.config.chunk
        if length is not None:
            frames = -(-length // self.config.hop)
            assert codes.shape[1] % frames == 0, codes.shape
        codes = codes.reshape(codes.shape[0], -1, frames, codes.shape[-1])
        waves = _by_chunk(lambda chunk: self.decoder(self.quantizer.decode(chunk)), codes)
        waves = waves.astype(jnp.float32)
        if scales is not None:
            waves = waves * scales[:, :, None, None]
        if waves.shape[1] == 1:
            return waves[:, 0]
        return _cross_fade(waves, self.config.chunk_stride, chunks)

    def _chunks(self, wave):
        """[B, samples, channels] -> [B, chunks, samples of one, channels]."""
        size, stride = self.config.chunk, self.config.chunk_stride
        if size is None:
            return wave[:, None]
        count = 1 + max(0, -(-(wave.shape[1] - size) // stride))
        total = (count - 1) * stride + size
        wave = jnp.pad(wave, ((0, 0), (0, total - wave.shape[1]), (0, 0)))
        return jnp.stack([wave[:, i * stride : i * stride + size] for i in range(count)], 1)


def _by_chunk(function, chunks):
    """`function` of chunks [B, chunks, ...]; it takes [N, ...], N up to `_CHUNKS`."""
    flat = chunks.reshape(-1, *chunks.shape[2:])
    if len(flat) <= _CHUNKS or chunks.shape[1] == 1:
        results = function(flat)
    else:
        groups = -(-len(flat) // _CHUNKS)
        size = -(-len(flat) // groups)
        extra = ((0, groups * size - len(flat)), *((0, 0),) * (flat.ndim - 1))
        flat_groups = jnp.pad(flat, extra).reshape(groups, size, *flat.shape[1:])
        results = jax.lax.map(function, flat_groups)
        results = results.reshape(-1, *results.shape[2:])[: len(flat)]
    return results.reshape(*chunks.shape[:2], *results.shape[1:])


def _root_mean_square(chunks):
    """Of the channels' mean: [B, chunks, samples, channels] -> [B, chunks, 1, 1]."""
    mono = chunks.mean(-1, keepdims=True)
    return jnp.sqrt(jnp.mean(mono * mono, 2, keepdims=True)) + 1e-8


def _cross_fade(waves, stride: int, chunks=None):
    """Overlapping chunks [B, N, samples, channels] -> [B, samples, channels].

    A chunk's weight is a triangle over its length, and weights of a sample add up to 1. chunks:
    how many have a weight, None for all.
    """
    count, size = waves.shape[1:3]
    weight = 0.5 - jnp.abs(jnp.linspace(0, 1, size + 2)[1:-1] - 0.5)
    sounds = jnp.arange(count) < (count if chunks is None else chunks)
    weights = (sounds[:, None] * weight)[None, ..., None]
    total = overlap_add(weights, stride)
    return overlap_add(waves * weights, stride) / jnp.where(total > 0, total, 1)
