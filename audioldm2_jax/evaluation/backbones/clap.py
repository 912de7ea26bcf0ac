"""CLAP (arXiv 2211.06687): one space of texts and sound, for scores and retrieval."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import files
from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.authors import assemble, source
from audioldm2_jax.encoders.clap import clap_image_features, clap_text_features
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.base import Backbone, Batches, Row
from audioldm2_jax.evaluation.backbones.weights import sha256
from audioldm2_jax.features.clap import (
    clap_log_mel,
    fit_clip,
    framed_clap_log_mel,
    fused_images,
)
from audioldm2_jax.presets import CLAPConfig

_LAION_TOKENS = 77  # to which laion_clap cuts texts


class CLAP(Backbone):
    """One unit vector a clip, of its first 10 s; unit vectors of texts by `text_features`.

    path: a folder as transformers saves ClapModel, or LAION's .pt file. The tokenizer of a file is
    the folder `tokenizer` beside it, or roberta-base of the hub's cache. Models with fusion read
    all of longer clips: the whole resized, and three crops. Shorter ones are their own crops, as
    for LAION's code if a clip is alone in its batch. Raises InputError for other models.
    """

    name, multi_label = "clap", False

    def __init__(self, path, devices=None):
        path = files.user_path(path)
        part = _load_file(path) if path.is_file() else single.load(path)
        if part.name != "clap" or part.config.audio is None or part.config.mel is None:
            raise InputError(f"{path}: holds a {part.name}; a CLAP with both towers is needed")
        self.config: CLAPConfig = part.config
        self.sample_rate, self.sha256 = part.config.mel.sample_rate, sha256(path)
        self._path, self._tokenizer = path, part.tokenizer
        self._tokens = _LAION_TOKENS if path.is_file() else 512
        audio, mel, text = _functions(part.config)
        rows = 16 * part.config.mel.samples
        super().__init__(Batches(part.params, audio, devices, most_rows=16, most_values=rows))
        step = part.config.mel.sample_rate // part.config.mel.hop * part.config.mel.hop
        self._mels = Batches({}, mel, devices, step=step, most_values=rows)
        self._texts = Batches(part.params, text, devices, step=16)

    def rows(self, waveform: np.ndarray) -> list[Row]:
        """The clip cut or repeated to 10 s; with fusion its four images."""
        mel, waveform = self.config.mel, waveform if len(waveform) else np.zeros(1, np.float32)
        if not mel.fusion:
            return [Row(fit_clip(waveform[None], mel)[0], 0)]
        longer = len(waveform) > mel.samples
        fitted = waveform if longer else fit_clip(waveform[None], mel)[0]
        padded = np.pad(fitted, mel.fft // 2, mode="reflect")
        frames = 1 + len(fitted) // mel.hop
        ((log_mel, _),) = self._mels([Row(padded, 0)])
        log_mel, count = log_mel[:frames], 1 + mel.samples // mel.hop
        if frames == count:
            return [Row(np.stack([log_mel] * 4), 0)]
        return [Row(fused_images(log_mel, count), 0)]

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of texts: [N, D]. Raises InputError if there is no tokenizer."""
        if self._tokenizer is None:
            raise InputError(
                f"{self._path}: no tokenizer with it; put roberta-base's files into the folder "
                f"{self._path.parent / 'tokenizer'}, or go online once"
            )
        if not texts:
            return np.zeros((0, self.config.width), np.float32)
        limit = min(self._tokens, self._tokenizer.model_max_length)
        ids = self._tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        pad = self.config.text.pad_id
        # Zeros behind a row's end become padding tokens.
        rows = [Row(np.asarray(line, np.float32) - pad, len(line)) for line in ids]
        return np.stack([embedding for embedding, _ in self._texts(rows)])


def _load_file(path: Path) -> single.Single:
    """LAION's file, or another of the authors' that holds CLAP alone."""
    beside = path.parent if (path.parent / "tokenizer").is_dir() else None
    return assemble.load_single(source.open_file(path), None if beside is None else str(beside))


@functools.cache
def _functions(config: CLAPConfig):
    """The functions of rows of audio, of long clips' mels, and of texts; see `base.Apply`."""

    def audio(params, values, extents):
        mel = values if config.mel.fusion else clap_log_mel(values, config.mel)
        return clap_image_features(params, mel, jnp.ones(len(mel), bool), config), None

    def mels(params, values, extents):
        return framed_clap_log_mel(values, config.mel), None

    def text(params, values, lengths):
        mask = jnp.arange(values.shape[1]) < lengths[:, None]
        tokens = values.astype(jnp.int32) + config.text.pad_id
        return clap_text_features(params, tokens, mask, config), None

    return audio, mels, text
