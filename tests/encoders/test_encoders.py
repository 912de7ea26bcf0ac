"""The calls of the frozen networks: shapes, and what must not change a result."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.encoders.clap import clap_audio_features, clap_text_features
from audioldm2_jax.encoders.latents import (
    check_length,
    decode_latents,
    encode_waveform,
    mel_front_end,
    vocode_mel,
)
from audioldm2_jax.encoders.loa import generate_loa, lm_inputs
from audioldm2_jax.encoders.text import t5_states
from audioldm2_jax.encoders.unconditional import encode_unconditional
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS


@functools.cache
def checkpoint(preset="tiny"):
    return random_checkpoint(PRESETS[preset]())


def tokens_of(rows, length):
    """[B, length] tokens and masks."""
    tokens, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], mask[i, : len(row)] = row, True
    return tokens, mask


def loa_of(rows, length):
    """What GPT-2 says of texts that are padded to a length."""
    loaded = checkpoint()
    config, params = loaded.config, loaded.params
    tokens, mask = tokens_of(rows, length)
    states = t5_states(params["t5"], tokens, mask, config.t5)
    features = jnp.ones((len(rows), config.clap.width)) / 8
    lengths = [len(row) for row in rows]
    inputs = lm_inputs(params["projection"], features, states, mask, lengths, config.projection)
    assert inputs.embeddings.shape[1] == length + 5
    return generate_loa(params["gpt2"], inputs, config.gpt2)


@pytest.mark.slow
def test_padding_of_texts_leaves_no_trace_in_the_loa():
    long, short = [5, 6, 7, 8, 9, 1], [5, 6, 1]
    mixed = loa_of([long, short], 8)
    config = checkpoint().config.gpt2
    assert mixed.shape == (2, config.tokens, config.width)
    np.testing.assert_allclose(mixed[1:], loa_of([short], 3), atol=1e-5)
    assert float(jnp.abs(mixed[0] - mixed[1]).max()) > 1e-3


def test_features_have_unit_length():
    loaded = checkpoint()
    config, params = loaded.config.clap, loaded.params["clap"]
    text = clap_text_features(params, *tokens_of([[0, 5, 2], [0, 2]], 4), config)
    waves = np.random.default_rng(0).standard_normal((2, 4800)).astype(np.float32)
    sound = clap_audio_features(params, waves, config)
    for features in (text, sound):
        assert features.shape == (2, config.width) and features.dtype == jnp.float32
        np.testing.assert_allclose(jnp.linalg.norm(features, axis=-1), 1, atol=1e-5)


@pytest.mark.slow
def test_a_waveform_keeps_its_frames():
    """Waveform -> posterior -> mel -> waveform: the VAE's factor, the vocoder's hop."""
    loaded = checkpoint()
    config, params = loaded.config, loaded.params
    waves = np.random.default_rng(0).standard_normal((1, 5120)).astype(np.float32) / 8
    mean, logvar = encode_waveform(params["vae"], waves, config)
    assert mean.shape == logvar.shape == (1, 8, 16, config.vae.latent_channels)
    mel = decode_latents(params["vae"], mean * config.vae.scale, config.vae)
    assert mel.shape == (1, 32, mel_front_end(config).mels)
    restored = vocode_mel(params["vocoder"], mel, config.vocoder)
    assert restored.dtype == jnp.float32 and restored.shape[1] >= 32 * config.vocoder.hop


@pytest.mark.parametrize("preset, part", [("tiny-audioldm", "clap"), ("tiny-t5", "t5")])
def test_the_unconditional_is_what_the_empty_text_gives(preset, part):
    loaded = checkpoint(preset)
    names = {"clap": "tokenizer", "t5": "tokenizer_2"}
    (row,) = loaded.tokenizers[names[part]]([""]).input_ids
    tokens, mask = tokens_of([row], len(row))
    if part == "clap":
        expected = clap_text_features(loaded.params["clap"], tokens, mask, loaded.config.clap)
    else:
        expected = t5_states(loaded.params["t5"], tokens, mask, loaded.config.t5)[0]
    given = encode_unconditional(loaded.params, loaded.config)
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_a_length_that_the_vae_does_not_take():
    check_length(checkpoint().config, 10.24)
    with pytest.raises(InputError, match="multiples of 0.04 s, such as 10.2"):
        check_length(checkpoint().config, 10.21)
