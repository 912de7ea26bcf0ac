"""SEANet: the convolutional encoder and decoder of SoundStream, EnCodec and Mimi.

Arrangement of layers: transformers' EncodecEncoder and EncodecDecoder.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.codecs.layers import Conv1d, ConvTranspose1d, elu
from audioldm2_jax.models.lstm import LSTM
from audioldm2_jax.presets.codecs import SEANetConfig


def _conv(config: SEANetConfig, width: int, size: int, dtype, name=None, **options) -> Conv1d:
    """A convolution with the configuration's padding and norm."""
    return Conv1d(
        width,
        (size,),
        causal=config.causal,
        mode=config.padding,
        group_norm=config.group_norm,
        dtype=dtype,
        name=name,
        **options,
    )


class ResidualUnit(nn.Module):
    """ELU, dilated convolution, ELU, convolution of one tap, and a skip. x: [B, T, C]."""

    config: SEANetConfig
    width: int
    dilation: int
    dtype: Any = jnp.float32

    def setup(self):
        c, inner = self.config, self.width // self.config.compress
        dilation = (self.dilation,)
        self.conv_in = _conv(c, inner, c.residual_kernel, self.dtype, dilation=dilation)
        self.conv_out = _conv(c, self.width, 1, self.dtype)
        if c.shortcut:
            self.shortcut = _conv(c, self.width, 1, self.dtype)

    def __call__(self, x):
        return self._join(x, self.conv_in(elu(x)))

    def initial(self, batch: int, channels: int):
        """The state before the first frame."""
        return self.conv_in.initial(batch, channels)

    def step(self, x, state):
        """The frames that follow `state` -> (y, the state behind them)."""
        h, state = self.conv_in.step(elu(x), state)
        return self._join(x, h), state

    def _join(self, x, h):
        return (self.shortcut(x) if self.config.shortcut else x) + self.conv_out(elu(h))


class ResidualLSTM(nn.Module):
    """x: [B, T, C] -> x + LSTM(x)."""

    width: int
    layers: int
    dtype: Any = jnp.float32

    def setup(self):
        self.lstm = LSTM(self.width, self.layers, self.dtype)

    def __call__(self, x):
        return x + self.lstm(x)

    def initial(self, batch: int, channels: int):
        """The state before the first frame."""
        return self.lstm.initial(batch, channels)

    def step(self, x, state):
        """The frames that follow `state` -> (y, the state behind them)."""
        y, state = self.lstm.step(x, state)
        return x + y, state


class _Chain(nn.Module):
    """Layers one behind the other. x: [B, T, I] -> [B, T', O].

    `self.layers` is a list of (layer, its input's channels, whether ELU precedes it).
    """

    config: SEANetConfig
    dtype: Any = jnp.float32

    def __call__(self, x):
        for layer, _, activated in self.layers:
            x = layer(elu(x) if activated else x)
        return x

    def initial(self, batch: int) -> list:
        """The states of all layers before the first frame."""
        return [layer.initial(batch, channels) for layer, channels, _ in self.layers]

    def step(self, x, states: list):
        """The frames that follow `states` -> (y, the states behind them)."""
        new = []
        for (layer, _, activated), state in zip(self.layers, states):
            x, state = layer.step(elu(x) if activated else x, state)
            new.append(state)
        return x, new

    def _units(self, stage: int, width: int) -> list:
        """The residual units of a stage."""
        growth = self.config.dilation_growth
        return [
            (ResidualUnit(self.config, width, growth**j, self.dtype, name=name), width, False)
            for j in range(self.config.units)
            for name in (f"blocks_{stage}_{j}",)
        ]

    def _lstm(self, width: int) -> list:
        """The LSTM, if there is one."""
        layers = self.config.lstm_layers
        lstm = ResidualLSTM(width, layers, self.dtype, name="lstm") if layers else None
        return [(lstm, width, False)] if lstm else []


class Encoder(_Chain):
    """x: [B, samples, channels] -> latents [B, ceil(samples / hop), width]."""

    def setup(self):
        c, width = self.config, self.config.filters
        layers: list = [(_conv(c, width, c.kernel, self.dtype, "conv_in"), c.channels, False)]
        for i, stride in enumerate(c.strides):
            layers += self._units(i, width)
            name, strides = f"downsample_{i}", (stride,)
            down = _conv(c, 2 * width, 2 * stride, self.dtype, name, strides=strides)
            layers.append((down, width, True))
            width *= 2
        layers += self._lstm(width)
        self.layers = [
            *layers,
            (_conv(c, c.width, c.last_kernel, self.dtype, "conv_out"), width, True),
        ]


class Decoder(_Chain):
    """latents: [B, T, width] -> [B, T * hop, channels]."""

    def setup(self):
        c, width = self.config, self.config.filters * 2 ** len(self.config.strides)
        layers: list = [(_conv(c, width, c.kernel, self.dtype, "conv_in"), c.width, False)]
        layers += self._lstm(width)
        for i, stride in enumerate(reversed(c.strides)):
            up = ConvTranspose1d(
                width // 2,
                2 * stride,
                stride,
                c.causal,
                c.trim_right,
                group_norm=c.group_norm,
                dtype=self.dtype,
                name=f"upsample_{i}",
            )
            layers.append((up, width, True))
            width //= 2
            layers += self._units(i, width)
        self.layers = [
            *layers,
            (_conv(c, c.channels, c.last_kernel, self.dtype, "conv_out"), width, True),
        ]
