"""Sound classification with any number of labels (PANNs, arXiv 1912.10211)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from audioldm2_jax import tree
from audioldm2_jax.features.mel import decibel_mel
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import PANNsConfig
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import BatchSpec, Loss, Stage, StageInfo, StageSpec, TrainableGroup

# Statistics of the batch norms follow their batches.
_STATISTICS = (r"/(mean|variance)$",)


@dataclass(frozen=True)
class PANNsSettings(StageSettings):
    """channels, width: of the network; momentum: of the batch norms' statistics; mixup: clips are
    mixed with each other; dropout: values are dropped, which does not help small networks; train:
    use the batch's statistics, mixup and drop-out.
    """

    channels: tuple[int, ...] = setting(PANNsConfig.channels, 1)
    width: int = setting(PANNsConfig.width, 1)
    momentum: float = setting(0.1, 0, 1)
    mixup: bool = setting(True)
    dropout: bool = setting(True)
    train: bool = True

    @property
    def config(self) -> PANNsConfig:
        """The classifier's configuration, with the corpus' labels."""
        shape = {"channels": self.channels, "width": self.width}
        return PANNsConfig(classes=len(self.classes), labels=self.classes, **shape)


def mix(values, partners, share):
    """Each clip mixed with its partner. share: [B], of the clip itself."""
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    return share * values + (1 - share) * values[partners]


def classification_loss(settings: PANNsSettings) -> Loss:
    """Binary cross entropy over all classes. The batch has `waveform` and `labels` [B, classes]."""
    config = settings.config

    def loss(params, frozen, batch, keys, step):
        waves, labels = batch["waveform"], batch["labels"]
        if settings.mixup and settings.train:
            # The share of each clip's own sound is Beta(1, 1), which is uniform.
            share = jax.vmap(jax.random.uniform)(keys)
            share = jnp.maximum(share, 1 - share)
            partners = jnp.roll(jnp.arange(waves.shape[0]), 1)
            waves, labels = mix(waves, partners, share), mix(labels, partners, share)
        mel = decibel_mel(waves, config)
        network = Cnn14(config, settings.dtype)
        key = keys[0] if settings.train and settings.dropout else None
        variables = {"params": params["panns"]}
        logits, _, statistics = network.apply(variables, mel, settings.train, key)
        value = optax.sigmoid_binary_cross_entropy(logits, labels).mean()
        stored = tree.flatten(params["panns"])
        batch_stats = {
            f"panns/{path}": stored[path] + settings.momentum * (new - stored[path])
            for path, new in tree.flatten(statistics).items()
        }
        top = jnp.argmax(logits, 1)
        is_right = jnp.take_along_axis(labels, top[:, None], 1)[:, 0] > 0
        return value, {"top": is_right.mean(), "batch_stats": batch_stats}

    return loss


def build(settings: PANNsSettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    config = settings.config
    eval_loss = classification_loss(dataclasses.replace(settings, train=False))
    group = TrainableGroup(("panns",), classification_loss(settings), optim, _STATISTICS, eval_loss)
    stage = Stage("panns", init_parts({"panns": init_part("panns", config)}), {"model": group})
    batch = BatchSpec(config.sample_rate, settings.seconds, classes=settings.classes)
    return StageSpec(stage, batch, exports=("panns",), standalone=config)


STAGE = StageInfo(
    name="panns",
    settings=PANNsSettings,
    build=build,
    trains=(
        "a classifier: PANNs' Cnn14 or smaller, binary cross entropy; mixup, drop-out (optional)"
    ),
    reads="sound, labels",
    reads_labels=True,
    uses_base=False,
    has_remat=False,
    on_vae_grid=False,
)
