"""The voice encoder's weights from the file that Resemblyzer's wheel holds."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints.convert import LINEAR, Rule, Table, to_params
from audioldm2_jax.checkpoints.parts.blocks import lstm_rules
from audioldm2_jax.checkpoints.weights import read
from audioldm2_jax.models.speaker_encoder import SpeakerEncoder

MELS = 40
TABLE = Table(
    (
        *lstm_rules("lstm", "lstm"),
        Rule("linear", "embed", LINEAR),
    ),
    # Of the training's loss.
    ignored=(r"similarity_(weight|bias)",),
)


def load(path: Path) -> dict:
    """Parameters of `models.speaker_encoder.SpeakerEncoder`, of its default sizes.

    No code of the file runs. Raises InputError for another or a damaged file.
    """
    mel = jnp.zeros((1, 2, MELS))
    like = jax.eval_shape(SpeakerEncoder().init, jax.random.key(0), mel)["params"]
    return to_params(read(path), TABLE, like, where=str(path))
