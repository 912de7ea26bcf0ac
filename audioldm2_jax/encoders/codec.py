"""Neural audio codecs of all families: waveforms to codes and back.

Clips are padded to one of few lengths, so that a corpus does not compile a program for each of its
lengths. No frame of a causal codec depends on what lies behind it; of another codec, the last
frames are coded for themselves. Clips longer than a minute are coded in windows (`windows`).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, files, tree
from audioldm2_jax.checkpoints import download, hub, sectioned, single
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders.semantic import padded_frames
from audioldm2_jax.encoders.windows import WINDOW_SECONDS, Window, context, windows
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.kernels.prepacked import prepack_kernels
from audioldm2_jax.presets.codecs import (
    DACConfig,
    EncodecConfig,
    MimiConfig,
    SoundStreamConfig,
)

# {configuration: the part of its name}
FAMILIES: dict[type, str] = {
    SoundStreamConfig: "soundstream",
    EncodecConfig: "encodec",
    DACConfig: "dac",
    MimiConfig: "mimi",
}
# {padding of a codec's layers: numpy's name for the same}
_PADDINGS = {"zero": "constant", "reflect": "reflect", "edge": "edge"}


@functools.partial(jax.jit, static_argnames=("network", "levels"))
def _encode(params, wave, *, network, levels):
    return network.apply({"params": params}, wave, levels, method="encode")


@functools.partial(jax.jit, static_argnames="network")
def _scales(params, wave, *, network):
    return network.apply({"params": params}, wave, method="scales")


@functools.partial(jax.jit, static_argnames="network")
def _decode(params, *arguments, network):
    return network.apply({"params": params}, *arguments, method="decode")


def _load(path) -> Single:
    """A codec alone, or the one among the parts of a folder without sub-folders."""
    if path.is_file() or sectioned.family_of(path) is None:
        return single.load(path)
    config = hub.read_config(path, hub.convention_named("authors"))
    name = next(name for name in FAMILIES.values() if getattr(config, name, None) is not None)
    part = getattr(config, name)
    return Single(name, part, hub.load_part(path, name, part))


class Codec:
    """A codec with its weights.

    sample_rate: Hz. channels: of the audio. hop: samples of a frame. frame_rate: frames a second.
    levels: codes of a frame. codebook: how many codes each level has. buckets: whether clips are
    padded to one of few lengths; otherwise each length has its own program. fingerprint: of the
    weights.
    """

    def __init__(
        self,
        codec: Any,
        params: dict | None = None,
        *,
        buckets: bool = True,
        dtype: Any = jnp.float32,
    ):
        """codec: a `Single`, or a configuration with its `params`. Raises InputError for others."""
        config = codec.config if isinstance(codec, Single) else codec
        params = codec.params if isinstance(codec, Single) else params
        name = FAMILIES.get(type(config))
        if name is None or params is None:
            kind = codec.name if isinstance(codec, Single) else type(config).__name__
            raise InputError(f"{kind} is no codec: one of {' '.join(FAMILIES.values())} is needed")
        self.name, self.config, self.buckets = name, config, buckets
        self.fingerprint = tree.fingerprint(params)
        self.network = PARTS[name].model(config).clone(dtype=dtype)
        self.params = prepack_kernels(params) if backend.current().prepacks(dtype) else params
        self.sample_rate, self.channels = config.sample_rate, config.channels
        self.hop, self.levels, self.codebook = config.hop, config.levels, config.codebook
        self.frame_rate = config.sample_rate / config.hop
        # Codecs without chunks code a clip as a whole, of any number of frames.
        self._chunk = getattr(config, "chunk", None)

    @classmethod
    def from_pretrained(
        cls, name, *, buckets: bool = True, dtype: Any = jnp.float32, quiet: bool = False
    ) -> Codec:
        """Reads a folder (its `codec/`, the codec of MusicGen), a hub id, or an authors' file.

        Raises InputError naming what is wrong.
        """
        path = files.user_path(name)
        if not path.is_file():
            path = download.locate(name, quiet=quiet)
            path = path / "codec" if (path / "codec").is_dir() else path
        return cls(_load(path), buckets=buckets, dtype=dtype)

    def frames(self, samples: int) -> int:
        """T of a clip's codes. Codes of chunks that overlap are more than the clip's frames."""
        if self._chunk is None:
            return -(-samples // self.hop)
        return self._chunks(samples) * -(-self._chunk // self.hop)

    def samples(self, frames: int) -> int:
        """The samples that so many frames of codes decode to. Raises InputError for part chunks."""
        if self._chunk is None:
            return frames * self.hop
        size = -(-self._chunk // self.hop)
        if frames % size:
            raise InputError(f"codes of {frames} frames: this codec's are of chunks of {size}")
        return (frames // size - 1) * self.config.chunk_stride + size * self.hop

    def encode(self, wave, levels: int | None = None) -> np.ndarray:
        """Codes int32 [B, T, Q], T of `frames`. levels: Q, the first ones; None for all.

        wave: [B, samples], which all channels of a codec take, or [B, samples, channels]; its end
        is filled with zeros to whole frames. Raises InputError for other shapes, for NaN, and for
        levels that the codec does not have.
        """
        if levels is not None and not 1 <= levels <= self.levels:
            raise InputError(f"{levels} levels: this codec has 1 to {self.levels}")
        wave = self._checked_wave(wave)
        parts = []
        for window in self._windows(self.frames(wave.shape[1])):
            part = wave[:, window.begin * self.hop : window.end * self.hop]
            part, frames = self._padded(part, window.exact)
            codes = _encode(self.params, part, network=self.network, levels=levels)
            parts.append(np.asarray(codes)[:, :frames][:, window.valid])
        return np.concatenate(parts, 1)

    def scales(self, wave) -> np.ndarray | None:
        """What `decode` is to multiply each chunk by, [B, chunks]; None for codecs without.

        Without it, a codec that normalises gives sound of a root mean square near 1.
        """
        if not getattr(self.config, "normalize", False):
            return None
        chunks = self._chunks(np.shape(wave)[1])
        return np.asarray(
            _scales(self.params, self._padded(self._checked_wave(wave))[0], network=self.network)
        )[:, :chunks]

    def decode(self, codes, samples: int | None = None, *, scales=None) -> np.ndarray:
        """The waveform of the first Q levels' codes [B, T, Q].

        samples: its length, at most (and by default) that of `samples`. scales: of `scales`. ->
        [B, samples] float32, for several channels [B, samples, channels]. Raises InputError for
        codes out of range or of another shape.
        """
        codes, parts = self._checked(codes), []
        length = self.samples(codes.shape[1])
        for window in self._windows(codes.shape[1]):
            wave = self._decode(codes[:, window.begin : window.end], scales, window.exact)
            if window.valid != slice(None):
                wave = wave[:, window.valid.start * self.hop : window.valid.stop * self.hop]
            parts.append(wave)
        wave = np.concatenate(parts, 1)
        wave = wave[:, : length if samples is None else min(samples, length)]
        return wave[..., 0] if self.channels == 1 else wave

    def _decode(self, codes, scales, exact: bool) -> np.ndarray:
        """The waveform of a window's codes, and of padding behind them unless `exact`."""
        unit = 1 if self._chunk is None else -(-self._chunk // self.hop)
        units = codes.shape[1] // unit
        total = units if exact else self._bucket(units)
        codes = codes.reshape(len(codes), units, -1)
        codes = np.pad(codes, ((0, 0), (0, total - units), (0, 0)), "edge")
        codes = codes.reshape(len(codes), total * unit, -1)
        arguments: tuple = (codes,)
        if self._chunk is not None:
            if scales is not None:
                scales = np.pad(np.asarray(scales), ((0, 0), (0, total - units)), "edge")
            arguments = (codes, scales, np.int32(units))
        elif scales is not None:
            arguments = (codes, np.asarray(scales))
        return np.asarray(_decode(self.params, *arguments, network=self.network))

    def _chunks(self, samples: int) -> int:
        """How many chunks hold a clip; 1 for a codec without chunks."""
        if self._chunk is None:
            return 1
        return 1 + max(0, -(-(samples - self._chunk) // self.config.chunk_stride))

    def _bucket(self, count: int) -> int:
        """The frames, or the chunks, that so many are padded to."""
        if not self.buckets:
            return count
        if self._chunk is None:
            return padded_frames(count)
        step = 1 << max(0, count.bit_length() - 3)
        return -(-count // step) * step

    def _windows(self, frames: int) -> list[Window]:
        """The windows of a clip; one for chunks, and where the whole clip has one scale."""
        if self._chunk is not None or getattr(self.config, "normalize", False):
            return [Window(0, frames, slice(None))]
        before, after = context(self.config)
        size = max(before, after, math.ceil(WINDOW_SECONDS * self.frame_rate))
        return windows(frames, size if frames > 2 * size else frames, before, after)

    def _checked_wave(self, wave) -> np.ndarray:
        """The waveform as float32 [B, samples, channels]. Raises InputError."""
        wave = np.asarray(wave, np.float32)
        if wave.ndim == 2:
            wave = np.repeat(wave[..., None], self.channels, -1)
        if wave.ndim != 3 or wave.shape[-1] != self.channels or not wave.size:
            expected = f"[clips, samples, {self.channels}]"
            raise InputError(f"a waveform of shape {wave.shape}: {expected} is expected")
        if not np.isfinite(wave).all():
            raise InputError("the waveform holds NaN or infinity")
        return wave

    def _padded(self, wave, exact: bool = False) -> tuple[np.ndarray, int]:
        """(the waveform padded to a bucket, or to whole frames if `exact`; T of its own codes)."""
        samples, frames = wave.shape[1], self.frames(wave.shape[1])
        if self._chunk is not None:
            total = self._bucket(self._chunks(samples))
            total = (total - 1) * self.config.chunk_stride + self._chunk
            return np.pad(wave, ((0, 0), (0, total - samples), (0, 0))), frames
        wave = np.pad(wave, ((0, 0), (0, frames * self.hop - samples), (0, 0)))
        behind = 0 if exact else (self._bucket(frames) - frames) * self.hop
        mode = _PADDINGS[getattr(self.config, "padding", "zero")]
        return np.pad(wave, ((0, 0), (0, behind), (0, 0)), mode), frames

    def _checked(self, codes) -> np.ndarray:
        codes = np.asarray(codes)
        if codes.ndim != 3 or not codes.size or codes.shape[-1] > self.levels:
            expected = f"[clips, frames, 1 to {self.levels} levels]"
            raise InputError(f"codes of shape {codes.shape}: {expected} is expected")
        if codes.dtype.kind not in "iu":
            raise InputError(f"codes are {codes.dtype}; whole numbers are expected")
        low, high = codes.min(), codes.max()
        if low < 0 or high >= self.codebook:
            wrong = low if low < 0 else high
            raise InputError(f"code {wrong}: this codec's are 0 to {self.codebook - 1}")
        return codes.astype(np.int32)
