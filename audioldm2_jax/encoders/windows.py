"""Long clips through a codec in windows, so that memory does not grow with their length.

A window is coded with the frames around it that its own depend on, as the layers' sizes say. So its
codes and its sound are those of the whole clip. An LSTM depends on all frames before: of
EnCodec, the windows' are those of a clip that begins some seconds earlier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from audioldm2_jax.presets.codecs import DACConfig, MimiConfig, SEANetConfig, SoundStreamConfig

WINDOW_SECONDS = 30.0  # of a window, without its surroundings
_LSTM_SECONDS = 10.0
_DAC_TAPS = 3 * (1 + 3 + 9)  # to either side, of three residual units


def context(config) -> tuple[int, int]:
    """The frames (before, after) a frame that its codes and its sound depend on, at most."""
    if isinstance(config, DACConfig):
        return (_dac_frames(config),) * 2
    if isinstance(config, SoundStreamConfig):
        return max(_seanet_frames(config.encoder), _seanet_frames(config.decoder)), 0
    before = _seanet_frames(config)
    if isinstance(config, MimiConfig):
        # Each block looks back a window, at SEANet's rate; both sides' convolutions resample.
        before += config.depth * config.window + 2 * config.downsample
        before = -(-before // config.downsample)
    elif config.lstm_layers:
        before += math.ceil(_LSTM_SECONDS * config.sample_rate / config.hop)
    # A decoder that cuts at the start looks ahead.
    return before, 0 if config.causal and config.trim_right == 1.0 else before


def _dac_frames(config: DACConfig) -> int:
    """The larger reach of encoder and decoder, in frames."""
    encoder, scale = 3, 1
    for stride in config.strides:
        encoder += scale * (_DAC_TAPS + -(-stride // 2))
        scale *= stride
    # Three taps at the frames' rate, then each block's at its own.
    decoder, rate = 3.0, 1
    for stride in reversed(config.strides):
        decoder += 1 / rate + _DAC_TAPS / (rate * stride)
        rate *= stride
    return math.ceil(max(encoder / scale + 1, decoder + 3 / rate))


def _seanet_frames(config: SEANetConfig) -> int:
    """The larger reach of encoder and decoder, in frames of SEANet."""
    units = (config.residual_kernel - 1) * sum(
        config.dilation_growth**i for i in range(config.units)
    )
    encoder, scale = config.kernel - 1, 1
    for stride in config.strides:
        encoder += scale * (units + stride)
        scale *= stride
    decoder, rate = float(config.kernel - 1), 1
    for stride in reversed(config.strides):
        decoder += 1 / rate + units / (rate * stride)
        rate *= stride
    decoder += (config.last_kernel - 1) / rate
    return math.ceil(max(encoder / scale + config.last_kernel - 1, decoder))


@dataclass(frozen=True)
class Window:
    """A part of a clip that is coded for itself. begin, end: its frames.

    valid: those of its own frames whose codes or sound are taken. exact: whether nothing may be
    appended to it, since the last of them depend on where the clip ends.
    """

    begin: int
    end: int
    valid: slice
    exact: bool = False


def windows(frames: int, size: int, before: int, after: int) -> list[Window]:
    """A clip's windows of `size` frames, or of fewer at its end. before, after: of `context`.

    The last frames of a codec that looks ahead have a window of one length for all clips.
    """
    tail = before + 2 * after
    if after and frames <= tail:
        return [Window(0, frames, slice(0, frames), True)]
    result, head = [], frames - after
    for first in range(0, head, size):
        last = min(first + size, head)
        low = max(0, first - before)
        result.append(Window(low, last + after, slice(first - low, last - low)))
    if after:
        result.append(Window(frames - tail, frames, slice(tail - after, tail), True))
    return result
