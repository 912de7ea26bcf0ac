"""The delay pattern: transformers' own, and its inverse."""

import numpy as np
import pytest
import torch
from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

from audioldm2_jax.decoding.delay import UNKNOWN, delayed, undelayed

DELAYS = {1: (0, 1, 2, 3), 2: (0, 0, 1, 1, 2, 2, 3, 3)}


@pytest.mark.parametrize("known", [0, 1, 3, 6])
@pytest.mark.parametrize("channels", DELAYS)
def test_pattern_is_transformers_own(channels, known):
    delays, pad, frames = DELAYS[channels], 64, 6
    codes = np.random.default_rng(0).integers(0, pad, (2, known, len(delays)))
    ours = delayed(codes, frames, delays, pad)
    config = MusicgenDecoderConfig(
        vocab_size=pad,
        num_hidden_layers=1,
        hidden_size=8,
        ffn_dim=8,
        num_attention_heads=1,
        num_codebooks=len(delays),
        audio_channels=channels,
        pad_token_id=pad,
        bos_token_id=pad,
    )
    begun = np.concatenate([np.full((2, 1, len(delays)), pad), codes], 1).transpose(0, 2, 1)
    rows = torch.tensor(begun.reshape(2 * len(delays), -1))
    model = MusicgenForCausalLM(config)
    _, theirs = model.build_delay_pattern_mask(rows, pad, max_length=ours.shape[1])
    theirs = theirs.reshape(2, len(delays), -1).numpy().transpose(0, 2, 1)
    np.testing.assert_array_equal(ours, theirs)
    assert (ours == UNKNOWN).sum() == 2 * (frames - known) * len(delays)
    np.testing.assert_array_equal(undelayed(ours, delays)[:, :known], codes)
