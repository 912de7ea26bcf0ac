"""Long clips in windows give the codes and the sound of the whole clip."""

import math

import jax
import numpy as np
import pytest

from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders import codec as module
from audioldm2_jax.encoders.codec import FAMILIES, Codec
from audioldm2_jax.encoders.windows import context, windows
from audioldm2_jax.presets import ENCODEC, DACConfig, MimiConfig, SoundStreamConfig

CONFIGS = {
    "dac": DACConfig(8000, 2, 8, (2, 3), 8, 2, 16, 4),
    "soundstream": SoundStreamConfig(8000, strides=(2, 3), filters=2, width=8, levels=2),
    "mimi": MimiConfig(
        sample_rate=8000,
        filters=2,
        width=8,
        strides=(2, 3),
        levels=3,
        codebook=16,
        codebook_width=4,
        depth=2,
        heads=1,
        head_width=8,
        hidden=8,
        window=5,
    ),
}


def codec_of(name):
    config = CONFIGS[name]
    params = random_params(FAMILIES[type(config)], config)
    # Branches of Mimi's blocks count as much as the skips.
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: x * 0 + 1 if "scale_" in str(path) else x, params
    )
    return Codec(Single(name, config, params))


@pytest.mark.parametrize("name", CONFIGS)
def test_no_frame_depends_on_more_than_its_context(name):
    codec, frames = codec_of(name), 100
    before, after = context(codec.config)
    wave = np.random.default_rng(0).standard_normal((1, frames * codec.hop, 1)).astype(np.float32)
    latents = np.random.default_rng(1).standard_normal((1, frames, 8)).astype(np.float32)

    def encode(network, x):
        x = network.encoder(x)
        if name == "mimi":
            x = network.downsample(network.encoder_transformer(x))
        return x

    def decode(network, x):
        if name == "mimi":
            x = network.decoder_transformer(network.upsample(x))
        return network.decoder(x)

    reach = []
    for function, x in ((encode, wave), (decode, latents)):
        run = jax.jit(
            lambda x, f=function: codec.network.apply({"params": codec.params}, x, method=f)
        )
        there = slice(40 * x.shape[1] // frames, 41 * x.shape[1] // frames)
        changed = x.copy()
        changed[:, there] += 1
        difference = np.abs(np.asarray(run(x)) - np.asarray(run(changed)))[0].max(-1)
        scale = len(difference) / frames
        places = np.flatnonzero(difference > 0)
        reach.append((40 - places[0] / scale, (places[-1] + 1) / scale - 41))
    after_seen, before_seen = (max(x[i] for x in reach) for i in (0, 1))
    assert before - 2 <= math.ceil(before_seen) <= before
    assert max(0, after - 2) <= max(0, math.ceil(after_seen)) <= after


def test_windows_give_what_the_whole_gives(monkeypatch):
    codec, exact = codec_of("dac"), codec_of("dac")
    exact.buckets = False
    wave = np.random.default_rng(0).standard_normal((1, 150 * codec.hop - 5)).astype(np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(module, "context", lambda config: (0, 0))
        codes = exact.encode(wave)
        sound = exact.decode(codes, wave.shape[1])
    monkeypatch.setattr(module, "WINDOW_SECONDS", 0.04)
    assert len(codec._windows(150)) >= 3
    np.testing.assert_array_equal(codec.encode(wave), codes)
    again = codec.decode(codes, wave.shape[1])
    assert again.shape == sound.shape == wave.shape
    np.testing.assert_allclose(again, sound, atol=1e-5 * sound.std())


def test_every_frame_is_in_one_window():
    for after in (0, 2):
        for frames in (1, 7, 8, 20, 21, 22):
            valid = [range(w.begin, w.end)[w.valid] for w in windows(frames, 7, 3, after)]
            assert [i for part in valid for i in part] == list(range(frames))


def test_context_of_the_published_codecs():
    """In seconds: short, but for Mimi's transformers and what EnCodec's LSTM is given."""
    published = {
        "dac": (DACConfig(), 0.3, 0.3),
        "encodec": (ENCODEC["encodec_24khz"], 10.2, 0),
        "mimi": (MimiConfig(), 80.7, 0),
        "soundstream": (SoundStreamConfig(), 0.45, 0),
    }
    for config, before, after in published.values():
        seconds = [n * config.hop / config.sample_rate for n in context(config)]
        assert seconds[0] <= before and seconds[1] <= after, (config, seconds)
        assert seconds[0] > 0.5 * before
