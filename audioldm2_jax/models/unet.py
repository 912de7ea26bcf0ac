"""The T-UNet of AudioLDM 2 (section III-D) and AudioLDM's, with FiLM in place of contexts.

What depends only on the request is made once: `times` projects every sampling step's time
embedding for every residual block, `films` the conditioning vector for the same place, `keys` the
contexts' keys and values for every attention. `denoise` is then one step. References: diffusers'
AudioLDM2UNet2DConditionModel and UNet2DConditionModel.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels.attention import keep_mask
from audioldm2_jax.models.layers import (
    Conv,
    FeedForward,
    GroupNorm,
    LayerNorm,
    ResBlock,
    Upsample,
    block_of,
    timestep_features,
)
from audioldm2_jax.presets import UNetConfig


class TransformerBlock(nn.Module):
    """Self-attention, attention to `keys` (None: to itself again), gated MLP. x: [B, L, D]."""

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

    def keys(self, context):
        return self.cross.keys(context)

    def __call__(self, x, keys=None, mask=None):
        x = x + self.attention(self.norm_attention(x))
        x = x + self.cross(self.norm_cross(x), keys, mask=mask)
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
        block = block_of(TransformerBlock, self.remat)
        self.blocks = [block(self.heads, self.width, self.dtype) for _ in range(self.depth)]
        self.project_out = Dense(self.width, dtype=self.dtype)

    def keys(self, context):
        return tuple(block.keys(context) for block in self.blocks)

    def __call__(self, x, keys=None, mask=None):
        h = self.project_in(self.norm(x)).reshape(x.shape[0], -1, self.width)
        for i, block in enumerate(self.blocks):
            h = block(h, None if keys is None else keys[i], mask)
        return x + self.project_out(h).reshape(x.shape)


class Stage(nn.Module):
    """One resolution: residual blocks, each followed by its transformers, and a resampling.

    `in_channels` has one entry for each residual block; the first `attended` of them have
    transformers, one for each entry of `contexts`. resample: "down", "up" or None.
    """

    config: UNetConfig
    level: int
    in_channels: tuple[int, ...]
    attended: int
    resample: str | None = None
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        c, channels = self.config, self.config.channels[self.level]
        self.contexts = c.contexts[self.level]
        resnet = block_of(ResBlock, self.remat)
        self.resnets = [
            resnet(width, channels, c.groups, c.eps, c.film > 0, self.dtype)
            for width in self.in_channels
        ]
        self.transformers = [
            Transformer(
                c.heads[self.level],
                channels,
                c.depths[self.level],
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

    def times(self, embedding):
        return tuple(resnet.time_bias(embedding) for resnet in self.resnets)

    def films(self, embedding):
        return tuple(resnet.film_bias(embedding) for resnet in self.resnets)

    def keys(self, streams):
        """Keys and values of each transformer's context; None where it attends to itself."""
        count = len(self.contexts)
        return tuple(
            None
            if self.contexts[i % count] is None
            else transformer.keys(streams[_stream(i % count)])
            for i, transformer in enumerate(self.transformers)
        )

    def layer(self, x, index, times, keys, masks):
        """Residual block `index` and its transformers."""
        x = self.resnets[index](x, times[index])
        if index >= self.attended:
            return x
        count = len(self.contexts)
        for place, context in enumerate(self.contexts):
            i = index * count + place
            x = self.transformers[i](x, keys[i], masks[_stream(place)] if context else None)
        return x

    def down(self, x):
        return self.downsample(x)

    def up(self, x, like):
        """Nearest-neighbour to the size of `like`, then the convolution."""
        return self.upsample(x, like.shape[1:3])


def _stream(place: int) -> int:
    """Which context the transformer at a place reads."""
    return 0 if place <= 1 else 1


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
        stage = {"config": c, "dtype": self.dtype, "remat": self.remat}
        self.down = [
            Stage(
                level=i,
                in_channels=(widths[max(i - 1, 0)],) + (widths[i],) * (c.layers - 1),
                attended=c.layers * c.attention[i],
                resample="down" if i < last else None,
                **stage,
            )
            for i in range(n)
        ]
        self.mid = Stage(level=last, in_channels=(widths[last],) * 2, attended=1, **stage)
        self.up = [
            Stage(
                level=last - i,
                in_channels=self._up_channels(last - i),
                attended=(c.layers + 1) * c.attention[last - i],
                resample="up" if i < last else None,
                **stage,
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

    def times(self, timesteps):
        """Every residual block's time bias. timesteps: [S] -> a tuple of [S, C] for each stage."""
        features = timestep_features(timesteps, self.config.channels[0]).astype(self.dtype)
        embedding = self.time_down(nn.silu(self.time_up(features)))
        return tuple(stage.times(embedding) for stage in (*self.down, self.mid, *self.up))

    def films(self, vector):
        """What `times` lacks, from the conditioning vector [B, film]: tuples of [B, C]."""
        embedding = self.film_in(vector.astype(self.dtype))
        return tuple(stage.films(embedding) for stage in (*self.down, self.mid, *self.up))

    def keys(self, *streams):
        """Every transformer's keys and values, one tuple for each stage."""
        return tuple(stage.keys(streams) for stage in (*self.down, self.mid, *self.up))

    def denoise(self, x, times, keys, masks=(None, None)):
        """Predicted noise. x: [B, T, F, C]; times: as `times` gives (plus `films`), S = 1 or B."""
        masks, count = [keep_mask(mask) for mask in masks], len(self.down)
        x = self.conv_in(x)
        skips = [x]
        for i, stage in enumerate(self.down):
            for j in range(len(stage.in_channels)):
                x = stage.layer(x, j, times[i], keys[i], masks)
                skips.append(x)
            if stage.resample:
                x = stage.down(x)
                skips.append(x)
        for j in range(2):
            x = self.mid.layer(x, j, times[count], keys[count], masks)
        for i, stage in enumerate(self.up, count + 1):
            for j in range(len(stage.in_channels)):
                x = jnp.concatenate([x, skips.pop()], -1)
                x = stage.layer(x, j, times[i], keys[i], masks)
            if stage.resample:
                x = stage.up(x, skips[-1])
        return self.conv_out(self.norm_out(x))

    def __call__(self, x, timesteps, streams=(), masks=(None, None), film=None):
        """One pass from scratch, as training needs it. timesteps: [B]."""
        times = self.times(timesteps)
        if film is not None:
            times = jax.tree.map(jnp.add, times, self.films(film))
        return self.denoise(x, times, self.keys(*streams), masks)
