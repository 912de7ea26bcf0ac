"""Residual vector quantisers: SoundStream's and EnCodec's, DAC's, Mimi's (arXiv 2107.03312).

The codebooks are parameters here; how they are learned is the training's matter.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense


class Codebook(nn.Module):
    """K vectors. x: [B, T, D].

    normalized: the nearest is that of the smallest angle, as in DAC.
    """

    codes: int
    width: int
    normalized: bool = False

    def setup(self):
        self.embedding = self.param("embedding", nn.initializers.normal(), (self.codes, self.width))

    def nearest(self, x) -> jax.Array:
        """The nearest vectors' numbers, of equally near ones the lowest: [B, T] int32."""
        x, table = x.astype(jnp.float32), self.embedding.astype(jnp.float32)
        if self.normalized:
            # The length of x does not change which vector is nearest.
            table = table / jnp.maximum(jnp.linalg.norm(table, axis=-1, keepdims=True), 1e-12)
            return _argmax(x @ table.T)
        # Of |x - e|^2, without |x|^2, which is common to all.
        return _argmax(x @ table.T - 0.5 * jnp.sum(table * table, -1))

    def __call__(self, codes) -> jax.Array:
        """[B, T] -> vectors [B, T, D]."""
        return jnp.take(self.embedding, codes, axis=0)


def _argmax(scores):
    """The first maximum along the last axis, int32.

    By two plain reductions, which the CPU computes in a fraction of an argmax's time.
    """
    numbers = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    peak = scores.max(-1, keepdims=True)
    return jnp.where(scores == peak, numbers, scores.shape[-1]).min(-1)


class Level(nn.Module):
    """One codebook of a residual quantiser, in a projected space if the widths differ.

    x: [B, T, latent_width].
    """

    codes: int
    width: int
    latent_width: int
    normalized: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        self.codebook = Codebook(self.codes, self.width, self.normalized)
        if self.width != self.latent_width:
            self.project_in = Dense(self.width, dtype=self.dtype)
            self.project_out = Dense(self.latent_width, dtype=self.dtype)

    def encode(self, x) -> jax.Array:
        """x -> codes [B, T] int32."""
        return self.codebook.nearest(x if self.width == self.latent_width else self.project_in(x))

    def decode(self, codes) -> jax.Array:
        """codes: [B, T] -> [B, T, latent_width]."""
        vectors = self.codebook(codes).astype(self.dtype)
        return vectors if self.width == self.latent_width else self.project_out(vectors)

    def __call__(self, x):
        return self.decode(self.encode(x))


class ResidualQuantizer(nn.Module):
    """Each level's codebook quantises what the levels before it leave. latents: [B, T, D].

    codes: vectors of a codebook, of `width` each. Where that is not `latent_width`, D, there are
    projections: if `shared`, one pair for all levels, without bias, as in Mimi; otherwise a pair
    for each level, with bias, as in DAC. normalized: see `Codebook`.
    """

    levels: int
    codes: int
    width: int
    latent_width: int
    shared: bool = False
    normalized: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        inner = self.width if self.shared else self.latent_width
        self.quantizers = [
            Level(self.codes, self.width, inner, self.normalized, self.dtype, name=f"levels_{i}")
            for i in range(self.levels)
        ]
        if self.projected:
            self.project_in = Dense(self.width, use_bias=False, dtype=self.dtype)
            self.project_out = Dense(self.latent_width, use_bias=False, dtype=self.dtype)

    @property
    def projected(self) -> bool:
        """Whether all levels share a projection."""
        return self.shared and self.width != self.latent_width

    def encode(self, latents, levels: int | None = None) -> jax.Array:
        """Codes [B, T, Q] int32. levels: Q, the first ones; None for all."""
        residual = self.project_in(latents) if self.projected else latents
        codes = []
        for quantizer in self.quantizers[:levels]:
            codes.append(quantizer.encode(residual))
            residual = residual - quantizer.decode(codes[-1])
        return jnp.stack(codes, -1)

    def decode(self, codes) -> jax.Array:
        """codes: [B, T, Q], of the first Q levels -> latents [B, T, D]."""
        total = sum(
            quantizer.decode(codes[..., i])
            for i, quantizer in enumerate(self.quantizers[: codes.shape[-1]])
        )
        return self.project_out(total) if self.projected else total

    def __call__(self, latents):
        return self.decode(self.encode(latents))


class SplitQuantizer(nn.Module):
    """Mimi's: `semantic` levels and acoustic ones quantise the same latents, and are added.

    levels: of both together; codes, width, latent_width: as of `ResidualQuantizer`.
    """

    levels: int
    codes: int
    width: int
    latent_width: int
    semantic: int = 1
    dtype: Any = jnp.float32

    def setup(self):
        sizes = (self.codes, self.width, self.latent_width, True, False, self.dtype)
        self.semantic_levels = ResidualQuantizer(self.semantic, *sizes)
        self.acoustic_levels = ResidualQuantizer(self.levels - self.semantic, *sizes)

    def encode(self, latents, levels: int | None = None) -> jax.Array:
        """Codes [B, T, Q] int32, the semantic ones first. levels: Q; None for all."""
        levels = self.levels if levels is None else levels
        codes = self.semantic_levels.encode(latents, min(levels, self.semantic))
        if levels <= self.semantic:
            return codes
        acoustic = self.acoustic_levels.encode(latents, levels - self.semantic)
        return jnp.concatenate([codes, acoustic], -1)

    def decode(self, codes) -> jax.Array:
        """codes: [B, T, Q], of the first Q levels -> latents [B, T, D]."""
        latents = self.semantic_levels.decode(codes[..., : self.semantic])
        if codes.shape[-1] <= self.semantic:
            return latents
        return latents + self.acoustic_levels.decode(codes[..., self.semantic :])

    def __call__(self, latents):
        return self.decode(self.encode(latents))
