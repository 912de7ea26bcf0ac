"""HuBERT base's features of 10 s, for `audiolm.py`: ours against transformers' HubertModel."""

from __future__ import annotations

import functools

import jax
import numpy as np
import torch
from audiolm_row import Row
from transformers import HubertConfig, HubertModel

from audioldm2_jax.checkpoints.convert import to_params
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders.semantic import SemanticEncoder

LAYER = 9
SECONDS = {"full": 10, "tiny": 1}
TINY = {"num_hidden_layers": 9, "hidden_size": 32, "num_attention_heads": 4}
TINY |= {"intermediate_size": 64, "conv_dim": [16] * 7}


def hubert(batch: int, size: str) -> Row:
    """The last hidden state, and ours of layer 9 alone, whose centroids fairseq published."""
    torch.manual_seed(0)
    module = HubertModel(HubertConfig(**TINY if size == "tiny" else {})).eval()
    part = PARTS["hubert"]
    config = part.read(PartFiles(module.config.to_dict()))
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    params = to_params(state, part.table(config), part.shapes(config))
    encoder = SemanticEncoder(Single("hubert", config, jax.device_put(params)))
    seconds = SECONDS[size]
    wave = np.random.default_rng(0).standard_normal((batch, 16000 * seconds))
    wave = np.asarray(0.1 * wave, np.float32)
    tensor = torch.tensor(wave)
    theirs = module(tensor).last_hidden_state.numpy()
    error = np.abs(encoder.features(wave) - theirs).max() / theirs.std()
    assert error < 1e-3, error
    return Row(
        runs={
            "ours": lambda: encoder.features(wave),
            "theirs": lambda: module(tensor).last_hidden_state,
            "ours_layer_9": lambda: encoder.features(wave, LAYER),
        },
        goal=0.9,
        work=batch * seconds,
        unit="s/s",
        note=f"seconds of sound a second; largest difference {error:.1e} of the deviation",
    )


ROWS = {f"HuBERT base, batch {batch}": functools.partial(hubert, batch) for batch in (1, 8)}
