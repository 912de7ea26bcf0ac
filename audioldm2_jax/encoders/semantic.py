"""Semantic tokens: k-means over a hidden state of HuBERT or w2v-BERT (AudioLM, section III-C).

Recordings over 30 s are encoded in equal pieces of at most that length, as the encoders were
trained on short clips. The tokens of a clip do not depend on the others of its batch.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, files
from audioldm2_jax.checkpoints import download, single
from audioldm2_jax.checkpoints.centroid_files import read_centroids
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.hubert import frame_counts, keep_frames
from audioldm2_jax.models.kmeans import KMeans
from audioldm2_jax.presets import KMeansConfig

ENCODERS = ("hubert", "w2v_bert")
_PIECE = 30  # seconds


@functools.partial(jax.jit, static_argnames=("name", "config", "layer", "factor", "dtype"))
def _states(params, wave, lengths, *, name, config, layer, factor, dtype):
    """The mean of each `factor` frames of a hidden state. wave: [B, samples] -> [B, T, D] fp32.

    lengths: samples [B], None for all. The last mean may be of fewer frames.
    """
    model = PARTS[name].model(config).clone(dtype=dtype)
    x = model.apply({"params": params}, wave, lengths, layer).astype(jnp.float32)
    if factor == 1:
        return x
    batch, frames = x.shape[:2]
    counts = jnp.full(batch, frames) if lengths is None else frame_counts(config, lengths)
    keep = keep_frames(counts, frames)
    pad = ((0, 0), (0, -frames % factor), (0, 0))
    sums, total = (
        jnp.pad(y, pad).reshape(batch, -1, factor, y.shape[-1]).sum(2)
        for y in (jnp.where(keep, x, 0), keep.astype(jnp.float32))
    )
    return sums / jnp.maximum(total, 1)


@functools.partial(jax.jit, static_argnames=("kmeans", "options"))
def _ids(params, centroids, wave, lengths, *, kmeans, options):
    states = _states(params, wave, lengths, **dict(options))
    return KMeans(kmeans).apply({"params": centroids}, states)


def padded_frames(frames: int) -> int:
    """The frames that so many are padded to: at most an eighth more, so that few lengths occur."""
    step = max(16, 1 << max(0, frames.bit_length() - 4))
    return -(-frames // step) * step


class SemanticEncoder:
    """HuBERT or w2v-BERT with its weights.

    name: the part, "hubert" or "w2v_bert". sample_rate: Hz of the waveforms. frame_rate: states a
    second.
    """

    def __init__(self, encoder: Single, dtype: Any = jnp.float32):
        if encoder.name not in ENCODERS:
            raise InputError(f"{encoder.name} is no semantic encoder: {' or '.join(ENCODERS)} is")
        self.name, self.config, self.params = encoder.name, encoder.config, encoder.params
        self.dtype = dtype
        self.sample_rate = self.config.sample_rate
        self.frame_rate = self.sample_rate // self.config.hop

    def frames(self, samples: int) -> int:
        """The number of states of a clip. Raises InputError for a clip shorter than one window."""
        if samples < self.config.window:
            raise InputError(
                f"a clip of {samples} samples at {self.sample_rate} Hz: {self.name} needs at least "
                f"{self.config.window}"
            )
        return int(frame_counts(self.config, samples))

    def check_layer(self, layer: int | None) -> None:
        """Raises InputError unless the encoder has the layer."""
        if layer is not None and not 0 <= layer <= self.config.depth:
            raise InputError(f"layer {layer}: {self.name} has the layers 0 to {self.config.depth}")

    def averaged(self, frame_rate: int) -> int:
        """How many states become one at this rate. Raises InputError for other rates."""
        if frame_rate < 1 or self.frame_rate % frame_rate:
            raise InputError(
                f"{frame_rate} tokens a second: {self.name} has {self.frame_rate} states a second, "
                "which must be a multiple"
            )
        return self.frame_rate // frame_rate

    def features(
        self, wave, layer: int | None = None, *, lengths=None, frame_rate: int | None = None
    ) -> np.ndarray:
        """A hidden state. wave: [B, samples] -> [B, T, D] fp32.

        layer: 0 is the first block's input, n the n-th block's output, None the network's output.
        lengths: samples [B] of clips padded to one length; what lies behind a clip's own `frames`
        means nothing. frame_rate: states are averaged down to it. Raises InputError for an unknown
        layer or rate, and for clips that are too short.
        """
        self.check_layer(layer)
        factor = self.averaged(frame_rate or self.frame_rate)
        encode = functools.partial(_states, self.params, **self.options(layer) | {"factor": factor})
        return self.in_pieces(wave, lengths, factor, encode)

    def options(self, layer: int | None) -> dict:
        """The static arguments of the encoder's programs."""
        return {"name": self.name, "config": self.config, "layer": layer, "dtype": self.dtype}

    def in_pieces(self, wave, lengths, factor: int, encode) -> np.ndarray:
        """Calls `encode(wave, lengths)` on pieces of at most 30 s, padded to one of few lengths.

        wave: [B, samples]; lengths: [B] or None -> the joined results, [B, ceil(T / factor), ...].
        """
        wave = check_wave(wave)
        frames, c = self.frames(wave.shape[1]), self.config
        lengths = np.full(len(wave), wave.shape[1]) if lengths is None else np.asarray(lengths)
        self.frames(int(lengths.min()))
        if len(wave) > 1 and not backend.current().batched:
            # One clip after another: one program for all batches, and less memory.
            rows = [slice(i, i + 1) for i in range(len(wave))]
            clips = (self.in_pieces(wave[row], lengths[row], factor, encode) for row in rows)
            return np.concatenate(list(clips))
        count = -(-frames // (_PIECE * self.frame_rate))
        size = -(-frames // (count * factor)) * factor
        target = padded_frames(min(size, frames))
        # Samples behind the last frame count in the norms over time.
        samples, results = target * c.hop + c.window - 1, []
        for start in range(0, frames, size):
            end = None if start + size >= frames else (size - 1) * c.hop + c.window
            piece = wave[:, start * c.hop :][:, :end]
            rest = np.clip(lengths - start * c.hop, c.window, piece.shape[1])
            whole = piece.shape[1] == samples and (rest == samples).all()
            piece = np.pad(piece, ((0, 0), (0, samples - piece.shape[1])))
            result = np.asarray(encode(piece, None if whole else rest.astype(np.int32)))
            results.append(result[:, : -(-min(size, frames - start) // factor)])
        return np.concatenate(results, 1)


def check_wave(wave) -> np.ndarray:
    """Waveforms as float32 [B, samples]. Raises InputError for other shapes, NaN and infinity."""
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 2 or not len(wave):
        raise InputError(f"waveforms of shape {wave.shape}: [clips, samples] is expected")
    if not np.isfinite(wave).all():
        raise InputError("the waveform holds NaN or infinity")
    return wave


class SemanticTokenizer:
    """Waveforms to semantic token ids.

    sample_rate: Hz of the waveforms. frame_rate: tokens a second. codebook: the number of ids.
    """

    def __init__(self, encoder: SemanticEncoder, kmeans: Single):
        config = kmeans.config
        if config.width != encoder.config.width:
            raise InputError(
                f"centroids of width {config.width}, but {encoder.name} has states of width "
                f"{encoder.config.width}; they are of another encoder"
            )
        encoder.check_layer(config.layer)
        self._factor = encoder.averaged(config.frame_rate)
        self.encoder, self.kmeans, self.centroids = encoder, config, kmeans.params
        self.sample_rate, self.frame_rate = encoder.sample_rate, config.frame_rate
        self.codebook = config.codebook

    @classmethod
    def from_parts(cls, config, params, dtype: Any = jnp.float32) -> SemanticTokenizer:
        """The tokenizer of a checkpoint. Raises InputError if its parts do not fit together.

        config: has `kmeans` and one of `hubert` and `w2v_bert`, which may be None. params: by part.
        """
        name = next((n for n in ENCODERS if getattr(config, n, None) is not None), None)
        if name is None or getattr(config, "kmeans", None) is None:
            raise InputError("the checkpoint holds no semantic encoder with its k-means")
        encoder = SemanticEncoder(Single(name, getattr(config, name), params[name]), dtype)
        return cls(encoder, Single("kmeans", config.kmeans, params["kmeans"]))

    @classmethod
    def from_pretrained(
        cls,
        name,
        *,
        kmeans=None,
        layer: int | None = None,
        frame_rate: int | None = None,
        dtype: Any = jnp.float32,
    ) -> SemanticTokenizer:
        """Reads an encoder and its centroids.

        name: as of `load_encoder`. kmeans: a folder of ours, by default `kmeans/` in that of the
        encoder, or a file of centroids (`centroid_files`). layer: whose states a file's centroids
        are of. frame_rate: tokens a second with a file; None is the encoder's. Raises InputError
        naming what is missing or wrong.
        """
        encoder = load_encoder(name, dtype)
        path = files.user_path(_folder(name) / PARTS["kmeans"].folder if kmeans is None else kmeans)
        if path.is_file():
            return cls(encoder, _of_file(path, layer, frame_rate or encoder.frame_rate))
        if not path.is_dir():
            raise InputError(
                f"{path}: no such folder or file of centroids; name theirs, or fit some with "
                "`audioldm2-jax tokenize --fit_centroids`"
            )
        for option, value in (("layer", layer), ("frame_rate", frame_rate)):
            if value is not None:
                raise InputError(f"{option} {value}: {path} says its own; leave it out")
        return cls(encoder, single.load(path))

    def frames(self, samples: int) -> int:
        """The number of tokens of a clip. Raises InputError for a clip shorter than one window."""
        return -(-self.encoder.frames(samples) // self._factor)

    def features(self, wave, layer: int | None = None, *, lengths=None) -> np.ndarray:
        """The encoder's hidden state, neither averaged nor standardised; see SemanticEncoder."""
        return self.encoder.features(wave, layer, lengths=lengths)

    def encode(self, wave, *, lengths=None) -> np.ndarray:
        """Token ids. wave: [B, samples] -> int32 [B, T], T of `frames`.

        lengths: samples [B] of clips padded to one length; what lies behind a clip's own `frames`
        means nothing. Raises InputError for clips shorter than one window, and for NaN.
        """
        options = self.encoder.options(self.kmeans.layer) | {"factor": self._factor}
        options = tuple(sorted(options.items()))
        return self.encoder.in_pieces(
            wave,
            lengths,
            self._factor,
            lambda w, n: _ids(
                self.encoder.params, self.centroids, w, n, kmeans=self.kmeans, options=options
            ),
        )


def load_encoder(name, dtype: Any = jnp.float32) -> SemanticEncoder:
    """The encoder of a folder, a hub id or a file of fairseq's (.pt).

    A folder is transformers' own, or holds `semantic_encoder/`. Raises InputError.
    """
    folder = _folder(name)
    own = folder / PARTS["hubert"].folder
    return SemanticEncoder(single.load(own if own.is_dir() else folder), dtype)


def _folder(name) -> Path:
    path = files.user_path(name)
    return path if path.is_file() else download.locate(name)


def _of_file(path: Path, layer: int | None, frame_rate: int) -> Single:
    """Centroids of a file, of features that are not standardised."""
    if layer is None:
        raise InputError(
            f"{path}: it does not say the layer of its centroids; name it (9 for fairseq's "
            "hubert_base_ls960_L9_km500.bin)"
        )
    centroids = read_centroids(path)
    codebook, width = centroids.shape
    params = {"centroids": centroids, "mean": np.zeros(width), "std": np.ones(width)}
    config = KMeansConfig(codebook, width, layer, frame_rate)
    return Single("kmeans", config, jax.tree.map(jnp.float32, params))
