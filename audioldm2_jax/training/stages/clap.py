"""CLAP: both towers against each other over the global batch (arXiv 2211.06687)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.features.clap import clap_log_mel, fit_clip
from audioldm2_jax.losses.contrastive import contrastive, recall_at_1
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.presets import CLAPConfig
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import BatchSpec, Loss, Stage, StageInfo, StageSpec, TrainableGroup
from audioldm2_jax.training.stages.conditions import clap_text

# Statistics of the mel spectrogram follow their batches.
_STATISTICS = (r"norm_mel/(mean|variance)$",)


@dataclass(frozen=True)
class CLAPSettings(StageSettings):
    """momentum: of the mel statistics; max_logit_scale: bound of the learned scales; train: use the
    batch's statistics, not the stored ones.
    """

    momentum: float = setting(0.1, 0, 1)
    max_logit_scale: float = setting(100.0, 1e-3)
    train: bool = True

    @property
    def config(self) -> CLAPConfig:
        """CLAP's configuration with both temperatures."""
        return dataclasses.replace(self.model.clap, scales=True)


def contrastive_loss(settings: CLAPSettings) -> Loss:
    """The audio tower's first batch norm uses this batch's statistics and updates its averages."""
    c = settings.config

    def loss(params, frozen, batch, keys, step):
        clap, params = CLAP(c, settings.dtype, settings.remat), params["clap"]
        mel = clap_log_mel(fit_clip(batch["waveform_48k"], c.mel), c.mel)
        mean, variance = mel.mean((0, 1)), mel.var((0, 1))
        norm = params["audio"]["norm_mel"]
        used = norm | {"mean": mean, "variance": variance} if settings.train else norm
        variables = {"params": params | {"audio": params["audio"] | {"norm_mel": used}}}
        audio_features = clap.apply(variables, mel, method="audio_features")
        tokens = batch["clap_tokens"], batch["clap_mask"]
        text_features = clap.apply(variables, *tokens, method="text_features")
        scales = [
            jnp.minimum(jnp.exp(params[f"{tower}_logit_scale"]), settings.max_logit_scale)
            for tower in ("audio", "text")
        ]
        value = contrastive(audio_features, text_features, *scales)
        count = mel.shape[0] * mel.shape[1]
        unbiased = variance * count / (count - 1)
        batch_stats = {
            f"clap/audio/norm_mel/{name}": norm[name] + settings.momentum * (new - norm[name])
            for name, new in (("mean", mean), ("variance", unbiased))
        }
        metrics = {"retrieval": recall_at_1(audio_features, text_features), "scale": scales[0]}
        return value, metrics | {"batch_stats": batch_stats}

    return loss


def build(settings: CLAPSettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    if not settings.model.has_audio_tower:
        raise InputError("stage clap: the model has no CLAP audio tower to train")
    loss = contrastive_loss(settings)
    eval_loss = contrastive_loss(dataclasses.replace(settings, train=False))
    group = TrainableGroup(("clap",), loss, optim, _STATISTICS, eval_loss)

    def init(key):
        params = init_part("clap", settings.config)(key)
        scale = jnp.log(jnp.float32(1 / 0.07))
        return params | {f"{tower}_logit_scale": scale for tower in ("text", "audio")}

    batch = BatchSpec(
        16000,
        settings.seconds,
        clap_waveform=True,
        texts=(dataclasses.replace(clap_text(settings.model), states=""),),
        text_length=settings.text_length,
    )
    return StageSpec(
        Stage("clap", init_parts({"clap": init}), {"model": group}),
        batch,
        init_from_base=("clap",),
        exports=("clap",),
        tokenizer="tokenizer",
    )


STAGE = StageInfo(
    name="clap",
    settings=CLAPSettings,
    build=build,
    trains="CLAP's towers, both temperatures, the global batch's negatives, its mel statistics",
    needs="tokenizer",
    reads="sound at 48 kHz, captions",
    reads_texts=True,
    on_vae_grid=False,
    compares_clips=True,
)
