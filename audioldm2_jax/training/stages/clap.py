"""CLAP: both towers against each other over the global batch (arXiv 2211.06687)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from audioldm2_jax.features.clap import clap_log_mel, fit_clip
from audioldm2_jax.losses.contrastive import contrastive, recall_at_1
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.presets import CLAPConfig


@dataclass(frozen=True)
class Contrast:
    """Settings. momentum: of the mel statistics; longest: bound of the learned scales; train: by
    the batch's statistics, not the stored ones.
    """

    config: CLAPConfig
    momentum: float = 0.1
    longest: float = 100.0
    train: bool = True
    dtype: Any = jnp.float32
    remat: str = "none"


def contrastive_loss(settings: Contrast) -> Callable:
    """The tower's batch norm sees the statistics of this batch; their averages move beside."""
    c = settings.config

    def loss(params, frozen, batch, keys, step):
        clap, params = CLAP(c, settings.dtype, settings.remat), params["clap"]
        mel = clap_log_mel(fit_clip(batch["waveform_48k"], c.mel), c.mel)
        mean, variance = mel.mean((0, 1)), mel.var((0, 1))
        norm = params["audio"]["norm_mel"]
        here = norm | {"mean": mean, "variance": variance} if settings.train else norm
        variables = {"params": params | {"audio": params["audio"] | {"norm_mel": here}}}
        heard = clap.apply(variables, mel, method="audio_features")
        tokens = batch["clap_tokens"], batch["clap_mask"]
        read = clap.apply(variables, *tokens, method="text_features")
        scales = [
            jnp.minimum(jnp.exp(params[f"{tower}_logit_scale"]), settings.longest)
            for tower in ("audio", "text")
        ]
        value = contrastive(heard, read, *scales)
        count = mel.shape[0] * mel.shape[1]
        unbiased = variance * count / (count - 1)
        moving = {
            f"clap/audio/norm_mel/{name}": norm[name] + settings.momentum * (new - norm[name])
            for name, new in (("mean", mean), ("variance", unbiased))
        }
        metrics = {"retrieval": recall_at_1(heard, read), "scale": scales[0], "moving": moving}
        return value, metrics

    return loss
