"""Sound classification by labels of any number (PANNs, arXiv 1912.10211)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from audioldm2_jax import tree
from audioldm2_jax.features.mel import decibel_mel
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import PANNsConfig


@dataclass(frozen=True)
class Tagging:
    """Settings. momentum: of the batch norms' statistics; mixup: whether clips are mixed; drop:
    whether values are dropped, which small networks are not helped by; train: with the batch's
    statistics, and these two.
    """

    config: PANNsConfig
    momentum: float = 0.1
    mixup: bool = True
    drop: bool = True
    train: bool = True
    dtype: Any = jnp.float32


def mixed(values, partners, share):
    """Each clip with its partner. share: [B]."""
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    return share * values + (1 - share) * values[partners]


def tagging_loss(settings: Tagging) -> Callable:
    """Binary cross entropy over all classes. The batch has `waveform` and `labels` [B, classes]."""

    def loss(params, frozen, batch, keys, step):
        waves, labels = batch["waveform"], batch["labels"]
        if settings.mixup and settings.train:
            # The share of each clip's own sound is Beta(1, 1): anything, as often.
            share = jax.vmap(jax.random.uniform)(keys)
            share = jnp.maximum(share, 1 - share)
            partners = jnp.roll(jnp.arange(waves.shape[0]), 1)
            waves, labels = mixed(waves, partners, share), mixed(labels, partners, share)
        mel = decibel_mel(waves, settings.config)
        network = Cnn14(settings.config, settings.dtype)
        key = keys[0] if settings.train and settings.drop else None
        variables = {"params": params["panns"]}
        logits, _, found = network.apply(variables, mel, settings.train, key)
        value = optax.sigmoid_binary_cross_entropy(logits, labels).mean()
        stored = tree.flatten(params["panns"])
        moving = {
            f"panns/{path}": stored[path] + settings.momentum * (new - stored[path])
            for path, new in tree.flatten(found).items()
        }
        top = jnp.argmax(logits, 1)
        right = jnp.take_along_axis(labels, top[:, None], 1)[:, 0] > 0
        return value, {"top": right.mean(), "moving": moving}

    return loss
