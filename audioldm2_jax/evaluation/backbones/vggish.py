"""VGGish (arXiv 1609.09430), whose embeddings FAD compares: no PCA, no activation, no rounding."""

from __future__ import annotations

import functools

import numpy as np

from audioldm2_jax.checkpoints import single
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.base import Backbone, Batches, Row
from audioldm2_jax.evaluation.backbones.weights import sha256
from audioldm2_jax.features.vggish import FRAMES, HOP, PATCH, SAMPLE_RATE, vggish_log_mel
from audioldm2_jax.models.vggish import VGGish as Network
from audioldm2_jax.presets import VGGishConfig


class VGGish(Backbone):
    """An embedding [128] of each patch of 0.96 s; what is left at the end is dropped.

    path: torchvggish's file, or a folder that `audioldm2-jax convert` wrote. hop_seconds: 0 for
    patches side by side; otherwise a patch from each second that fits, as Google's FAD has them at
    0.5. Zeros fill clips up to the first patch (or second). Raises InputError for other models.
    """

    name, sample_rate, multi_label = "vggish", SAMPLE_RATE, False

    def __init__(self, path, hop_seconds: float = 0.0, devices=None):
        part = single.load(path)
        if part.name != "vggish":
            raise InputError(f"{path}: holds a {part.name}; VGGish is needed")
        self._hop, self._span = FRAMES * HOP, PATCH
        if hop_seconds:
            self._hop, self._span = round(hop_seconds * SAMPLE_RATE), SAMPLE_RATE
            self.settings = f"a patch of a second each {hop_seconds} s"
        if self._hop < 1:
            raise InputError(f"hop_seconds {hop_seconds}: at least one sample is needed")
        self.sha256 = sha256(path)
        super().__init__(Batches(part.params, _apply(part.config), devices, most_values=64 * PATCH))

    def rows(self, waveform: np.ndarray) -> list[Row]:
        """Windows of PATCH samples that begin `hop` apart, as far as their span fits."""
        waveform = np.pad(waveform, (0, max(0, self._span - len(waveform))))
        starts = range(0, len(waveform) - self._span + 1, self._hop)
        return [Row(waveform[start : start + PATCH], FRAMES) for start in starts]


@functools.cache
def _apply(config: VGGishConfig):
    """The function of rows; see `base.Apply`."""
    network = Network(config)

    def apply(params, waveforms, extents):
        return network.apply({"params": params}, vggish_log_mel(waveforms)), None

    return apply
