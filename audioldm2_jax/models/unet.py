"""The T-UNet of AudioLDM 2 (section III-D) and AudioLDM's, with FiLM in place of contexts.

What depends only on the request is computed once: `time_bias` of every sampling step and
`film_bias` of the conditioning vector, for every residual block, and `kv`, the contexts' keys and
values, for every attention. `denoise` is then one step. References: diffusers'
AudioLDM2UNet2DConditionModel and UNet2DConditionModel.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels.attention import key_lengths, pad_keys
from audioldm2_jax.models.layers import (
    Conv,
    FeedForward,
    ResBlock,
    Upsample,
    maybe_remat,
    timestep_features,
)
from audioldm2_jax.models.norms import GroupNorm, LayerNorm
from audioldm2_jax.presets import UNetConfig


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, gated MLP. x: [B, L, D] -> [B, L, D].

    kv: the context's keys and values; None makes the second attention a self-attention too.
    """

    heads: int
    width: int
    dtype: Any = jnp.float32

    def setup(self):
        attention = {"heads": self.heads, "head_width": self.width // self.heads}
        attention |= {"width": self.width, "dtype": self.dtype}
        self.norm_attention = LayerNorm(1e-5, self.dtype)
        self.attention = Attention(**attention)
        self.norm_cross = LayerNorm(1e-5, self.dtype)
        self.cross = Attention(**attention)
        self.norm_mlp = LayerNorm(1e-5, self.dtype)
        self.mlp = FeedForward(4 * self.width, gated=True, dtype=self.dtype)

    def kv(self, context):
        """context: [B, L, D] -> (keys, values), each [B, L, N, H]."""
        return self.cross.kv(context)

    def __call__(self, x, kv=None, mask=None):
        x = x + self.attention(self.norm_attention(x))
        x = x + self.cross(self.norm_cross(x), kv, mask=mask)
        return x + self.mlp(self.norm_mlp(x))


class Transformer(nn.Module):
    """Blocks over the flattened image (time-major). x: [B, T, F, C] -> [B, T, F, C]."""

    heads: int
    width: int
    depth: int
    groups: int
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        self.norm = GroupNorm(self.groups, 1e-6, dtype=self.dtype)
        self.project_in = Dense(self.width, dtype=self.dtype)
        block = maybe_remat(TransformerBlock, self.remat)
        self.blocks = [block(self.heads, self.width, self.dtype) for _ in range(self.depth)]
        self.project_out = Dense(self.width, dtype=self.dtype)

    def kv(self, context):
        """Keys and values of every block. context: [B, L, D]."""
        return tuple(block.kv(context) for block in self.blocks)

    def __call__(self, x, kv=None, mask=None):
        h = self.project_in(self.norm(x)).reshape(x.shape[0], -1, self.width)
        for i, block in enumerate(self.blocks):
            h = block(h, None if kv is None else kv[i], mask)
        return x + self.project_out(h).reshape(x.shape)


class Level(nn.Module):
    """One resolution: residual blocks, each followed by its transformers, and a resampling.

    `in_channels` has one entry for each residual block; the first `attended` of them have
    transformers, one for each entry of `contexts`. resample: "down", "up" or None.
    """

    config: UNetConfig
    index: int
    in_channels: tuple[int, ...]
    attended: int
    resample: str | None = None
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        c, channels = self.config, self.config.channels[self.index]
        self.contexts = c.contexts[self.index]
        resnet = maybe_remat(ResBlock, self.remat)
        self.resnets = [
            resnet(width, channels, c.groups, c.eps, c.film > 0, self.dtype)
            for width in self.in_channels
        ]
        self.transformers = [
            Transformer(
                c.heads[self.index],
                channels,
                c.depths[self.index],
                c.groups,
                self.dtype,
                self.remat,
            )
            for _ in range(self.attended * len(self.contexts))
        ]
        if self.resample == "down":
            self.downsample = Conv(
                channels, strides=(2, 2), padding=((1, 1), (1, 1)), dtype=self.dtype
            )
        elif self.resample == "up":
            self.upsample = Upsample(channels, dtype=self.dtype)

    def time_bias(self, embedding):
        """embedding: [S, E] -> [S, C] for each residual block."""
        return tuple(resnet.time_bias(embedding) for resnet in self.resnets)

    def film_bias(self, embedding):
        """embedding: [B, E] -> [B, C] for each residual block."""
        return tuple(resnet.film_bias(embedding) for resnet in self.resnets)

    def kv(self, streams, keys):
        """Keys and values of each transformer's context; None where it attends to itself."""
        count, results = len(self.contexts), []
        for i, transformer in enumerate(self.transformers):
            if self.contexts[i % count] is None:
                results.append(None)
                continue
            stream = self.config.stream_of(i % count)
            results.append(pad_keys(transformer.kv(streams[stream]), keys[stream]))
        return tuple(results)

    def layer(self, x, index, time_bias, kv, masks):
        """Residual block `index` and its transformers. x: [B, T, F, I] -> [B, T, F, C]."""
        x = self.resnets[index](x, time_bias[index])
        if index >= self.attended:
            return x
        count = len(self.contexts)
        for n, context in enumerate(self.contexts):
            i = index * count + n
            mask = masks[self.config.stream_of(n)] if context else None
            x = self.transformers[i](x, kv[i], mask)
        return x

    def down(self, x):
        """The strided convolution at the level's end."""
        return self.downsample(x)

    def up(self, x, like):
        """Nearest-neighbour resampling to the size of `like`, then a convolution."""
        return self.upsample(x, like.shape[1:3])


class UNet(nn.Module):
    """Noise predictor over latents [B, T, F, C].

    Its conditions are context streams (two [B, L, D], as many as `contexts` name; LOA and T5 in
    AudioLDM 2), each with a mask [B, L] or None, and a vector [B, film].
    """

    config: UNetConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        c, n = self.config, len(self.config.channels)
        widths, last = c.channels, len(c.channels) - 1
        self.conv_in = Conv(widths[0], dtype=self.dtype)
        self.time_up = Dense(4 * widths[0], dtype=self.dtype)
        self.time_down = Dense(4 * widths[0], dtype=self.dtype)
        if c.film:
            self.film_in = Dense(4 * widths[0], dtype=self.dtype)
        shared = {"config": c, "dtype": self.dtype, "remat": self.remat}
        self.down = [
            Level(
                index=i,
                in_channels=(widths[max(i - 1, 0)],) + (widths[i],) * (c.layers - 1),
                attended=c.layers * c.attention[i],
                resample="down" if i < last else None,
                **shared,
            )
            for i in range(n)
        ]
        self.mid = Level(index=last, in_channels=(widths[last],) * 2, attended=1, **shared)
        self.up = [
            Level(
                index=last - i,
                in_channels=self._up_channels(last - i),
                attended=(c.layers + 1) * c.attention[last - i],
                resample="up" if i < last else None,
                **shared,
            )
            for i in range(n)
        ]
        self.norm_out = GroupNorm(c.groups, c.eps, silu=True, dtype=self.dtype)
        self.conv_out = Conv(c.out_channels)  # fp32: guidance amplifies its rounding

    def _up_channels(self, level):
        """Width of each residual block's input on the way up: the stream's and the skip's."""
        widths, layers = self.config.channels, self.config.layers
        below = widths[min(level + 1, len(widths) - 1)]
        streams = (below,) + (widths[level],) * layers
        skips = (widths[level],) * layers + (widths[max(level - 1, 0)],)
        return tuple(a + b for a, b in zip(streams, skips))

    def time_bias(self, timesteps):
        """timesteps: [S] -> [S, C] for every residual block, in a tuple for each level."""
        features = timestep_features(timesteps, self.config.channels[0]).astype(self.dtype)
        embedding = self.time_down(nn.silu(self.time_up(features)))
        return tuple(level.time_bias(embedding) for level in (*self.down, self.mid, *self.up))

    def film_bias(self, vector):
        """vector: [B, film], the conditioning -> [B, C], to add to `time_bias`."""
        embedding = self.film_in(vector.astype(self.dtype))
        return tuple(level.film_bias(embedding) for level in (*self.down, self.mid, *self.up))

    def kv(self, *streams, keys=(None, None)):
        """Keys and values of every transformer, in a tuple for each level. streams: [B, L, D].

        keys: to how many each stream's are padded with zeros, which need a mask; None: not padded.
        """
        return tuple(level.kv(streams, keys) for level in (*self.down, self.mid, *self.up))

    def denoise(self, x, time_bias, kv, masks=(None, None)):
        """Predicted noise. x: [B, T, F, C] -> [B, T, F, C].

        time_bias: of `time_bias`, plus `film_bias` if there is a vector, with S = 1 or B. kv: of
        `kv`. masks: of the streams, [B, L], whose kept vectors come first, `KeyLengths` or None.
        """
        masks, count = [key_lengths(mask) for mask in masks], len(self.down)
        x = self.conv_in(x)
        skips = [x]
        for i, level in enumerate(self.down):
            for j in range(len(level.in_channels)):
                x = level.layer(x, j, time_bias[i], kv[i], masks)
                skips.append(x)
            if level.resample:
                x = level.down(x)
                skips.append(x)
        for j in range(2):
            x = self.mid.layer(x, j, time_bias[count], kv[count], masks)
        for i, level in enumerate(self.up, count + 1):
            for j in range(len(level.in_channels)):
                x = jnp.concatenate([x, skips.pop()], -1)
                x = level.layer(x, j, time_bias[i], kv[i], masks)
            if level.resample:
                x = level.up(x, skips[-1])
        return self.conv_out(self.norm_out(x))

    def __call__(self, x, timesteps, streams=(), masks=(None, None), film=None):
        """One pass from scratch, for training. x: [B, T, F, C], timesteps: [B], film: [B, film]."""
        time_bias = self.time_bias(timesteps)
        if film is not None:
            time_bias = jax.tree.map(jnp.add, time_bias, self.film_bias(film))
        return self.denoise(x, time_bias, self.kv(*streams), masks)
