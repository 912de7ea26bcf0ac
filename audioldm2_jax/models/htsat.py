"""HTSAT, a Swin transformer over the log-mel image, as CLAP's audio tower (arXiv 2202.00874).

Reference: transformers' ClapAudioModel. Batch norms use their stored statistics, also in training.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.layers import Conv, FeedForward, maybe_remat
from audioldm2_jax.models.norms import BatchNorm, LayerNorm
from audioldm2_jax.presets import HTSATConfig


def resize_matrix(source: int, target: int) -> np.ndarray:
    """Bicubic interpolation (a = -0.75, corners aligned, edges clamped): [target, source]."""
    a = -0.75
    position = np.arange(target) * ((source - 1) / (target - 1) if target > 1 else 0.0)
    base = np.floor(position).astype(int)
    matrix = np.zeros((target, source))
    for offset in range(-1, 3):
        distance = np.abs(position - (base + offset))
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
        weight = np.where(distance <= 1, near, far)
        np.add.at(matrix, (np.arange(target), np.clip(base + offset, 0, source - 1)), weight)
    return matrix.astype(np.float32)


def relative_index(window: int) -> np.ndarray:
    """Row of the bias table for each pair of a window's tokens: [window**2, window**2]."""
    grid = np.stack(np.meshgrid(*[np.arange(window)] * 2, indexing="ij")).reshape(2, -1)
    offset = grid[:, :, None] - grid[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


def shift_bias(size: int, window: int, shift: int) -> np.ndarray:
    """-100 for pairs in one window only because of the cyclic shift: [windows, w**2, w**2]."""
    edge = np.arange(size)
    region = (edge >= size - window).astype(int) + (edge >= size - shift)
    image = region[:, None] * 3 + region[None, :]
    windows = _partition(image[None, :, :, None], window)[..., 0]
    return np.where(windows[:, None, :] != windows[:, :, None], -100.0, 0.0).astype(np.float32)


def _partition(x, window):
    """[B, H, W, C] -> [B * windows, window**2, C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def _merge(x, window, size):
    """Inverse of `_partition` for square images of `size`."""
    side = size // window
    x = x.reshape(-1, side, side, window, window, x.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, size, size, x.shape[-1])


class SwinBlock(nn.Module):
    """Swin block: attention within (shifted) windows, then an MLP. x: [B, size, size, D]."""

    config: HTSATConfig
    heads: int
    shift: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        c, size, width = self.config, x.shape[1], x.shape[-1]
        # One window over the whole image needs no shift.
        shift = self.shift if size > c.window else 0
        table = self.param(
            "positions", nn.initializers.normal(0.02), ((2 * c.window - 1) ** 2, self.heads)
        )
        bias = table.astype(jnp.float32)[relative_index(c.window)].transpose(2, 0, 1)[None]
        if shift:
            mask = shift_bias(size, c.window, shift)
            bias = bias + jnp.tile(mask, (x.shape[0], 1, 1))[:, None]
        h = LayerNorm(c.eps, self.dtype, name="norm_attention")(x)
        h = _partition(jnp.roll(h, (-shift, -shift), (1, 2)), c.window)
        h = Attention(
            self.heads,
            width // self.heads,
            width,
            bias=c.qkv_bias,
            dtype=self.dtype,
            name="attention",
        )(h, bias=bias)
        x = x + jnp.roll(_merge(h, c.window, size), (shift, shift), (1, 2))
        h = LayerNorm(c.eps, self.dtype, name="norm_mlp")(x)
        return x + FeedForward(int(c.mlp_ratio * width), dtype=self.dtype, name="mlp")(h)


class PatchMerging(nn.Module):
    """Concatenates 2x2 neighbours and projects them. x: [B, H, W, D] -> [B, H / 2, W / 2, 2 D]."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = jnp.concatenate([x[:, i::2, j::2] for j in range(2) for i in range(2)], -1)
        x = LayerNorm(1e-5, self.dtype, name="norm")(x)
        return Dense(x.shape[-1] // 2, use_bias=False, dtype=self.dtype, name="reduction")(x)


class Squeeze(nn.Module):
    """Pointwise down and up with batch norms. x: [..., C] -> [..., C]."""

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        h = Dense(self.hidden, dtype=self.dtype, name="down")(x)
        h, _ = BatchNorm(name="norm_down")(h)
        h = Dense(x.shape[-1], dtype=self.dtype, name="up")(nn.relu(h).astype(self.dtype))
        return BatchNorm(name="norm_up")(h)[0]


class Fusion(nn.Module):
    """Attentional feature fusion (arXiv 2009.14082) of two images, each [B, H, W, C]."""

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, other):
        both = x + other
        local = Squeeze(self.hidden, self.dtype, name="local")(both)
        whole = Squeeze(self.hidden, self.dtype, name="whole")(both.mean((1, 2), keepdims=True))
        gate = nn.sigmoid(local + whole).astype(self.dtype)
        return 2 * x * gate + 2 * other * (1 - gate)


class PatchEmbedding(nn.Module):
    """Patch embeddings [B, H, W, embed] of images; with fusion, of the local crops as well."""

    config: HTSATConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, longer):
        """images: [B, S, S], or with fusion [B, 4, S, S], the whole clip first; longer: [B], whose
        crops are fused.
        """
        c, p = self.config, self.config.patch
        none = ((0, 0), (0, 0))

        def patches(image, window, name):
            return Conv(c.embed, window, window, none, dtype=self.dtype, name=name)(
                image[..., None]
            )

        if not c.fusion:
            x = patches(images, (p, p), "patch")
        else:
            x = patches(images[:, 0], (p, p), "patch")
            crops = images[:, 1:].reshape(-1, *images.shape[2:])
            local = patches(crops, (p, 3 * p), "patch_local")
            # The three crops side by side in time.
            local = local.reshape(-1, 3, *local.shape[1:]).transpose(0, 2, 1, 3, 4)
            local = local.reshape(x.shape[0], x.shape[1], -1, c.embed)
            local = jnp.pad(local, ((0, 0), (0, 0), (0, x.shape[2] - local.shape[2]), (0, 0)))
            fused = Fusion(c.embed // c.squeeze, self.dtype, name="fusion")(x, local)
            x = jnp.where(jnp.asarray(longer, bool)[:, None, None, None], fused, x)
        return LayerNorm(1e-5, self.dtype, name="norm_patch")(x) if c.patch_norm else x


class HTSAT(nn.Module):
    """mel: [B, T, F] in dB -> pooled features [B, width]. T at most image * image / F.

    With fusion mel is [B, 4, T, F], the whole clip and three crops, and longer [B] tells which
    clips use their crops.
    """

    config: HTSATConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, mel, longer=None):
        c = self.config
        assert mel.shape[-1] == c.mels and mel.ndim == (4 if c.fusion else 3), mel.shape
        mel, _ = BatchNorm(name="norm_mel")(mel)
        x = self._image(mel)
        x = PatchEmbedding(c, self.dtype, name="embedding")(x, longer)
        for stage, (depth, heads) in enumerate(zip(c.depths, c.heads)):
            for i in range(depth):
                shift = 0 if i % 2 == 0 else c.window // 2
                name = f"stages_{stage}_blocks_{i}"
                x = maybe_remat(SwinBlock, self.remat)(c, heads, shift, self.dtype, name=name)(x)
            if stage < len(c.depths) - 1:
                x = PatchMerging(self.dtype, name=f"stages_{stage}_merge")(x)
        return LayerNorm(1e-5, self.dtype, name="norm")(x).mean((1, 2))

    def _image(self, mel):
        """Resizes time to the image's area and folds it into rows: [..., T, F] -> [..., S, S]."""
        c = self.config
        ratio = c.image // c.mels
        frames, outer = c.image * ratio, mel.shape[:-2]
        assert mel.shape[-2] <= frames, (mel.shape, frames)
        if mel.shape[-2] < frames:
            mel = jnp.einsum("ts,...sf->...tf", resize_matrix(mel.shape[-2], frames), mel)
        folded = mel.reshape(-1, ratio, frames // ratio, c.mels)
        return folded.transpose(0, 1, 3, 2).reshape(*outer, c.image, c.image)
